"""What training asks of the embeddings: pure, unweighted losses, and the one place that weighs and adds them.

In: embeddings of fused samples, of their single views and of texts, with masks and targets. Out: scalars to minimise.
With several processes every loss is that of the global batch (`distributed_mvfer`): images, captions and statistics of
all ranks take part, and equal captions on different ranks are one caption.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .distributed_mvfer import all_reduce_sum, gather_padded, gather_rows, max_over_ranks, world_size
from .normalization_mvfer import batch_statistics

EPSILON = 1e-6  # added to variances


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
    shown, hidden = targets.to(losses), (~targets).to(losses)
    halves = [(losses * side).sum(0) / side.sum(0).clamp_min(1) for side in (shown, hidden)]
    return (halves[0] + halves[1]).sum() / (2 * max(targets.shape[1], 1))


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


class MVFERObjective(nn.Module):
    """All terms of training, weighed and added here and nowhere else; holds what only training needs.

    The arguments of `forward` are this rank's; the result is the same on all ranks.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        if config.cross_view_weight > 0:
            self.projector = Projector(config.projection_dim, config.projector_size)
        for name, value in self.starting_values().items():
            setattr(self, name, nn.Parameter(torch.tensor(value)))

    def starting_values(self) -> dict[str, float]:
        """The scalars that are learned here, by name; `_init_weights` sets them again on a model built without data."""
        values = {}
        if self.config.contrastive_form == "sigmoid":
            values["pair_bias"] = -10.0  # SigLIP's start: nearly all pairs are negative
        if self.config.phrase_weight > 0:
            values |= {"phrase_log_scale": 2.3, "phrase_bias": 0.0}  # a scale of about 10
        return values

    def forward(
        self,
        *,
        image_features: Tensor,
        view_features: Tensor,
        view_mask: Tensor,
        track_features: Tensor,
        track_mask: Tensor,
        scale: Tensor,
        text_features: Tensor,
        text_keys: Tensor,
        text_targets: Tensor,
        phrase_features: Tensor | None = None,
        phrase_keys: Tensor | None = None,
        phrase_targets: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute every term with a weight above zero.

        Args:
            image_features (`torch.Tensor` of shape `(B, D)`): fused samples; features need not be unit length.
            view_features (`(B, T, V, D)`), view_mask (`(B, T, V)`): every view of every frame.
            track_features (`(B, V, D)`), track_mask (`(B, V)`): one feature per view, its frames pooled.
            scale (`()`): factor of the cosines.
            text_features (`(K, D)`), text_keys (`(K, L)`): captions, and token ids that tell equal captions.
            text_targets (`(B, K)`, bool): which caption describes which sample.
            phrase_features (`(P, D)`), phrase_keys (`(P, L)`), phrase_targets (`(B, P)`): the same of phrases.
        Returns:
            `dict`: `"loss"`, and unweighted `"contrastive"`, `"view_contrastive"`, `"phrase"`, `"cross_view"`,
            `"cross_modal"` where computed.
        """
        config, losses = self.config, {}
        images = F.normalize(gather_rows(image_features), dim=-1)
        tracks, present = F.normalize(gather_rows(track_features), dim=-1), gather_rows(track_mask)
        texts, targets = merge_texts(text_features, text_keys, text_targets)
        texts = F.normalize(texts, dim=-1)

        if config.contrastive_weight > 0:
            losses["contrastive"] = self._contrast(images, texts, targets, scale)
        if config.view_contrastive_weight > 0:
            losses["view_contrastive"] = _mean_over_views(
                lambda rows, wanted: self._contrast(rows, texts, wanted, scale), tracks, present, targets
            )
        if config.phrase_weight > 0:
            phrases = (phrase_features, phrase_keys, phrase_targets)
            losses["phrase"] = self._phrases(images, tracks, present, *phrases, samples=len(image_features))
        if config.cross_view_weight > 0:
            projections = self.projector(view_features.flatten(0, 1), view_mask.flatten(0, 1))
            losses["cross_view"] = cross_view_loss(
                projections, view_mask.flatten(0, 1), off_diagonal_weight=config.cross_view_lambda
            )
        if config.cross_modal_weight > 0:
            described = targets.any(dim=1)
            own = targets[described].to(texts) @ texts / targets[described].sum(dim=1, keepdim=True)
            losses["cross_modal"] = cross_modal_loss(
                images[described], own, form=config.cross_modal_form, off_diagonal_weight=config.cross_modal_lambda
            )
        weighted = [getattr(config, f"{name}_weight") * value for name, value in losses.items()]
        return {"loss": torch.stack(weighted).sum() if weighted else 0 * images.sum(), **losses}

    def _contrast(self, images: Tensor, texts: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
        if self.config.contrastive_form == "sigmoid":
            return sigmoid_loss(images, texts, targets, scale, self.pair_bias)
        return contrastive_loss(images, texts, targets, scale)

    def _phrases(self, images, tracks, present, features, keys, targets, *, samples: int) -> Tensor:
        """The phrase term of the fused samples and, with the share that views have in the contrast, of single views."""
        device = images.device
        scale, bias = self.phrase_log_scale.exp(), self.phrase_bias
        if max_over_ranks(0 if features is None else features.shape[0], device) == 0:
            return 0 * (scale + bias)  # no phrases anywhere: every rank agrees, and the parameters keep a gradient
        if features is None:
            # this rank has none, another has; still part of the graph, since every rank must go back through it
            features, keys = images[:0], torch.zeros(0, 1, dtype=torch.long, device=device)
            targets = torch.zeros(samples, 0, dtype=torch.bool, device=device)
        phrases, targets = merge_texts(features, keys, targets)
        phrases = F.normalize(phrases, dim=-1)
        loss = phrase_loss(images, phrases, targets, scale, bias)
        share = self.config.view_contrastive_weight
        if share > 0:
            loss = loss + share * _mean_over_views(
                lambda rows, wanted: phrase_loss(rows, phrases, wanted, scale, bias), tracks, present, targets
            )
        return loss


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


def merge_texts(features: Tensor, keys: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Join the texts of all ranks; texts with equal keys, on one rank or on several, become one.

    Args:
        features (`torch.Tensor` of shape `(K, D)`): K may differ over ranks.
        keys (`torch.Tensor` of shape `(K, L)`): token ids, -1 behind the end of a text; L may differ over ranks.
        targets (`torch.Tensor` of shape `(B, K)`, bool): which text describes which sample of this rank.
    Returns:
        features `(U, D)` of the distinct texts and targets `(world * B, U)`.
    """
    length = max_over_ranks(keys.shape[1], keys.device)
    keys, real = gather_padded(F.pad(keys, (0, length - keys.shape[1]), value=-1), fill=-1)
    features, _ = gather_padded(features)
    described, _ = gather_padded(targets.T)  # (world * K_max, B): each text with the samples of its own rank
    blocks = described.unflatten(0, (world_size(), -1)).mT  # (world, B, K_max)
    joined = torch.block_diag(*blocks.to(features.dtype))[:, real]  # (world * B, all texts)

    distinct, index = torch.unique(keys[real], dim=0, return_inverse=True)
    positions = torch.arange(len(index), device=index.device)
    first = torch.full((len(distinct),), len(index), device=index.device).scatter_reduce(0, index, positions, "amin")
    merged = joined @ F.one_hot(index, len(distinct)).to(joined)  # a sample has a text if it has any of its copies
    return features[real][first], merged > 0


def _check_targets(images: Tensor, texts: Tensor, targets: Tensor) -> None:
    fits = images.ndim == texts.ndim == 2 and images.shape[1] == texts.shape[1]
    if not fits or targets.shape != (images.shape[0], texts.shape[0]):
        raise ValueError(
            "expected embeddings (B, D) and (K, D) with targets (B, K), "
            f"got {tuple(images.shape)}, {tuple(texts.shape)}, {tuple(targets.shape)}"
        )


def _soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over the rows that have a positive of minus the mean log-probability of their positives."""
    positives = targets.sum(dim=1)
    per_row = -(logits.log_softmax(dim=1) * targets).sum(dim=1) / positives.clamp_min(1)
    return per_row.sum() / (positives > 0).sum().clamp_min(1)


def _pair_losses(logits: Tensor, targets: Tensor) -> Tensor:
    return -F.logsigmoid(torch.where(targets, logits, -logits))


def _mean_over_views(loss, tracks: Tensor, present: Tensor, targets: Tensor) -> Tensor:
    """Mean of `loss(rows, targets)` over the views that any sample of the global batch has."""
    views = [view for view in range(tracks.shape[1]) if present[:, view].any()]
    return torch.stack([loss(tracks[present[:, v], v], targets[present[:, v]]) for v in views]).mean()


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
