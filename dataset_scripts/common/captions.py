"""Captions of a row: what the face does, said in several ways. In: action units with intensities. Out: texts."""

import random
from collections.abc import Mapping, Sequence

from mvfer.data.schema import ACTIVE
from mvfer.data.wording import reword
from processing.prompts_mvfer import describe_actions


def captions_for(
    action_units: Mapping[str, float],
    seed: int,
    *,
    count: int = 4,
    languages: Sequence[str] = ("en",),
    threshold: float = ACTIVE,
) -> list[str]:
    """Describe a face: per language the canonical wording first, then varied wordings, degrees and orders; none is held out.

    Args:
        action_units: unit -> intensity in [0, 1]; units below `threshold` are left out.
        seed: of the varied wordings.
        count: how many captions per language at most; equal ones are dropped.
        languages: some of "en", "ja".
        threshold: a micro-expression is told by less than `ACTIVE`.
    Returns:
        `list[str]`: captions; no emotion is ever named.
    """
    units = {unit: intensity for unit, intensity in action_units.items() if intensity >= threshold}
    rng = random.Random(seed)
    captions = []
    for language in languages:
        captions.append(describe_actions(units, language=language))
        captions += [reword(units, rng, language=language) for _ in range(count - 1)]
    return list(dict.fromkeys(captions))
