"""What the model returns. In: nothing. Out: the fields of its outputs, with their shapes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput


@dataclass
class MVFERImageOutput(BaseModelOutputWithPooling):
    """What [`MVFERModel.get_image_features`] returns: `pooler_output` `(B, D)` as in CLIP, not unit length, and

    view_features (`(B, T, V, D)`): the projected views, relative to a baseline if there is one; zeros where absent.
    view_mask (`(B, T, V)`): which are present.
    frame_features (`(B, T, D)`): each frame's views fused, before frames meet; zeros where absent.
    view_weights (`(B, T, V)`), frame_weights (`(B, T)`): the fusion's, 0 where absent.
    scan_means (`(B, D)`): the mean of the views, before a baseline is taken away; of such a baseline is made.
    `last_hidden_state` and the like are the tower's, with one row per present view.
    """

    view_features: Tensor | None = None
    view_mask: Tensor | None = None
    frame_features: Tensor | None = None
    view_weights: Tensor | None = None
    frame_weights: Tensor | None = None
    scan_means: Tensor | None = None


@dataclass
class MVFEROutput(ModelOutput):
    """CLIP's outputs and those of the views; embeddings are unit length and in 32 bits at least.

    loss (`()`) and losses (`dict` of the unweighted terms): with `return_loss=True`.
    logits_per_image (`(B, K)`), logits_per_text (`(K, B)`), image_embeds (`(B, D)`), text_embeds (`(K, D)`).
    view_embeds (`(B, T, V, D)`; zeros where absent), view_weights (`(B, T, V)`), frame_weights (`(B, T)`).
    text_model_output, vision_model_output: what `get_text_features` and `get_image_features` returned, with hidden states and
    attentions if asked for. Without texts there is nothing of texts, and no logits.
    """

    loss: Tensor | None = None
    losses: dict[str, Tensor] | None = None
    logits_per_image: Tensor | None = None
    logits_per_text: Tensor | None = None
    text_embeds: Tensor | None = None
    image_embeds: Tensor | None = None
    view_embeds: Tensor | None = None
    view_weights: Tensor | None = None
    frame_weights: Tensor | None = None
    text_model_output: BaseModelOutputWithPooling | None = None
    vision_model_output: MVFERImageOutput | None = None

    def to_tuple(self) -> tuple:
        return tuple(value.to_tuple() if isinstance(value, ModelOutput) else value for value in self.values())
