"""Do scores mean what they say? Calibration error, Brier score, and the temperature that mends them.

In go logits `(n, K)` or probabilities with labels `(n,)`; out come numbers. The temperature is fitted on validation subjects
only: `fit_temperature` is told who is tested, and refuses to see them.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

NUM_BINS = 15
TEMPERATURES = (0.02, 50.0)  # the range that is searched


def expected_calibration_error(
    confidences: np.ndarray, correct: np.ndarray, *, num_bins: int = NUM_BINS, adaptive: bool = False
) -> float:
    """Mean distance between confidence and accuracy over bins, weighted by their scans: ECE.

    Args:
        confidences (`(n,)` in [0, 1]): of the predicted class; correct (`(n,)` bool).
        adaptive (`bool`): bins of equal numbers of scans instead of equal width.
    Source:
        Naeini et al. 2015, Obtaining Well Calibrated Probabilities Using Bayesian Binning; Guo et al. 2017, On Calibration of
        Modern Neural Networks, eq. 3, arXiv:1706.04599. Adaptive: Nguyen & O'Connor 2015, arXiv:1508.05154.
    """
    rows = reliability(confidences, correct, num_bins=num_bins, adaptive=adaptive)
    return sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in rows) / len(confidences)


def reliability(
    confidences: np.ndarray, correct: np.ndarray, *, num_bins: int = NUM_BINS, adaptive: bool = False
) -> list[dict[str, float]]:
    """The reliability diagram: confidence, accuracy and count of every bin that holds a scan, least confident first.

    Raises:
        ValueError: if the shapes differ, there are no scans, or a confidence lies outside 0 to 1.
    """
    confidences, correct = np.asarray(confidences, dtype=float), np.asarray(correct, dtype=bool)
    if confidences.shape != correct.shape or confidences.ndim != 1 or not len(correct):
        raise ValueError(f"expected one confidence per answer, got {confidences.shape} and {correct.shape}")
    if not ((confidences >= 0) & (confidences <= 1 + 1e-6)).all():
        raise ValueError(f"expected confidences in 0..1, got {confidences.min()}..{confidences.max()}")
    if adaptive:
        parts = np.array_split(np.argsort(confidences, kind="stable"), min(num_bins, len(confidences)))
    else:
        bins = np.clip(np.ceil(confidences * num_bins).astype(int) - 1, 0, num_bins - 1)  # (low, high]
        parts = [np.flatnonzero(bins == index) for index in range(num_bins)]
    return [
        {
            "confidence": float(confidences[part].mean()),
            "accuracy": float(correct[part].mean()),
            "count": len(part),
        }
        for part in parts
        if len(part)
    ]


def brier_scores(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Squared distance between the probabilities `(n, K)` and the truth, `(n,)`, from 0 to 2: Brier 1950, eq. 2."""
    return np.square(probabilities - np.eye(probabilities.shape[1])[labels]).sum(1)


def log_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Negative log likelihood of every scan, `(n,)`, from logits `(n, K)`."""
    return -log_softmax(np.asarray(logits, dtype=float), axis=1)[np.arange(len(labels)), labels]


def fit_temperature(
    logits: np.ndarray, labels: np.ndarray, subjects: Sequence[str], *, tested_subjects: Iterable[str] = ()
) -> float:
    """The temperature T > 0 for which softmax(logits / T) is the likeliest: one number, which changes no decision.

    Args:
        logits (`(n, K)`), labels (`(n,)`), subjects (`n` strings): of the validation subjects.
        tested_subjects: who is tested; none of them may be among `subjects`.
    Raises:
        ValueError: if a subject is fitted and tested, or there is nothing to fit on.
    Source:
        Guo et al. 2017, sec. 4.2, arXiv:1706.04599.
    """
    shared = sorted(set(subjects) & set(tested_subjects))
    if shared:
        raise ValueError(
            f"the temperature must not be fitted on tested subjects; {len(shared)} are in both ({', '.join(shared[:3])})"
        )
    if len(labels) == 0 or len(np.unique(labels)) < 2:
        raise ValueError("a temperature needs labelled validation scans of two or more classes")
    logits = np.asarray(logits, dtype=float)
    low, high = np.log(TEMPERATURES)
    found = minimize_scalar(
        lambda log_t: log_losses(logits / np.exp(log_t), labels).mean(), bounds=(low, high), method="bounded"
    )
    return float(np.exp(found.x))


def calibration_scores(logits: np.ndarray, labels: np.ndarray, *, temperature: float = 1.0) -> dict[str, float]:
    """ECE (both kinds of bins), Brier score and log loss of softmax(logits / temperature)."""
    logits = np.asarray(logits, dtype=float) / temperature
    probabilities = softmax(logits, axis=1)
    confidences, correct = probabilities.max(1), probabilities.argmax(1) == labels
    return {
        "ece": expected_calibration_error(confidences, correct),
        "ece_adaptive": expected_calibration_error(confidences, correct, adaptive=True),
        "brier": float(brier_scores(probabilities, labels).mean()),
        "log_loss": float(log_losses(logits, labels).mean()),
    }
