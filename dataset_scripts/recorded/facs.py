"""Action units as data sets write them. In: "4+7", "12L", "A12A25", "1+2(k)". Out: unit -> intensity.

FACS: Ekman & Friesen, Facial Action Coding System. Units without a phrase in the prompt bank are kept, but not described.
"""

import re
from collections.abc import Mapping

from processing.facs_phrases_mvfer import ACTION_PHRASES

SAME = {"43": "45", "34": "33"}  # eyes closed, cheeks puffed: told apart by duration and by the lips, not by a shape
LOW = 0.5  # of units that are marked as weak
_UNIT = re.compile(r"(?P<before>[LR])?(?P<number>\d{1,2})(?P<after>LW|[LR](?!\w*W))?", re.IGNORECASE)


def parse_units(text: str) -> dict[str, float]:
    """Read a list of action units.

    Args:
        text: units joined by "+", "A", spaces or commas; a side "L" or "R" before or after; "LW" marks a weak one; what stands
            in brackets is dropped.
    Returns:
        `dict[str, float]`: unit ("12", "12L") -> intensity, 1 unless marked as weak.
    Raises:
        ValueError: if there is text but no unit in it.
    """
    cleaned = re.sub(r"\([^)]*\)", "", text).strip()
    units = {}
    for match in _UNIT.finditer(cleaned):
        number = str(int(match["number"]))
        after = (match["after"] or "").upper()
        side = (match["before"] or "").upper() or (after if after in ("L", "R") else "")
        units[SAME.get(number, number) + side] = LOW if after == "LW" else 1.0
    if cleaned and not units:
        raise ValueError(f"expected action units such as 4+7 or 12L, got {text!r}")
    return units


def describable(units: Mapping[str, float]) -> dict[str, float]:
    """The units that have a phrase; a one-sided unit without one counts as two-sided."""
    named = {unit if unit in ACTION_PHRASES else unit.rstrip("LR"): value for unit, value in units.items()}
    return {unit: value for unit, value in named.items() if unit in ACTION_PHRASES}
