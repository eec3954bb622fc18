"""Losses that make embeddings agree and their dimensions differ: between views, and between images and texts.

In: projected views (B, V, P) of this rank with a mask, or embeddings of the global batch. Out: scalars to minimise,
unweighted. Statistics span all ranks.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor, nn

from .distributed_mvfer import all_reduce_sum
from .normalization_mvfer import batch_statistics

EPSILON = 1e-6  # added to variances


def cross_view_loss(projections: Tensor, mask: Tensor, *, off_diagonal_weight: float = 0.01) -> Tensor:
    """Pull the cross-correlation of every two views towards the identity.

    Args:
        projections (`torch.Tensor` of shape `(B, V, P)`): projected views of this rank; all ranks take part.
        mask (`torch.Tensor` of shape `(B, V)`): true where present. A row drops out of a pair that it has not both of.
        off_diagonal_weight (`float`, defaults to 0.01): weight of the off-diagonal terms, lambda.
    Returns:
        `torch.Tensor` of shape `()`: mean over the pairs that have two rows or more, divided by P; without any, 0.
    Raises:
        ValueError: if the shapes do not fit.
    Source:
        Zbontar et al. 2021, "Barlow Twins", Alg. 1, arXiv:2103.03230, applied to all pairs of views.
        Differs: divided by P, so that the weight does not depend on the projector's width.
    """
    if projections.ndim != 3 or mask.shape != projections.shape[:2]:
        raise ValueError(
            f"expected projections (B, V, P) and mask (B, V), got {tuple(projections.shape)}, {tuple(mask.shape)}"
        )
    terms = []
    for first, second in combinations(range(projections.shape[1]), 2):
        both = mask[:, first] & mask[:, second]
        count = all_reduce_sum(both.sum())
        if count >= 2:
            correlation = _cross_correlation(projections[both, first], projections[both, second], count)
            terms.append(_barlow(correlation, off_diagonal_weight))
    return torch.stack(terms).mean() if terms else 0 * projections.sum()


def cross_modal_loss(
    image_embeds: Tensor, text_embeds: Tensor, *, form: str = "off_diagonal", off_diagonal_weight: float = 0.01
) -> Tensor:
    """Remove redundancy between the dimensions of images and of their texts.

    Args:
        image_embeds, text_embeds (`torch.Tensor` of shape `(B, D)`): rows are samples; the global batch. Both are
            standardised over this batch alone; no running statistics can lag behind.
        form (`str`, defaults to `"off_diagonal"`): `"off_diagonal"` pushes the correlations of different dimensions to
            zero and leaves the agreement of equal ones to the contrast; `"full"` pulls those to one as well.
        off_diagonal_weight (`float`, defaults to 0.01): lambda of the `"full"` form.
    Returns:
        `torch.Tensor` of shape `()`: divided by D; 0 for fewer than two rows.
    Raises:
        ValueError: if the shapes differ or the form is unknown.
    Source:
        Behzad 2025, "SMILE-VLM", arXiv:2506.01203, whose wording allows both forms: this is our reading.
    """
    if image_embeds.ndim != 2 or image_embeds.shape != text_embeds.shape or form not in ("off_diagonal", "full"):
        raise ValueError(
            "expected two tensors of shape (B, D) and a form off_diagonal or full, "
            f"got {tuple(image_embeds.shape)}, {tuple(text_embeds.shape)}, {form!r}"
        )
    if image_embeds.shape[0] < 2:
        return 0 * (image_embeds.sum() + text_embeds.sum())
    correlation = _standardize(image_embeds).T @ _standardize(text_embeds) / image_embeds.shape[0]  # (D, D)
    if form == "full":
        return _barlow(correlation, off_diagonal_weight)
    return (correlation.square().sum() - correlation.diagonal().square().sum()) / correlation.shape[0]


class Projector(nn.Module):
    """Two linear layers with a batch norm between, over the present rows of all ranks: `(B, V, D)` to `(B, V, P)`.

    It has no running statistics: it serves the loss alone, which always sees a batch.
    """

    def __init__(self, width: int, size: int):
        super().__init__()
        self.first = nn.Linear(width, size, bias=False)
        self.gain = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))
        self.second = nn.Linear(size, size, bias=False)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        rows = self.first(features[mask])
        mean, variance = batch_statistics(rows)
        rows = (rows - mean) * torch.rsqrt(variance + EPSILON) * self.gain + self.bias
        rows = self.second(torch.relu(rows))
        return rows.new_zeros(*mask.shape, rows.shape[-1]).masked_scatter(mask.unsqueeze(-1), rows)


def _cross_correlation(first: Tensor, second: Tensor, count: Tensor) -> Tensor:
    """Correlation `(P, P)` of the columns of two views, over `count` rows on all ranks; `(n, P)` of them are here."""
    rows = torch.stack([first, second])
    centred = rows - all_reduce_sum(rows.sum(dim=1, keepdim=True)) / count
    variance = all_reduce_sum(centred.square().sum(dim=1, keepdim=True)) / count
    standard = centred * torch.rsqrt(variance + EPSILON)
    return all_reduce_sum(standard[0].T @ standard[1]) / count


def _standardize(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(dim=0)
    return centred * torch.rsqrt(centred.square().mean(dim=0) + EPSILON)


def _barlow(correlation: Tensor, off_diagonal_weight: float) -> Tensor:
    diagonal = correlation.diagonal()
    off_diagonal = correlation.square().sum() - diagonal.square().sum()
    return ((diagonal - 1).square().sum() + off_diagonal_weight * off_diagonal) / correlation.shape[0]
