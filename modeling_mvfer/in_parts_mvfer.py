"""Towers in parts: the whole batch in the contrast, the activations of a few rows in memory.

In: a tower and its rows. Out: the features of all rows. Contrast gets better with the batch, but what a tower remembers for
its backward grows with it. Here it remembers nothing but its features, part after part; in the backward each part is computed
once more. The gradients are those of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def in_parts(encode: Callable[..., Tensor], *rows: Tensor | None, size: int) -> Tensor:
    """The features of rows that are encoded in parts.

    Args:
        encode: features `(n, D)` of n rows; each row's depend on that row alone.
        rows (`torch.Tensor` of shape `(N, ...)`, or `None`): what it is given, cut alike.
        size: rows that are encoded at once.
    Returns:
        `torch.Tensor` of shape `(N, D)`.
    Source:
        Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (GradCache), arXiv:2101.06983.
        Differs: the parts are checkpoints of one graph (Chen et al. 2016, arXiv:1604.06174), so one backward does.
    """
    count = next(len(one) for one in rows if one is not None)
    parts = [[None if one is None else one[i : i + size] for one in rows] for i in range(0, count, size)]
    return torch.cat([checkpoint(encode, *part, use_reentrant=False) for part in parts])
