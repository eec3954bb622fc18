"""Facial actions as phrases: from FACS action units to many wordings in English and Japanese, some of which no training sees.

In: the tables of `phrases_en_mvfer` and `phrases_ja_mvfer`. Out: phrases by unit, language and degree. None names an emotion, so
a caption made of them is no label. "Smile" and "frown" stay: they say what mouth and brows do, whatever is felt. No commas: a
comma separates actions.

Source: Ekman, Friesen & Hager 2002, Facial Action Coding System; the wordings are ours.
"""

import re
from collections.abc import Sequence
from typing import Any

from .phrases_en_mvfer import ENGLISH
from .phrases_ja_mvfer import JAPANESE

RELAXED = "0"  # stands for a face without any action, as in FACS
SLIGHT, STRONG = "<", ">"  # what is claimed of a unit beside that it is shown: "12<", "12>"
SLIGHT_UP_TO, STRONG_FROM, UNMARKED = 0.5, 0.7, 1.0
_TABLES: dict[str, dict[str, Any]] = {"en": ENGLISH, "ja": JAPANESE}
_MARK = re.compile(r"[*+~^]")


def split_wordings(row: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The wordings that captions and default prompts are made of, and the last third, which is held out: no training sees it."""
    known = len(row) - len(row) // 3
    return tuple(row[:known]), tuple(row[known:])


def _marked(language: str) -> dict[str, tuple[str, ...]]:
    """unit ("12", "12L", "0") -> all its wordings, with marks where a word of degree may go."""
    table = _TABLES[language]
    sided = {
        unit + side: tuple(text.format(side=word) for text in row)
        for unit, row in table["one_sided"].items()
        for side, word in table["sides"].items()
    }
    return table["bilateral"] | sided | {RELAXED: table["relaxed"]}


_ROWS = {language: _marked(language) for language in _TABLES}
SIDED_ACTIONS = tuple(ENGLISH["one_sided"])


def _by_unit(part: int) -> dict[str, dict[str, tuple[str, ...]]]:
    return {
        unit: {
            language: tuple(_MARK.sub("", text) for text in split_wordings(rows[unit])[part])
            for language, rows in _ROWS.items()
        }
        for unit in _ROWS["en"]
    }


# unit ("12", or one-sided "12L" / "12R": the subject's left and right) -> language -> wordings, the canonical one first
ACTION_PHRASES, HELD_OUT_PHRASES = _by_unit(0), _by_unit(1)
RELAXED_PHRASES, HELD_OUT_RELAXED = ACTION_PHRASES.pop(RELAXED), HELD_OUT_PHRASES.pop(RELAXED)
# units with what is claimed of their degree (("12>",), ("6", "12")) -> language -> everyday wordings of all of them together
EVERYDAY_PHRASES, HELD_OUT_EVERYDAY = (
    {
        tuple(claims.split()): {
            language: split_wordings(table["everyday"][claims])[part] for language, table in _TABLES.items()
        }
        for claims in ENGLISH["everyday"]
    }
    for part in (0, 1)
)


def graded_phrases(unit: str, language: str, degree: str, *, held_out: bool = False) -> tuple[str, ...]:
    """Every wording of a unit that takes a word of degree, with each of these: "lips slightly parted", "lips barely parted".

    Args:
        unit: of `ACTION_PHRASES`. language: "en" or "ja". degree: `SLIGHT` or `STRONG`.
        held_out: the wordings that are held out, instead of the known ones.
    Returns:
        `tuple[str, ...]`: empty for a unit without degrees, such as closed eyes.
    """
    table, row = _TABLES[language], split_wordings(_ROWS[language][unit])[held_out]
    return tuple(
        _MARK.sub(word + table["gap"], text)
        for text in row
        if (mark := _MARK.search(text))
        for word in table["degrees"][mark.group()][degree]
    )


_GRADED = frozenset(
    unit for unit in ACTION_PHRASES if all(graded_phrases(unit, language, SLIGHT) for language in _TABLES)
)


def degree_of(unit: str, intensity: float) -> str:
    """What an intensity in (0, 1] says of a unit's degree: `SLIGHT`, `STRONG`, or "" for neither, or nothing that words tell.

    Nothing is said of 1, which is also what data sets without intensities write.

    Source:
        FACS scores A trace, B slight, C marked or pronounced, D severe or extreme, E maximum. As fifths (A = 0.2, ..., E = 1), up
        to the middle of B and C is slight, from the middle of C and D on strong.
    """
    if unit not in _GRADED or intensity >= UNMARKED:
        return ""
    return SLIGHT if intensity <= SLIGHT_UP_TO else STRONG if intensity >= STRONG_FROM else ""
