"""Muon in the arithmetic that the processor is fast in, with its work shared by the processes of a run.

In: matrices with gradients that are equal on all ranks, as after `DistributedDataParallel`. Out: the step that `torch.optim.Muon`
makes. Its costly part, the orthogonalisation, is done once per matrix, not once per matrix and rank; and in float32 where
bfloat16, which PyTorch's takes always, is emulated: on processors without its instructions that makes a training step twice
as long.
"""

import torch
import torch.distributed as dist
from torch import Tensor

from modeling_mvfer.distributed_mvfer import world_size


class SharedMuon(torch.optim.Muon):
    """`torch.optim.Muon` (Jordan et al. 2024): each rank orthogonalises its share of the matrices, then all get all of them.

    Momentum is kept whole on every rank, so one rank's checkpoint serves any number of ranks.

    Args:
        params, options: as in `torch.optim.Muon`, with Nesterov's momentum and the original rates.
        arithmetic (`torch.dtype`, defaults to `torch.float32`): of the orthogonalisation.
    """

    def __init__(self, params, *, arithmetic: torch.dtype = torch.float32, **options):
        super().__init__(params, **options)
        self.arithmetic = arithmetic

    @torch.no_grad()
    def step(self, closure=None):
        """One step on all ranks."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moving = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        owners, rank = owner_of_each(moving), dist.get_rank() if world_size() > 1 else 0
        for group in self.param_groups:
            for p in filter(owners.__contains__, group["params"]):
                momentum = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
                momentum.lerp_(p.grad, 1 - group["momentum"])
                if owners[p] != rank:
                    continue
                update = p.grad.lerp(momentum, group["momentum"]).to(self.arithmetic)
                update = orthogonalised(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * max(1, p.shape[0] / p.shape[1]) ** 0.5)
        if world_size() > 1:
            for sending in [dist.broadcast(p, src=owner, async_op=True) for p, owner in owners.items()]:
                sending.wait()
        return loss


def orthogonalised(matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """The nearest matrix with all singular values about 1, by a quintic Newton-Schulz iteration, in the matrix's arithmetic."""
    a, b, c = coefficients
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=eps)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


def owner_of_each(matrices: list[Tensor]) -> dict[Tensor, int]:
    """A rank for every matrix, the same on all ranks, so that all have about as much to multiply."""
    load = [0] * world_size()
    owners = {}
    for matrix in sorted(matrices, key=_cost, reverse=True):
        owners[matrix] = load.index(min(load))
        load[owners[matrix]] += _cost(matrix)
    return owners


def _cost(matrix: Tensor) -> int:
    return matrix.numel() * min(matrix.shape)
