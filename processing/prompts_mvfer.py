"""What faces do, in words: descriptions of facial actions, and the published prompt bank of the expressions.

In: FACS action units or expression names. Out: English and Japanese text, from the phrases of `facs_phrases_mvfer`. The
prompt bank describes each expression by these phrases ("actions") and, apart from that, by its name ("names").

Source: Ekman & Friesen, Facial Action Coding System, and its emotion prototypes (EMFACS); the choice of variants is
ours.
"""

import random
import re
from collections.abc import Iterable, Mapping

from .facs_phrases_mvfer import ACTION_PHRASES, HELD_OUT_PHRASES, HELD_OUT_RELAXED, RELAXED_PHRASES

BASIC_EXPRESSIONS = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise")
EXPRESSIONS = (*BASIC_EXPRESSIONS, "contempt")
LANGUAGES = ("en", "ja")
KINDS = ("actions", "names")
WORDINGS = ("known", "held_out", "all")

_SEPARATOR = {"en": ", ", "ja": "、"}
_ORDER = {unit: i for i, unit in enumerate(sorted(ACTION_PHRASES, key=lambda u: (int(u.rstrip("LR")), u)))}

# The published bank: which action units an expression shows, several variants each.
_CONTEMPT = (("12", "14"), ("14",), ("10", "14"))
ACTION_BANK: dict[str, tuple[tuple[str, ...], ...]] = {
    "neutral": ((), ("45",), ("25",), ("24",), ("64",)),
    "anger": (
        ("4", "5", "7", "23"),
        ("4", "7", "17", "24"),
        ("4", "5", "7", "10", "25", "26"),
        ("4", "7", "22", "23", "25"),
    ),
    "disgust": (("9", "10", "17"), ("4", "10", "17"), ("9", "16", "25", "26"), ("4", "7", "9", "15")),
    "fear": (("1", "2", "4", "5", "20", "25"), ("1", "2", "4", "5", "26"), ("1", "4", "20", "25"), ("5", "20")),
    "happiness": (("6", "12", "25"), ("12",), ("6", "12", "25", "26"), ("6", "7", "12")),
    "sadness": (("1", "4", "15"), ("1", "4", "17"), ("1", "4", "15", "17"), ("6", "15", "64")),
    "surprise": (("1", "2", "5", "26"), ("1", "2", "5", "27"), ("1", "2", "25"), ("5", "26")),
    "contempt": tuple(tuple(unit + side for unit in units) for units in _CONTEMPT for side in "LR"),
}

_NAME_WORDS = {  # English adjective and noun; Japanese adjective phrase and noun
    "neutral": (("neutral", "neutrality"), ("無表情な", "無表情")),
    "anger": (("angry", "anger"), ("怒った", "怒り")),
    "disgust": (("disgusted", "disgust"), ("嫌そうな", "嫌悪")),
    "fear": (("fearful", "fear"), ("怯えた", "恐怖")),
    "happiness": (("happy", "happiness"), ("嬉しそうな", "喜び")),
    "sadness": (("sad", "sadness"), ("悲しそうな", "悲しみ")),
    "surprise": (("surprised", "surprise"), ("驚いた", "驚き")),
    "contempt": (("contemptuous", "contempt"), ("見下したような", "軽蔑")),
}
_ALIASES = {word: name for name, forms in _NAME_WORDS.items() for pair in forms for word in pair} | {
    "joy": "happiness", "joyful": "happiness", "afraid": "fear", "scared": "fear", "sorrow": "sadness",
    "悲しい": "sadness", "嬉しい": "happiness", "幸せ": "happiness", "恐れ": "fear", "真顔": "neutral",
}  # fmt: skip

_EMOTION_WORDS = re.compile(
    r"\b(neutral\w*|ang(?:er|ry)\w*|rage|disgust\w*|fear\w*|afraid|scared?|terrif\w*|happ(?:y|i)\w*|joy\w*|sad\w*|"
    r"sorrow\w*|surpris\w*|contempt\w*|emotion\w*)\b|怒|嫌悪|嫌そう|恐怖|恐れ|怯え|喜び|喜ん|嬉し|幸せ|悲し|驚|軽蔑|見下し|無表情|真顔|感情",
    re.IGNORECASE,
)


def find_expression(word: str) -> str | None:
    """The expression that a word names ("happiness", "Happy", "喜び"), or None."""
    key = word.strip().lower()
    key = _ALIASES.get(key, key)
    return key if key in EXPRESSIONS else None


def _check_language(language: str) -> None:
    if language not in LANGUAGES:
        raise ValueError(f"unknown language {language!r}; expected one of {', '.join(LANGUAGES)}")


def action_order(unit: str) -> int:
    """Place of an action unit in the canonical order (by number, then side).

    Raises:
        ValueError: for a unit that has no phrase.
    """
    if unit not in _ORDER:
        raise ValueError(f"unknown action unit {unit!r}; expected one of {', '.join(_ORDER)}")
    return _ORDER[unit]


def _wordings_of(units: Iterable[str], language: str, *, held_out: bool = False) -> list[tuple[str, ...]]:
    """The wordings of every unit, in canonical order; without a unit those of the relaxed face."""
    phrases, relaxed = (HELD_OUT_PHRASES, HELD_OUT_RELAXED) if held_out else (ACTION_PHRASES, RELAXED_PHRASES)
    return [phrases[unit][language] for unit in sorted(units, key=action_order)] or [relaxed[language]]


def describe_actions(
    action_units: Mapping[str, float] | Iterable[str],
    *,
    language: str = "en",
    wording: int | random.Random = 0,
    held_out: bool = False,
) -> str:
    """Say what a face does: one phrase per action, joined by commas; the emotion is never named.

    Args:
        action_units: action units ("12", "12L"), as a mapping to intensities or as plain names. All are mentioned.
        language: "en" or "ja".
        wording: which wording of every phrase (0 is canonical, larger numbers wrap around), in canonical order; or a
            `random.Random`, which draws wordings and order.
        held_out: say it in wordings that no training sees, to test what a model understands.
    Returns:
        `str`: e.g. "cheeks raised, lip corners pulled up"; without any action "a relaxed face".
    Raises:
        ValueError: for an unknown unit or language.
    """
    _check_language(language)
    groups = _wordings_of(action_units, language, held_out=held_out)
    if not isinstance(wording, random.Random):
        phrases = [group[wording % len(group)] for group in groups]
    else:
        phrases = [wording.choice(group) for group in groups]
        wording.shuffle(phrases)
    return _SEPARATOR[language].join(phrases)


def _first_wordings(units: tuple[str, ...]) -> int:
    """How many wordings the bank had at first: models of that time know these, and their configuration has no number."""
    return 2 if units and all(unit.endswith(("L", "R")) for unit in units) else 3


def action_phrases(*, language: str = "en", wordings: int | None = None) -> dict[str, list[str]]:
    """The wordings of every action unit and its one-sided forms, the canonical one first.

    Args:
        language: "en" or "ja".
        wordings: how many of each; default those of the bank's first days, as in `prompts_for`.
    Returns:
        `dict[str, list[str]]`: unit ("12", "12L", "12R") -> wordings, in canonical order.
    Raises:
        ValueError: for an unknown language, or fewer than one wording.
    """
    _check_language(language)
    if wordings is not None and wordings < 1:
        raise ValueError(f"expected at least one wording, got {wordings}")
    units = sorted(ACTION_PHRASES, key=action_order)
    return {unit: list(ACTION_PHRASES[unit][language][: wordings or _first_wordings((unit,))]) for unit in units}


def _action_prompts(expression: str, language: str, wordings: int | str | None = None) -> list[str]:
    """All variants of an expression, each in every one of the wordings that are asked for, see `prompts_for`."""
    prompts = []
    for units in ACTION_BANK[expression]:
        for held_out in {"held_out": (True,), "all": (False, True)}.get(str(wordings), (False,)):
            count = _first_wordings(units) if wordings is None else wordings
            if isinstance(count, str):
                count = max(map(len, _wordings_of(units, language, held_out=held_out)))
            prompts += [describe_actions(units, language=language, wording=i, held_out=held_out) for i in range(count)]
    return list(dict.fromkeys(prompts))


def _name_prompts(expression: str, language: str) -> list[str]:
    (adjective, noun), (ja_adjective, ja_noun) = _NAME_WORDS[expression]
    if language == "ja":
        return [f"{ja_adjective}顔", f"{ja_adjective}人", f"{ja_adjective}表情", f"{ja_noun}の表情"]
    article = "an" if adjective[0] in "aeiou" else "a"
    return [
        f"{article} {adjective} face",
        f"a person who is {adjective}",
        f"{article} {adjective} facial expression",
        f"a face showing {noun}",
    ]


PROMPTS: dict[str, dict[str, dict[str, list[str]]]] = {
    expression: {
        "actions": {language: _action_prompts(expression, language) for language in LANGUAGES},
        "names": {language: _name_prompts(expression, language) for language in LANGUAGES},
    }
    for expression in EXPRESSIONS
}


def prompts_for(
    labels: Iterable[str], *, kinds: Iterable[str] = KINDS, language: str = "en", wordings: int | str | None = None
) -> dict[str, list[str]]:
    """The prompts of each label, for zero-shot classification by prompt ensembles.

    Args:
        labels: expression names ("happiness", also "happy" or "喜び"), or any other text, which becomes prompts itself.
        kinds: "actions" (what the face does), "names" (what it is called), or both.
        language: "en" or "ja".
        wordings: how many wordings of the actions, the canonical one first (a model that learnt from one alone understands no
            other); "known", all that captions are made of; "held_out", those that no training sees; or "all". Default: the
            first three (of one-sided actions two), which is what models without a number in their configuration know.
    Returns:
        `dict[str, list[str]]`: label -> prompts, in the order of the labels.
    Raises:
        ValueError: for an unknown kind, language or choice of wordings, an empty label, or no labels.
    """
    _check_language(language)
    if isinstance(wordings, str) and wordings not in WORDINGS:
        raise ValueError(f"wordings: expected a number or one of {', '.join(WORDINGS)}, got {wordings!r}")
    if isinstance(wordings, int) and wordings < 1:
        raise ValueError(f"expected at least one wording, got {wordings}")
    labels, kinds = ([labels] if isinstance(labels, str) else list(labels)), list(kinds)
    if not kinds or any(kind not in KINDS for kind in kinds):
        raise ValueError(f"unknown prompt kinds {kinds!r}; expected some of {', '.join(KINDS)}")
    if not labels or any(not isinstance(label, str) or not label.strip() for label in labels):
        raise ValueError(f"expected at least one label, each a text that is not empty, got {labels!r}")
    bank = {}
    for label in labels:
        key = label.strip().lower()
        key = _ALIASES.get(key, key)
        if key in PROMPTS:
            actions = {} if wordings is None else {"actions": {language: _action_prompts(key, language, wordings)}}
            bank[label] = [prompt for kind in kinds for prompt in (PROMPTS[key] | actions)[kind][language]]
        elif language == "ja":
            bank[label] = [label, f"{label}の顔", f"{label}の表情"]
        else:
            bank[label] = [label, f"a face with {label}", f"a person with {label}"]
    return bank


_SIDES = re.compile(r"左右|左|右|\b(?:left|right)\b", re.IGNORECASE)
_SWAPPED = {"left": "right", "right": "left", "左": "右", "右": "左", "左右": "左右"}


def swap_sides(text: str) -> str:
    """Exchange left and right (左 and 右) in a text, as mirroring a picture does. Twice is the identity."""

    def exchange(match: re.Match) -> str:
        word = match.group()
        swapped = _SWAPPED[word.lower()]
        if word.isupper():
            return swapped.upper()
        return swapped.capitalize() if word[0].isupper() else swapped

    return _SIDES.sub(exchange, text)


def named_emotion(text: str) -> str | None:
    """The first emotion word in a text, or None: captions that describe actions must have none."""
    match = _EMOTION_WORDS.search(text)
    return match.group() if match else None
