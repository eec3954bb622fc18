"""Has the model seen what it is tested on? People and scans that are on both sides of a test, found rather than trusted.

In: the subjects and thumbnails of every split, and the keys of the people that the model was trained and chosen on, which its
folder holds. Out: a list of what was checked and of what was found, each as one sentence.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from transformers.utils import cached_file

from mvfer.data.duplicates import SAME_BELOW, THUMBNAIL_PX, same_scans
from mvfer.evaluation.embeddings import SplitFeatures

SEEN_FILE = "subjects_seen.json"
COARSE_PX = 8
MOST_ROWS = 20_000  # of a split whose scans are compared one by one
EXAMPLES = 3


def subject_keys(info: Mapping, subjects: Iterable[str]) -> set[str]:
    """Keys of people, equal in every set that was built from the same source: sixteen digits, not names.

    Whoever has the set can recognise its people by them; nobody else can. Synthetic people are new with every seed.

    Args:
        info: `dataset_info` of the set; subjects: their names there.
    """
    origin = f"{info.get('source')}|{info.get('seed') if info.get('synthetic', True) else ''}"
    return {hashlib.sha256(f"{origin}|{subject}".encode()).hexdigest()[:16] for subject in set(subjects)}


def subjects_seen(
    infos: Sequence[Mapping], splits: Sequence[Mapping], *, before: Mapping[str, Sequence[str]] | None = None
) -> dict[str, list[str]]:
    """What a model folder keeps of its training: keys of the people whose scans were trained on, and were used to choose.

    Args:
        infos, splits: of every training set; before: the same of the model that the training started from.
    """
    found = {key: set((before or {}).get(key, ())) for key in ("trained_on", "chosen_on")}
    for info, one in zip(infos, splits, strict=True):
        for key, name in (("trained_on", "train"), ("chosen_on", "validation")):
            found[key] |= subject_keys(info, one[name]["subject"])
    return {key: sorted(keys) for key, keys in found.items()}


def load_subjects_seen(folder: str | Path) -> dict[str, list[str]] | None:
    """What `subjects_seen` wrote into a model folder or repository; `None` if it has no such file."""
    path = cached_file(str(folder), SEEN_FILE, _raise_exceptions_for_missing_entries=False)
    return None if path is None else json.loads(Path(path).read_text(encoding="utf-8"))


def find_leaks(
    info: Mapping, embedded: Mapping[str, SplitFeatures], tested: str, seen: Mapping[str, Sequence[str]] | None
) -> dict[str, list[str]]:
    """All checks of one data set.

    Args:
        info: its `dataset_info`; embedded: its splits; tested: the name of the tested one.
        seen: from `load_subjects_seen`, or `None`.
    Returns:
        `{"checked": [...], "not_checked": [...], "found": [...]}`: sentences.
    """
    checked, skipped, found = ["subjects in two splits"], [], []
    if tested != "test":
        found.append(
            f"the tested split is {tested}: weights, k-NN, probe or temperature were fitted to it or chosen on it"
        )
    found += shared_subjects({name: features.subjects for name, features in embedded.items()}, tested)
    if all(features.thumbnails is not None for features in embedded.values()):
        checked.append("scans in two splits, under whatever name")
        pictures = {
            name: dict(zip(features.ids, features.thumbnails or (), strict=True)) for name, features in embedded.items()
        }
        found += duplicated_scans(pictures, tested)
    else:
        skipped.append(f"scans in two splits: more than {MOST_ROWS} rows; use python -m dataset_scripts.validate")
    if seen is None:
        skipped.append(f"whom the model has seen: its folder has no {SEEN_FILE}")
    else:
        checked.append("subjects that the model was trained or chosen on")
        found += seen_subjects(info, embedded[tested].subjects, seen)
    return {"checked": checked, "not_checked": skipped, "found": found}


def shared_subjects(subjects: Mapping[str, Sequence[str]], tested: str) -> list[str]:
    """A sentence for every other split that shares people with the tested one (split -> subjects)."""
    found = []
    for split, names in subjects.items():
        if split != tested and (shared := sorted(set(names) & set(subjects[tested]))):
            found.append(f"{_count(shared, 'subject')} of {tested} also in {split}: {_some(shared)}")
    return found


def seen_subjects(info: Mapping, tested: Sequence[str], seen: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence if the model was trained on tested people, and one if its weights or temperature were chosen on them."""
    keys = {subject: subject_keys(info, [subject]).pop() for subject in set(tested)}
    told = {
        "trained_on": "the model was trained on",
        "chosen_on": "the model's weights or its temperature were chosen on",
    }
    found = []
    for kind, words in told.items():
        shared = sorted(subject for subject, key in keys.items() if key in set(seen.get(kind, ())))
        if shared:
            found.append(f"{words} {_count(shared, 'tested subject')}: {_some(shared)}")
    return found


def duplicated_scans(thumbnails: Mapping[str, Mapping[str, np.ndarray]], tested: str) -> list[str]:
    """A sentence for every other split that holds a scan of the tested one, under whatever name (split -> id -> thumbnail).

    Means over blocks of pixels can only lie nearer to each other than the pixels do, so what coarse thumbnails tell apart
    need not be compared in full; nothing is missed.
    """
    coarse = {split: {name: _coarse(one) for name, one in scans.items()} for split, scans in thumbnails.items()}
    found = []
    for split in thumbnails:
        if split == tested:
            continue
        candidates = same_scans(coarse[tested], coarse[split])
        same = [
            f"{one} and {other}"
            for one, other, _ in candidates
            if _difference(thumbnails[tested][one], thumbnails[split][other]) < SAME_BELOW
        ]
        if same:
            found.append(f"{_count(same, 'scan')} of {tested} also in {split} under other names: {_some(same)}")
    return found


def _coarse(thumbnail: np.ndarray) -> np.ndarray:
    """`(V * 32 * 32 * 3,)` -> `(V * 8 * 8 * 3,)` float32."""
    block = THUMBNAIL_PX // COARSE_PX
    pixels = thumbnail.reshape(-1, COARSE_PX, block, COARSE_PX, block, 3)
    return pixels.mean((2, 4), dtype=np.float32).reshape(-1)


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(np.square(one.astype(np.float32) - other).mean()))


def _count(items: Sequence, what: str) -> str:
    return f"{len(items)} {what}{'' if len(items) == 1 else 's'}"


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:EXAMPLES]) + (", ..." if len(items) > EXAMPLES else "")
