"""Scores of action units: is each seen, on which side, and how strongly. In: evidence and the rows' units. Out: numbers.

A row of a data set tells its units if anybody coded them; rows without coding, and units that a set never shows, are not
judged: what is unknown is no negative. Calibration is fitted on validation people alone. Intervals resample people.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from modeling_mvfer.actions_mvfer import ActionEvidence, ActionReader, ActionScores
from mvfer.data.schema import as_dict
from mvfer.evaluation.embeddings import SplitFeatures
from mvfer.evaluation.metrics import bootstrap_mean, interval_of, resample
from processing.facs_phrases_mvfer import RELAXED_PHRASES

ACTIVE = 0.15  # FACS intensity A, a trace: what is weaker cannot be seen, and captions do not tell it
MEASURES = ("auc", "f1", "balanced_accuracy", "icc")
NO_SIDE, LEFT, RIGHT, BOTH = -1, 0, 1, 2
RELAXED = {phrase for phrases in RELAXED_PHRASES.values() for phrase in phrases}


@dataclass(frozen=True)
class UnitTargets:
    """What rows say of `U` units.

    Attributes:
        units (`U` names), subjects (`n` strings).
        intensities (`(n, U)`): of the stronger side, 0 if absent; NaN where nobody coded the row, or the set never shows the
            unit.
        sides (`(n, U)`): `LEFT` or `RIGHT` alone, `BOTH`, or `NO_SIDE` where it is not seen.
    """

    units: list[str]
    subjects: list[str]
    intensities: np.ndarray
    sides: np.ndarray

    @property
    def seen(self) -> np.ndarray:
        """`(n, U)` bool; false where unknown."""
        return np.nan_to_num(self.intensities) >= ACTIVE

    @property
    def known(self) -> np.ndarray:
        """`(n, U)` bool."""
        return np.isfinite(self.intensities)


def unit_targets(rows, units: Sequence[str]) -> UnitTargets:
    """The units of a split (`datasets.Dataset`). A row without units is known to be at rest if a caption says so."""
    intensities, sides = [], []
    for listed, captions in zip(rows["action_units"], rows["captions"], strict=True):
        found = as_dict(listed or ())
        if not found and not RELAXED & set(captions or ()):
            intensities.append([np.nan] * len(units))
            sides.append([NO_SIDE] * len(units))
            continue
        both, left, right = ([found.get(unit + side, 0.0) for unit in units] for side in ("", "L", "R"))
        intensities.append(np.max([both, left, right], axis=0))
        sides.append([_side(*values) for values in zip(both, left, right, strict=True)])
    values = np.array(intensities, dtype=float).reshape(-1, len(units))
    shown = np.nan_to_num(values).max(0, initial=0) >= ACTIVE
    values[:, ~shown] = np.nan
    return UnitTargets(list(units), list(map(str, rows["subject"])), values, np.array(sides).reshape(-1, len(units)))


def _side(both: float, left: float, right: float) -> int:
    if max(both, left, right) < ACTIVE:
        return NO_SIDE
    if both >= ACTIVE or min(left, right) >= ACTIVE:
        return BOTH
    return LEFT if left > right else RIGHT


def evidence_of(reader: ActionReader, features: SplitFeatures) -> ActionEvidence:
    """What the model says of the units of `n` scans, `(n, U)` each."""
    device = reader.model.device
    embeds, sides = (torch.from_numpy(values).to(device) for values in (features.image_embeds, features.sides))
    return ActionEvidence(*(values.cpu() for values in reader.evidence(embeds, sides)))


def score_units(reader: ActionReader, features: SplitFeatures, rows, *, seed: int) -> dict | None:
    """`score_actions` of rows (`datasets.Dataset`) and their features."""
    return score_actions(reader, features, unit_targets(rows, reader.units), seed=seed)


def score_actions(reader: ActionReader, features: SplitFeatures, targets: UnitTargets, *, seed: int) -> dict | None:
    """Scores of every unit that the rows show, and their means with intervals.

    Returns:
        `dict`: mean (of auc, f1, balanced_accuracy and icc, each `{"mean", "low", "high"}`), per_unit (unit to phrase, auc
            with its
        interval, f1, balanced_accuracy, icc, count), side_right (the share of one-sided actions whose side is told right; `None`
        without any), sides (unit to share and count), not_judged (units that the rows never show, or always), calibrated,
        num_scans, num_subjects. `None` if nobody coded the rows.
    """
    if not judged_units(targets):
        return None
    evidence = evidence_of(reader, features)
    scores = ActionScores(*(values.numpy() for values in reader.decide(evidence)[:4]))
    found = score_decisions(
        evidence.logits.numpy(), scores.seen, targets, reader.phrases, scores.intensities, seed=seed
    )
    return found and found | _side_scores(reader, scores, targets, seed=seed) | {
        "calibrated": reader.calibration is not None
    }


def score_decisions(
    logits: np.ndarray,
    found: np.ndarray,
    targets: UnitTargets,
    phrases: Mapping[str, Sequence[str]],
    intensities: np.ndarray | None = None,
    *,
    seed: int,
) -> dict | None:
    """`score_actions` of whatever tells units, without their sides.

    Args:
        logits (`(n, U)`): higher where a unit is likelier. found (`(n, U)` bool): whether it was called seen.
        phrases: of every unit, the first one is shown. intensities (`(n, U)`, *optional*): as they were told.
    """
    judged = judged_units(targets)
    if not judged:
        return None
    _, owner = np.unique(np.array(targets.subjects), return_inverse=True)
    draws = resample(owner, seed=seed)
    measured = {column: _measure(logits, found, intensities, targets, column, owner, draws) for column in judged}
    per_unit = {
        targets.units[column]: {
            "phrase": phrases[targets.units[column]][0],
            "auc": interval_of(one["auc"]),
            **{name: float(one[name][0]) if name in one else None for name in MEASURES[1:]},
            "count": int(targets.seen[:, column].sum()),
        }
        for column, one in measured.items()
    }
    coded = np.flatnonzero(targets.known.any(1)).tolist()
    return {
        "mean": {name: _mean_over_units(name, list(measured.values())) for name in MEASURES},
        "per_unit": per_unit,
        "side_right": None,
        "sides": {},
        "not_judged": [unit for column, unit in enumerate(targets.units) if column not in measured],
        "calibrated": False,
        "num_scans": len(coded),
        "num_subjects": len({targets.subjects[row] for row in coded}),
    }


def judged_units(targets: UnitTargets) -> list[int]:
    """The columns of units that some rows show and others do not."""
    return np.flatnonzero((targets.seen.sum(0) > 0) & ((targets.known & ~targets.seen).sum(0) > 0)).tolist()


def _measure(
    logits: np.ndarray,
    called: np.ndarray,
    intensities: np.ndarray | None,
    targets: UnitTargets,
    column: int,
    owner: np.ndarray,
    draws: np.ndarray,
) -> dict[str, np.ndarray]:
    """`MEASURES` of one unit for every draw of people, `(1 + R,)` each; without icc where the rows tell of no grades.

    All of them follow from sums over each person's scans; so no draw looks at the scans again.
    """
    rows, people = np.flatnonzero(targets.known[:, column]), draws.shape[1]
    seen, found = targets.seen[rows, column], called[rows, column]
    kinds = np.stack([seen & found, ~seen & found, seen & ~found, ~seen & ~found], -1)
    hits, false, missed, rejected = (draws @ _sums(kinds, owner[rows], people)).T
    won = won_pairs(logits[rows, column], seen, owner[rows], people)
    positives, negatives = (draws @ _sums(np.stack([seen, ~seen], -1), owner[rows], people)).T
    measures = {
        "auc": _ratio(((draws @ won) * draws).sum(-1), positives * negatives),
        "f1": _ratio(2 * hits, 2 * hits + false + missed),
        "balanced_accuracy": (_ratio(hits, positives) + _ratio(rejected, negatives)) / 2,
    }
    truth = targets.intensities[rows, column]
    if intensities is not None and len(np.unique(truth[seen])) > 1:
        told = intensities[rows, column]
        measures["icc"] = icc_of_sums(draws @ _sums(_moments(truth, told), owner[rows], people))
    return measures


def won_pairs(scores: np.ndarray, positive: np.ndarray, owner: np.ndarray, people: int) -> np.ndarray:
    """Pairs of a positive scan of one person and a negative one of another in which the positive scores higher; ties count half.

    Args:
        scores, positive, owner (`(n,)`): of each scan its score, whether it is positive, and whose it is, 0 to `people` - 1.
    Returns:
        `(S, S)`: with people counted w times each, w' A w over the number of pairs is the area under the ROC curve.
    """
    won = np.zeros((people, people))
    for person in range(people):
        low = np.sort(scores[~positive & (owner == person)])
        below = (np.searchsorted(low, scores[positive], "left") + np.searchsorted(low, scores[positive], "right")) / 2
        won[:, person] = np.bincount(owner[positive], below, minlength=people)
    return won


def icc(first: np.ndarray, second: np.ndarray) -> float:
    """Intraclass correlation of what two raters say of `n` scans, ICC(3,1): consistency, whatever a constant difference.

    Returns:
        `float`: 1 if they differ by a constant, 0 or less if they have nothing in common; NaN if neither varies.
    Source:
        Shrout & Fleiss 1979, "Intraclass correlations: uses in assessing rater reliability". For two raters, (BMS - EMS) /
        (BMS + EMS) is twice their covariance over the sum of their variances.
    """
    return float(icc_of_sums(_moments(first, second).sum(0)))


def icc_of_sums(sums: np.ndarray) -> np.ndarray:
    """`icc` from sums over scans `(..., 5)`: of 1, x, y, x^2 + y^2 and x y; returns `(...)`."""
    count, x, y, squares, products = np.moveaxis(sums, -1, 0)
    count = np.maximum(count, 1)
    return _ratio(2 * (products - x * y / count), squares - (x**2 + y**2) / count)


def _moments(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(x), x, y, x**2 + y**2, x * y], -1).astype(float)


def _sums(values: np.ndarray, owner: np.ndarray, people: int) -> np.ndarray:
    """`(n, C)` to `(S, C)`: over each person's scans."""
    return np.stack([np.bincount(owner, column, minlength=people) for column in values.T.astype(float)], -1)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """NaN where there is nothing to divide by: a draw without such scans."""
    return np.where(whole > 1e-9, part / np.where(whole > 1e-9, whole, 1), np.nan)


def _mean_over_units(name: str, measured: Sequence[dict[str, np.ndarray]]) -> dict | None:
    """Over the units that a resample shows; `None` if no unit has it."""
    values = np.stack([one[name] for one in measured if name in one] or [np.full(1, np.nan)])
    known = np.isfinite(values)
    if not known[:, 0].any():
        return None
    means = np.where(known, values, 0).sum(0) / np.maximum(known.sum(0), 1)
    return interval_of(np.where(known.any(0), means, np.nan))


def _side_scores(reader: ActionReader, scores: ActionScores, targets: UnitTargets, *, seed: int) -> dict:
    """Of actions that are seen on one side alone, the share whose side is the likelier one of the two."""
    right, who, per_unit = [], [], {}
    for column, unit in enumerate(targets.units):
        rows = np.flatnonzero((targets.sides[:, column] == LEFT) | (targets.sides[:, column] == RIGHT))
        if not len(rows) or not reader.has_sides(unit):
            continue
        told = np.where(scores.sides[rows, column, 0] > scores.sides[rows, column, 1], LEFT, RIGHT)
        hits = told == targets.sides[rows, column]
        per_unit[unit] = {"side_right": float(hits.mean()), "count": len(rows)}
        right += hits.tolist()
        who += [targets.subjects[row] for row in rows]
    return {"side_right": bootstrap_mean(right, who, seed=seed) if right else None, "sides": per_unit}
