"""Do scores mean what they say, and when is a scan left to people: temperature, threshold of abstention, conformal sets.

In: logits `(n, K)`, or probabilities, with labels `(n,)`. Out: numbers, curves, sets, and one dict for `results.json`, whose
temperature and threshold the model folder keeps. They are fitted on validation subjects and reported on the tested ones:
`fit_temperature` is told who is tested, and refuses to see them.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from mvfer.evaluation.classifiers import Predictions
from mvfer.evaluation.metrics import bootstrap_mean

NUM_BINS = 15
TEMPERATURES = (0.02, 50.0)  # the range that is searched
ERROR_RATE = 0.1  # of the conformal sets
CURVE_POINTS = 20


def calibrate(
    validation: Predictions,
    tested: Predictions,
    *,
    target_accuracy: float,
    seed: int,
    choose_limits: Callable[[np.ndarray, np.ndarray], tuple[float | None, float]] | None = None,
    far: np.ndarray | None = None,
) -> dict:
    """Fit on the validation scans, report on the tested ones.

    Args:
        choose_limits (*optional*): from confidences and which answers are right, `(n,)` of the validation scans, to abstain_below
            and unlike_above; default by the confidences alone. far (`(n,)`, *optional*): distances of the tested scans.
    Returns:
        `dict`: fitted_on (numbers of scans and subjects), temperature, target_accuracy, abstain_below (`None` if no threshold
        reaches the target on the validation scans), unlike_above; on the tested scans uncalibrated and calibrated (ece,
        ece_adaptive, brier, log_loss), reliability (rows of the diagram), abstention (coverage, accuracy of the answers),
        risk_coverage (area, coverage, risk), conformal (error_rate, least_probability, coverage, size). `not_calibrated`,
        the reason, is the only key if the validation scans do not allow it, as when tested subjects are among them.
    """
    try:
        temperature = fit_temperature(
            validation.logits, validation.labels, validation.subjects, tested_subjects=tested.subjects
        )
    except ValueError as error:
        return {"not_calibrated": str(error)}
    held_out = softmax(validation.logits / temperature, axis=1)
    sure, right = held_out.max(1), held_out.argmax(1) == validation.labels
    if choose_limits is None:
        threshold, largest = choose_threshold_for_accuracy(sure, right, target_accuracy=target_accuracy), None
    else:
        threshold, largest = choose_limits(sure, right)
    quantile = conformal_quantile(held_out, validation.labels, error_rate=ERROR_RATE)

    probabilities = softmax(tested.logits / temperature, axis=1)
    confidences, correct = probabilities.max(1), probabilities.argmax(1) == tested.labels
    return {
        "fitted_on": {"num_scans": len(validation.labels), "num_subjects": len(set(validation.subjects))},
        "temperature": temperature,
        "target_accuracy": target_accuracy,
        "abstain_below": threshold,
        "unlike_above": largest,
        "uncalibrated": calibration_scores(tested.logits, tested.labels),
        "calibrated": calibration_scores(tested.logits, tested.labels, temperature=temperature),
        "reliability": reliability(confidences, correct),
        "abstention": _abstention(confidences, correct, tested.subjects, threshold, seed, near=_near(far, largest)),
        "risk_coverage": _curve(confidences, correct),
        "conformal": _conformal(probabilities, tested, quantile, seed),
    }


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


def choose_threshold_for_accuracy(
    confidences: np.ndarray, correct: np.ndarray, *, target_accuracy: float
) -> float | None:
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


def _near(far: np.ndarray | None, largest: float | None) -> np.ndarray | bool:
    return True if far is None or largest is None else far <= largest


def _abstention(confidences, correct, subjects, threshold: float | None, seed: int, *, near) -> dict | None:
    """What is answered of the tested scans, of those that are near the known ones, and how well; `None` without a threshold."""
    if threshold is None:
        return None
    answered = (confidences >= threshold) & near
    accuracy = np.where(answered, correct, np.nan)
    return {
        "coverage": bootstrap_mean(answered, subjects, seed=seed),
        "accuracy": bootstrap_mean(accuracy, subjects, seed=seed) if answered.any() else None,
    }


def _curve(confidences, correct) -> dict:
    """The area under the risk-coverage curve, and some of its points."""
    coverage, risk = risk_coverage(confidences, correct)
    points = np.unique(np.linspace(0, len(coverage) - 1, CURVE_POINTS).round().astype(int))
    return {
        "area": area_under_risk_coverage(confidences, correct),
        "coverage": coverage[points].tolist(),
        "risk": risk[points].tolist(),
    }


def _conformal(probabilities, tested: Predictions, quantile: float, seed: int) -> dict:
    sets = conformal_sets(probabilities, quantile)
    return {
        "error_rate": ERROR_RATE,
        "least_probability": quantile,
        "coverage": bootstrap_mean(sets[np.arange(len(sets)), tested.labels], tested.subjects, seed=seed),
        "size": bootstrap_mean(sets.sum(1), tested.subjects, seed=seed),
    }
