"""MVFER: CLIP that reads many views of a face, stated as the difference from `CLIPModel`.

In: `pixel_values` (B, T, V, C, H, W), (B, V, C, H, W) or (B, C, H, W), with masks and camera angles, and texts as in
CLIP. Out: CLIP's outputs, one embedding per sample, and beside it those of the views and what weight each had. The text
tower is CLIP's; the vision tower sees each present view once; `fusion_mvfer` joins them, `objectives_mvfer` trains them.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, logging
from transformers.utils.generic import can_return_tuple

from .baseline_mvfer import LOG_PRIOR_COUNT, NO_BASELINE, Baseline, RelativeFeatures, scan_means
from .configuration_mvfer import MVFERConfig
from .decorrelation_mvfer import Projector
from .fusion_mvfer import ZeroInitLinear, angles_to_radians, build_fusion, pool_frames, times_to_phase
from .in_parts_mvfer import in_parts
from .inputs_mvfer import captions, check_shape, check_views, has_values, precise, text_keys, text_targets
from .objectives_mvfer import MVFERObjective, TextFeatures, ViewFeatures
from .outputs_mvfer import MVFERImageOutput, MVFEROutput
from .stem_mvfer import StemVisionModel
from .temporal_mvfer import TemporalTransformer

logger = logging.get_logger(__name__)

ACTIONS_ONLY = (
    'this model compares faces with descriptions of facial actions ("lip corners pulled up"); names of emotions mean nothing to '
    "it. Leave these to pipeline('zero-shot-mesh-classification'), or to processor.prompts_for(labels, kinds=['actions'])"
)
NO_TEXT_TOWER = (
    "this folder holds a fine-tuned classifier, which has no text tower: here it is new and random, so texts mean nothing to it; "
    "load it with AutoModelForImageClassification"
)
BASELINE_INPUTS = (
    "baseline",
    "baseline_pixel_values",
    "baseline_mask",
    "baseline_weights",
    "baseline_at_rest",
    "is_at_rest",
)


class MVFERModel(CLIPModel):
    """CLIP with a fusion of views and frames. On a plain CLIP checkpoint it starts as the mean of the views' features.

    Attributes:
        tower_batch (`int`): rows that a tower sees at once in training, see `in_parts_mvfer`; 0: all of them.
    """

    tower_batch = 0

    config_class = MVFERConfig
    config: MVFERConfig
    _auto_class = "AutoModel"

    def __init__(self, config: MVFERConfig):
        super().__init__(config)
        if type(self) is MVFERModel and "MVFERForFaceClassification" in (config.architectures or ()):
            logger.warning(NO_TEXT_TOWER)
        if config.vision_stem == "convolution":
            self.vision_model = StemVisionModel._from_config(
                config.vision_config, channels=config.stem_channels, blocks=config.stem_blocks
            )
        self.relative_features = RelativeFeatures(config.projection_dim) if config.baseline else None
        self.view_fusion = build_fusion(config, config.fusion, position_size=2)
        self.temporal_transformer = None
        if config.temporal_layers:
            self.temporal_transformer = TemporalTransformer(
                config.projection_dim,
                layers=config.temporal_layers,
                heads=config.temporal_heads,
                frequencies=config.fusion_frequencies,
            )
        kind = config.frame_fusion or ("mean" if config.fusion in ("mean", "max") else "attention")
        self.frame_fusion = build_fusion(config, kind, position_size=1)
        self.objective = MVFERObjective(config.objective, config.projection_dim)  # type: ignore[arg-type]  # by now a part
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if module is self:
            init.constant_(module.logit_scale, self.config.logit_scale_init_value)
        elif isinstance(module, ZeroInitLinear):
            init.zeros_(module.weight)
        elif isinstance(module, Projector):
            for linear in (module.first, module.second):
                init.normal_(linear.weight, std=linear.in_features**-0.5)
            init.ones_(module.gain)
            init.zeros_(module.bias)
        elif isinstance(module, RelativeFeatures):
            init.constant_(module.log_prior_count, LOG_PRIOR_COUNT)
            for buffer in (module.training_means, module.batches_seen):
                init.zeros_(buffer)
        elif isinstance(module, MVFERObjective):
            for name, value in module.starting_values().items():
                init.constant_(getattr(module, name), value)

    @can_return_tuple
    def get_image_features(
        self,
        pixel_values: Tensor,
        view_mask: Tensor | None = None,
        view_angles_deg: Tensor | None = None,
        frame_mask: Tensor | None = None,
        frame_times_s: Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        baseline: Baseline | None = None,
        baseline_pixel_values: Tensor | None = None,
        baseline_mask: Tensor | None = None,
        baseline_weights: Tensor | None = None,
        baseline_at_rest: Tensor | None = None,
        is_at_rest: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MVFERImageOutput:
        """One feature per sample, from the views and frames that are present; absent ones are not computed.

        Args:
            pixel_values (`torch.Tensor` of shape `(B, T, V, C, H, W)`, `(B, V, C, H, W)` or `(B, C, H, W)`): a
                sequence, one moment, or one view.
            view_mask (`(B, T, V)` or `(B, V)`, bool, *optional*): true where present; default all.
            view_angles_deg (`(B, V, 2)` or `(V, 2)`, *optional*): yaw and pitch in degrees. Default
                `config.view_angles_deg` where V is their number, else (0, 0), the front.
            frame_mask (`(B, T)`, bool, *optional*): true where present; default all.
            frame_times_s (`(B, T)`, *optional*): seconds; default T frames at `config.frames_per_second`.
            baseline ([`Baseline`], *optional*): what is usual for these people, for features relative to it. Or, instead,
            baseline_pixel_values, baseline_mask, baseline_at_rest: scans that it is made of, see `encode_baseline`. Or, in
                training,
            baseline_weights (`(B, B)`), baseline_at_rest, is_at_rest (`(B,)`, bool): which samples of the batch are the baseline
                of which, whether those are all at rest, and which samples are.
        Returns:
            [`MVFERImageOutput`]
        Raises:
            ValueError: if shapes do not fit, a sample has no view at all, or the model knows no baselines.
        """
        pixels, mask, angles, times = self._check_views(
            pixel_values, view_mask, view_angles_deg, frame_mask, frame_times_s
        )
        flat, present = pixels.flatten(0, 2), mask.flatten()
        # A graph has one shape whatever the mask, so it computes every view; absent ones are black, and their features zero.
        # Compiled training with a stem, whose batch statistics are those of present views, leaves the graph here instead.
        every_view = not has_values(mask) and not (self.training and self.config.vision_stem == "convolution")
        if every_view:
            flat = flat.where(present[:, None, None, None], 0)
        all_present = every_view or bool(present.all())
        kwargs["interpolate_pos_encoding"] = interpolate_pos_encoding
        tower = self._encode(super().get_image_features, flat if all_present else flat[present], **kwargs)
        features = tower.pooler_output
        if not all_present:
            features = features.new_zeros(len(flat), features.shape[-1]).index_put((present,), features)
        elif every_view:
            features = features.where(present.unsqueeze(-1), 0)
        features = features.unflatten(0, mask.shape)
        if baseline_pixel_values is not None:
            baseline = self.encode_baseline(baseline_pixel_values, baseline_mask, baseline_at_rest)
        elif baseline_weights is not None:
            baseline = self._baseline_within(features, mask, baseline_weights, baseline_at_rest, is_at_rest)
        return MVFERImageOutput(
            last_hidden_state=tower.last_hidden_state,
            hidden_states=tower.hidden_states,
            attentions=tower.attentions,
            **self.fuse_views(features, mask, angles, times, baseline),
        )

    @can_return_tuple
    def get_text_features(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        """As CLIP's."""
        tower = super().get_text_features
        return self._encode(tower, input_ids, attention_mask, position_ids=position_ids, **kwargs)

    def _encode(self, tower, first: Tensor, *others: Tensor | None, **kwargs) -> BaseModelOutputWithPooling:
        """A tower's outputs of these rows; where it works in parts, its features alone."""
        size = self.tower_batch if self.training and torch.is_grad_enabled() else 0
        if not 0 < size < len(first):
            return tower(first, *others, return_dict=True, **kwargs)
        features = in_parts(
            lambda *part: tower(*part, return_dict=True, **kwargs).pooler_output, first, *others, size=size
        )
        return BaseModelOutputWithPooling(pooler_output=features)

    def get_mesh_features(self, **inputs) -> MVFERImageOutput:
        """`get_image_features` of what a processor made of meshes, sequences or photos; a text beside them is passed over."""
        texts = {"input_ids", "attention_mask", "position_ids"}
        return self.get_image_features(**{name: value for name, value in inputs.items() if name not in texts})

    def fuse_views(
        self,
        view_features: Tensor,
        view_mask: Tensor,
        view_angles_deg: Tensor,
        frame_times_s: Tensor,
        baseline: Baseline | None = None,
    ) -> MVFERImageOutput:
        """One feature per sample from its views' features: all of `get_image_features` but the tower.

        Args:
            view_features (`torch.Tensor` of shape `(B, T, V, D)`): zeros where absent. view_mask (`(B, T, V)`, bool).
            view_angles_deg (`(B, V, 2)`), frame_times_s (`(B, T)`).
            baseline ([`Baseline`], *optional*): what is usual for these people.
        Returns:
            [`MVFERImageOutput`] without the tower's own outputs.
        Raises:
            ValueError: if there is a baseline and the model knows none.
        """
        own = scan_means(view_features, view_mask)
        if baseline is not None:
            view_features = self.known_baselines()(view_features, view_mask, baseline)
        present = view_mask.any(dim=2)
        times = times_to_phase(frame_times_s, present)
        guide = self._fusion_prompts() if self.config.fusion == "text" else ()
        positions = angles_to_radians(view_angles_deg).unsqueeze(1)
        frames, view_weights = self.view_fusion(view_features, view_mask, positions, *guide)
        contextual = frames if self.temporal_transformer is None else self.temporal_transformer(frames, present, times)
        fused, frame_weights = self.frame_fusion(contextual, present, times)
        return MVFERImageOutput(
            pooler_output=fused.to(view_features.dtype),
            view_features=view_features,
            view_mask=view_mask,
            frame_features=frames,
            view_weights=view_weights,
            frame_weights=frame_weights,
            scan_means=own,
        )

    def encode_baseline(
        self, pixel_values: Tensor, mask: Tensor | None = None, at_rest: Tensor | None = None
    ) -> Baseline:
        """What is usual for `B` people, from some scans of each; one person's serve any number of samples.

        Args:
            pixel_values (`torch.Tensor` of shape `(B, K, V, C, H, W)`): up to K scans of each, with all of their views.
            mask (`(B, K)`, bool, *optional*): true where there is a scan; default all.
            at_rest (`(B,)`, bool, *optional*): whether all of a person's scans show the face at rest; default they may not.
        Returns:
            [`Baseline`]
        Raises:
            ValueError: if shapes do not fit, or the model knows no baselines.
        """
        self.known_baselines()
        if pixel_values.ndim != 6 or not pixel_values.shape[1]:
            raise ValueError(
                f"expected scans (B, K, V, C, H, W) of a baseline, K >= 1, got {tuple(pixel_values.shape)}"
            )
        people, scans = pixel_values.shape[:2]
        device = pixel_values.device
        mask = torch.ones(people, scans, dtype=torch.bool, device=device) if mask is None else mask.bool()
        check_shape("baseline_mask", mask, (people, scans))
        at_rest = torch.zeros(people, dtype=torch.bool, device=device) if at_rest is None else at_rest.bool()
        check_shape("baseline_at_rest", at_rest, (people,))
        means = self.get_image_features(pixel_values.flatten(0, 1), return_dict=True).scan_means.unflatten(
            0, mask.shape
        )
        count = mask.sum(dim=1)
        mean = (means * mask.unsqueeze(-1)).sum(dim=1) / count.clamp_min(1).unsqueeze(1)
        return Baseline(mean, count, at_rest)

    def known_baselines(self) -> RelativeFeatures:
        """What takes baselines into account; a ValueError with the remedy if this model has not learnt to."""
        if self.relative_features is None:
            raise ValueError(NO_BASELINE)
        return self.relative_features

    def _baseline_within(self, features: Tensor, mask: Tensor, weights: Tensor, at_rest, is_at_rest) -> Baseline:
        """The baseline of every sample of a batch from other samples of it; in training these are learnt from."""
        samples, relative = len(features), self.known_baselines()
        check_shape("baseline_weights", weights, (samples, samples))
        none = torch.zeros(samples, dtype=torch.bool, device=features.device)
        own = scan_means(features, mask)
        if self.training:
            relative.observe(own, none if is_at_rest is None else is_at_rest)
        return Baseline.within(own, weights, none if at_rest is None else at_rest)

    def default_angles_deg(self, views: int) -> Tensor:
        """Angles `(V, 2)` of inputs that come without: the configuration's where V is their number, else the front."""
        known = self.config.view_angles_deg
        return torch.tensor(known if views == len(known) else [[0.0, 0.0]] * views)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        return_loss: bool | None = None,
        interpolate_pos_encoding: bool = False,
        view_mask: Tensor | None = None,
        view_angles_deg: Tensor | None = None,
        frame_mask: Tensor | None = None,
        frame_times_s: Tensor | None = None,
        text_targets: Tensor | None = None,
        text_assignments: Tensor | None = None,
        phrase_input_ids: Tensor | None = None,
        phrase_attention_mask: Tensor | None = None,
        phrase_targets: Tensor | None = None,
        phrase_opposites: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MVFEROutput:
        """Embed samples and texts and compare them.

        Args:
            input_ids, attention_mask (`torch.Tensor` of shape `(K, L)`): the texts; in training, the distinct captions. Without
                them there are embeddings of the samples, and no logits.
            pixel_values, view_mask, view_angles_deg, frame_mask, frame_times_s, and the names of `BASELINE_INPUTS`: see
                `get_image_features`.
            return_loss (`bool`, *optional*): also compute the objective.
            text_targets (`(B, K)`, bool, *optional*): which caption describes which sample; default the identity, K = B.
            text_assignments (`(B, K)`, *optional*): instead of `text_targets`, soft ones without captions: each row sums to
                1, or to 0 to leave a sample out. The texts are then the same prompts on all processes.
            phrase_input_ids, phrase_attention_mask (`(P, L)`): phrases of single actions.
            phrase_targets (`(B, P)`, bool): which phrase is true of which sample; a phrase that only another process
                lists counts as not true of the samples here.
            phrase_opposites (`(P,)`, int, *optional*): the phrase that says the same of the other side, -1 without one.
        Returns:
            [`MVFEROutput`]
        Raises:
            ValueError: if shapes do not fit, a sample has no view, or a text has no end token.
        """
        if pixel_values is None or (input_ids is None and return_loss):
            raise ValueError(
                "forward needs pixel_values, and for a loss both these and input_ids; for texts alone there is get_text_features"
            )
        vision = self.get_image_features(
            pixel_values,
            view_mask=view_mask,
            view_angles_deg=view_angles_deg,
            frame_mask=frame_mask,
            frame_times_s=frame_times_s,
            interpolate_pos_encoding=interpolate_pos_encoding,
            return_dict=True,
            **{name: kwargs.pop(name) for name in BASELINE_INPUTS if name in kwargs},
            **kwargs,
        )
        with _full_precision(pixel_values.device):
            image_embeds = F.normalize(precise(vision.pooler_output), dim=-1)
        embeds = {
            "image_embeds": image_embeds,
            "view_embeds": F.normalize(precise(vision.view_features), dim=-1),
            "view_weights": vision.view_weights,
            "frame_weights": vision.frame_weights,
            "vision_model_output": vision,
        }
        if input_ids is None:
            return MVFEROutput(**embeds)
        if not return_loss and "names" not in self.config.prompt_kinds:
            logger.warning_once(ACTIONS_ONLY)
        keys = self._text_keys(input_ids)
        text = self.get_text_features(
            input_ids, attention_mask=attention_mask, position_ids=position_ids, return_dict=True, **kwargs
        )
        with _full_precision(pixel_values.device):
            scale = precise(self.logit_scale).exp()
            text_embeds = F.normalize(precise(text.pooler_output), dim=-1)
            logits_per_text = scale * text_embeds @ image_embeds.T
        losses = None
        if return_loss:
            texts = captions(text.pooler_output, keys, text_targets, text_assignments, len(image_embeds))
            phrases = self._phrases(
                phrase_input_ids, phrase_attention_mask, phrase_targets, phrase_opposites, len(image_embeds)
            )
            losses = self._loss(vision, texts, phrases, scale)
        return MVFEROutput(
            loss=losses.pop("loss") if losses else None,
            losses=losses,
            logits_per_image=logits_per_text.T,
            logits_per_text=logits_per_text,
            text_embeds=text_embeds,
            text_model_output=text,
            **embeds,
        )

    def save_pretrained(self, save_directory, *args, **kwargs):
        """As the parent's; the folder also names every auto class and pipeline that its code serves."""
        from .export_mvfer import served_by  # it knows all classes, this one too

        with served_by(self):
            super().save_pretrained(save_directory, *args, **kwargs)

    @torch.no_grad()
    def _fusion_prompts(self) -> tuple[Tensor, Tensor]:
        """What text-guided fusion looks at: embeddings of its prompts `(K, D)` and the scale of cosines; it moves neither."""
        prompts = self.config.fusion_prompt_ids or ()
        length = max(map(len, prompts))
        ids = torch.tensor([[*row, *row[-1:] * (length - len(row))] for row in prompts], device=self.device)
        present = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in prompts], device=self.device)
        features = self.get_text_features(ids, attention_mask=present, return_dict=True).pooler_output
        return F.normalize(precise(features), dim=-1), precise(self.logit_scale).exp()

    def _loss(
        self, vision: MVFERImageOutput, texts: TextFeatures, phrases: TextFeatures | None, scale: Tensor
    ) -> dict[str, Tensor]:
        with _full_precision(scale.device):
            every_view = precise(vision.view_features)
            per_view_features, per_view_mask = pool_frames(every_view, vision.view_mask, vision.frame_weights)
            views = ViewFeatures(
                precise(vision.pooler_output), every_view, vision.view_mask, per_view_features, per_view_mask
            )
            return self.objective(views, texts, phrases, scale=scale)

    def _phrases(self, input_ids, attention_mask, targets, opposites, samples: int) -> TextFeatures | None:
        wanted = self.objective.config.phrase_weight > 0 or self.objective.config.side_weight > 0
        if input_ids is None or not wanted:
            return None
        if targets is None:
            raise ValueError("phrase_input_ids came without phrase_targets (B, P)")
        features = self.get_text_features(input_ids, attention_mask=attention_mask, return_dict=True).pooler_output
        targets = text_targets(targets, samples, len(input_ids), "phrase_targets", input_ids.device)
        return TextFeatures(precise(features), self._text_keys(input_ids), targets, opposites)

    def _text_keys(self, input_ids: Tensor) -> Tensor:
        return text_keys(input_ids, self.config.text_config.eos_token_id)

    def _check_views(self, pixels, mask, angles, frame_mask, times):
        return check_views(self, pixels, mask, angles, frame_mask, times)


def _full_precision(device: torch.device):
    """Switch autocast off: it would bring the matrix products of similarities back to 16 bits."""
    is_on = device.type != "meta" and torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if is_on else nullcontext()
