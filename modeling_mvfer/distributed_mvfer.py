"""Collectives that gradients pass through exactly; the identity with one process.

Every rank computes the same global loss from gathered rows and summed moments. The gradient of a collective is the sum
over ranks, so what reaches a rank is the gradient of the ranks' losses added up; the averaging that
`DistributedDataParallel` does then gives the gradient of one process with the whole batch.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes that train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all ranks, in rank order: `(B, ...)` to `(world * B, ...)`. Every rank must bring the same shape."""
    return rows if world_size() == 1 else _GatherRows.apply(rows)


def all_reduce_sum(value: Tensor) -> Tensor:
    """Sum of a tensor over all ranks, same shape."""
    return value if world_size() == 1 else _AllReduceSum.apply(value)


def gather_padded(rows: Tensor, *, fill: float = 0) -> tuple[Tensor, Tensor]:
    """Rows of all ranks where each rank may have another number of them.

    Args:
        rows (`torch.Tensor` of shape `(K, ...)`): K may differ over ranks, the other axes may not.
    Returns:
        rows `(world * K_max, ...)`, filled up with `fill`, and which of them are real `(world * K_max,)`.
    """
    longest = max_over_ranks(rows.shape[0], rows.device)
    real = torch.arange(longest, device=rows.device) < rows.shape[0]
    padding = rows.new_full((longest - rows.shape[0], *rows.shape[1:]), fill)
    return gather_rows(torch.cat([rows, padding])), gather_rows(real)


def max_over_ranks(number: int, device: torch.device) -> int:
    """The largest of the ranks' numbers."""
    if world_size() == 1:
        return number
    largest = torch.tensor(number, device=device)
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return int(largest)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        ctx.count = rows.shape[0]
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.narrow(0, dist.get_rank() * ctx.count, ctx.count)


class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value: Tensor) -> Tensor:
        total = value.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return all_reduce_sum(gradient.detach())
