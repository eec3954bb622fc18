"""Scores of a classifier: pure functions of a confusion matrix, or of the scores of every class.

In: counts `(..., K, K)` (rows are true classes), or scores `(n, K)` with labels `(n,)`. Out: numbers. Leading axes are
resamples, so a bootstrap is one call. Needs numpy alone: the same file serves `mvfer.evaluation` and the metric of the
`evaluate` library.
"""

from collections.abc import Callable

import numpy as np


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """Share of right answers. `confusion (..., K, K)`; returns `(...)`."""
    return _ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum((-2, -1)))


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Mean recall over the classes that occur (unweighted average recall). `confusion (..., K, K)`; returns `(...)`."""
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


def top_k_hits(scores: np.ndarray, labels: np.ndarray, *, k: int = 2) -> np.ndarray:
    """Whether the true class is among the k best. `scores (n, K)`, `labels (n,)`; returns `(n,)` bool.

    Of equal scores the later class comes first, as in scikit-learn's `top_k_accuracy_score`.
    """
    best = np.argsort(scores, axis=1, kind="stable")[:, ::-1][:, :k]
    return (best == np.asarray(labels)[:, None]).any(1)


def auroc(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve, each class against the rest, mean over the classes that occur.

    For one class: the chance that a scan of the class scores above a scan of another, ties counting half (Hanley & McNeil
    1982, The meaning and use of the area under a ROC curve).

    Args:
        scores (`(n, K)`), labels (`(n,)`).
        weights (`(..., n)`, *optional*): how often each scan counts; leading axes are resamples.
    Returns:
        `(...)`; NaN where fewer than two classes occur.
    """
    labels = np.asarray(labels)
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, dtype=float)
    areas = []
    for k in np.unique(labels):
        order = np.argsort(scores[:, k], kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(scores[order, k]) > 0])  # of every run of equal scores
        ranked, is_class = weights[..., order], labels[order] == k
        inside = np.add.reduceat(ranked * is_class, starts, axis=-1)
        outside = np.add.reduceat(ranked * ~is_class, starts, axis=-1)
        below = outside.cumsum(-1) - outside / 2
        pairs = inside.sum(-1) * outside.sum(-1)
        areas.append(np.where(pairs > 0, (inside * below).sum(-1) / np.maximum(pairs, 1e-300), np.nan))
    areas = np.stack(areas)
    count = np.isfinite(areas).sum(0)
    return np.where(count > 0, np.nansum(areas, axis=0) / np.maximum(count, 1), np.nan)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return numerator / np.maximum(denominator, 1)  # counts: an empty denominator has an empty numerator


def _mean_over_present(values: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    present = confusion.sum(-1) > 0
    return (values * present).sum(-1) / np.maximum(present.sum(-1), 1)
