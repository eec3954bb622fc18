"""Batch norm over all ranks, for what small models learn from scratch.

In: rows (n, D), as many as this rank has. Out: the same rows, centred and scaled by the statistics of the whole batch; in
evaluation by running ones. Faces look so much alike that untrained embeddings of any two have a cosine of 0.997, and a
contrast between them starts on a plateau that it hardly leaves. Taking away what all faces share removes the plateau.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .distributed_mvfer import all_reduce_sum

EPSILON = 1e-5


class GlobalBatchNorm(nn.Module):
    """Batch norm whose statistics span the rows of all ranks, with exact gradients, on any device.

    Args:
        width (`int`): D of the rows.
        momentum (`float`, defaults to 0.1): share of the newest batch in the running statistics.
    Source:
        Ioffe & Szegedy 2015, "Batch Normalization", Alg. 1, arXiv:1502.03167. Differs: `torch.nn.SyncBatchNorm` needs a
        GPU, this does not; statistics are in 32 bits at least.
    """

    def __init__(self, width: int, *, momentum: float = 0.1):
        super().__init__()
        self.momentum = momentum
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, rows: Tensor) -> Tensor:
        precise = rows.to(torch.promote_types(rows.dtype, torch.float32))
        if self.training:
            mean, variance = batch_statistics(precise)
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
                self.running_var.lerp_(variance.to(self.running_var), self.momentum)
        else:
            mean, variance = self.running_mean, self.running_var
        return ((precise - mean) * torch.rsqrt(variance + EPSILON) * self.weight + self.bias).to(rows.dtype)


def batch_statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (biased) variance `(D,)` of the rows `(n, D)` of all ranks; n may differ between ranks."""
    count = all_reduce_sum(torch.tensor(float(len(rows)), device=rows.device, dtype=rows.dtype)).clamp_min(1)
    mean = all_reduce_sum(rows.sum(dim=0)) / count
    return mean, all_reduce_sum((rows - mean).square().sum(dim=0)) / count
