"""When to leave a scan to people: risk against coverage, the threshold of abstention, and sets that hold the truth.

In go confidences or probabilities with labels; out come curves, thresholds and sets. Thresholds and quantiles come from the
validation subjects and are reported on the tested ones.
"""

import math

import numpy as np


def risk_coverage(confidences: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The curve of selective classification: answer the most confident scans first.

    Args:
        confidences (`(n,)`), correct (`(n,)` bool). Scans of equal confidence are answered together.
    Returns:
        coverage (`(m,)`), risk (`(m,)`): share of scans that are answered, and of wrong answers among these.
    Source:
        El-Yaniv & Wiener 2010, On the Foundations of Noise-free Selective Classification, JMLR 11.
    """
    order = np.argsort(-np.asarray(confidences), kind="stable")
    ranked, wrong = np.asarray(confidences)[order], ~np.asarray(correct, dtype=bool)[order]
    last = np.flatnonzero(np.r_[np.diff(ranked) < 0, True])  # of every run of equal confidences
    return (last + 1) / len(ranked), wrong.cumsum()[last] / (last + 1)


def area_under_risk_coverage(confidences: np.ndarray, correct: np.ndarray) -> float:
    """Mean risk over all coverages (AURC): 0 is perfect; the error rate itself where confidence says nothing.

    Source:
        Geifman, Uziel & El-Yaniv 2019, Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers, arXiv:1805.08206.
        Differs: scans of equal confidence share the risk of their group.
    """
    coverage, risk = risk_coverage(confidences, correct)
    return float((np.diff(coverage, prepend=0.0) * risk).sum())


def choose_threshold(confidences: np.ndarray, correct: np.ndarray, *, target_accuracy: float) -> float | None:
    """The lowest confidence from which on the answers reach the target accuracy, on the validation subjects.

    Returns:
        `float`: abstain below it; 0 if answering everything is good enough; `None` if no threshold is.
    Raises:
        ValueError: if the target is not in (0, 1] or there are no scans.
    """
    if not 0 < target_accuracy <= 1 or len(confidences) == 0:
        raise ValueError(
            f"expected a target accuracy in (0, 1] and scans, got {target_accuracy} and {len(confidences)}"
        )
    coverage, risk = risk_coverage(confidences, correct)
    good = np.flatnonzero(1 - risk >= target_accuracy)
    if not len(good):
        return None
    answered = round(coverage[good[-1]] * len(confidences))
    if answered == len(confidences):
        return 0.0
    ranked = np.sort(confidences)[::-1]
    return float((ranked[answered - 1] + ranked[answered]) / 2)


def conformal_quantile(probabilities: np.ndarray, labels: np.ndarray, *, error_rate: float = 0.1) -> float:
    """The least probability that a class must have to enter the set, from held-out (validation) scans.

    With n scans exchangeable with a new one, sets of all classes at or above it hold the new scan's class with a
    probability of at least 1 - error_rate, whatever the model. Scans of one person are not independent: over few subjects the
    coverage varies more than over as many independent scans.

    Args:
        probabilities (`(n, K)`), labels (`(n,)`).
    Returns:
        `float`; 0 (every class enters) if there are too few scans for this error rate.
    Source:
        Sadinle, Lei & Wasserman 2019, Least Ambiguous Set-Valued Classifiers with Bounded Error Levels, arXiv:1609.00451;
        split conformal with the finite-sample quantile of Vovk et al. 2005, Algorithmic Learning in a Random World.
    """
    n = len(labels)
    if not 0 < error_rate < 1 or n == 0:
        raise ValueError(f"expected an error rate between 0 and 1 and scans, got {error_rate} and {n}")
    allowed = math.floor((n + 1) * error_rate)  # so many of the held-out truths may stay outside
    if allowed < 1:
        return 0.0
    return float(np.sort(probabilities[np.arange(n), labels])[allowed - 1])


def conformal_sets(probabilities: np.ndarray, quantile: float) -> np.ndarray:
    """Which classes enter each scan's set: `(n, K)` bool. A set may be empty: no class is likely enough."""
    return np.asarray(probabilities) >= quantile
