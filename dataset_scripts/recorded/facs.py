"""Action units as data sets write them. In: "4+7", "12L", "A12A25", "6C+L12D", "AU4(k)+7". Out: unit -> intensity.

FACS: Ekman & Friesen, Facial Action Coding System; its letters A (a trace) to E (as strong as can be) become fifths. Units
without a phrase in the prompt bank are kept, but not described.
"""

import re
from collections.abc import Mapping

from processing.facs_phrases_mvfer import ACTION_PHRASES

SAME = {"43": "45", "34": "33"}  # eyes closed, cheeks puffed: told apart by duration and by the lips, not by a shape
LOW = 0.5  # of units that are marked as weak
STRENGTHS = {letter: (number + 1) / 5 for number, letter in enumerate("ABCDE")}
_UNIT = re.compile(
    r"(?P<before>[LR])?(?<!\d)(?P<number>\d{1,2})(?:\.0+)?(?!\d)"
    r"(?P<after>LW|[LR](?!\w*W))?(?P<strength>[A-E](?![A-Z0-9]))?(?P<static>\s*\(\s*k(?![A-Z])\s*\)?)?",
    re.IGNORECASE,
)


def parse_units(text: str) -> dict[str, float]:
    """Read a list of action units.

    Args:
        text: units joined by "+", "A", spaces or commas; a side "L" or "R" before or after; "LW" marks a weak one, "A" to "E" at
            its end its strength; "0" is none; "12.0", as tables write numbers, is 12; what stands in brackets is dropped, and
            with "(k)" its unit too (see `split_units`).
    Returns:
        `dict[str, float]`: unit ("12", "12L") -> intensity, 1 unless it is marked.
    Raises:
        ValueError: if there is text but no unit in it.
    """
    return split_units(text)[0]


def split_units(text: str) -> tuple[dict[str, float], list[str]]:
    """`parse_units`, and the names of the units marked "(k)": there all the time, so no part of what is coded (4DME)."""
    cleaned = re.sub(r"\((?!\s*k(?![A-Za-z]))[^)]*\)", "", text, flags=re.IGNORECASE).strip()
    units, static, matches = {}, [], list(_UNIT.finditer(cleaned))
    if cleaned and not matches:
        raise ValueError(f"expected action units such as 4+7 or 12L, got {text!r}")
    for match in matches:
        number = str(int(match["number"]))
        after = (match["after"] or "").upper()
        side = (match["before"] or "").upper() or (after if after in ("L", "R") else "")
        name = SAME.get(number, number) + side
        if match["static"]:
            static.append(name)
        elif number != "0":
            units[name] = LOW if after == "LW" else STRENGTHS.get((match["strength"] or "").upper(), 1.0)
    return units, static


def describable(units: Mapping[str, float]) -> dict[str, float]:
    """The units that have a phrase; a one-sided unit without one counts as two-sided."""
    named = {unit if unit in ACTION_PHRASES else unit.rstrip("LR"): value for unit, value in units.items()}
    return {unit: value for unit, value in named.items() if unit in ACTION_PHRASES}
