"""The field's protocols, as data: who is tested, on which rows, in which folds, and where that is written.

In: a built data set and the name of a protocol. Out: folds of subjects that never overlap, and the splits of one fold. Within
a fold, a tenth of the training subjects is set aside for validation: nothing is chosen on test subjects. The sources are cited as
the field commonly reports them: check the paper before you quote its protocol.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets import DatasetDict, concatenate_datasets

from processing.prompts_mvfer import EXPRESSIONS

from .schema import load_splits
from .splits import check_disjoint

SIX = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class Protocol:
    """How a set is tested.

    Args:
        data_set: name of the built set, as its `dataset_info.json` has it.
        folds: number of folds; 0 leaves one subject out each time; 1 tests on every subject and trains on none (a second set).
        subjects: how many subjects are drawn, per seed; `None` all.
        expressions: classes that are tested, and that a subject must all show to be drawn; empty: all rows.
        min_intensity: rows below are left out.
        source: who tests so.
    """

    data_set: str
    folds: int
    source: str
    subjects: int | None = None
    expressions: tuple[str, ...] = ()
    min_intensity: float = 0.0


PROTOCOLS = {
    "bu3dfe-subset1": Protocol(
        "mvfer-bu3dfe",
        10,
        "Gong et al., Automatic facial expression recognition on a single 3D face, ACM MM 2009: 60 subjects, the two highest "
        "levels, six expressions, drawn anew for every repetition",
        subjects=60,
        expressions=SIX,
        min_intensity=0.75,
    ),
    "bu3dfe-subset2": Protocol(
        "mvfer-bu3dfe",
        10,
        "Li et al., Multimodal 2D+3D Facial Expression Recognition With Deep Fusion CNN, IEEE TMM 2017: all four levels",
        subjects=60,
        expressions=SIX,
        min_intensity=0.25,
    ),
    "bosphorus-10fold": Protocol(
        "mvfer-bosphorus",
        10,
        "Li et al., IEEE TMM 2017: 60 of the 65 subjects that show all six expressions",
        subjects=60,
        expressions=SIX,
    ),
    "bu4dfe-10fold": Protocol(
        "mvfer-bu4dfe", 10, "Sun & Yin, ECCV 2008, and later work: ten folds, subject-independent", expressions=SIX
    ),
    "fourdme-loso": Protocol("mvfer-fourdme", 0, "Li et al., 4DME, IEEE TAC 2022: leave one subject out"),
    "bp4d-from-bu4dfe": Protocol(
        "mvfer-bp4d",
        1,
        "cross-data-set test: trained on BU-4DFE, every BP4D subject is a test subject",
        expressions=SIX,
    ),
}


def folds(protocol: Protocol, rows: Sequence[Mapping], *, seed: int = 0) -> list[dict[str, list[str]]]:
    """Subjects of every fold.

    Args:
        rows: mappings with subject, expression (index) and intensity.
        seed: which subjects are drawn, and how they are dealt.
    Returns:
        one dict per fold: train, validation, test -> subjects.
    Raises:
        ValueError: if there are too few subjects.
    """
    wanted = {EXPRESSIONS.index(name) for name in protocol.expressions}
    shown: dict[str, set[int]] = {}
    for row in rows:
        if keeps(protocol, row):
            shown.setdefault(row["subject"], set()).add(row["expression"])
    able = [subject for subject, classes in shown.items() if protocol.subjects is None or wanted <= classes]
    need = max(protocol.subjects or 0, protocol.folds or 3)
    if len(able) < need:
        raise ValueError(f"the protocol needs {need} subjects that show what it tests, found {len(able)}")
    dealt = _shuffled(able, seed)[: protocol.subjects]
    if protocol.folds == 1:
        return [{"train": [], "validation": [], "test": sorted(dealt)}]
    made = []
    for fold in range(protocol.folds or len(dealt)):
        test = dealt[fold :: protocol.folds or len(dealt)]
        others = _shuffled([subject for subject in dealt if subject not in set(test)], seed + 1 + fold)
        cut = max(1, round(VALIDATION_SHARE * len(others)))
        split = {"train": sorted(others[cut:]), "validation": sorted(others[:cut]), "test": sorted(test)}
        check_disjoint(split)
        made.append(split)
    return made


def keeps(protocol: Protocol, row: Mapping) -> bool:
    """Whether a row is part of the protocol."""
    if protocol.expressions and (row["expression"] < 0 or EXPRESSIONS[row["expression"]] not in protocol.expressions):
        return False
    return (1.0 if row["intensity"] is None else row["intensity"]) >= protocol.min_intensity


def load_fold(folder: str | Path, name: str, fold: int = 0, *, seed: int = 0) -> DatasetDict:
    """The splits of one fold of a named protocol, made of all rows of a built set.

    Raises:
        ValueError: for an unknown protocol or fold, or if the set has too few subjects.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}; known are {', '.join(PROTOCOLS)}")
    protocol, splits = PROTOCOLS[name], load_splits(folder)
    rows = concatenate_datasets(list(splits.values()))
    columns = [rows[column] for column in ("subject", "expression", "intensity")]
    keys = [
        dict(zip(("subject", "expression", "intensity"), values, strict=True)) for values in zip(*columns, strict=True)
    ]
    people = folds(protocol, keys, seed=seed)
    if not 0 <= fold < len(people):
        raise ValueError(f"{name} has folds 0 to {len(people) - 1}, got {fold}")
    place = {subject: split for split, names in people[fold].items() for subject in names}
    chosen: dict[str, list[int]] = {split: [] for split in people[fold]}
    for number, row in enumerate(keys):
        if row["subject"] in place and keeps(protocol, row):
            chosen[place[row["subject"]]].append(number)
    return DatasetDict({split: rows.select(numbers) for split, numbers in chosen.items() if numbers})


def _shuffled(subjects: Sequence[str], seed: int) -> list[str]:
    """In the order of a hash, so that the order in which they were found does not matter."""
    return sorted(subjects, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
