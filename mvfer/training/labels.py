"""Which labelled rows a fine-tuning run learns from. In: training splits. Out: the same, with the chosen rows only.

Few-shot means few *people*: scans of one person resemble each other, so N counts subjects, and all of a chosen subject's
scans of the class are taken. The draw for 2 subjects contains the draw for 1.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from mvfer.evaluation.actions import unit_targets


def labelled_rows(splits: Sequence, *, subjects_per_class: int = 0, seed: int = 0) -> list:
    """Leave out rows without a label, and, few-shot, those of subjects that are not drawn.

    Args:
        splits: training splits (`datasets.Dataset`); several are one population.
        subjects_per_class (`int`): how many subjects of each class keep their label; 0: all.
        seed (`int`): of the draw, which is made for every class on its own.
    Returns:
        the splits with rows that have a label to learn from; splits without any are empty.
    Raises:
        ValueError: if fewer than two classes are labelled, or a class has fewer subjects than asked for.
    """
    people = [[(index, subject) for subject in split["subject"]] for index, split in enumerate(splits)]
    labels = [split["expression"] for split in splits]
    by_class: dict[int, set] = {}
    for whom, what in zip(people, labels, strict=True):
        for person, label in zip(whom, what, strict=True):
            if label >= 0:
                by_class.setdefault(label, set()).add(person)
    if len(by_class) < 2:
        raise ValueError(f"training rows show {len(by_class)} labelled expressions; fine-tuning needs at least two")
    if subjects_per_class:
        names = splits[0].features["expression"].names
        for label, found in by_class.items():
            if len(found) < subjects_per_class:
                raise ValueError(
                    f"{names[label]}: {len(found)} labelled training subjects, {subjects_per_class} asked for; "
                    f"pass --labels_per_class {len(found)} or less"
                )
            order = np.random.default_rng((seed, label)).permutation(len(found))
            everyone = sorted(found)
            by_class[label] = {everyone[place] for place in order[:subjects_per_class]}
    return [
        split.select([row for row, label in enumerate(what) if label >= 0 and whom[row] in by_class[label]])
        for split, whom, what in zip(splits, people, labels, strict=True)
    ]


def balanced_weights(labels: Sequence[int], num_classes: int) -> list[float]:
    """n / (K * n_k): the classes weigh alike, and the mean weight of a row is 1."""
    counts = Counter(labels)
    return [len(labels) / (num_classes * counts[k]) for k in range(num_classes)]


def unit_rows(splits: Sequence, units: Sequence[str]) -> tuple[list, list[str], np.ndarray]:
    """Leave out rows whose action units nobody coded, and units that no row shows or that all of them do.

    Args:
        splits: training splits (`datasets.Dataset`). units: names to choose from, without sides.
    Returns:
        the splits with coded rows alone, the `K` units that can be learnt, and `(n, K)` of all these rows together: 1 where a
        unit is seen, 0 where it is not, -1 where it is unknown, as it is of units that a split never shows.
    Raises:
        ValueError: if there is nothing to learn.
    """
    targets = [unit_targets(split, units) for split in splits]
    coded = [np.flatnonzero(one.known.any(1)) for one in targets]
    values = np.concatenate(
        [np.where(one.known, one.seen, -1)[rows] for one, rows in zip(targets, coded, strict=True)]
    ).astype(np.int64)
    learnt = np.flatnonzero((values == 1).any(0) & (values == 0).any(0))
    if not len(learnt):
        raise ValueError(
            "no training row tells action units that others lack, so none can be learnt; give them to the builder "
            "(build_folder: a column action_units in metadata.csv)"
        )
    return (
        [s.select(rows) for s, rows in zip(splits, coded, strict=True)],
        [units[k] for k in learnt.tolist()],
        values[:, learnt],
    )


def balanced_positives(targets: np.ndarray) -> list[float]:
    """Per unit, rows that lack it over rows that show it, `(n, K)` as in `unit_rows`: then both weigh alike."""
    return ((targets == 0).sum(0) / (targets == 1).sum(0)).tolist()


class LabelledViews(Dataset):
    """Samples of a `ViewDataset` with their class, or their `K` units, and without their texts."""

    def __init__(self, views: Dataset, labels: Sequence):
        self.views, self.labels = views, list(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | tuple[int, int]) -> dict:
        row = index[1] if isinstance(index, tuple) else index
        return self.views[index] | {"captions": [], "known_captions": [], "label": self.labels[row]}
