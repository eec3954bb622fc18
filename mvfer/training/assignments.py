"""Soft assignments of unlabelled scans to prompts, balanced over the batch of all ranks, and the signs that they are worthless.

In: how well every scan of a batch fits every prompt. Out: each scan's shares of the prompts; and numbers that tell a
collapse: how many prompts the model itself would use, and how many dimensions its embeddings fill.
"""

import math

import torch
from torch import Tensor

from modeling_mvfer.distributed_mvfer import all_reduce_sum, max_over_ranks


@torch.no_grad()
def balanced_assignments(logits: Tensor, *, iterations: int = 3) -> Tensor:
    """Share every scan out to the prompts so that all prompts get about the same over the global batch.

    Args:
        logits (`torch.Tensor` of shape `(B, K)`): similarities divided by a temperature; this rank's rows.
        iterations (`int`, defaults to 3): of Sinkhorn and Knopp's normalisation.
    Returns:
        `torch.Tensor` of shape `(B, K)`, float64: every row sums to 1.
    Source:
        Caron et al. 2020, "SwAV", eq. 3 to 5 and Alg. 1, arXiv:2006.09882. Differs: 64 bits, and the largest logit is
        taken away first, so that nothing overflows.
    """
    largest = max_over_ranks(math.ceil(logits.max()), logits.device)
    shares = (logits.double() - largest).exp()
    for _ in range(iterations):
        shares = shares / all_reduce_sum(shares.sum(dim=0))  # every prompt the same
        shares = shares / shares.sum(dim=1, keepdim=True)  # every scan the same
    return shares


def effective_number(weights: Tensor) -> float:
    """How many of the entries count: exp of the entropy of `(K,)` weights >= 0; K if they are equal, 1 if one has it all."""
    shares = weights / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)
    return float(torch.special.entr(shares).sum().exp())


@torch.no_grad()
def effective_rank(embeds: Tensor) -> float:
    """How many dimensions the embeddings `(B, D)`, of this rank alone, fill.

    Source:
        Garrido et al. 2023, "RankMe", eq. 1, arXiv:2210.02885: exp of the entropy of the singular values. Differs: of the
        centred embeddings, as faces share one large mean.
    """
    return effective_number(torch.linalg.svdvals(embeds.double() - embeds.double().mean(dim=0)))


def global_mean(rows: Tensor) -> Tensor:
    """Mean `(K,)` over the rows `(B, K)` of all ranks."""
    count = all_reduce_sum(torch.tensor(float(len(rows)), device=rows.device, dtype=rows.dtype))
    return all_reduce_sum(rows.sum(dim=0)) / count
