"""How a model classifies: labels, logits, temperature and threshold in one place.

In: a model and, for one that reads prompts, its processor and labels. Out: a [`Classifier`], which turns a scan, or its
embedding, into a probability per label, and says when a scan is better left to people. Pipelines, stream, command line and
evaluation all classify by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .baseline_mvfer import Baseline
from .classification_mvfer import MULTI_LABEL
from .configuration_mvfer import Calibration, Familiarity
from .familiarity_mvfer import reason, unlike
from .modeling_mvfer import MVFERImageOutput
from .zeroshot_mvfer import class_embeddings, class_logits, class_prompts, prompts_key

NOT_CALIBRATED = (
    "this model is not calibrated: its scores are no probabilities of being right, and it never abstains; "
    "calibrate it with: mvfer evaluate --calibrate"
)
CALIBRATED_FOR_OTHERS = (
    "this model is calibrated for other classes or prompts: these scores are no probabilities of being right, and it does not "
    "abstain"
)
UNLIKE = "unlike the scans it learnt from"
NOT_A_FACE = "not a face"


class Classified(NamedTuple):
    """What a classifier says of `B` scans.

    probabilities (`(B, K)`): rows sum to 1, except for multi-label models, where each is a probability of its own.
    abstain (`B` of `bool` or `None`): whether the scan is better left to people; `None` where the model cannot tell.
    features ([`MVFERImageOutput`], *optional*): embeddings and weights of views and frames, where scans were given.
    reasons (`B` of `str` or `None`): why it abstains: "unlike the scans it learnt from", "unsure between anger and disgust".
    """

    probabilities: Tensor
    abstain: list[bool | None]
    features: MVFERImageOutput | None = None
    reasons: Sequence[str | None] = ()


@dataclass(frozen=True)
class Classifier:
    """A model and the classes that it tells apart, by prompts or by a fine-tuned head.

    Attributes:
        model (`MVFERModel` or `MVFERForFaceClassification`): in evaluation mode.
        labels: the `K` classes.
        logits: from unit-length embeddings `(B, D)` to `(B, K)`, before the temperature.
        prompts (label to texts, *optional*): that describe the classes, and class_embeds (label to `(P_k, D)`), their embeddings;
            `None` for a head.
        calibration ([`Calibration`], *optional*): of the model, if it was found for just these classes.
        warning (`str`, *optional*): what to tell a user whose scores are not calibrated.
        familiarity ([`Familiarity`], *optional*): tells scans unlike those that the model was calibrated on, whatever the
            classes.
    """

    model: torch.nn.Module
    labels: list[str]
    logits: Callable[[Tensor], Tensor]
    prompts: dict[str, list[str]] | None = None
    class_embeds: dict[str, Tensor] | None = None
    calibration: Calibration | None = None
    warning: str | None = None
    familiarity: Familiarity | None = None

    @classmethod
    def of(cls, model, processor, labels: Sequence[str], **options) -> Classifier:
        """By the model's head if it has one, which has its own labels; else by prompts of these labels."""
        return cls.from_head(model) if is_fine_tuned(model) else cls.from_prompts(model, processor, labels, **options)

    @classmethod
    def from_prompts(
        cls,
        model,
        processor,
        labels: Sequence[str],
        *,
        prompts: Mapping[str, Sequence[str]] | None = None,
        kinds: Sequence[str] | None = None,
        language: str | None = None,
        encode: Callable = class_embeddings,
    ) -> Classifier:
        """Zero-shot: a class scores by the mean likelihood of its prompts.

        Args:
            model (`MVFERModel`), processor (`MVFERProcessor`).
            labels (`list[str]`): at least one; any text.
            prompts (label to texts, *optional*): descriptions to use instead of the processor's, for some or all labels.
            kinds (`list[str]`, *optional*): the processor's prompts to use: "actions", "names" or both; default the model's
                `config.prompt_kinds`.
            language (`str`, *optional*): of the processor's prompts, "en" or "ja"; default English, or what the model learnt.
            encode (function, *optional*): in place of `class_embeddings`, for one that keeps what it encoded.
        Raises:
            ValueError: if labels are missing or repeated, there are prompts for others, or the model did not learn the language.
        """
        texts = class_prompts(processor, model.config, labels, prompts=prompts, kinds=kinds, language=language)
        was_training = model.training
        if was_training:
            model.eval()
        try:
            embeds = encode(model, processor.tokenizer, texts)
        finally:
            if was_training:
                model.train()
        logits = partial(class_logits, class_embeds=embeds, scale=float(model.logit_scale.detach().float().exp()))
        calibration, warning = model.config.calibration, None
        familiarity = calibration and calibration.familiarity
        if calibration is None or calibration.prompts_key != prompts_key(texts):
            calibration, warning = None, CALIBRATED_FOR_OTHERS if calibration else NOT_CALIBRATED
        return cls(model, list(labels), logits, texts, embeds, calibration, warning, familiarity)

    @classmethod
    def from_head(cls, model) -> Classifier:
        """By the head of a fine-tuned model (`MVFERForFaceClassification`), among the labels that it was trained on."""
        labels, calibration = list(model.config.id2label.values()), model.config.calibration
        if calibration and calibration.prompts_key is not None:  # of the prompts that the model was fine-tuned from
            calibration = None
        warning = None if calibration else NOT_CALIBRATED
        familiarity = calibration and calibration.familiarity
        return cls(model, labels, model.head, calibration=calibration, warning=warning, familiarity=familiarity)

    @property
    def kind(self) -> str:
        """ "zero_shot" or "classification", as its scores are called in `results.json`."""
        return "classification" if self.prompts is None else "zero_shot"

    @property
    def is_multi_label(self) -> bool:
        """Whether several labels may be true of one scan."""
        return self.prompts is None and self.model.config.problem_type == MULTI_LABEL

    def at(self, temperature: float | None) -> Classifier:
        """The same at a temperature of the user's own, of which no threshold is known; `None` changes nothing."""
        if temperature is None:
            return self
        return replace(self, calibration=Calibration(temperature), warning=None, familiarity=None)

    @torch.no_grad()
    def __call__(self, inputs: Mapping[str, Tensor], *, baseline: Baseline | None = None) -> Classified:
        """Classify scans: `inputs` are the processor's, of `B` scans of one shape; with a baseline, relative to it."""
        # what is alike was found without a baseline
        reader = self if baseline is None else replace(self, familiarity=None)
        return reader.read(features_of(self.model, inputs, baseline=baseline))

    @torch.no_grad()
    def baseline_of(self, inputs: Mapping[str, Tensor], *, at_rest: bool = False) -> Baseline:
        """One person's baseline: `inputs` are the processor's, of scans of that person, at rest or not."""
        self.model.known_baselines()
        return Baseline.of(features_of(self.model, inputs).scan_means, at_rest=at_rest)

    def read(self, features: MVFERImageOutput) -> Classified:
        """Classify scans of which the model has made features."""
        found = self.decide(self.tempered(embeds_of(features)), self.unlike(features))
        return found._replace(features=features)

    def unlike(self, features: MVFERImageOutput) -> list[bool | None]:
        """Of each of `B` scans, whether it is unlike those that the model was calibrated on; `None` where nothing is known."""
        return unlike(features.pooler_output.float(), self.familiarity)

    def tempered(self, embeds: Tensor) -> Tensor:
        """Unit-length embeddings `(B, D)` to logits `(B, K)`, divided by the temperature."""
        return self.logits(embeds) / (self.calibration.temperature if self.calibration else 1.0)

    def decide(self, tempered: Tensor, unlike: Sequence[bool | None] | None = None) -> Classified:
        """Tempered logits `(B, K)`, and which scans are `unlike` the known ones, to probabilities and whether to abstain."""
        probabilities = tempered.sigmoid() if self.is_multi_label else tempered.softmax(-1)
        least = self.calibration and self.calibration.abstain_below
        abstain: list[bool | None] = [None] * len(tempered)
        reasons: list[str | None] = [None] * len(tempered)
        for row, scores in enumerate(probabilities.tolist()):
            if unlike is not None and unlike[row]:
                abstain[row], reasons[row] = True, UNLIKE
            elif least is not None:
                abstain[row] = max(scores) < least
                reasons[row] = reason(self.labels, scores) if abstain[row] else None
        return Classified(probabilities, abstain, reasons=reasons)


def features_of(model, inputs: Mapping[str, Tensor], **options) -> MVFERImageOutput:
    """What the model makes of the processor's inputs, on its device and in its precision; `options` of `get_image_features`."""
    inputs = {name: value.to(model.device) for name, value in inputs.items()}
    inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    return model.get_image_features(**inputs, **options)


def embeds_of(features: MVFERImageOutput) -> Tensor:
    """Fused embeddings of unit length, `(B, D)`, float32."""
    return normalize(features.pooler_output.float(), dim=-1)


def is_fine_tuned(model) -> bool:
    """Whether a model classifies by a head; such a model has its own labels and reads no prompts."""
    return hasattr(model, "head")
