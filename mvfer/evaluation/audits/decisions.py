"""From scores to decisions: the temperature, the threshold of abstention and the conformal sets of one model.

In go logits of validation scans, on which everything is fitted, and of tested scans, on which it is reported; out comes one
dict for `results.json`, whose temperature and threshold the model folder keeps.
"""

import numpy as np
from scipy.special import softmax

from mvfer.evaluation.audits.abstention import (
    area_under_risk_coverage,
    choose_threshold,
    conformal_quantile,
    conformal_sets,
    risk_coverage,
)
from mvfer.evaluation.audits.calibration import calibration_scores, fit_temperature, reliability
from mvfer.evaluation.classifiers import Answers
from mvfer.evaluation.metrics import bootstrap_mean

ERROR_RATE = 0.1  # of the conformal sets
CURVE_POINTS = 20


def calibrate(validation: Answers, tested: Answers, *, target_accuracy: float, seed: int) -> dict:
    """Fit on the validation scans, report on the tested ones.

    Returns:
        `dict`: fitted_on (numbers of scans and subjects), temperature, target_accuracy, abstain_below (`None` if no threshold
        reaches the target on the validation scans); on the tested scans uncalibrated and calibrated (ece, ece_adaptive, brier,
        log_loss), reliability (rows of the diagram), abstention (coverage, accuracy of the answers), risk_coverage (area,
        coverage, risk), conformal (error_rate, least_probability, coverage, size). `not_calibrated`, the reason, is the only
        key if the validation scans do not allow it, as when tested subjects are among them.
    """
    try:
        temperature = fit_temperature(
            validation.logits, validation.labels, validation.subjects, tested_subjects=tested.subjects
        )
    except ValueError as error:
        return {"not_calibrated": str(error)}
    held_out = softmax(validation.logits / temperature, axis=1)
    threshold = choose_threshold(
        held_out.max(1), held_out.argmax(1) == validation.labels, target_accuracy=target_accuracy
    )
    quantile = conformal_quantile(held_out, validation.labels, error_rate=ERROR_RATE)

    probabilities = softmax(tested.logits / temperature, axis=1)
    confidences, correct = probabilities.max(1), probabilities.argmax(1) == tested.labels
    return {
        "fitted_on": {"num_scans": len(validation.labels), "num_subjects": len(set(validation.subjects))},
        "temperature": temperature,
        "target_accuracy": target_accuracy,
        "abstain_below": threshold,
        "uncalibrated": calibration_scores(tested.logits, tested.labels),
        "calibrated": calibration_scores(tested.logits, tested.labels, temperature=temperature),
        "reliability": reliability(confidences, correct),
        "abstention": _abstention(confidences, correct, tested.subjects, threshold, seed),
        "risk_coverage": _curve(confidences, correct),
        "conformal": _conformal(probabilities, tested, quantile, seed),
    }


def _abstention(confidences, correct, subjects, threshold: float | None, seed: int) -> dict | None:
    """What is answered of the tested scans, and how well; `None` without a threshold."""
    if threshold is None:
        return None
    answered = confidences >= threshold
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


def _conformal(probabilities, tested: Answers, quantile: float, seed: int) -> dict:
    sets = conformal_sets(probabilities, quantile)
    return {
        "error_rate": ERROR_RATE,
        "least_probability": quantile,
        "coverage": bootstrap_mean(sets[np.arange(len(sets)), tested.labels], tested.subjects, seed=seed),
        "size": bootstrap_mean(sets.sum(1), tested.subjects, seed=seed),
    }
