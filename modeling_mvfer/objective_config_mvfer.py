"""The settings of the objective: which losses are computed, in which form, and what each weighs.

In: weights and forms, from a user or a `config.json`. Out: an [`ObjectiveConfig`], checked. It is a part of `MVFERConfig` and a
group of train.py's flags. A new loss needs its fields here, its function, and its line in `MVFERObjective.forward`.
"""

# No `from __future__ import annotations`: the types below are read, here and where flags are made of them.
import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args


def _setting(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass
class ObjectiveConfig:
    """What each loss weighs, and which form it takes; a loss of weight zero is not computed.

    Settings of [`MVFERObjective`]; what each means is its help text.

    Raises:
        ValueError: on an unknown form, a negative or infinite weight, or a size below one.
    """

    _argument_group_name = "objective"  # the heading in train.py --help

    contrastive_form: Literal["infonce", "sigmoid"] = _setting(
        "infonce", "Contrast of all pairs at once (multi-positive InfoNCE), or of each (SigLIP)."
    )
    contrastive_weight: float = _setting(1.0, "Weight of vision-language contrast on the fused embedding.")
    view_contrastive_weight: float = _setting(1.0, "Weight of vision-language contrast on every single view.")
    phrase_weight: float = _setting(1.0, "Weight of the sigmoid term over single action phrases.")
    side_weight: float = _setting(
        0.0,
        "Weight of telling left from right, between phrases that differ in nothing else (of the captions' phrases).",
    )
    cross_view_weight: float = _setting(
        0.5, "Weight of cross-view decorrelation, which also learns from scans without captions."
    )
    cross_view_lambda: float = _setting(0.01, "Off-diagonal weight inside cross-view decorrelation.")
    cross_modal_weight: float = _setting(0.0, "Weight of cross-modal redundancy reduction.")
    cross_modal_lambda: float = _setting(0.01, "Off-diagonal weight inside the full form of cross-modal reduction.")
    cross_modal_form: Literal["off_diagonal", "full"] = _setting(
        "off_diagonal", "Which entries of the cross-modal correlation count."
    )
    margin_contrast_weight: float = _setting(0.0, "Weight of the margin contrast between views of all scans.")
    triplet_weight: float = _setting(0.0, "Weight of triplets of views of all scans.")
    consistency_weight: float = _setting(0.0, "Weight of the agreement of each scan's views.")
    projector_size: int = _setting(
        512, "Width of the cross-view projector; a model that training starts from must have the same."
    )

    def __post_init__(self):
        self.check()

    def check(self) -> None:
        """Raise a ValueError that names the first setting which is out of range."""
        for f in fields(ObjectiveConfig):
            value, choices = getattr(self, f.name), get_args(f.type)
            if choices:
                if value not in choices:
                    raise ValueError(f"{f.name} must be one of {choices}, got {value!r}")
                continue
            least, wanted = (1, "one or more") if f.type is int else (0, "zero or more")
            if not isinstance(value, int | float) or not least <= value < math.inf:
                raise ValueError(f"{f.name} must be a number, {wanted}, got {value!r}")
