"""Captions in fresh words, and what a caption claims. In: action units with intensities, or a text. Out: a text, or claims.

A claim is a unit that is shown ("12", "12L"; "0" for a face without any), or its degree ("12<" slight, "12>" strong, which say
"12" as well). Whatever the wording, the order and the language, a caption means its claims. They are true of a face if its units
say so: "slightly" of a weak action and not of a strong one, and an action without a word of degree of both.
"""

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache

from processing.facs_phrases_mvfer import (
    ACTION_PHRASES,
    EVERYDAY_PHRASES,
    HELD_OUT_EVERYDAY,
    HELD_OUT_PHRASES,
    HELD_OUT_RELAXED,
    RELAXED,
    RELAXED_PHRASES,
    SLIGHT,
    STRONG,
    degree_of,
    graded_phrases,
)
from processing.prompts_mvfer import LANGUAGES, action_order

EVERYDAY_CHANCE, DEGREE_CHANCE, SENTENCE_CHANCE = 0.3, 0.5, 0.3
_SEPARATOR = {"en": ", ", "ja": "、"}
_OTHER_SIDE = str.maketrans("LR", "RL")


def facts(units: Mapping[str, float]) -> frozenset[str]:
    """All that may be claimed of a face that shows these units (unit -> intensity in (0, 1])."""
    degrees = {unit + degree for unit, value in units.items() if (degree := degree_of(unit, value))}
    return frozenset({*units, *degrees} if units else {RELAXED})


def reword(units: Mapping[str, float], rng: random.Random, *, language: str = "en") -> str:
    """Say what a face does in words that are drawn anew, none of them held out.

    Args:
        units: unit -> intensity in (0, 1]. All are mentioned, in any order, some of them with their degree; several may share an
            everyday phrase.
    Returns:
        `str`: "smiling with parted lips, brows strongly lowered"; without any action such as "a relaxed face".
    """
    if not units:
        return rng.choice(RELAXED_PHRASES[language])
    left, phrases, true = dict(units), [], facts(units)
    shared = [claims for claims in EVERYDAY_PHRASES if true.issuperset(claims)]
    if shared and rng.random() < EVERYDAY_CHANCE:
        claims = rng.choice(shared)
        phrases.append(rng.choice(EVERYDAY_PHRASES[claims][language]))
        left = {unit: value for unit, value in units.items() if unit not in units_of(claims)}
    for unit, value in left.items():
        degree = degree_of(unit, value) if rng.random() < DEGREE_CHANCE else ""
        phrases.append(rng.choice(graded_phrases_of(unit, language, degree)))
    rng.shuffle(phrases)
    return _joined(phrases, language, is_sentence=rng.random() < SENTENCE_CHANCE)


def mirrored_units(units: Mapping[str, float]) -> dict[str, float]:
    """The same with the sides exchanged."""
    return {unit.translate(_OTHER_SIDE): value for unit, value in units.items()}


@cache
def graded_phrases_of(unit: str, language: str, degree: str) -> tuple[str, ...]:
    """The known wordings of a unit with a degree, or of none."""
    return graded_phrases(unit, language, degree) if degree else ACTION_PHRASES[unit][language]


def told_whole(units: Mapping[str, float]) -> str:
    """A caption that claims all that is true of a face, in canonical wording."""
    phrases = [graded_phrases_of(unit, "en", degree_of(unit, value))[0] for unit, value in units.items()]
    return _joined(phrases or RELAXED_PHRASES["en"][:1], "en", is_sentence=False)


def _joined(phrases: Sequence[str], language: str, *, is_sentence: bool) -> str:
    """Phrases as a list, or as one sentence: "a, b and c"; in Japanese the verbs before the last are left open."""
    if not is_sentence or len(phrases) == 1:
        return _SEPARATOR[language].join(phrases)
    if language == "en":
        return f"{', '.join(phrases[:-1])} and {phrases[-1]}"
    return "、".join([*(re.sub("いる$", "いて", phrase) for phrase in phrases[:-1]), phrases[-1]])


def units_of(claims: Iterable[str]) -> frozenset[str]:
    """The units of claims, without their degrees."""
    return frozenset(claim.rstrip(SLIGHT + STRONG) for claim in claims)


@cache
def _claims(*, held_out: bool) -> dict[str, frozenset[str]]:
    """Every phrase of the bank that is known, or that is held out -> what it claims."""
    bank, relaxed, everyday = (
        (HELD_OUT_PHRASES, HELD_OUT_RELAXED, HELD_OUT_EVERYDAY)
        if held_out
        else (ACTION_PHRASES, RELAXED_PHRASES, EVERYDAY_PHRASES)
    )
    found: dict[str, frozenset[str]] = {}
    for language in LANGUAGES:
        for unit, wordings in bank.items():
            found |= dict.fromkeys(wordings[language], frozenset({unit}))
            for degree in (SLIGHT, STRONG):
                graded = graded_phrases(unit, language, degree, held_out=held_out)
                found |= dict.fromkeys(graded, frozenset({unit, unit + degree}))
        found |= dict.fromkeys(relaxed[language], frozenset({RELAXED}))
        for claims, wordings in everyday.items():
            found |= dict.fromkeys(wordings[language], units_of(claims) | set(claims))
    return found


@cache
def _all_claims() -> dict[str, frozenset[str]]:
    return _claims(held_out=False) | _claims(held_out=True)


def known_phrases() -> list[str]:
    """Every phrase that captions may hold, in all languages: a model from scratch needs tokens for their words."""
    return list(_claims(held_out=False))


@lru_cache(maxsize=100_000)
def meaning(caption: str) -> frozenset[str]:
    """What a caption claims; phrases that are not of the bank stand for themselves."""
    return frozenset(claim for phrase in split_phrases(caption) for claim in _all_claims().get(phrase, {phrase}))


def split_phrases(caption: str) -> list[str]:
    """The phrases of a caption: "inner brows raised, jaw dropped and smiling" has three. Japanese ones are separated by "、"."""
    parts = [phrase for part in re.split(r",\s+|、", caption) if (phrase := part.strip())]
    return [phrase for part in parts for phrase in _split_sentence(part)]


def _split_sentence(part: str) -> list[str]:
    """Undo what `_joined` did to known phrases; anything else stays as it is."""
    known = _all_claims()
    if part not in known and (closed := re.sub("いて$", "いる", part)) in known:
        return [closed]
    if part not in known:
        for match in re.finditer(" and ", part):
            first, second = part[: match.start()], part[match.end() :]
            if first in known and second in known:
                return [first, second]
    return [part]


def units_told(captions: Sequence[str], action_units: Mapping[str, float]) -> dict[str, float] | None:
    """The units that a row's captions speak of, with their intensities, in canonical order: what is to be reworded.

    Args:
        captions: of a row, the first of which tells all that is told. action_units: of the row, unit -> intensity; a caption may
            speak of both sides where one alone has no phrase.
    Returns:
        `dict[str, float]`, or `None` if the captions say anything else.
    """
    if not captions:
        return None
    told = units_of(meaning(captions[0]))
    if told == {RELAXED}:
        return {}
    found = {}
    for unit in told:
        values = [value for name, value in action_units.items() if name == unit or name.rstrip("LR") == unit]
        if unit not in ACTION_PHRASES or not values:
            return None
        found[unit] = action_units.get(unit, max(values))
    return dict(sorted(found.items(), key=lambda item: action_order(item[0])))


def wordings_met(captions: Iterable[str]) -> int | None:
    """How many wordings of the bank, from the first on, these captions are made of; `None` if they use none of it."""
    places = {
        phrase: place
        for phrases in [*ACTION_PHRASES.values(), RELAXED_PHRASES]
        for wordings in phrases.values()
        for place, phrase in enumerate(wordings)
    }
    met = [places[phrase] for caption in set(captions) for phrase in split_phrases(caption) if phrase in places]
    return max(met) + 1 if met else None


def languages_of(captions: Iterable[str]) -> list[str]:
    """The languages that captions are written in, of `LANGUAGES`."""
    japanese = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
    found = {"ja" if japanese.search(caption) else "en" for caption in captions if caption.strip()}
    return [language for language in LANGUAGES if language in found]
