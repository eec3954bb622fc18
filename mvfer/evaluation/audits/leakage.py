"""Has the model seen what it is tested on? People and scans that are on both sides of a test, found rather than trusted.

In: the subjects and thumbnails of every split, and what the model's folder holds of those that it was trained and chosen on: keys
of people, and hashes of scans, as people go by other names where somebody else built the set. Out: a list of what was checked
and of what was found, each as one sentence.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from datasets import Image, List
from transformers.utils import cached_file

from mvfer.data.duplicates import SAME_BELOW, THUMBNAIL_PX, same_scans, thumbnail
from mvfer.data.scan_digests import SEEN_FILE, all_digests, is_seen, new_salt
from mvfer.data.schema import view_arrays
from mvfer.evaluation.embeddings import SplitFeatures

COARSE_PX = 8
MOST_ROWS = 20_000  # of a split whose scans are compared one by one
EXAMPLES = 3
_TOLD = {
    "trained_on": "the model was trained on",
    "chosen_on": "the model's weights or its temperature were chosen on",
}


def subject_keys(info: Mapping, subjects: Iterable[str]) -> set[str]:
    """Keys of people, equal in every set that was built from the same source: sixteen digits, not names.

    Whoever has the set can recognise its people by them; nobody else can. Synthetic people are new with every seed.

    Args:
        info: `dataset_info` of the set; subjects: their names there.
    """
    origin = f"{info.get('source')}|{info.get('seed') if info.get('synthetic', True) else ''}"
    return {hashlib.sha256(f"{origin}|{subject}".encode()).hexdigest()[:16] for subject in set(subjects)}


def subjects_seen(
    infos: Sequence[Mapping], splits: Sequence[Mapping], *, before: Mapping | None = None
) -> dict[str, list[str]]:
    """What a model folder keeps of its training: keys of the people whose scans were trained on, and were used to choose.

    Args:
        infos, splits: of every training set; before: the same of the model that the training started from.
    Returns:
        "trained_on", "chosen_on": keys of people; "key_ids": of the keys that made the pseudonyms of these sets.
    """
    found = {key: set((before or {}).get(key, ())) for key in ("trained_on", "chosen_on", "key_ids")}
    for info, one in zip(infos, splits, strict=True):
        found["key_ids"] |= {key_id_of(info)} - {None}
        for key, name in (("trained_on", "train"), ("chosen_on", "validation")):
            found[key] |= subject_keys(info, one[name]["subject"])
    return {key: sorted(keys) for key, keys in found.items()}


def scans_seen(splits: Sequence[Mapping], *, before: Mapping | None = None) -> dict:
    """What a model folder keeps of the scans themselves: a list of salted hashes per use, in sets of a salt of their own.

    Args:
        splits: of every training set; before: what the folder of the model that the training started from holds.
    Returns:
        `{"scans": [{"salt", "trained_on", "chosen_on"}, ...]}`; of splits with more than `MOST_ROWS` rows the first ones.
    """
    one: dict = {"salt": new_salt()}
    for key, name in (("trained_on", "train"), ("chosen_on", "validation")):
        one[key] = all_digests((small for split in splits for small in _thumbnails(split[name])), one["salt"])
    return {"scans": [*(before or {}).get("scans", ()), one]}


def _thumbnails(rows) -> Iterator[np.ndarray]:
    stored = rows.select_columns(["id", "views"]).cast_column("views", List(List(Image(decode=False))))
    for row in stored.select(range(min(len(rows), MOST_ROWS))):
        row["views"] = [row["views"][len(row["views"]) // 2]]  # the frame that `thumbnail` takes
        yield thumbnail(view_arrays(row))


def key_id_of(info: Mapping) -> str | None:
    """Which key made the pseudonyms of a set; `None` if there are none, as of people who do not exist."""
    return (info.get("build") or {}).get("options", {}).get("key_id")


def load_subjects_seen(folder: str | Path) -> dict | None:
    """What `subjects_seen` and `scans_seen` wrote into a model folder or repository; `None` if it has no such file."""
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
        checked.append("subjects that the model was trained or chosen on, by their names")
        found += seen_subjects(info, embedded[tested].subjects, seen)
        if key_id_of(info) not in {None, *seen.get("key_ids", ())} and seen.get("key_ids"):
            skipped.append(
                f"people by their names: the pseudonyms of this set were made with another key ({key_id_of(info)}) than "
                f"those that the model was trained on ({', '.join(seen['key_ids'])}), so one person has two names"
            )
        thumbnails = embedded[tested].thumbnails
        if seen.get("scans") and thumbnails is not None:
            checked.append(
                "scans that the model was trained or chosen on, by their looks; other scans of a person are not found"
            )
            found += seen_scans(embedded[tested], seen)
        else:
            why = f"its {SEEN_FILE} has no hashes of scans" if thumbnails is not None else f"more than {MOST_ROWS} rows"
            skipped.append(f"scans that the model has seen, by their looks: {why}")
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
    found = []
    for kind, words in _TOLD.items():
        shared = sorted(subject for subject, key in keys.items() if key in set(seen.get(kind, ())))
        if shared:
            found.append(f"{words} {_count(shared, 'tested subject')}: {_some(shared)}")
    return found


def seen_scans(features: SplitFeatures, seen: Mapping) -> list[str]:
    """A sentence if the model was trained on tested scans, under whatever names, and one if it was chosen on them."""
    found = []
    for kind, words in _TOLD.items():
        sets = [(one["salt"], set(one[kind])) for one in seen.get("scans", ())]
        rows = [
            row
            for row, small in enumerate(features.thumbnails or ())
            if any(is_seen(small, salt, digests) for salt, digests in sets)
        ]
        if rows:
            people = sorted({features.subjects[row] for row in rows})
            scans, subjects = _count(rows, "tested scan"), _count(people, "tested subject")
            found.append(f"{words} {scans} of {subjects}, by the looks of the scans: {_some(people)}")
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
