"""What training asks of the embeddings: the one place that weighs the losses and adds them.

In: features of fused samples, of their single views and of texts, with masks and targets. Out: scalars to minimise. The
losses are in `contrast_mvfer` (images and texts), `decorrelation_mvfer` (dimensions) and `metric_learning_mvfer` (views), their
settings in `objective_config_mvfer`. With several processes every loss is that of the global batch (`distributed_mvfer`): images,
captions and statistics of all ranks take part, and equal captions on different ranks are one caption. Samples without a text take
part in the terms between views alone: which texts would fit them is not known, so they are excluded from the contrast.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .contrast_mvfer import assignment_loss, contrastive_loss, merge_texts, phrase_loss, side_loss, sigmoid_loss
from .decorrelation_mvfer import Projector, cross_modal_loss, cross_view_loss
from .distributed_mvfer import gather_rows, max_over_ranks
from .metric_learning_mvfer import consistency_loss, margin_contrast_loss, related_views, triplet_loss
from .objective_config_mvfer import ObjectiveConfig


@dataclass
class ViewFeatures:
    """This rank's samples; features need not be unit length.

    fused (`(B, D)`): one feature per sample.
    every_view (`(B, T, V, D)`), every_view_mask (`(B, T, V)`): every view of every frame.
    per_view (`(B, V, D)`), per_view_mask (`(B, V)`): one feature per view, its frames pooled.
    """

    fused: Tensor
    every_view: Tensor
    every_view_mask: Tensor
    per_view: Tensor
    per_view_mask: Tensor


@dataclass
class TextFeatures:
    """This rank's captions or phrases.

    features (`(K, D)`): need not be unit length. keys (`(K, L)`): token ids, which tell equal texts.
    targets (`(B, K)`): which text describes which sample (bool); or, floating, soft assignments that a teacher gave
        (`assignment_loss`), and the texts are then the same prompts, in the same order, on all ranks.
    opposites (`(K,)`, int, *optional*): of each phrase the one that says the same of the other side, -1 without one.
    """

    features: Tensor
    keys: Tensor
    targets: Tensor
    opposites: Tensor | None = None


class MVFERObjective(nn.Module):
    """All terms of training, weighed and added here and nowhere else; holds what only training needs.

    Args:
        config ([`ObjectiveConfig`]): weights and forms.
        width (`int`): D of the features.
    """

    def __init__(self, config: ObjectiveConfig, width: int):
        super().__init__()
        self.config = config
        if config.cross_view_weight > 0:
            self.projector = Projector(width, config.projector_size)
        for name, value in self.starting_values().items():
            setattr(self, name, nn.Parameter(torch.tensor(value)))

    def starting_values(self) -> dict[str, float]:
        """The scalars that are learned here, by name; `_init_weights` sets them again on a model built without data."""
        values = {}
        if self.config.contrastive_form == "sigmoid":
            values["pair_bias"] = -10.0  # SigLIP's start: nearly all pairs are negative
        if self.config.phrase_weight > 0 or self.config.side_weight > 0:
            values |= {"phrase_log_scale": 2.3, "phrase_bias": 0.0}  # a scale of about 10
        if self.config.margin_contrast_weight > 0 or self.config.triplet_weight > 0:
            values["margin_logit"] = 0.0  # the margin is its sigmoid: 0.5
        return values

    def forward(
        self, views: ViewFeatures, texts: TextFeatures, phrases: TextFeatures | None = None, *, scale: Tensor
    ) -> dict[str, Tensor]:
        """Compute every term with a weight above zero; the arguments are this rank's, the result is the same on all ranks.

        Args:
            views ([`ViewFeatures`]), texts, phrases ([`TextFeatures`]): phrases only where this rank lists any.
            scale (`torch.Tensor` of shape `()`): factor of the cosines.
        Returns:
            `dict`: `"loss"`, and unweighted `"contrastive"`, `"view_contrastive"`, `"phrase"`, `"side"`, `"cross_view"`,
            `"cross_modal"`, `"margin_contrast"`, `"triplet"`, `"consistency"` where computed.
        Raises:
            ValueError: if assignments meet the sigmoid form, which has no soft targets.
        """
        config = self.config
        images = F.normalize(gather_rows(views.fused), dim=-1)
        all_views, all_present = F.normalize(gather_rows(views.per_view), dim=-1), gather_rows(views.per_view_mask)
        text_embeds, targets = _join(texts)
        described = targets.any(dim=1)
        described_targets, fused = targets[described], images[described]
        per_view, view_present = all_views[described], all_present[described]

        def contrast(rows: Tensor, wanted: Tensor) -> Tensor:
            return self._contrast(rows, text_embeds, wanted, scale)

        @cache
        def related_and_margin() -> tuple[Tensor, Tensor]:
            return related_views(described_targets, view_present), self.margin_logit.sigmoid()

        terms = {  # name: its loss; the weight of each is the setting `{name}_weight`
            "contrastive": lambda: contrast(fused, described_targets),
            "view_contrastive": lambda: _mean_over_views(contrast, per_view, view_present, described_targets),
            "phrase": lambda: self._phrases(fused, per_view, view_present, described, phrases, len(views.fused)),
            "side": lambda: self._sides(views, phrases),
            "cross_view": lambda: self._cross_view(views.every_view.flatten(0, 1), views.every_view_mask.flatten(0, 1)),
            "cross_modal": lambda: self._cross_modal(fused, text_embeds, described_targets),
            "margin_contrast": lambda: margin_contrast_loss(per_view[view_present], *related_and_margin()),
            "triplet": lambda: triplet_loss(per_view[view_present], *related_and_margin()),
            "consistency": lambda: consistency_loss(all_views, all_present),
        }
        weights = {name: getattr(config, f"{name}_weight") for name in terms}
        losses = {name: term() for name, term in terms.items() if weights[name] > 0}
        weighted = [weights[name] * value for name, value in losses.items()]
        return {"loss": torch.stack(weighted).sum() if weighted else 0 * images.sum(), **losses}

    def _contrast(self, images: Tensor, texts: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
        if targets.is_floating_point():
            if self.config.contrastive_form == "sigmoid":
                raise ValueError("text_assignments are soft: they need contrastive_form 'infonce', got 'sigmoid'")
            return assignment_loss(images, texts, targets, scale)
        if self.config.contrastive_form == "sigmoid":
            return sigmoid_loss(images, texts, targets, scale, self.pair_bias)
        return contrastive_loss(images, texts, targets, scale)

    def _cross_view(self, features: Tensor, mask: Tensor) -> Tensor:
        return cross_view_loss(self.projector(features, mask), mask, off_diagonal_weight=self.config.cross_view_lambda)

    def _cross_modal(self, images: Tensor, texts: Tensor, targets: Tensor) -> Tensor:
        own_texts = targets.to(texts) @ texts / targets.sum(dim=1, keepdim=True)
        form, weight = self.config.cross_modal_form, self.config.cross_modal_lambda
        return cross_modal_loss(images, own_texts, form=form, off_diagonal_weight=weight)

    def _phrases(self, fused, per_view, view_present, described, phrases: TextFeatures | None, samples: int) -> Tensor:
        """The phrase term of described samples, fused and, with the share that views have in the contrast, in single views."""
        scale, bias = self.phrase_log_scale.exp(), self.phrase_bias
        if max_over_ranks(0 if phrases is None else len(phrases.features), fused.device) == 0:
            return 0 * (scale + bias)  # no phrases anywhere: every rank agrees, and the parameters keep a gradient
        if phrases is None:
            phrases = _no_phrases(fused, samples)  # this rank has none, another has
        phrase_embeds, targets = _join(phrases)
        targets = targets[described]

        def loss(rows: Tensor, wanted: Tensor) -> Tensor:
            return phrase_loss(rows, phrase_embeds, wanted, scale, bias)

        total, share = loss(fused, targets), self.config.view_contrastive_weight
        return total + share * _mean_over_views(loss, per_view, view_present, targets) if share > 0 else total

    def _sides(self, views: ViewFeatures, phrases: TextFeatures | None) -> Tensor:
        """The side term of this rank's samples and phrases, fused and, with their share in the contrast, in single views."""
        scale, share = self.phrase_log_scale.exp(), self.config.view_contrastive_weight
        seen, row = views.per_view_mask, torch.arange(len(views.fused), device=views.fused.device)
        if phrases is None or phrases.opposites is None:  # this rank has none, another may have
            phrases = _no_phrases(views.fused, len(row))
        embeds = F.normalize(phrases.features, dim=-1)

        def loss(images: Tensor, rows: Tensor) -> Tensor:
            images = F.normalize(images, dim=-1)
            return side_loss(images, embeds, phrases.targets[rows], phrases.opposites, scale)

        total = loss(views.fused, row)
        return total + share * loss(views.per_view[seen], row[:, None].expand_as(seen)[seen]) if share > 0 else total


def _no_phrases(features: Tensor, samples: int) -> TextFeatures:
    """Of a rank without phrases; still part of the graph of `features`, since every rank must go back through it."""
    nothing = torch.zeros(0, dtype=torch.long, device=features.device)
    targets = torch.zeros(samples, 0, dtype=torch.bool, device=features.device)
    return TextFeatures(features[:0], nothing[:, None], targets, nothing)


def _join(texts: TextFeatures) -> tuple[Tensor, Tensor]:
    """Unit-length embeddings `(U, D)` of the distinct texts of all ranks, and targets `(world * B, U)`."""
    if texts.targets.is_floating_point():
        features, targets = texts.features, gather_rows(texts.targets)
    else:
        features, targets = merge_texts(texts.features, texts.keys, texts.targets)
    return F.normalize(features, dim=-1), targets


def _mean_over_views(loss, per_view: Tensor, present: Tensor, targets: Tensor) -> Tensor:
    """Mean of `loss(rows, targets)` over the views that any of the samples has; without samples, that of no rows."""
    views = [view for view in range(per_view.shape[1]) if present[:, view].any()] or [0]
    return torch.stack([loss(per_view[present[:, v], v], targets[present[:, v]]) for v in views]).mean()
