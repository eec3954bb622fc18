"""Scores with honest intervals.

In go true labels, predicted labels and the subject of each scan; out come scores with a 95 % interval. Scans of one
person resemble each other, so the interval comes from resampling *subjects*, never single scans. Every score is a
function of the confusion matrix, which makes a thousand resamples one matrix product.
"""

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.metrics import confusion_matrix

NUM_RESAMPLES = 1000


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """Share of right answers. `confusion (..., K, K)`, rows are true classes; returns `(...)`."""
    return _ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum((-2, -1)))


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Mean recall over the classes that occur. `confusion (..., K, K)`; returns `(...)`."""
    return _mean_over_present(recall(confusion), confusion)


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes that occur. `confusion (..., K, K)`; returns `(...)`."""
    return _mean_over_present(f1(confusion), confusion)


def recall(confusion: np.ndarray) -> np.ndarray:
    """`confusion (..., K, K)` to `(..., K)`; 0 for a class that does not occur."""
    return _ratio(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-1))


def precision(confusion: np.ndarray) -> np.ndarray:
    """`confusion (..., K, K)` to `(..., K)`; 0 for a class that is never predicted."""
    return _ratio(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-2))


def f1(confusion: np.ndarray) -> np.ndarray:
    """`confusion (..., K, K)` to `(..., K)`: 2 TP / (occurrences + predictions)."""
    return _ratio(2 * np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(-1) + confusion.sum(-2))


METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
}


def subject_confusions(labels, predictions, subjects: Sequence[str], num_classes: int) -> np.ndarray:
    """One confusion matrix per subject, `(S, K, K)`, subjects in sorted order.

    Args:
        labels, predictions (integers of shape `(n,)`): classes 0 .. num_classes - 1.
        subjects (`n` strings): who each scan shows.
    Raises:
        ValueError: if the lengths differ, nothing is given, or a class is out of range.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if not (len(labels) == len(predictions) == len(subjects)) or len(labels) == 0:
        raise ValueError(
            "expected as many labels as predictions and subjects, at least one; "
            f"got {len(labels)}, {len(predictions)}, {len(subjects)}"
        )
    for name, values in (("labels", labels), ("predictions", predictions)):
        if values.min() < 0 or values.max() >= num_classes:
            raise ValueError(f"expected {name} in 0..{num_classes - 1}, got {values.min()}..{values.max()}")
    subjects = np.asarray(subjects)
    classes = np.arange(num_classes)
    return np.stack(
        [
            confusion_matrix(labels[subjects == subject], predictions[subjects == subject], labels=classes)
            for subject in np.unique(subjects)
        ]
    )


def bootstrap(
    confusions: np.ndarray, metric: Callable, *, seed: int, num_resamples: int = NUM_RESAMPLES
) -> dict[str, float]:
    """A score with its 95 % interval, by resampling subjects with replacement.

    Args:
        confusions (`(S, K, K)`): from `subject_confusions`.
        metric: a function of confusion matrices, such as `accuracy`.
    Returns:
        `{"mean", "low", "high"}`: the score on all scans, and the 2.5th and 97.5th percentile of the resamples.
        One subject gives an interval of width zero: read the number of subjects beside it.
    """
    rng = np.random.default_rng(seed)
    num_subjects = len(confusions)
    draws = rng.multinomial(num_subjects, np.full(num_subjects, 1 / num_subjects), size=num_resamples)  # (R, S)
    resampled = np.tensordot(draws, confusions, axes=1)  # (R, K, K)
    low, high = np.percentile(metric(resampled), [2.5, 97.5])
    return {"mean": float(metric(confusions.sum(0))), "low": float(low), "high": float(high)}


def score(labels, predictions, subjects: Sequence[str], names: Sequence[str], *, seed: int) -> dict:
    """All scores of one classifier on one set of scans.

    Args:
        labels, predictions (integers of shape `(n,)`): indices into `names`.
        subjects (`n` strings), names (`K` class names), seed (`int`): of the bootstrap.
    Returns:
        `dict`: accuracy, balanced_accuracy, macro_f1 (each `{"mean", "low", "high"}`), per_class (name to recall,
        precision, f1, count), confusion_matrix (`K` lists of `K` counts, rows true), num_scans, num_subjects.
    """
    confusions = subject_confusions(labels, predictions, subjects, len(names))
    total = confusions.sum(0)
    columns = {"recall": recall(total), "precision": precision(total), "f1": f1(total)}
    per_class = {
        name: {**{key: float(values[k]) for key, values in columns.items()}, "count": int(total[k].sum())}
        for k, name in enumerate(names)
    }
    return {
        **{name: bootstrap(confusions, metric, seed=seed) for name, metric in METRICS.items()},
        "per_class": per_class,
        "confusion_matrix": total.tolist(),
        "num_scans": int(total.sum()),
        "num_subjects": len(confusions),
    }


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return numerator / np.maximum(denominator, 1)  # counts: an empty denominator has an empty numerator


def _mean_over_present(values: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    present = confusion.sum(-1) > 0
    return (values * present).sum(-1) / np.maximum(present.sum(-1), 1)
