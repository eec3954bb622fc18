"""Action units whose scores mean what they say: fitted on validation people, stored with the model.

In: the evidence of validation scans and their units. Out: the numbers of `ActionCalibration`. Probabilities follow the logit by
Platt's sigmoid, intensities by another, fitted by least squares; so both rise with it. Units of which the validation people
show too little share what is fitted on all units together.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax
from sklearn.metrics import precision_recall_curve

from modeling_mvfer.actions_mvfer import UNCALIBRATED, ActionEvidence, ActionReader
from modeling_mvfer.configuration_mvfer import ActionCalibration
from modeling_mvfer.zeroshot_mvfer import prompts_key
from mvfer.evaluation.actions import NO_SIDE, UnitTargets, evidence_of, unit_targets
from mvfer.evaluation.embeddings import SplitFeatures

FEWEST_SCANS, FEWEST_PEOPLE = 10, 3  # that show a unit, for a fit of its own
FEWEST_ONE_SIDED = 10  # scans, of all units together
STEEPEST = 20.0
DIGITS = 4


def calibrate_units(reader: ActionReader, validation: SplitFeatures, rows, calibration: dict) -> ActionReader:
    """The reader with its units calibrated on validation rows (`datasets.Dataset`); `calibration` keeps the numbers as "actions".

    Where the rows tell no units, the reader is returned as it is.
    """
    targets = unit_targets(rows, reader.units)
    found = fit_actions(reader, evidence_of(reader, validation), targets)
    if found is None or "temperature" not in calibration:
        return reader
    calibration["actions"] = found
    return replace(reader, calibration=ActionCalibration(found["phrases_key"], found["units"]), warning=None)


def fit_actions(reader: ActionReader, evidence: ActionEvidence, targets: UnitTargets) -> dict | None:
    """The calibration of a reader's units.

    Args:
        reader: of the phrases. evidence, targets: of the validation scans, `(n, U)`.
    Returns:
        `dict` of the fields of `ActionCalibration`; `None` if no unit is shown by enough people.
    """
    logits, phrase_lean, view_lean = (values.double().numpy() for values in evidence)
    known, seen = targets.known, targets.seen
    people = np.array(targets.subjects)
    enough = [
        len(np.flatnonzero(of_unit)) >= FEWEST_SCANS and len(set(people[of_unit])) >= FEWEST_PEOPLE
        for of_unit in seen.T
    ]
    if not any(enough):
        return None
    together = known & np.array(enough)
    on_all = _presence(logits[together], seen[together], targets.intensities[together])
    sided = np.array([reader.has_sides(unit) for unit in targets.units])
    leans, sides = np.stack([phrase_lean, view_lean], -1), targets.sides
    of_all = seen & sided
    side_on_all = np.array(UNCALIBRATED[5:])
    if (sides[of_all] < 2).sum() >= FEWEST_ONE_SIDED:
        side_on_all = _side(leans[of_all], sides[of_all], side_on_all)
    units = {}
    for column, unit in enumerate(targets.units):
        rows = known[:, column]
        own = enough[column] and not seen[rows, column].all()
        numbers = (
            _presence(logits[rows, column], seen[rows, column], targets.intensities[rows, column]) if own else on_all
        )
        if sided[column]:
            shown = seen[:, column] & (sides[:, column] != NO_SIDE)
            numbers = [*numbers, *_side(leans[shown, column], sides[shown, column], side_on_all)]
        units[unit] = [round(float(number), DIGITS) for number in numbers]
    return {"phrases_key": prompts_key(reader.phrases), "units": units}


def _presence(logits: np.ndarray, seen: np.ndarray, intensities: np.ndarray) -> list[float]:
    """Slope and offset of the probability, slope and offset of the intensity, and the probability that tells units best.

    Source:
        Platt 1999, "Probabilistic Outputs for Support Vector Machines", with his targets that are not quite 0 and 1.
    """
    positives, negatives = seen.sum(), (~seen).sum()
    wanted = np.where(seen, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(numbers: np.ndarray) -> float:
        scores = numbers[0] * logits + numbers[1]
        return -(wanted * log_expit(scores) + (1 - wanted) * log_expit(-scores)).mean()

    def error(numbers: np.ndarray) -> float:
        return np.square(expit(numbers[0] * logits + numbers[1]) - intensities).mean()

    start = _minimum(loss, [1.0, 0.0], [(0, STEEPEST), (None, None)])
    graded = _minimum(error, start, [(0, STEEPEST), (None, None)])
    return [*start, *graded, _best_threshold(expit(start[0] * logits + start[1]), seen)]


def _best_threshold(probabilities: np.ndarray, seen: np.ndarray) -> float:
    """The probability from which on a unit is called seen with the largest F1."""
    precision, recall, thresholds = precision_recall_curve(seen, probabilities)
    scores = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[scores[:-1].argmax()])


def _side(leans: np.ndarray, sides: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Weights of phrases and views, and the logit of "both": the likeliest, drawn towards `prior` as if by one more scan.

    Left and right mirror each other, so they share all numbers.
    """
    if not len(sides):
        return prior

    def loss(numbers: np.ndarray) -> float:
        lean = leans @ numbers[:2]
        logits = np.stack([lean, -lean, np.full_like(lean, numbers[2])], -1)
        told = log_softmax(logits, axis=-1)[np.arange(len(sides)), sides]
        return np.square(numbers - prior).sum() - told.sum()

    return np.array(_minimum(loss, prior, [(0, STEEPEST), (0, STEEPEST), (-STEEPEST, STEEPEST)]))


def _minimum(loss: Callable[[np.ndarray], float], start, bounds) -> list[float]:
    return minimize(loss, np.asarray(start, dtype=float), bounds=bounds, method="L-BFGS-B").x.tolist()
