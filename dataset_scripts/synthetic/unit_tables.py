"""Which shapes of a family of heads make which action unit, at full strength: one table per family.

In: action units with intensities. Out: weights of the family's shapes. What is said of a unit in a recipe, a caption or a
row is the same for all families; only these tables differ.

Source of `ARKIT`: the README of ICT-FaceKit, with action unit 10 as ARKit's mouthUpperUp and 6 as cheekSquint. `VALID` was
made by looking at every shape (Do, Zelenty, Gonzalez-Franco & McMahan, VALID, Frontiers in Virtual Reality 4, 2023,
doi:10.3389/frvir.2023.1248915, has no action units).
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from processing.prompts_mvfer import action_order

Weights = Mapping[str, float]


def number(unit: str) -> str:
    """The unit without its side: "12L" -> "12"."""
    return unit.rstrip("LR")


@dataclass(frozen=True)
class UnitTable:
    """Action unit -> shapes with weights in [0, 1].

    Args:
        left, right: what moves the subject's left and right side; units that are in both can be one-sided.
        whole: what moves both sides at once, and what has a direction of its own ("30L").
    """

    left: Mapping[str, Weights]
    right: Mapping[str, Weights]
    whole: Mapping[str, Weights]

    @property
    def units(self) -> list[str]:
        """All units, without sides, except those whose side is part of what they are."""
        return sorted({*self.left, *self.right, *self.whole}, key=action_order)

    @property
    def shapes(self) -> list[str]:
        """All shapes that some unit needs."""
        return sorted(_names(self.whole)) + sorted(_names(self.left) | _names(self.right))

    def missing(self, shapes: Collection[str]) -> dict[str, list[str]]:
        """Units that a head with these shapes cannot show -> the shapes that it lacks."""
        needed = {unit: self._parts(unit) for unit in self.units}
        lacking = {unit: sorted(set().union(*parts) - set(shapes)) for unit, parts in needed.items()}
        return {unit: names for unit, names in lacking.items() if names}

    def without(self, units: Collection[str]) -> "UnitTable":
        """The table of a head that cannot show these units."""
        kept = ({u: w for u, w in part.items() if u not in units} for part in (self.left, self.right, self.whole))
        return UnitTable(*kept)

    def can_show(self, units: Collection[str]) -> bool:
        """Whether all of these units, one-sided ones too, have shapes."""
        return all(self._parts(unit) for unit in units)

    def weights(self, action_units: Weights, *, asymmetry: Weights | None = None) -> dict[str, float]:
        """Weights of the shapes that make these action units.

        Args:
            action_units: unit -> intensity; "12L" moves the subject's left side only.
            asymmetry: unit -> a in [-1, 1]: the left side is (1 + a) times as strong, the right side (1 - a) times.
        Returns:
            `dict[str, float]`: shape -> weight in [0, 1].
        Raises:
            ValueError: for a unit that has no shapes.
        """
        weights: dict[str, float] = {}
        for unit, intensity in action_units.items():
            if not self._parts(unit):
                raise ValueError(f"action unit {unit!r} has no shapes; expected one of {', '.join(self.units)}")
            lean = (asymmetry or {}).get(unit, 0.0)
            for part, factor in zip(self._sides(unit), (1 + lean, 1 - lean, 1.0), strict=True):
                for shape, weight in part.items():
                    weights[shape] = weights.get(shape, 0.0) + intensity * weight * factor
        return {shape: float(np.clip(weight, 0, 1)) for shape, weight in weights.items()}

    def _sides(self, unit: str) -> tuple[Weights, Weights, Weights]:
        left = self.left.get(number(unit), {}) if unit[-1] != "R" else {}
        right = self.right.get(number(unit), {}) if unit[-1] != "L" else {}
        return left, right, self.whole.get(unit, {})

    def _parts(self, unit: str) -> list[Weights]:
        return [part for part in self._sides(unit) if part]


def read_table(path: Path) -> UnitTable:
    """A table from JSON: `{"12L": {"smile_l": 1.0}, "12R": {"smile_r": 1.0}, "26": {"open": 0.5}}`.

    Raises:
        ValueError: if the file is missing or no such JSON, for units that nobody here knows, for one side without the other.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as JSON ({error}); expected action unit -> {{shape: weight}}"
        ) from error
    known = {*ARKIT.units, *(unit + side for unit in ARKIT.left for side in "LR"), "1L", "1R", "33L", "33R"}
    sides: dict[str, dict[str, Weights]] = {"L": {}, "R": {}, "": {}}
    for unit, weights in entries.items() if isinstance(entries, dict) else [("?", None)]:
        if unit not in known or not isinstance(weights, dict) or not weights:
            raise ValueError(
                f"{path}: {unit!r}: expected one of {', '.join(ARKIT.units)}, with shapes and their weights"
            )
        if wrong := [shape for shape, weight in weights.items() if not _is_share(weight)]:
            raise ValueError(
                f"{path}: unit {unit}: expected weights above 0, at most 1; {', '.join(wrong)} has another"
            )
        side = unit[-1] if unit[-1] in "LR" and unit not in ARKIT.whole else ""
        sides[side][number(unit) if side else unit] = weights
    if single := sorted(set(sides["L"]) ^ set(sides["R"])):
        raise ValueError(f"{path}: units {', '.join(single)} have one side only; give both, or neither")
    return UnitTable(sides["L"], sides["R"], sides[""])


def _is_share(weight) -> bool:
    return isinstance(weight, int | float) and not isinstance(weight, bool) and 0 < weight <= 1


def _names(table: Mapping[str, Weights]) -> set[str]:
    return {shape for weights in table.values() for shape in weights}


def _two_sided(paired: Mapping[str, Weights], whole: Mapping[str, Weights], sides: tuple[str, str]) -> UnitTable:
    """A table whose two-sided shapes are written with "*" for the side."""
    left, right = (
        {
            unit: {shape.replace("*", side): weight for shape, weight in shapes.items()}
            for unit, shapes in paired.items()
        }
        for side in sides
    )
    return UnitTable(left, right, whole)


ARKIT = _two_sided(
    {
        "2": {"browOuterUp*": 1.0},
        "4": {"browDown*": 1.0},
        "5": {"eyeWide*": 1.0},
        "6": {"cheekSquint*": 1.0},
        "7": {"eyeSquint*": 1.0},
        "9": {"noseSneer*": 1.0},
        "10": {"mouthUpperUp*": 1.0},
        "12": {"mouthSmile*": 1.0},
        "14": {"mouthDimple*": 1.0},
        "15": {"mouthFrown*": 1.0},
        "16": {"mouthLowerDown*": 1.0},
        "20": {"mouthStretch*": 1.0},
        "23": {"mouthPress*": 0.3},
        "24": {"mouthPress*": 1.0},
        "25": {"mouthLowerDown*": 0.3, "mouthUpperUp*": 0.15},
        "45": {"eyeBlink*": 1.0},
        "64": {"eyeLookDown*": 1.0},
    },
    {
        "1": {"browInnerUp": 1.0},
        "17": {"mouthShrugLower": 1.0},
        "18": {"mouthPucker": 1.0},
        "22": {"mouthFunnel": 1.0},
        "23": {"mouthRollUpper": 0.4, "mouthRollLower": 0.4},
        "25": {"jawOpen": 0.15},
        "26": {"jawOpen": 0.45},
        "27": {"jawOpen": 1.0},
        "28": {"mouthRollUpper": 1.0, "mouthRollLower": 1.0},
        "33": {"cheekPuff": 1.0},
        "30L": {"jawLeft": 1.0},
        "30R": {"jawRight": 1.0},
    },
    ("Left", "Right"),
)

# The shapes' names without "h_expressions." and "_h"; L and R are the subject's left and right.
VALID = _two_sided(
    {
        "1": {"*sad": 0.7, "*browUp": 0.4},
        "2": {"**browUp": 1.0},
        "4": {"*browDown": 1.0, "**browDown": 0.7},
        "5": {"*eyeOpen": 1.0},
        "6": {"*lowLid": 0.7, "*squint": 0.15},  # approximate: no shape lifts the cheek alone; lower lid and skin below
        "7": {"*squint": 0.4, "*lowLid": 0.35},
        "9": {"*disgust": 0.8, "*nostril": 0.9, "*browDown": 0.35, "*lipDown": 0.3},  # approximate: brings both lips up
        "10": {"*lipUp": 0.8},
        "12": {"*smileClose": 1.0},
        "14": {"*lipCorner": 1.0},
        "15": {"*mouthSad": 1.0},
        "16": {"*lipDown": 0.8},
        "20": {
            "*smileClose": 0.9,
            "*mouthSad": 0.65,
        },  # approximate: up and down cancel, 4 mm out and 6 mm back are left
        "25": {"*lipDown": 0.3, "*lipUp": 0.2},
        "33": {"*blow": 1.0},
        "45": {"*eyeClose": 1.0},
        "64": {"*eyeClose": 0.45},  # approximate: no shape turns the eyeball; the upper lid that follows a gaze
    },
    {
        "17": {
            "Chin": 1.0,
            "MPB_Down": 0.4,
            "Ldisgust": 0.3,
            "Rdisgust": 0.3,
        },  # approximate: the lower lip is not pushed out
        "18": {"Kiss": 1.0},
        "22": {"SH_CH": 1.0},
        "23": {"MPB_Up": 0.6, "MPB_Down": 0.5, "Kiss": 0.2},  # approximate: a weaker 24, narrowed
        "24": {"MPB_Up": 1.0, "MPB_Down": 1.0},
        "25": {"MouthOpen": 0.15},
        "26": {"MouthOpen": 1.0},
        "27": {"Shout": 0.75},
        "28": {"JawCompress": 1.0},
        "30L": {"Ljaw": 1.0},
        "30R": {"Rjaw": 1.0},
    },
    ("L", "R"),
)
