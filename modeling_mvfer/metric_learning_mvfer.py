"""Losses between embeddings of views: those of one expression together, those of different ones apart.

In: unit-length embeddings of views, of the global batch, and which of them belong together. Out: scalars to minimise,
unweighted. Terms of SMILE-VLM's relatives; their papers could not be read in full, so each says what is our reading.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor


def margin_contrast_loss(embeds: Tensor, related: Tensor, margin: Tensor) -> Tensor:
    """Pull related embeddings together; push others apart as long as their cosine is above a margin.

    Args:
        embeds (`torch.Tensor` of shape `(N, D)`): unit length.
        related (`torch.Tensor` of shape `(N, N)`, bool): symmetric; what the diagonal says does not matter.
        margin (`torch.Tensor` of shape `()`): the cosine up to which unrelated embeddings may be alike.
    Returns:
        `torch.Tensor` of shape `()`: mean over related pairs of 1 - cosine, plus mean over the others of
        max(0, cosine - margin); a side without pairs is 0.
    Raises:
        ValueError: if the shapes do not fit.
    Source:
        Behzad & Zhao 2025, "AffectVLM", multi-view contrastive loss, arXiv:2504.19739, as public summaries give it: a sum
        over pairs of the same, and one over pairs of different emotions. Our reading: cosines, means for sums, and
        "the same emotion" is "described by the same text".
    """
    _check_related(embeds, related)
    cosines, (same, other) = embeds @ embeds.T, _pairs(related)
    together = ((1 - cosines) * same).sum() / same.sum().clamp_min(1)
    apart = (torch.relu(cosines - margin) * other).sum() / other.sum().clamp_min(1)
    return together + apart


def triplet_loss(embeds: Tensor, related: Tensor, margin: Tensor) -> Tensor:
    """Ask that every embedding's farthest relative is nearer, by a margin, than the nearest stranger.

    Args:
        embeds, related: as in `margin_contrast_loss`.
        margin (`torch.Tensor` of shape `()`): in squared distance, 0 to 4. It may be learnt: this loss alone lowers it, the
            margin contrast, with which it shares it, raises it.
    Returns:
        `torch.Tensor` of shape `()`: mean over embeddings with a relative and a stranger of
        max(0, d(anchor, positive) - d(anchor, negative) + margin), d the squared distance; without any, 0.
    Raises:
        ValueError: if the shapes do not fit.
    Source:
        Behzad & Zhao 2025, "AffectVLM", multi-view triplet loss with learnable margin, arXiv:2504.19739. Our reading: the
        triplets are the hardest of the batch (Hermans et al. 2017, eq. 5, arXiv:1703.07737).
    """
    _check_related(embeds, related)
    if len(embeds) < 2:
        return 0 * (embeds.sum() + margin)
    distances, (same, other) = 2 - 2 * embeds @ embeds.T, _pairs(related)
    farthest = distances.masked_fill(~same, 0).amax(dim=1)
    nearest = distances.masked_fill(~other, 4).amin(dim=1)
    anchors = same.any(dim=1) & other.any(dim=1)
    return (torch.relu(farthest - nearest + margin) * anchors).sum() / anchors.sum().clamp_min(1)


def consistency_loss(embeds: Tensor, mask: Tensor) -> Tensor:
    """Ask that the views of one face have one direction.

    Args:
        embeds (`torch.Tensor` of shape `(B, V, D)`): unit length. mask (`(B, V)`): true where present.
    Returns:
        `torch.Tensor` of shape `()`: mean over samples and pairs of present views of 1 - cosine; without any pair, 0.
    Raises:
        ValueError: if the shapes do not fit.
    Source:
        Behzad 2025, "FACET-VLM", multi-view consistency loss, arXiv:2507.01673. The formula is our reading of its name
        and purpose. Alone it is least for embeddings that are all equal: it goes with a contrast.
    """
    if embeds.ndim != 3 or mask.shape != embeds.shape[:2]:
        raise ValueError(f"expected embeds (B, V, D) and mask (B, V), got {tuple(embeds.shape)}, {tuple(mask.shape)}")
    total, count = 0 * embeds.sum(), mask.new_zeros((), dtype=torch.long)
    for first, second in combinations(range(embeds.shape[1]), 2):
        both = mask[:, first] & mask[:, second]
        total = total + (1 - (embeds[both, first] * embeds[both, second]).sum(dim=-1)).sum()
        count = count + both.sum()
    return total / count.clamp_min(1)


def related_views(targets: Tensor, mask: Tensor) -> Tensor:
    """Which views, of all samples of a batch, show faces that are described alike.

    Args:
        targets (`torch.Tensor` of shape `(B, K)`): which text describes which sample (bool), or a soft assignment, of
            which the largest share counts. Every sample must have a text.
        mask (`torch.Tensor` of shape `(B, V)`): which views are present.
    Returns:
        `torch.Tensor` of shape `(N, N)`, bool, for the N present views in the order of `embeds[mask]`.
    """
    shares = targets.float()
    if targets.is_floating_point():
        shares = (shares == shares.amax(dim=1, keepdim=True)).float()
    alike = shares @ shares.T > 0
    samples = torch.arange(len(mask), device=mask.device).unsqueeze(1).expand_as(mask)[mask]  # (N,)
    return alike[samples][:, samples]


def _pairs(related: Tensor) -> tuple[Tensor, Tensor]:
    """Related and unrelated pairs of two different rows."""
    itself = torch.eye(len(related), dtype=torch.bool, device=related.device)
    return related & ~itself, ~related & ~itself


def _check_related(embeds: Tensor, related: Tensor) -> None:
    if embeds.ndim != 2 or related.shape != (len(embeds), len(embeds)):
        raise ValueError(
            f"expected embeds (N, D) and related (N, N), got {tuple(embeds.shape)}, {tuple(related.shape)}"
        )
