"""MVFER with labels: its vision side and a head, for fine-tuning on few or many labelled faces.

In: views as for `MVFERModel`, and labels. Out: logits per class, beside the embedding and what weight each view and frame had.
The head compares the unit-length embedding with one or several rows per class, as zero-shot classification compares it
with prompts; so it can start from the prompts' text embeddings, and is then the zero-shot classifier to the last digit.
The text tower is left out, unless the fusion of views looks at prompts (`fusion="text"`), which then no training moves.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .configuration_mvfer import MVFERConfig
from .inputs_mvfer import has_values, precise
from .modeling_mvfer import MVFERModel, _full_precision

MULTI_LABEL = "multi_label_classification"


@dataclass
class MVFERClassifierOutput(ModelOutput):
    """What [`MVFERForFaceClassification`] returns.

    loss (`()`): with labels. logits (`(B, K)`): before softmax (or, multi-label, before the sigmoid).
    image_embeds (`(B, D)`): unit length. view_weights (`(B, T, V)`), frame_weights (`(B, T)`): the fusion's, 0 where absent.
    hidden_states, attentions: the vision tower's, with one row per present view, if asked for.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    image_embeds: Tensor | None = None
    view_weights: Tensor | None = None
    frame_weights: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class EnsembleHead(nn.Module):
    """A class scores by the mean likelihood of its rows, plus a bias; one row per class makes it a cosine classifier.

    Args:
        width (`int`): D of the embeddings.
        rows_per_class (`list[int]`): how many rows each of the K classes has.
        log_scale (`float`): initial logarithm of the factor before the cosine.
    """

    def __init__(self, width: int, rows_per_class: list[int], *, log_scale: float):
        super().__init__()
        self.rows_per_class = list(rows_per_class)
        self.weight = nn.Parameter(torch.empty(sum(rows_per_class), width))
        self.bias = nn.Parameter(torch.empty(len(rows_per_class)))
        self.logit_scale = nn.Parameter(torch.tensor(log_scale))

    def forward(self, image_embeds: Tensor) -> Tensor:
        """Unit-length `(B, D)` to logits `(B, K)`: log of the mean over a class's rows of exp(scale * product), plus bias."""
        weight = self.weight.to(image_embeds.dtype)
        similarity = self.logit_scale.exp() * image_embeds @ weight.T  # (B, all rows)
        if max(self.rows_per_class) > 1:
            classes = similarity.split(self.rows_per_class, dim=-1)
            similarity = torch.stack([c.logsumexp(dim=-1) - math.log(c.shape[-1]) for c in classes], dim=-1)
        return similarity + self.bias


class MVFERForFaceClassification(MVFERModel):
    """The vision side of [`MVFERModel`] and a head over `config.id2label`.

    `from_pretrained` takes the folder of an `MVFERModel`, or of a plain CLIP, whose vision weights are carried over under a new
    head; `from_zero_shot` starts from a model in memory and prompts. `config.problem_type` is "single_label_classification" (the
    default) or "multi_label_classification".
    """

    _auto_class = "AutoModelForImageClassification"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _keys_to_ignore_on_load_unexpected = [r"^text_model\.", r"^text_projection\.", r"^objective\.", r"^logit_scale$"]

    def __init__(self, config: MVFERConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        if config.problem_type == "regression":
            raise ValueError(f"problem_type must be single_label_classification or {MULTI_LABEL}, got 'regression'")
        for name, values in (("class_weights", config.class_weights), ("rows_per_class", config.rows_per_class)):
            if values is not None and len(values) != config.num_labels:
                raise ValueError(f"expected {name} for {config.num_labels} labels, got {len(values)}")
        del self.objective
        if config.fusion == "text":
            for part in (self.text_model, self.text_projection, self.logit_scale):
                part.requires_grad_(False)
        else:
            del self.text_model, self.text_projection, self.logit_scale
        rows = list(config.rows_per_class or [1] * config.num_labels)
        self.head = EnsembleHead(config.projection_dim, rows, log_scale=config.logit_scale_init_value)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module):
        if (
            module is self and self.config.fusion != "text"
        ):  # CLIP would fill its text projection as well, which is not here
            std = self.vision_embed_dim**-0.5 * self.config.initializer_factor
            init.normal_(self.visual_projection.weight, std=std)
            return
        super()._init_weights(module)
        if isinstance(module, EnsembleHead):
            init.normal_(module.weight, std=module.weight.shape[1] ** -0.5)  # about unit length, as text embeddings are
            init.zeros_(module.bias)
            init.constant_(module.logit_scale, self.config.logit_scale_init_value)

    @classmethod
    def from_model(cls, model: MVFERModel, labels: Sequence[str], **config_fields) -> MVFERForFaceClassification:
        """The vision side of a model in memory under a new, random head.

        Args:
            model (`MVFERModel`): not changed, and nothing is shared with it.
            labels: names of the classes.
            **config_fields: further fields of the new configuration, such as `class_weights`.
        Returns:
            [`MVFERForFaceClassification`] in evaluation mode.
        """
        config = copy.deepcopy(model.config)
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
        config.calibration = None
        for name, value in config_fields.items():
            setattr(config, name, value)
        classifier = cls(config).to(device=model.device, dtype=model.dtype)
        classifier.load_state_dict(model.state_dict(), strict=False)
        return classifier.eval()

    @classmethod
    def from_zero_shot(
        cls,
        model: MVFERModel,
        class_embeds: Mapping[str, Tensor],
        *,
        scale: float | None = None,
        bias: float = 0.0,
        **config_fields,
    ) -> MVFERForFaceClassification:
        """The classifier that gives the zero-shot logits of a model and its prompts; from there it is trained on.

        Args:
            model (`MVFERModel`): not changed, and nothing is shared with it.
            class_embeds (mapping of label to `(P_k, D)`): unit length, from `class_embeddings`.
            scale (`float`, *optional*), bias (`float`): of the cosines, if not the model's own scale and none.
            **config_fields: further fields of the new configuration, such as `class_weights`.
        Returns:
            [`MVFERForFaceClassification`] in evaluation mode, whose labels are those of `class_embeds`, in order.
        Source:
            Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", sec. 3, arXiv:2109.01903.
            Differs: a class keeps all of its prompts as rows, where theirs are averaged to one.
        """
        rows = [len(embeds) for embeds in class_embeds.values()]
        classifier = cls.from_model(model, list(class_embeds), rows_per_class=rows, **config_fields)
        with torch.no_grad():
            classifier.head.weight.copy_(torch.cat(list(class_embeds.values())))
            classifier.head.logit_scale.copy_(model.logit_scale if scale is None else torch.tensor(math.log(scale)))
            classifier.head.bias.fill_(bias)
        return classifier

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor,
        view_mask: Tensor | None = None,
        view_angles_deg: Tensor | None = None,
        frame_mask: Tensor | None = None,
        frame_times_s: Tensor | None = None,
        labels: Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MVFERClassifierOutput:
        """Classify samples.

        Args:
            pixel_values, view_mask, view_angles_deg, frame_mask, frame_times_s: see `MVFERModel.get_image_features`.
            labels (*optional*): `(B,)` integers, or multi-label `(B, K)` zeros and ones, -1 where unknown; adds the loss.
        Returns:
            [`MVFERClassifierOutput`]
        Raises:
            ValueError: if shapes do not fit, a label is out of range, or a sample has no view.
        """
        vision = self.get_image_features(
            pixel_values,
            view_mask=view_mask,
            view_angles_deg=view_angles_deg,
            frame_mask=frame_mask,
            frame_times_s=frame_times_s,
            interpolate_pos_encoding=interpolate_pos_encoding,
            return_dict=True,
            **kwargs,
        )
        with _full_precision(pixel_values.device):
            image_embeds = F.normalize(precise(vision.pooler_output), dim=-1)
            logits = self.head(image_embeds)
            loss = None if labels is None else self.loss(logits, labels)
        return MVFERClassifierOutput(
            loss=loss,
            logits=logits,
            image_embeds=image_embeds,
            view_weights=vision.view_weights,
            frame_weights=vision.frame_weights,
            hidden_states=vision.hidden_states,
            attentions=vision.attentions,
        )

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy, or per label for multi-label problems; `config.class_weights` weigh the classes (the positives).

        It is a plain mean over samples, so that several processes give the loss of one.

        Args:
            logits (`torch.Tensor` of shape `(B, K)`), labels (`(B,)` integers, or multi-label `(B, K)` zeros and ones; -1 is
                unknown and adds nothing).
        Raises:
            ValueError: if labels do not fit.
        """
        weights = self.config.class_weights
        weights = None if weights is None else torch.tensor(weights, device=logits.device, dtype=logits.dtype)
        if self.config.problem_type == MULTI_LABEL:
            if labels.shape != logits.shape:
                raise ValueError(f"expected labels {tuple(logits.shape)} of zeros and ones, got {tuple(labels.shape)}")
            known, true = (labels >= 0).to(logits.dtype), labels.clamp(min=0).to(logits.dtype)
            return F.binary_cross_entropy_with_logits(logits, true, weight=known, pos_weight=weights)
        if labels.shape != logits.shape[:1] or labels.is_floating_point():
            raise ValueError(f"expected one whole label for each of {len(logits)} samples, got {tuple(labels.shape)}")
        out_of_range = (labels < 0) | (labels >= logits.shape[1])
        if has_values(labels) and bool(out_of_range.any()):
            raise ValueError(f"expected labels in 0..{logits.shape[1] - 1}, got {labels.unique().tolist()}")
        return F.cross_entropy(logits, labels, weight=weights, reduction="none").mean()
