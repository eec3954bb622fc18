"""Scores where a scan may have several labels at once, or none: action units, or the emotions of 4DME.

In: which labels are true and which were predicted, and the subject of each scan; or embeddings and folds, in each of which a
linear probe decides of every label on its own. Out: unweighted F1 and recall (UF1 and UAR) with 95 % intervals that resample
subjects. With one label per scan they are the macro F1 and the balanced accuracy of `metrics`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mvfer.evaluation.embeddings import SplitFeatures
from mvfer.evaluation.metrics import bootstrap
from mvfer.evaluation.probes import STRENGTHS


def multilabel_score(targets, predictions, subjects: Sequence[str], names: Sequence[str], *, seed: int) -> dict:
    """Scores of one classifier on one set of scans.

    Args:
        targets, predictions (bool of shape `(n, K)`): which labels are true, which were predicted.
        subjects (`n` strings), names (`K` labels), seed (`int`): of the bootstrap.
    Returns:
        `dict`: uf1, uar (each `{"mean", "low", "high"}`), per_label (name to f1, recall, precision, count), num_scans,
        num_subjects. Labels that never occur do not count; pool the folds of a leave-one-subject-out test before scoring.
    Raises:
        ValueError: if shapes do not fit, or nothing is given.
    Source:
        See et al., "MEGC 2019 - The Second Facial Micro-Expressions Grand Challenge": UF1 and UAR over pooled folds.
    """
    targets, predictions = np.asarray(targets, dtype=bool), np.asarray(predictions, dtype=bool)
    if not targets.size or targets.shape != predictions.shape or targets.shape != (len(subjects), len(names)):
        raise ValueError(
            f"expected targets and predictions ({len(subjects)}, {len(names)}) for the subjects and names, at least one; "
            f"got {targets.shape}, {predictions.shape}"
        )
    people = np.asarray(subjects)
    kinds = np.stack(
        [targets & predictions, ~targets & predictions, targets & ~predictions], -1
    )  # (n, K, 3): TP, FP, FN
    counts = np.stack([kinds[people == person].sum(0) for person in np.unique(people)])  # (S, K, 3)
    total = counts.sum(0)
    columns = {
        "f1": _f1(total),
        "recall": _recall(total),
        "precision": total[:, 0] / np.maximum(total[:, :2].sum(1), 1),
    }
    per_label = {
        name: {**{key: float(values[k]) for key, values in columns.items()}, "count": int(total[k, 0] + total[k, 2])}
        for k, name in enumerate(names)
    }
    return {
        "uf1": bootstrap(counts, uf1, seed=seed),
        "uar": bootstrap(counts, uar, seed=seed),
        "per_label": per_label,
        "num_scans": len(targets),
        "num_subjects": len(counts),
    }


def targets_of_tasks(tasks: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """The labels that a data set's column `task` names, joined by "+" where there are several: `(n, K)` bool.

    Raises:
        ValueError: for a label that is not among the names (whatever their case).
    """
    labels = [[word.strip().lower() for word in task.split("+")] for task in tasks]
    known = [name.lower() for name in names]
    unknown = sorted({label for row in labels for label in row} - set(known))
    if unknown:
        raise ValueError(f"unknown labels {unknown}; expected some of {', '.join(names)}")
    return np.array([[name in row for name in known] for row in labels])


def score_labels_in_folds(
    features: SplitFeatures,
    tasks: Sequence[str],
    names: Sequence[str],
    drawn: Sequence[Mapping[str, Sequence[str]]],
    *,
    seed: int,
) -> dict:
    """Fit a probe in every fold, its strength chosen on the fold's validation subjects, and score all folds together.

    Args:
        features: of the `n` rows; tasks: their labels, joined by "+"; names: the `K` labels.
        drawn: of every fold, the subjects of train, validation and test.
    Returns:
        `dict`: multilabel_probe, and every_label, the same scores if each label were given to each row: what is to be beaten.
    Raises:
        ValueError: for a label that is not among the names.
    """
    targets, people = targets_of_tasks(tasks, names), np.asarray(features.subjects)
    predicted = np.zeros_like(targets)
    for fold in drawn:
        train, validation, test = (np.isin(people, fold[split]) for split in ("train", "validation", "test"))
        embeds = features.image_embeds
        predicted[test] = _predict(embeds[train], targets[train], embeds[validation], targets[validation], embeds[test])
    return {
        "multilabel_probe": multilabel_score(targets, predicted, features.subjects, names, seed=seed),
        "every_label": multilabel_score(targets, np.ones_like(targets), features.subjects, names, seed=seed),
    }


def uf1(counts: np.ndarray) -> np.ndarray:
    """Mean over the occurring labels of 2 TP / (2 TP + FP + FN). `counts (..., K, 3)` of TP, FP, FN; returns `(...)`."""
    return _mean_over_occurring(_f1(counts), counts)


def uar(counts: np.ndarray) -> np.ndarray:
    """Mean over the occurring labels of TP / (TP + FN). `counts (..., K, 3)` of TP, FP, FN; returns `(...)`."""
    return _mean_over_occurring(_recall(counts), counts)


def _f1(counts: np.ndarray) -> np.ndarray:
    return 2 * counts[..., 0] / np.maximum(counts[..., 0] + counts.sum(-1), 1)


def _recall(counts: np.ndarray) -> np.ndarray:
    return counts[..., 0] / np.maximum(counts[..., 0] + counts[..., 2], 1)


def _mean_over_occurring(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    occurs = counts[..., 0] + counts[..., 2] > 0
    return (values * occurs).sum(-1) / np.maximum(occurs.sum(-1), 1)


def _predict(train, train_targets, validation, validation_targets, test) -> np.ndarray:
    """Of every label whether it is true, `(n, K)`, with the strength that is best on the validation rows.

    Best is the F1 of all decisions together: some labels do not occur among so few rows. Of equal ones the smallest is taken.
    """
    best, best_f1 = np.zeros((len(test), train_targets.shape[1]), dtype=bool), -1.0
    for strength in STRENGTHS:
        held_out, guessed = _fit_and_predict(train, train_targets, strength, validation, test)
        f1 = 2 * (held_out & validation_targets).sum() / max(1, held_out.sum() + validation_targets.sum())
        if f1 > best_f1:
            best, best_f1 = guessed, f1
    return best


def _fit_and_predict(train, targets: np.ndarray, strength: float, *others: np.ndarray) -> list[np.ndarray]:
    """One logistic regression per label, both answers weighing alike; a label that training shows always or never stays so."""
    found = [np.zeros((len(other), targets.shape[1]), dtype=bool) for other in others]
    for label, truth in enumerate(targets.T):
        if truth.all() or not truth.any():
            for predicted in found:
                predicted[:, label] = truth.all()
            continue
        regression = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
        probe = make_pipeline(StandardScaler(), regression).fit(train, truth)
        for predicted, other in zip(found, others, strict=True):
            predicted[:, label] = probe.predict(other)
    return found
