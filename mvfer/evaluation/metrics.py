"""Scores with honest intervals.

In: true labels with predicted ones, or scores that tell two kinds apart, and the subject of each scan. Out: scores with a 95 %
interval. Scans of one person resemble each other, so the interval comes from resampling *subjects*, never single scans. Most
scores are functions of the confusion matrix, which makes a thousand resamples one matrix product. Over folds and seeds, which
are few, the interval is Student's.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from scipy.stats import t as student
from sklearn.metrics import auc, confusion_matrix, roc_curve

from mvfer.evaluation.mvfer_metrics.scores import METRICS, auroc, f1, precision, recall, top_k_hits

NUM_RESAMPLES = 1000
NUM_CURVE_RESAMPLES = 200  # where every resample sorts all scores anew
Interval = dict[str, Any]  # mean, low, high: numbers; of a single run, low and high are None


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


def draw_subjects(num_subjects: int, *, seed: int, num_resamples: int = NUM_RESAMPLES) -> np.ndarray:
    """How often each subject is drawn in each resample, with replacement: `(R, S)` counts that sum to S."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(num_subjects, np.full(num_subjects, 1 / num_subjects), size=num_resamples)


def bootstrap(confusions: np.ndarray, metric: Callable, *, seed: int) -> Interval:
    """A score with its 95 % interval, by resampling subjects with replacement.

    Args:
        confusions (`(S, K, K)`): from `subject_confusions`.
        metric: a function of confusion matrices, such as `accuracy`.
    Returns:
        `{"mean", "low", "high"}`: the score on all scans, and the 2.5th and 97.5th percentile of the resamples.
        One subject gives an interval of width zero: read the number of subjects beside it.
    Source:
        Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 13 (percentile interval); clusters as units.
    """
    draws = draw_subjects(len(confusions), seed=seed)
    resampled = np.tensordot(draws, confusions, axes=1)  # (R, K, K)
    return _interval(metric(confusions.sum(0)), metric(resampled))


def bootstrap_mean(values, subjects: Sequence[str], *, seed: int, num_resamples: int = NUM_RESAMPLES) -> Interval:
    """The mean of one number per scan, `(n,)`, with its interval by resampling subjects; NaN values are left out."""
    values = np.asarray(values, dtype=float)
    _, owner = np.unique(np.asarray(subjects), return_inverse=True)
    known = np.isfinite(values)
    sums = np.bincount(owner, np.where(known, values, 0))
    counts = np.bincount(owner, known)
    draws = draw_subjects(len(counts), seed=seed, num_resamples=num_resamples)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _interval(sums.sum() / counts.sum(), (draws @ sums) / (draws @ counts))


def bootstrap_weights(statistic: Callable[[np.ndarray], np.ndarray], subjects: Sequence[str], *, seed: int) -> Interval:
    """Any statistic of weighted scans with its interval: `statistic` takes weights `(..., n)` and returns `(...)`."""
    _, owner = np.unique(np.asarray(subjects), return_inverse=True)
    draws = draw_subjects(int(owner.max()) + 1, seed=seed)
    return _interval(statistic(np.ones(len(owner))), statistic(draws[:, owner]))


def bootstrap_counts(
    subjects: Sequence[str], measure: Callable[[dict[str, int]], dict[str, float]], *, seed: int
) -> dict[str, Interval]:
    """Any numbers with their intervals, by resampling subjects `NUM_CURVE_RESAMPLES` times.

    Args:
        subjects: whom the scans show; each counts once.
        measure: given how often each subject was drawn (once each: the estimate), numbers by name. A draw that it cannot
            measure (ValueError) is left out.
    """
    names, draws = sorted(set(subjects)), []
    estimate = measure(dict.fromkeys(names, 1))
    for counts in draw_subjects(len(names), seed=seed, num_resamples=NUM_CURVE_RESAMPLES).tolist():
        with suppress(ValueError):
            draws.append(measure(dict(zip(names, counts, strict=True))))
    return {name: _interval(value, [draw[name] for draw in draws] or [value]) for name, value in estimate.items()}


def resample(owner: np.ndarray, *, seed: int) -> np.ndarray:
    """How often each of S subjects counts: once in the first row, then as often as it is drawn; `(1 + R, S)`.

    Args:
        owner (`(n,)`): whose each scan is, 0 to S - 1.
    """
    count = int(owner.max()) + 1
    return np.concatenate([np.ones((1, count)), draw_subjects(count, seed=seed)])


def interval_of(values: np.ndarray) -> Interval:
    """The interval of a statistic of the rows of `resample`, `(1 + R,)`."""
    return _interval(values[0], values[1:])


def mean_over_runs(values: Sequence[float]) -> Interval:
    """Mean of one score per fold or seed, with Student's 95 % interval; with one value the interval is unknown (`None`).

    Folds share training subjects, so over folds the interval is a little too narrow (Bengio & Grandvalet 2004: there is no
    unbiased estimate); the pooled interval over subjects, beside it in the results, does not have this fault.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"expected one score per fold or seed, at least one, got shape {values.shape}")
    mean = float(values.mean())
    if len(values) == 1:
        return {"mean": mean, "low": None, "high": None}
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    return {"mean": mean, "low": mean - half, "high": mean + half}


def score(
    labels, predictions, subjects: Sequence[str], names: Sequence[str], *, seed: int, scores: np.ndarray | None = None
) -> dict:
    """All scores of one classifier on one set of scans.

    Args:
        labels, predictions (integers of shape `(n,)`): indices into `names`.
        subjects (`n` strings), names (`K` class names), seed (`int`): of the bootstrap.
        scores (`(n, K)`, *optional*): of every class, the larger the likelier; gives top_2 and auroc.
    Returns:
        `dict`: accuracy, balanced_accuracy, macro_f1, with scores also top_2 and auroc (each `{"mean", "low", "high"}`;
        auroc is `None` where only one class occurs), per_class (name to recall, precision, f1, count), confusion_matrix (`K`
        lists of `K` counts, rows true), num_scans, num_subjects.
    """
    confusions = subject_confusions(labels, predictions, subjects, len(names))
    total = confusions.sum(0)
    columns = {"recall": recall(total), "precision": precision(total), "f1": f1(total)}
    per_class = {
        name: {**{key: float(values[k]) for key, values in columns.items()}, "count": int(total[k].sum())}
        for k, name in enumerate(names)
    }
    found: dict[str, Interval | None] = {
        name: bootstrap(confusions, metric, seed=seed) for name, metric in METRICS.items()
    }
    if scores is not None:
        scores, labels = np.asarray(scores), np.asarray(labels)
        if scores.shape != (len(labels), len(names)):
            raise ValueError(f"expected scores {(len(labels), len(names))}, got {scores.shape}")
        found["top_2"] = bootstrap_mean(top_k_hits(scores, labels), subjects, seed=seed)
        several = len(np.unique(labels)) > 1
        found["auroc"] = bootstrap_weights(lambda w: auroc(scores, labels, w), subjects, seed=seed) if several else None
    return {
        **found,
        "per_class": per_class,
        "confusion_matrix": total.tolist(),
        "num_scans": int(total.sum()),
        "num_subjects": len(confusions),
    }


def area_and_equal_error(
    scores: np.ndarray, positive: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, float]:
    """Of two kinds told apart by a score: area under the curve, and the rate at which misses equal false alarms.

    Args:
        scores (`(n,)`): higher means rather positive. positive (`(n,)`, bool). weights (`(n,)`, *optional*).
    Returns:
        `{"auc", "eer", "threshold"}`: a score of at least `threshold` counts as positive at the equal error rate.
    Raises:
        ValueError: if one of the kinds is missing.
    """
    if positive.all() or not positive.any():
        raise ValueError(f"expected scores of both kinds, got {int(positive.sum())} positive of {len(positive)}")
    let_in, found, thresholds = roc_curve(positive, scores, sample_weight=weights, drop_intermediate=False)
    gap = let_in + found - 1  # rises from -1 to 1; where it crosses 0, misses equal false alarms
    last = int(np.flatnonzero(gap <= 0)[-1])
    after = min(last + 1, len(gap) - 1)
    share = 0.0 if gap[after] == gap[last] else -gap[last] / (gap[after] - gap[last])
    rate = let_in[last] + share * (let_in[after] - let_in[last])
    return {"auc": float(auc(let_in, found)), "eer": float(rate), "threshold": float(thresholds[after])}


def _interval(value, resampled: Sequence[float] | np.ndarray) -> Interval:
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return {"mean": float(value), "low": float(low), "high": float(high)}
