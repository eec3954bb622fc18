"""What a face does, action by action: the units of FACS with their sides, a probability and an intensity each.

In: a model that reads texts, its processor, and features of scans. Out: per scan and action unit, how likely it is seen, on which
side, and how strongly. A unit's logit is what the phrase term of training asks for, that of its phrase ("lip corners pulled
up"). Of the side speak two things: the sided phrases ("left lip corner pulled up"), and whether the unit is rather seen by the
views from the left or by those from the right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .classifier_mvfer import embeds_of, features_of, is_fine_tuned
from .configuration_mvfer import ActionCalibration
from .fusion_mvfer import pool_frames
from .modeling_mvfer import MVFERImageOutput
from .zeroshot_mvfer import class_embeddings, class_logits, prompt_language, prompts_key

GRADES = "ABCDE"  # FACS writes intensity as a letter, a trace to a maximum; here each is a fifth
SIDES = ("left", "right", "both")
LEAST_YAW_DEG = 10.0  # of a view that sees one side better than the other
UNCALIBRATED = (1.0, 0.0, 1.0, 0.0, 0.5, 1.0, 1.0, 2.0)  # as the numbers of `ActionCalibration.units`
NOT_CALIBRATED = (
    "this model's actions are not calibrated for these phrases: their scores are no probabilities and their intensities are "
    "guesses; calibrate them with: mvfer evaluate --calibrate, on a data set with action units"
)


class ActionEvidence(NamedTuple):
    """What the model says of `U` units of `B` scans, before calibration.

    logits (`(B, U)`): of the units' phrases, as trained. phrase_lean, view_lean (`(B, U)`): how much more the left is spoken for
        than the right, by sided phrases and by views; 0 where there is nothing to compare.
    """

    logits: Tensor
    phrase_lean: Tensor
    view_lean: Tensor


class ActionScores(NamedTuple):
    """What is seen of `U` units of `B` scans.

    probabilities (`(B, U)`): that the unit is seen, on one side or on both. intensities (`(B, U)`): 0 to 1. Both rise with the
        unit's logit, and mean what they say only if the model's actions are calibrated.
    seen (`(B, U)`, bool): whether the probability reaches the unit's threshold, at which validation people gave the largest F1.
    sides (`(B, U, 3)`): if it is seen, the probabilities of left alone, right alone, and both; (0, 0, 1) of units without sides.
    features ([`MVFERImageOutput`], *optional*): of the scans, where these were given.
    """

    probabilities: Tensor
    intensities: Tensor
    seen: Tensor
    sides: Tensor
    features: MVFERImageOutput | None = None


@dataclass(frozen=True)
class ActionReader:
    """A model that tells the actions of a face.

    ```python
    read = ActionReader.build(model, processor)
    found = read(processor(meshes=["face.obj"], return_tensors="pt"))
    read.rows(found)[0][8]  # {"unit": "12", "phrase": "lip corners pulled up", "seen": True, "score": 0.97, ...}
    ```

    Attributes:
        model (`MVFERModel`): in evaluation mode.
        units: the `U` units of FACS that have a phrase, in its order: "1", "2", "4", ...
        phrases (unit to wordings): of all of them, and of their one-sided forms, "12L" and "12R": the subject's left or
            right alone.
        phrase_embeds (unit to `(P, D)`): their embeddings.
        scale, bias (`float`): of the cosines, from training.
        calibration ([`ActionCalibration`], *optional*): of the model, if it was found for just these phrases.
        warning (`str`, *optional*): what to tell a user whose scores are not calibrated.
    """

    model: torch.nn.Module
    units: list[str]
    phrases: dict[str, list[str]]
    phrase_embeds: dict[str, Tensor]
    scale: float
    bias: float
    calibration: ActionCalibration | None = None
    warning: str | None = None

    @classmethod
    def build(cls, model, processor, *, language: str | None = None) -> ActionReader:
        """Encode the phrases that the model knows, once.

        Args:
            model (`MVFERModel`), processor (`MVFERProcessor`).
            language (`str`, *optional*): of the phrases, "en" or "ja"; default what the model learnt, English first.
        Raises:
            ValueError: if the model reads no texts, or did not learn the language.
        """
        if is_fine_tuned(model):
            raise ValueError("a fine-tuned classifier compares no texts; read actions with the model it was made from")
        language = prompt_language(model.config, language)
        phrases = processor.action_phrases(language=language, wordings=model.config.prompt_wordings)
        was_training = model.training
        model.eval()
        try:
            embeds = class_embeddings(model, processor.tokenizer, phrases)
        finally:
            model.train(was_training)
        calibration = model.config.calibration and model.config.calibration.actions
        if calibration is not None and calibration.phrases_key != prompts_key(phrases):
            calibration = None
        units = [unit for unit in phrases if unit[-1] not in "LR"]
        warning = None if calibration else NOT_CALIBRATED
        return cls(model, units, phrases, embeds, *_scale_and_bias(model), calibration, warning)

    def has_sides(self, unit: str) -> bool:
        """Whether there are phrases for the unit on one side alone."""
        return unit + "L" in self.phrases

    @torch.no_grad()
    def __call__(self, inputs: Mapping[str, Tensor]) -> ActionScores:
        """Read the actions of scans: `inputs` are the processor's, of `B` scans of one shape."""
        return self.read(features_of(self.model, inputs), inputs.get("view_angles_deg"))

    def read(self, features: MVFERImageOutput, view_angles_deg: Tensor | None = None) -> ActionScores:
        """Read the actions of scans of which the model has made features; angles `(B, V, 2)`: default the model's own."""
        if view_angles_deg is None:
            view_angles_deg = self.model.default_angles_deg(features.view_mask.shape[-1])  # type: ignore[union-attr]
        evidence = self.evidence(embeds_of(features), side_embeds(features, view_angles_deg))
        return self.decide(evidence)._replace(features=features)

    @torch.no_grad()
    def evidence(self, embeds: Tensor, sides: Tensor) -> ActionEvidence:
        """Unit-length embeddings `(B, D)`, and those of both sides `(B, 2, D)` from `side_embeds`, to `(B, U)` each."""
        fused, left, right = (self._logits(rows) for rows in (embeds, sides[:, 0], sides[:, 1]))
        column = {unit: place for place, unit in enumerate(self.phrases)}
        own = [column[unit] for unit in self.units]
        # the form of a unit without sides is itself, so it leans to none
        on_left, on_right = ([column.get(unit + side, column[unit]) for unit in self.units] for side in "LR")
        return ActionEvidence(fused[:, own], fused[:, on_left] - fused[:, on_right], left[:, own] - right[:, own])

    def decide(self, evidence: ActionEvidence) -> ActionScores:
        """Probabilities, intensities and sides, by the calibration if there is one."""
        known = self.calibration.units if self.calibration else {}
        numbers = [[*known.get(unit, UNCALIBRATED), *UNCALIBRATED[5:]][:8] for unit in self.units]
        by_number = torch.tensor(numbers, device=evidence.logits.device).unbind(-1)  # 8 of (U,)
        slope, offset, strength_slope, strength_offset, seen_from, by_phrase, by_view, both = by_number
        lean = by_phrase * evidence.phrase_lean + by_view * evidence.view_lean
        sides = torch.stack([lean, -lean, both.expand_as(lean)], dim=-1).softmax(-1)  # (B, U, 3)
        sided = torch.tensor([self.has_sides(unit) for unit in self.units], device=lean.device)
        probabilities = (slope * evidence.logits + offset).sigmoid()
        return ActionScores(
            probabilities=probabilities,
            intensities=(strength_slope * evidence.logits + strength_offset).sigmoid(),
            seen=probabilities >= seen_from,
            sides=torch.where(sided[:, None], sides, sides.new_tensor([0.0, 0.0, 1.0])),
        )

    def rows(self, scores: ActionScores) -> list[list[dict[str, Any]]]:
        """The units of each scan in the order of FACS, ready for JSON.

        Returns:
            per scan a `dict` per unit: unit, phrase, score (the probability that it is seen), intensity, its grade ("A" to "E",
            `None` below a trace), and whether it counts as seen; of units with sides also left and right, the probabilities
            that it is seen there alone, and side, the likeliest of `SIDES` if it is seen.
        """
        return [
            [self._row(*unit) for unit in zip(self.units, *scan, strict=True)]
            for scan in zip(*(values.tolist() for values in scores[:4]), strict=True)
        ]

    def _row(self, unit: str, probability: float, intensity: float, seen: bool, sides: list[float]) -> dict[str, Any]:
        row = {"unit": unit, "phrase": self.phrases[unit][0], "seen": seen, "score": probability}
        row |= {"intensity": intensity, "grade": grade(intensity)}
        if self.has_sides(unit):
            row |= {"left": probability * sides[0], "right": probability * sides[1]}
            row["side"] = SIDES[sides.index(max(sides))]
        return row

    def _logits(self, embeds: Tensor) -> Tensor:
        return class_logits(embeds, self.phrase_embeds, scale=self.scale) + self.bias


def grade(intensity: float) -> str | None:
    """The letter that FACS writes, "A" to "E", for an intensity in 0..1; `None` for less than half a trace."""
    number = min(int(intensity * len(GRADES) + 0.5), len(GRADES))
    return GRADES[number - 1] if number else None


def side_embeds(features: MVFERImageOutput, view_angles_deg: Tensor) -> Tensor:
    """What the views from the subject's left, and those from the right, show: `(B, 2, D)`, unit length.

    Args:
        features ([`MVFERImageOutput`]): of `B` scans. view_angles_deg (`(B, V, 2)` or `(V, 2)`): yaw above 0 sees the left.
    Returns:
        `torch.Tensor` of shape `(B, 2, D)`: zeros for a scan that is not seen from both sides.
    """
    views, present = pool_frames(features.view_features.float(), features.view_mask, features.frame_weights)  # type: ignore[union-attr]
    yaw = view_angles_deg.to(views.device)[..., 0].expand(present.shape)  # (B, V)
    seen = torch.stack([yaw >= LEAST_YAW_DEG, yaw <= -LEAST_YAW_DEG], dim=1) & present.unsqueeze(1)  # (B, 2, V)
    both = seen.any(-1).all(-1)  # (B,)
    return normalize(seen.to(views.dtype) @ normalize(views, dim=-1), dim=-1) * both[:, None, None]


def _scale_and_bias(model) -> tuple[float, float]:
    """Those of the phrase term; of a model that learnt no single phrases, the scale of its captions."""
    objective = model.objective
    if not hasattr(objective, "phrase_log_scale"):
        return float(model.logit_scale.detach().float().exp()), 0.0
    return float(objective.phrase_log_scale.detach().float().exp()), float(objective.phrase_bias.detach().float())
