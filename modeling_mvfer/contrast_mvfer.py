"""Losses between images and texts: which text describes which image? Pure and unweighted.

In: unit-length embeddings of images (samples, or their single views) and of texts, and targets. Out: scalars to minimise.
Several texts may fit an image and several images a text, so targets are tables; without captions they are soft.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .distributed_mvfer import all_reduce_sum, gather_padded, max_over_ranks, world_size
from .in_parts_mvfer import in_parts

PAIRS_AT_ONCE = (
    2**22
)  # of images and texts; of more, their similarities are computed in parts, and again for the backward


def contrastive_loss(image_embeds: Tensor, text_embeds: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
    """Symmetric contrast of images and texts where several texts may fit an image, and several images a text.

    Args:
        image_embeds (`torch.Tensor` of shape `(B, D)`), text_embeds (`(K, D)`): unit length; the global batch.
        targets (`torch.Tensor` of shape `(B, K)`, bool): which text describes which image.
        scale (`torch.Tensor` of shape `()`): factor of the cosines.
    Returns:
        `torch.Tensor` of shape `()`: mean of both directions. Rows or columns without a positive are only negatives
        for the others; without any positive the loss is 0.
    Raises:
        ValueError: if the shapes do not fit.
    Source:
        Yang et al. 2022, "Unified Contrastive Learning" (UniCL), eq. 3 to 5, arXiv:2204.03610. With one positive per
        row and column it is CLIP's loss. Differs: the two directions are averaged, as in CLIP, not added.
    """
    _check_targets(image_embeds, text_embeds, targets)
    if targets.numel() > PAIRS_AT_ONCE:
        there = _cross_entropy_in_parts(image_embeds, text_embeds, targets, scale)
        return (there + _cross_entropy_in_parts(text_embeds, image_embeds, targets.T, scale)) / 2
    logits = scale * image_embeds @ text_embeds.T  # (B, K)
    return (_soft_cross_entropy(logits, targets) + _soft_cross_entropy(logits.T, targets.T)) / 2


def sigmoid_loss(image_embeds: Tensor, text_embeds: Tensor, targets: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Judge every pair of image and text on its own: does this text describe this image?

    Args:
        image_embeds (`torch.Tensor` of shape `(B, D)`), text_embeds (`(K, D)`): unit length; the global batch.
        targets (`torch.Tensor` of shape `(B, K)`, bool): which text describes which image.
        scale, bias (`torch.Tensor` of shape `()`): of the cosines.
    Returns:
        `torch.Tensor` of shape `()`: sum over all pairs, divided by B.
    Raises:
        ValueError: if the shapes do not fit.
    Source:
        Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training", eq. 1, arXiv:2303.15343.
        Differs: nothing, but that several pairs of a row may be positive.
    """
    _check_targets(image_embeds, text_embeds, targets)
    logits = scale * image_embeds @ text_embeds.T + bias
    return _pair_losses(logits, targets).sum() / max(targets.shape[0], 1)


def phrase_loss(image_embeds: Tensor, phrase_embeds: Tensor, targets: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Ask of every phrase, such as "jaw dropped", on which faces it is seen: a balanced multi-label sigmoid loss.

    Args:
        image_embeds (`torch.Tensor` of shape `(B, D)`), phrase_embeds (`(P, D)`): unit length; the global batch.
        targets (`torch.Tensor` of shape `(B, P)`, bool): which phrase is true of which image.
        scale, bias (`torch.Tensor` of shape `()`): of the cosines.
    Returns:
        `torch.Tensor` of shape `()`: mean over phrases of half the mean over the images that show it, plus half the
        mean over those that do not. So a rare action weighs as much as a common one; an empty half is 0.
    Raises:
        ValueError: if the shapes do not fit.
    Source:
        The pair loss of `sigmoid_loss`; the balance is ours.
    """
    _check_targets(image_embeds, phrase_embeds, targets)
    losses = _pair_losses(scale * image_embeds @ phrase_embeds.T + bias, targets)
    true, false = targets.to(losses), (~targets).to(losses)
    halves = [(losses * side).sum(0) / side.sum(0).clamp_min(1) for side in (true, false)]
    return (halves[0] + halves[1]).sum() / (2 * max(targets.shape[1], 1))


def side_loss(image_embeds: Tensor, phrase_embeds: Tensor, targets: Tensor, opposites: Tensor, scale: Tensor) -> Tensor:
    """Tell an action on the left from the same on the right, along the direction between their phrases.

    The embeddings of "left lip corner pulled up" and "right lip corner pulled up" hardly differ at first, and while they do not,
    neither do those of the faces: the gradient of each is the other's difference. The direction is as long as any other.

    Args:
        image_embeds (`torch.Tensor` of shape `(B, D)`), phrase_embeds (`(P, D)`): unit length; this rank's.
        targets (`torch.Tensor` of shape `(B, P)`, bool): which phrase is true of which image.
        opposites (`torch.Tensor` of shape `(P,)`, int): the phrase that says the same of the other side, -1 without one.
        scale (`torch.Tensor` of shape `()`): factor of the cosine between an image and a direction.
    Returns:
        `torch.Tensor` of shape `()`: mean over all ranks' pairs of an image and a phrase of which just one, it or its
        opposite, is true; without any, 0.
    Raises:
        ValueError: if the shapes do not fit.
    Source:
        The direction is that of the directional CLIP loss (Gal et al. 2021, "StyleGAN-NADA", eq. 3, arXiv:2108.00946); the
        logistic loss along it is ours.
    """
    _check_targets(image_embeds, phrase_embeds, targets)
    if opposites.shape != (len(phrase_embeds),):
        raise ValueError(f"expected opposites ({len(phrase_embeds)},), got {tuple(opposites.shape)}")
    own = (opposites >= 0).nonzero()[:, 0]
    other = opposites[own]
    directions = F.normalize(phrase_embeds[own] - phrase_embeds[other], dim=-1, eps=1e-4)
    decided = targets[:, own] != targets[:, other]
    losses = _pair_losses(scale * image_embeds @ directions.T, targets[:, own]) * decided
    return all_reduce_sum(losses.sum()) / all_reduce_sum(decided.sum().to(losses)).clamp_min(1)


def assignment_loss(image_embeds: Tensor, text_embeds: Tensor, assignments: Tensor, scale: Tensor) -> Tensor:
    """Ask of every image for the prompts that a teacher assigned it, softly.

    Args:
        image_embeds (`torch.Tensor` of shape `(B, D)`), text_embeds (`(K, D)`): unit length; the global batch.
        assignments (`torch.Tensor` of shape `(B, K)`): each row sums to 1, or to 0 where the teacher is not sure.
        scale (`torch.Tensor` of shape `()`): factor of the cosines.
    Returns:
        `torch.Tensor` of shape `()`: mean cross-entropy over the rows that have an assignment; without any, 0.
    Raises:
        ValueError: if the shapes do not fit.
    Source:
        Caron et al. 2020, "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments" (SwAV), eq. 2,
        arXiv:2006.09882. Differs: the prototypes are embeddings of prompts.
    """
    _check_targets(image_embeds, text_embeds, assignments)
    return _soft_cross_entropy(scale * image_embeds @ text_embeds.T, assignments)


def merge_texts(features: Tensor, keys: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Join the texts of all ranks; texts with equal keys, on one rank or on several, become one.

    Args:
        features (`torch.Tensor` of shape `(K, D)`): K may differ over ranks, and be 0.
        keys (`torch.Tensor` of shape `(K, L)`): token ids, -1 behind the end of a text; L may differ over ranks.
        targets (`torch.Tensor` of shape `(B, K)`, bool): which text describes which sample of this rank.
    Returns:
        features `(U, D)` of the distinct texts and targets `(world * B, U)`.
    """
    if max_over_ranks(len(keys), keys.device) == 0:
        return features, targets.new_zeros(world_size() * len(targets), 0)
    length = max_over_ranks(keys.shape[1], keys.device)
    keys, real = gather_padded(F.pad(keys, (0, length - keys.shape[1]), value=-1), fill=-1)
    features, _ = gather_padded(features)
    described, _ = gather_padded(targets.T)  # (world * K_max, B): each text with the samples of its own rank
    blocks = described.unflatten(0, (world_size(), -1)).mT  # (world, B, K_max)
    joined = torch.block_diag(*blocks.to(torch.int16))[:, real]  # (world * B, all texts)

    distinct, index = torch.unique(keys[real], dim=0, return_inverse=True)
    positions = torch.arange(len(index), device=index.device)
    first = torch.full((len(distinct),), len(index), device=index.device).scatter_reduce(0, index, positions, "amin")
    merged = joined.new_zeros(len(joined), len(distinct)).index_add_(1, index, joined)
    return features[real][first], merged > 0  # a sample has a text if it has any of its copies


def _check_targets(images: Tensor, texts: Tensor, targets: Tensor) -> None:
    fits = images.ndim == texts.ndim == 2 and images.shape[1] == texts.shape[1]
    if not fits or targets.shape != (images.shape[0], texts.shape[0]):
        raise ValueError(
            "expected embeddings (B, D) and (K, D) with targets (B, K), "
            f"got {tuple(images.shape)}, {tuple(texts.shape)}, {tuple(targets.shape)}"
        )


def _soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over the rows that have a positive of minus the mean log-probability of their positives."""
    return _row_losses(logits, targets).sum() / targets.any(dim=1).sum().clamp_min(1)


def _cross_entropy_in_parts(rows: Tensor, columns: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
    """The same of `scale * rows @ columns.T`, of which only some rows are ever in memory."""

    def losses(part: Tensor, wanted: Tensor) -> Tensor:
        return _row_losses(scale * part @ columns.T, wanted)

    per_row = in_parts(losses, rows, targets, size=max(PAIRS_AT_ONCE // len(columns), 1))
    return per_row.sum() / targets.any(dim=1).sum().clamp_min(1)


def _row_losses(logits: Tensor, targets: Tensor) -> Tensor:
    return -(logits.log_softmax(dim=1) * targets).sum(dim=1) / targets.sum(dim=1).clamp_min(1)


def _pair_losses(logits: Tensor, targets: Tensor) -> Tensor:
    return -F.logsigmoid(torch.where(targets, logits, -logits))
