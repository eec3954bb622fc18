"""How fast does a model get worse? Severity curves over named corruptions, every subset of views, and one number.

In: a model, labelled scans (stored views, or mesh files) and a classifier of them. Out: accuracies per
corruption and grade, with intervals. The one number is the accuracy kept: the mean over grades, relative to clean scans;
over all corruptions, the mean.
Source: severity grades and their mean as in Hendrycks & Dietterich 2019, arXiv:1903.12261; differs: accuracy kept, not error
relative to another model.
"""

import itertools
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mvfer.data.split_reader import frames_of
from mvfer.evaluation.audits.mesh_corruptions import MESH_CORRUPTIONS, MESH_NEEDS, framed_scene, render_scene
from mvfer.evaluation.audits.view_corruptions import SEVERITIES, VIEW_CORRUPTIONS, applicable, drop_frames, inapplicable
from mvfer.evaluation.classifiers import SplitClassifier
from mvfer.evaluation.embeddings import Change, SplitFeatures, embed_changed, embed_views
from mvfer.evaluation.metrics import Interval, bootstrap_mean, bootstrap_weights
from mvfer.progress import progress_bar
from processing.cameras_mvfer import view_name
from processing.channels_mvfer import COLOR_CHANNELS
from processing.meshes_mvfer import MESH_SUFFIXES

MAX_SCANS = 300
MAX_VIEWS = 4  # up to so many views every subset is tried, of more the single views and those that lack one
CLEAN = "clean"


def choose_rows(features: SplitFeatures, *, seed: int, max_scans: int = MAX_SCANS) -> np.ndarray:
    """Labelled rows of randomly chosen whole subjects, in order, up to about `max_scans`."""
    labelled = features.labels >= 0
    subjects = np.asarray(features.subjects)
    people = np.random.default_rng(seed).permutation(np.unique(subjects[labelled]))
    counts = np.cumsum([(labelled & (subjects == person)).sum() for person in people])
    chosen = people[: max(1, int(np.searchsorted(counts, max_scans, side="right")))]
    return np.flatnonzero(labelled & np.isin(subjects, chosen))


def view_robustness(
    model,
    image_processor,
    split,
    classifier: SplitClassifier,
    *,
    seed: int,
    batch_size: int = 64,
    progress: bool = True,
) -> dict:
    """Corrupt the stored views of a split.

    Args:
        split (`datasets.Dataset`): labelled rows; classifier: of the data set.
        seed (`int`): of the corruptions: row, corruption and grade decide, so a smaller split is changed alike.
    Returns:
        `dict`: num_scans, num_subjects, clean, corruptions (see `summarise`), accuracy_kept, not_applicable (corruptions that
        do nothing to what the model sees, and why), view_subsets (names joined by " + " to `{"mean", "low", "high"}`).
    """
    channels, ids = image_processor.channels, list(map(str, split["id"]))
    labels = classifier.classes_of(np.array(split["expression"]))
    changes: dict[str, Change] = {CLEAN: lambda sample, row: sample}
    for name, severity in itertools.product(applicable(channels), SEVERITIES):
        changes[f"{name}:{severity}"] = _view_change(name, severity, ids, channels, seed)
    if any(times and len(times) > 1 for times in split["frame_times_s"]):
        changes |= {f"frame_drop:{severity}": _frame_drop(severity, ids, seed) for severity in SEVERITIES}
    subsets = _subsets(split["view_angles_deg"])
    changes |= {f"views:{name}": _keep_views(places) for name, places in subsets.items()}
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    correct = {
        name: classifier.predict(embeds) == labels
        for name, embeds in embed_changed(model, image_processor, split, changes, **options).items()
    }
    subjects = list(map(str, split["subject"]))
    alone = {name: bootstrap_mean(correct.pop(f"views:{name}"), subjects, seed=seed) for name in subsets}
    left_out = {"not_applicable": inapplicable(channels)}
    return summarise(correct, subjects, seed=seed) | left_out | {"view_subsets": alone}


def mesh_robustness(
    model,
    processor,
    files: Mapping[str, Path],
    features: SplitFeatures,
    classifier: SplitClassifier,
    *,
    seed: int,
    progress: bool = True,
) -> dict:
    """Corrupt scans before they are rendered.

    Args:
        files: id to mesh file, from `find_meshes`; features: of the split with these rows; classifier: of the data set.
    Returns:
        `dict`: num_scans, num_subjects, clean, corruptions, accuracy_kept, not_applicable.
    Raises:
        ValueError: if a mesh cannot be read, or has no colours though the model sees them.
    """
    settings = processor.image_processor.render_settings
    colored = bool(set(settings.channels) & set(COLOR_CHANNELS))
    left_out = inapplicable(settings.channels, MESH_NEEDS)
    place = {name: row for row, name in enumerate(features.ids)}
    truth = {name: classifier.classes_of(features.labels[[place[name]]])[0] for name in files}
    changes = [(name, s) for name in MESH_CORRUPTIONS if name not in left_out for s in SEVERITIES]
    correct: dict[str, list[bool]] = {name: [] for name in [CLEAN, *(f"{n}:{s}" for n, s in changes)]}
    for name, file in progress_bar(files.items(), what="meshes", unit="scan", hidden=not progress, total=len(files)):
        scene = framed_scene(*processor.image_processor.framed(file))
        if colored and scene.colors is None:
            raise ValueError(f"{file}: no texture or vertex colours, which the model sees; give meshes that have them")
        scenes = [scene] + [MESH_CORRUPTIONS[n](scene, s, _rng(seed, name, n)) for n, s in changes]
        rendered = [render_scene(one, settings) for one in scenes]
        found = classifier.predict(
            embed_views(model, processor.image_processor, *map(list, zip(*rendered, strict=True)))
        )
        for key, guess in zip(correct, found, strict=True):
            correct[key].append(bool(guess == truth[name]))
    predictions = {key: np.array(values) for key, values in correct.items()}
    people = [features.subjects[place[name]] for name in files]
    return summarise(predictions, people, seed=seed) | {"not_applicable": left_out}


def find_meshes(folder: str | Path, ids: Sequence[str]) -> dict[str, Path]:
    """The mesh files of a folder that bear the id of a tested row, by id.

    Raises:
        ValueError: if the folder is missing, or no file bears such a name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; expected mesh files named by the ids of the tested rows")
    known = set(ids)
    files = sorted(path for path in folder.iterdir() if path.name.lower().endswith(MESH_SUFFIXES))
    found = {path.name.split(".")[0]: path for path in files if path.name.split(".")[0] in known}
    if not found:
        example = next(iter(ids), "id")
        raise ValueError(
            f"{folder}: none of its {len(files)} mesh files is named like a tested row, such as {example}.obj"
        )
    return found


def summarise(correct: Mapping[str, np.ndarray], subjects: Sequence[str], *, seed: int) -> dict:
    """Curves and areas from right answers.

    Args:
        correct: "clean" and "corruption:severity" to `(n,)` bool.
    Returns:
        `dict`: num_scans, num_subjects, clean `{"mean", "low", "high"}`, corruptions (name to `accuracy`, one interval per
        grade, and `accuracy_kept`, an interval), accuracy_kept (the mean of all, an interval).
    """
    clean = correct[CLEAN]
    grades: dict[str, list[np.ndarray]] = {}
    for key in correct:
        if key != CLEAN:
            grades.setdefault(key.split(":")[0], []).append(correct[key])
    corruptions = {
        name: {
            "accuracy": [bootstrap_mean(one, subjects, seed=seed) for one in curve],
            "accuracy_kept": _kept(curve, clean, subjects, seed),
        }
        for name, curve in grades.items()
    }
    return {
        "num_scans": len(clean),
        "num_subjects": len(set(subjects)),
        "clean": bootstrap_mean(clean, subjects, seed=seed),
        "corruptions": corruptions,
        "accuracy_kept": _kept([one for curve in grades.values() for one in curve], clean, subjects, seed),
    }


def _kept(curve: Sequence[np.ndarray], clean: np.ndarray, subjects: Sequence[str], seed: int) -> Interval | None:
    """Mean accuracy of the curve over the clean one; `None` if no clean scan is classified rightly."""
    if not clean.any():
        return None
    mean = np.mean(curve, axis=0)
    return bootstrap_weights(lambda w: (w @ mean) / np.maximum(w @ clean, 1e-9), subjects, seed=seed)


def _rng(seed: int, name: str, corruption: str) -> np.random.Generator:
    """The grades of a corruption draw alike, so that a curve shows severity and not luck."""
    return np.random.default_rng([seed, zlib.crc32(f"{name}:{corruption}".encode())])


def _view_change(name: str, severity: int, ids: Sequence[str], channels: Sequence[str], seed: int):
    def change(sample: dict, row: int) -> dict:
        changed = VIEW_CORRUPTIONS[name](frames_of(sample), severity, _rng(seed, ids[row], name), channels)
        return sample | {"views": changed if sample["views"].ndim == 5 else changed[0]}

    return change


def _frame_drop(severity: int, ids: Sequence[str], seed: int):
    def change(sample: dict, row: int) -> dict:
        kept = drop_frames(len(sample["views"]), severity, _rng(seed, ids[row], "frame_drop"))
        return sample | {"views": sample["views"][kept], "frame_times_s": sample["frame_times_s"][kept]}

    return change


def _keep_views(places: Sequence[int]):
    def change(sample: dict, row: int) -> dict:
        kept = np.isin(np.arange(len(sample["view_mask"])), places)
        return sample | {"view_mask": sample["view_mask"] & kept}

    return change


def _subsets(angles: Sequence) -> dict[str, tuple[int, ...]]:
    """Which views to keep, by name; nothing where the rows differ in their views."""
    first = angles[0]
    if len(first) < 2 or any(list(row) != list(first) for row in angles):
        return {}
    V, names = len(first), [view_name(angle) for angle in first]
    sizes = range(1, V) if V <= MAX_VIEWS else (1, V - 1)
    chosen = [places for size in sizes for places in itertools.combinations(range(V), size)]
    return {" + ".join(names[place] for place in places): places for places in chosen}
