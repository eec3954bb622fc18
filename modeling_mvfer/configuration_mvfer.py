"""The configuration of MVFER: CLIP's, plus how views are read, fused and trained.

In: a plain CLIP configuration, or nothing. Out: everything that changes the meaning of the weights (the stem, the
fusion, the default cameras) and the weights of the objectives. What changes only a run lives in the training script.
"""

from __future__ import annotations

import math

from huggingface_hub.dataclasses import strict
from transformers import CLIPConfig

DEFAULT_VIEW_ANGLES_DEG = ((-30.0, 0.0), (0.0, 0.0), (30.0, 0.0))
CHOICES = {
    "vision_stem": ("patch", "convolution"),
    "fusion": ("attention", "mean", "max", "text"),
    "frame_fusion": ("attention", "mean", None),
    "contrastive_form": ("infonce", "sigmoid"),
    "cross_view_form": ("barlow", "vicreg", "all_views"),
    "cross_modal_form": ("off_diagonal", "full"),
}
NOT_NEGATIVE = (
    "contrastive_weight",
    "view_contrastive_weight",
    "phrase_weight",
    "cross_view_weight",
    "cross_view_lambda",
    "cross_modal_weight",
    "cross_modal_lambda",
    "margin_contrast_weight",
    "triplet_weight",
    "consistency_weight",
    "temporal_layers",
)
POSITIVE = (
    "initializer_range",
    "fusion_hidden_size",
    "fusion_frequencies",
    "temporal_heads",
    "frames_per_second",
    "projector_size",
)


@strict
class MVFERConfig(CLIPConfig):
    """Configuration of [`MVFERModel`]: every field of `CLIPConfig`, and those below.

    Args:
        vision_stem (`str`, defaults to `"patch"`): how pixels become tokens. `"patch"` is CLIP's patch embedding;
            `"convolution"` a small residual stem, and batch norm for the last layer norm, for training from scratch.
        stem_channels (`list[int]`, *optional*): channels after each stride-2 convolution; `2 ** len(stem_channels)`
            must equal the vision tower's `patch_size`.
        stem_blocks (`list[int]`, *optional*): residual blocks after each of these convolutions; default one each, but none
            at the first and largest scale.
        view_angles_deg (`list`, defaults to yaw -30, 0, 30): (yaw, pitch) of the default cameras in degrees. Inputs
            with this number of views and no angles are taken to come from these cameras.
        frames_per_second (`float`, defaults to 25): frame rate of sequences that come without times.
        fusion (`str`, defaults to `"attention"`): `"attention"`; `"mean"` or `"max"`, without parameters; `"text"`, attention
            that also looks at prompts.
        fusion_prompt_ids (`list[list[int]]`, *optional*): token ids, from begin to end token, of the prompts that `"text"`
            fusion looks at; any view is fused in their light, whatever it is compared with later.
        frame_fusion (`str`, *optional*): `"attention"` or `"mean"` over frames; default the mean where views have no parameters
            (`"mean"`, `"max"`), else attention.
        temporal_layers (`int`, defaults to 0): transformer layers over the frames before they are fused.
        temporal_heads (`int`, defaults to 4): attention heads of these; `projection_dim` must be a multiple.
        fusion_hidden_size (`int`, defaults to 128): width inside the fusion.
        fusion_frequencies (`int`, defaults to 4): Fourier frequencies per angle, and for time.
        contrastive_form (`str`, defaults to `"infonce"`): `"infonce"` (multi-positive) or `"sigmoid"` (SigLIP).
        contrastive_weight, view_contrastive_weight, phrase_weight, cross_view_weight, cross_modal_weight (`float`):
            weights of the objectives; a term of weight zero is not computed.
        margin_contrast_weight, triplet_weight, consistency_weight (`float`, default to 0): further terms between views.
        cross_view_form (`str`, defaults to `"barlow"`): `"barlow"` over pairs of views, `"vicreg"` over pairs, or
            `"all_views"`, each view against the mean of the others.
        cross_view_lambda, cross_modal_lambda (`float`, defaults to 0.01): off-diagonal weight inside these terms.
        cross_modal_form (`str`, defaults to `"off_diagonal"`): `"off_diagonal"` or `"full"`.
        projector_size (`int`, defaults to 512): width of the cross-view projector.
        prompt_kinds (`list[str]`, defaults to both): prompts that describe a class: `"actions"` of the face, `"names"` of the
            emotion, or both. A model that never read a name knows actions only.
        prompt_wordings (`int`, *optional*): how many wordings of the actions the model knows; default all of the bank.
        rows_per_class (`list[int]`, *optional*): of a classifier, rows of its head per label; default one each.
        class_weights (`list[float]`, *optional*): of a classifier, weights of its labels in the loss.
        score_temperature (`float`, *optional*): divides the logits of classes before the softmax, so that scores mean what
            they say; `None` if the model is not calibrated.
        abstain_below (`float`, *optional*): a best score below it is better left to people; `None` if no threshold is known.
        calibrated_prompts (`str`, *optional*): `zeroshot_mvfer.prompts_key` of the classes that both were found for; a
            classifier, whose classes are its own, has none.
        initializer_range (`float`, defaults to 0.02): standard deviation of the new linear layers.
    Raises:
        ValueError: on unknown choices, negative weights, angles that are not (yaw, pitch), a stem that does not fit, or a
            temperature or threshold out of range.
    """

    model_type = "mvfer"

    initializer_range: float = 0.02
    vision_stem: str = "patch"
    stem_channels: list | tuple | None = None
    stem_blocks: list | tuple | None = None
    view_angles_deg: list | tuple = DEFAULT_VIEW_ANGLES_DEG
    frames_per_second: float | int = 25.0
    fusion: str = "attention"
    fusion_prompt_ids: list | tuple | None = None
    frame_fusion: str | None = None
    temporal_layers: int = 0
    temporal_heads: int = 4
    fusion_hidden_size: int = 128
    fusion_frequencies: int = 4
    contrastive_form: str = "infonce"
    contrastive_weight: float | int = 1.0
    view_contrastive_weight: float | int = 1.0
    phrase_weight: float | int = 1.0
    cross_view_weight: float | int = 0.5
    cross_view_form: str = "barlow"
    cross_view_lambda: float | int = 0.01
    cross_modal_weight: float | int = 0.0
    cross_modal_lambda: float | int = 0.01
    cross_modal_form: str = "off_diagonal"
    margin_contrast_weight: float | int = 0.0
    triplet_weight: float | int = 0.0
    consistency_weight: float | int = 0.0
    projector_size: int = 512
    prompt_kinds: list | tuple = ("actions", "names")
    prompt_wordings: int | None = None
    rows_per_class: list | tuple | None = None
    class_weights: list | tuple | None = None
    score_temperature: float | int | None = None
    abstain_below: float | int | None = None
    calibrated_prompts: str | None = None

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.vision_stem == "convolution":
            self.stem_channels = [int(c) for c in (self.stem_channels or (24, 48, 96, 192))]
            self.stem_blocks = [int(n) for n in (self.stem_blocks or [0] + [1] * (len(self.stem_channels) - 1))]
        self.view_angles_deg = _angle_pairs(self.view_angles_deg)
        self.validate_mvfer()  # here too: what `@strict` raises for the same is no ValueError

    def validate_mvfer(self):
        """Check the values; `@strict` calls it again on saving."""
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")
        for name in NOT_NEGATIVE + POSITIVE:
            value, least = getattr(self, name), "zero or more" if name in NOT_NEGATIVE else "positive"
            number = isinstance(value, int | float) and 0 <= value < math.inf
            if not number or (value == 0 and name in POSITIVE):
                raise ValueError(f"{name} must be a number, {least}, got {value!r}")
        for name, least in (("rows_per_class", 1), ("class_weights", 0)):
            values = getattr(self, name)
            if values is not None and not all(isinstance(v, int | float) and least <= v < math.inf for v in values):
                raise ValueError(f"{name} must be numbers, at least {least}, got {values!r}")
        if self.temporal_layers and self.projection_dim % self.temporal_heads:
            raise ValueError(
                f"projection_dim must be a multiple of temporal_heads, got {self.projection_dim} and {self.temporal_heads}"
            )
        _angle_pairs(self.view_angles_deg)
        prompts = self.fusion_prompt_ids
        if self.fusion == "text" and not (prompts and all(len(ids) for ids in prompts)):
            raise ValueError(f"fusion 'text' needs fusion_prompt_ids, token ids of one prompt or more, got {prompts!r}")
        if self.score_temperature is not None and not 0 < self.score_temperature < math.inf:
            raise ValueError(f"score_temperature must be a positive number or None, got {self.score_temperature!r}")
        if self.abstain_below is not None and not 0 <= self.abstain_below <= 1:
            raise ValueError(f"abstain_below must be a number in 0..1 or None, got {self.abstain_below!r}")
        if self.vision_stem == "convolution":
            self._validate_stem()

    def _validate_stem(self):
        vision, channels, blocks = self.vision_config, self.stem_channels, self.stem_blocks
        if len(blocks) != len(channels) or min(channels) < 1 or min(blocks) < 0:
            raise ValueError(f"stem_channels and stem_blocks must pair up, got {channels} and {blocks}")
        if 2 ** len(channels) != vision.patch_size or vision.image_size % vision.patch_size:
            raise ValueError(
                f"{len(channels)} stem channels halve the image to patches of {2 ** len(channels)} pixels; "
                f"got patch_size {vision.patch_size}, image_size {vision.image_size}"
            )

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        """Read a configuration file; one of a plain CLIP model becomes an MVFER configuration with default additions.

        Raises:
            ValueError: if the folder or repository holds another kind of model.
        """
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        found = config_dict.get("model_type")
        if found == CLIPConfig.model_type:
            dropped = ("model_type", "architectures", "auto_map")
            config_dict = {key: value for key, value in config_dict.items() if key not in dropped}
        elif found != cls.model_type:
            raise ValueError(
                f"{pretrained_model_name_or_path} holds a configuration of type {found!r}; "
                f"expected {cls.model_type!r}, or {CLIPConfig.model_type!r} to start from"
            )
        return config_dict, kwargs

    @classmethod
    def small(
        cls,
        vocab_size: int = 512,
        *,
        image_size: int = 64,
        bos_token_id: int = 0,
        eos_token_id: int = 1,
        pad_token_id: int = 2,
        max_text_length: int = 64,
        logit_scale_init: float = math.log(1 / 0.07),
        **kwargs,
    ) -> MVFERConfig:
        """A model to train from scratch on a CPU: about 2.3 million parameters, 16 tokens per 64-pixel view.

        Args:
            vocab_size (`int`): words of the tokenizer.
            image_size (`int`, defaults to 64): side of a view in pixels, a multiple of 16.
            bos_token_id, eos_token_id, pad_token_id (`int`): of the tokenizer. CLIP pools its text at `eos_token_id`,
                and treats the number 2 there in an old, different way; it is refused.
            max_text_length (`int`, defaults to 64): tokens of the longest text.
            logit_scale_init (`float`, defaults to log(1 / 0.07)): initial logarithm of the scale of the logits.
            **kwargs: any other field of [`MVFERConfig`].
        """
        if eos_token_id == 2:
            raise ValueError("eos_token_id 2 has a special meaning in CLIP's text tower; choose another number")
        vision = {
            "hidden_size": 192,
            "intermediate_size": 768,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "image_size": image_size,
            "patch_size": 16,
            "hidden_act": "relu",
            "projection_dim": 128,
        }
        text = {
            "vocab_size": vocab_size,
            "hidden_size": 96,
            "intermediate_size": 384,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "max_position_embeddings": max_text_length,
            "hidden_act": "relu",
            "projection_dim": 128,
            "bos_token_id": bos_token_id,
            "eos_token_id": eos_token_id,
            "pad_token_id": pad_token_id,
        }
        settings = {
            "vision_config": vision,
            "text_config": text,
            "projection_dim": 128,
            "logit_scale_init_value": logit_scale_init,
            "vision_stem": "convolution",
            "prompt_kinds": ["actions"],
            **kwargs,
        }
        config = cls(**settings)
        config._attn_implementation = config._attn_implementation or "eager"  # for 17 tokens on a CPU the fastest
        return config


def _angle_pairs(angles) -> list[list[float]]:
    """Check (V, 2) angles in degrees and return them as plain lists, which JSON keeps as they are."""
    try:
        pairs = [[float(yaw), float(pitch)] for yaw, pitch in angles]
    except (TypeError, ValueError) as error:
        raise ValueError(f"view_angles_deg must be a list of (yaw, pitch) in degrees, got {angles!r}") from error
    if not pairs or not all(math.isfinite(angle) for pair in pairs for angle in pair):
        raise ValueError(f"view_angles_deg needs at least one view and finite angles, got {angles!r}")
    return pairs
