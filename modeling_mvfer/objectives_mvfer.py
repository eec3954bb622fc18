"""What training asks of the embeddings: the one place that weighs the losses and adds them.

In: features of fused samples, of their single views and of texts, with masks and targets. Out: scalars to minimise. The
losses are in `contrast_mvfer` (images and texts), `decorrelation_mvfer` (dimensions) and `metric_learning_mvfer` (views).
With several processes every loss is that of the global batch (`distributed_mvfer`): images, captions and statistics of
all ranks take part, and equal captions on different ranks are one caption. Samples without a text take part in the terms
between views alone: which texts would fit them is not known, so they are nobody's negatives.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .contrast_mvfer import assignment_loss, contrastive_loss, merge_texts, phrase_loss, sigmoid_loss
from .decorrelation_mvfer import Projector, all_views_loss, cross_modal_loss, cross_view_loss, vicreg_loss
from .distributed_mvfer import gather_rows, max_over_ranks
from .metric_learning_mvfer import consistency_loss, margin_contrast_loss, related_views, triplet_loss


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
        if self.config.margin_contrast_weight > 0 or self.config.triplet_weight > 0:
            values["margin_logit"] = 0.0  # the margin is its sigmoid: 0.5
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
        text_assignments: Tensor | None = None,
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
            text_assignments (`(B, K)`): instead of targets, soft ones that a teacher gave (`assignment_loss`); the texts
                are then the same prompts, in the same order, on all ranks.
            phrase_features (`(P, D)`), phrase_keys (`(P, L)`), phrase_targets (`(B, P)`): the same of phrases.
        Returns:
            `dict`: `"loss"`, and unweighted `"contrastive"`, `"view_contrastive"`, `"phrase"`, `"cross_view"`,
            `"cross_modal"`, `"margin_contrast"`, `"triplet"`, `"consistency"` where computed.
        Raises:
            ValueError: if assignments meet the sigmoid form, which has no soft targets.
        """
        config, losses = self.config, {}
        images = F.normalize(gather_rows(image_features), dim=-1)
        tracks, present = F.normalize(gather_rows(track_features), dim=-1), gather_rows(track_mask)
        if text_assignments is None:
            texts, targets = merge_texts(text_features, text_keys, text_targets)
        else:
            texts, targets = text_features, gather_rows(text_assignments)
        texts, described = F.normalize(texts, dim=-1), targets.any(dim=1)
        told, fused, views, shown = targets[described], images[described], tracks[described], present[described]

        if config.contrastive_weight > 0:
            losses["contrastive"] = self._contrast(fused, texts, told, scale)
        if config.view_contrastive_weight > 0:
            losses["view_contrastive"] = _mean_over_views(
                lambda rows, wanted: self._contrast(rows, texts, wanted, scale), views, shown, told
            )
        if config.phrase_weight > 0:
            phrases = (phrase_features, phrase_keys, phrase_targets)
            losses["phrase"] = self._phrases(fused, views, shown, described, *phrases, samples=len(image_features))
        if config.cross_view_weight > 0:
            projections = self.projector(view_features.flatten(0, 1), view_mask.flatten(0, 1))
            losses["cross_view"] = self._cross_view(projections, view_mask.flatten(0, 1))
        if config.cross_modal_weight > 0:
            own = told.to(texts) @ texts / told.sum(dim=1, keepdim=True)
            losses["cross_modal"] = cross_modal_loss(
                fused, own, form=config.cross_modal_form, off_diagonal_weight=config.cross_modal_lambda
            )
        if config.margin_contrast_weight > 0 or config.triplet_weight > 0:
            related, margin = related_views(told, shown), self.margin_logit.sigmoid()
            if config.margin_contrast_weight > 0:
                losses["margin_contrast"] = margin_contrast_loss(views[shown], related, margin)
            if config.triplet_weight > 0:
                losses["triplet"] = triplet_loss(views[shown], related, margin)
        if config.consistency_weight > 0:
            losses["consistency"] = consistency_loss(tracks, present)
        weighted = [getattr(config, f"{name}_weight") * value for name, value in losses.items()]
        return {"loss": torch.stack(weighted).sum() if weighted else 0 * images.sum(), **losses}

    def _cross_view(self, projections: Tensor, mask: Tensor) -> Tensor:
        form, off_diagonal_weight = self.config.cross_view_form, self.config.cross_view_lambda
        if form == "vicreg":
            return vicreg_loss(projections, mask)
        loss = all_views_loss if form == "all_views" else cross_view_loss
        return loss(projections, mask, off_diagonal_weight=off_diagonal_weight)

    def _contrast(self, images: Tensor, texts: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
        if targets.is_floating_point():
            if self.config.contrastive_form == "sigmoid":
                raise ValueError("text_assignments are soft: they need contrastive_form 'infonce', got 'sigmoid'")
            return assignment_loss(images, texts, targets, scale)
        if self.config.contrastive_form == "sigmoid":
            return sigmoid_loss(images, texts, targets, scale, self.pair_bias)
        return contrastive_loss(images, texts, targets, scale)

    def _phrases(self, fused, views, shown, described, features, keys, targets, *, samples: int) -> Tensor:
        """The phrase term of described samples, fused and, with the share that views have in the contrast, in single views."""
        device = fused.device
        scale, bias = self.phrase_log_scale.exp(), self.phrase_bias
        if max_over_ranks(0 if features is None else features.shape[0], device) == 0:
            return 0 * (scale + bias)  # no phrases anywhere: every rank agrees, and the parameters keep a gradient
        if features is None:
            # this rank has none, another has; still part of the graph, since every rank must go back through it
            features, keys = fused[:0], torch.zeros(0, 1, dtype=torch.long, device=device)
            targets = torch.zeros(samples, 0, dtype=torch.bool, device=device)
        phrases, targets = merge_texts(features, keys, targets)
        phrases, targets = F.normalize(phrases, dim=-1), targets[described]
        loss = phrase_loss(fused, phrases, targets, scale, bias)
        share = self.config.view_contrastive_weight
        if share > 0:
            loss = loss + share * _mean_over_views(
                lambda rows, wanted: phrase_loss(rows, phrases, wanted, scale, bias), views, shown, targets
            )
        return loss


def _mean_over_views(loss, tracks: Tensor, present: Tensor, targets: Tensor) -> Tensor:
    """Mean of `loss(rows, targets)` over the views that any of the samples has; without samples, that of no rows."""
    views = [view for view in range(tracks.shape[1]) if present[:, view].any()] or [0]
    return torch.stack([loss(tracks[present[:, v], v], targets[present[:, v]]) for v in views]).mean()
