"""Two kinds told apart by a score: receiver operating characteristic, its area, and the equal error rate, with intervals.

In: scores, which are of the positive kind, and how to weigh each under a resample of subjects. Out: numbers with a 95 %
interval. Scans of one person resemble each other, so subjects are resampled, never single scans.
"""

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.metrics import auc, roc_curve

NUM_RESAMPLES = 200


def area_and_equal_error(
    scores: np.ndarray, positive: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, float]:
    """Area under the curve, and the rate at which as many positives are missed as negatives are let in.

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


def resampled(
    subjects: Sequence[str], measure: Callable[[dict[str, int]], dict[str, float]], *, seed: int
) -> dict[str, dict[str, float]]:
    """Numbers with their 95 % interval, by resampling subjects with replacement.

    Args:
        subjects: whom the scans show; each counts once.
        measure: given how often each subject was drawn (once each: the estimate), numbers by name. A draw that it cannot
            measure (ValueError) is left out.
    Returns:
        name to `{"mean", "low", "high"}`, as in `mvfer.evaluation.metrics`: the estimate and the 2.5th and 97.5th percentile.
    """
    names = sorted(set(subjects))
    estimate, rng, draws = measure(dict.fromkeys(names, 1)), np.random.default_rng(seed), []
    for _ in range(NUM_RESAMPLES):
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)))
        try:
            draws.append(measure(dict(zip(names, counts.tolist(), strict=True))))
        except ValueError:
            continue
    found = {}
    for name, value in estimate.items():
        low, high = np.percentile([draw[name] for draw in draws], [2.5, 97.5]) if draws else (value, value)
        found[name] = {"mean": value, "low": float(low), "high": float(high)}
    return found
