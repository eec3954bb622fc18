"""Muon, with its work shared by the processes of a run.

In: matrices with gradients that are equal on all ranks, as after `DistributedDataParallel`. Out: the same step as
`torch.optim.Muon` makes. Its costly part, the orthogonalisation, is done once per matrix, not once per matrix and rank.
"""

import torch
import torch.distributed as dist

from modeling_mvfer.distributed_mvfer import world_size


class SharedMuon(torch.optim.Muon):
    """`torch.optim.Muon` (Jordan et al. 2024): each rank steps its share of the matrices, then all get all of them.

    Momentum is kept whole on every rank, so one rank's checkpoint serves any number of ranks.
    """

    @torch.no_grad()
    def step(self, closure=None):
        """One step on all ranks; as `torch.optim.Muon.step` with a single process."""
        if world_size() == 1:
            return super().step(closure)
        owners = owner_of_each([p for group in self.param_groups for p in group["params"] if p.grad is not None])
        foreign = {p: p.grad for p, owner in owners.items() if owner != dist.get_rank()}
        for group in self.param_groups:
            for p in filter(foreign.__contains__, group["params"]):
                momentum = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
                momentum.lerp_(p.grad, 1 - group["momentum"])
                p.grad = None  # which the parent skips
        loss = super().step(closure)
        for p, gradient in foreign.items():
            p.grad = gradient
        for sending in [dist.broadcast(p, src=owner, async_op=True) for p, owner in owners.items()]:
            sending.wait()
        return loss


def owner_of_each(matrices: list[torch.Tensor]) -> dict[torch.Tensor, int]:
    """A rank for every matrix, the same on all ranks, so that all have about as much to multiply."""
    load = [0] * world_size()
    owners = {}
    for matrix in sorted(matrices, key=_cost, reverse=True):
        owners[matrix] = load.index(min(load))
        load[owners[matrix]] += _cost(matrix)
    return owners


def _cost(matrix: torch.Tensor) -> int:
    return matrix.numel() * min(matrix.shape)
