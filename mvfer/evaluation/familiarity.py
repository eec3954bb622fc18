"""When is a scan left to people: too little sure of it, or unlike what the model was calibrated on.

In: features and predictions of validation people, also of heads and scanners that the model never learnt from. Out: the
statistic and both limits, which the model folder keeps, and how well they do on the tested people and on transfer sets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from modeling_mvfer.configuration_mvfer import Familiarity
from modeling_mvfer.familiarity_mvfer import distances, fit_familiarity
from mvfer.data.schema import dataset_info, load_splits
from mvfer.evaluation.audits.calibration import calibrate, choose_threshold_for_accuracy
from mvfer.evaluation.audits.leakage import subject_keys
from mvfer.evaluation.classifiers import Predictions, SplitClassifier
from mvfer.evaluation.embeddings import SplitFeatures, embed_split
from mvfer.evaluation.metrics import bootstrap_mean
from mvfer.evaluation.mvfer_metrics.scores import auroc

ROWS_PER_DIMENSION = 4  # fewer training scans do not tell in which directions of feature space scans differ
LIKE_SHARE = 0.95  # of known people's scans that count as known, at most: among the rest, most mistakes are
CANDIDATES = 20
RESTING = "neutral"


@dataclass(frozen=True)
class Held:
    """Validation people of one data set.

    Attributes:
        name: of the set. learnt: whether the model learnt from other people of it.
        features: of the validation scans; train: features `(n, D)` of the training scans, if learnt.
        predictions: of the validation scans of known classes.
    """

    name: str
    learnt: bool
    features: SplitFeatures
    predictions: Predictions
    train: np.ndarray | None = None


def further_sets(
    model, processor, classifier: SplitClassifier, folders: Sequence[str | Path], seen: Mapping | None, **options
) -> list[Held]:
    """Validation people of further data sets, among the classes of `classifier`; `options` are of `embed_split`.

    Raises:
        ValueError: if a folder lacks training or validation people, or none of them shows a class.
    """
    found = []
    for folder in folders:
        splits, info, name = load_splits(folder), dataset_info(folder), Path(folder).name
        for split in {"train", "validation"} - set(splits):
            raise ValueError(f"{folder}: expected a split {split!r}, found {sorted(splits)}; build the data set again")
        learnt = bool(subject_keys(info, splits["train"]["subject"]) & set((seen or {}).get("trained_on", ())))
        features = embed_split(model, processor.image_processor, splits["validation"], **options)
        predictions = classifier.known(classifier.predictions(_only_named(features, classifier), features.image_embeds))
        if not len(predictions.rows):
            raise ValueError(f"{folder}: its validation people show none of {classifier.names}; leave it out")
        train = embed_split(model, processor.image_processor, splits["train"], **options).features if learnt else None
        found.append(Held(name, learnt, features, predictions, train))
    return found


def _only_named(features: SplitFeatures, classifier: SplitClassifier) -> SplitFeatures:
    known = [label >= 0 and classifier.label_names[label] in classifier.names for label in features.labels]
    return replace(features, labels=np.where(known, features.labels, -1))


def fit_statistic(train: np.ndarray, held: Sequence[Held]) -> Familiarity | None:
    """What known scans have in common; `None` if there are too few of them."""
    rows = np.concatenate([train, *(one.train for one in held if one.train is not None)])
    return fit_familiarity(torch.from_numpy(rows)) if len(rows) >= ROWS_PER_DIMENSION * rows.shape[1] else None


def distances_of(features: np.ndarray, familiarity: Familiarity) -> np.ndarray:
    """`(n, D)` to `(n,)`."""
    return distances(torch.from_numpy(features), familiarity).numpy()


def pooled(held: Sequence[Held]) -> Predictions:
    """The predictions of several sets as one; people are told apart by their set too, but those of the first."""
    return Predictions(
        np.concatenate([one.predictions.rows for one in held]),
        np.concatenate([one.predictions.logits for one in held]),
        np.concatenate([one.predictions.labels for one in held]),
        [
            subject if place == 0 else f"{one.name}/{subject}"
            for place, one in enumerate(held)
            for subject in one.predictions.subjects
        ],
    )


def choose_limits(
    confidences: np.ndarray,
    correct: np.ndarray,
    far: np.ndarray,
    families: Sequence[str],
    learnt: np.ndarray,
    *,
    target_accuracy: float,
) -> tuple[float | None, float]:
    """The least confidence and the largest distance of an answer, so that answers reach the target accuracy.

    Every family counts the same, as if it were met as often as any other.

    Args:
        confidences, correct, far, learnt (`(n,)`): of validation scans, their distances, and whether their family was learnt.
        families (`n` strings): which heads or scanner each shows.
    Returns:
        abstain_below (`None` if no limits reach the target) and unlike_above: of the pairs that do, the one that answers most.
        Without a family that was not learnt nothing is known of strangers: unlike_above leaves `LIKE_SHARE` of the scans.
    """
    widest = float(np.quantile(far[learnt], LIKE_SHARE))
    if learnt.all():
        near = far <= widest
        return choose_threshold_for_accuracy(confidences[near], correct[near], target_accuracy=target_accuracy), widest
    names, of_family = np.unique(np.array(families), return_inverse=True)
    weights = 1 / (len(names) * np.bincount(of_family)[of_family])  # (n,), sum 1
    best, limits = 0.0, (None, widest)
    for largest in np.quantile(far[learnt], np.linspace(LIKE_SHARE, LIKE_SHARE / CANDIDATES, CANDIDATES)):
        for least in np.r_[0.0, np.quantile(confidences, np.linspace(0, 1, 2 * CANDIDATES, endpoint=False)[1:])]:
            answered = (far <= largest) & (confidences >= least)
            share, right = weights[answered].sum(), weights[answered & correct].sum()
            if share > best and right >= target_accuracy * share:
                best, limits = share, (float(least), float(largest))
    return limits


def answers(
    predictions: Predictions, names: Sequence[str], calibration: Mapping, far: np.ndarray | None, *, seed: int
) -> dict:
    """What is answered of some people's scans, how well, and what becomes of faces at rest.

    Args:
        predictions: of classes `names`. calibration: `results["calibration"]`. far (`(n,)`, *optional*): distances.
    Returns:
        `dict` of `{"mean", "low", "high"}`: unlike, answered; accuracy (`None` without answers); resting_misnamed, the share of
        resting faces that are called something else without abstaining (`None` without such faces).
    """
    confidences = softmax(predictions.logits / calibration["temperature"], axis=1).max(1)
    correct, subjects = predictions.predicted == predictions.labels, predictions.subjects
    limit = (calibration.get("familiarity") or {}).get("unlike_above")
    strange = np.zeros(len(correct), dtype=bool) if far is None or limit is None else far > limit
    answered = ~strange & (confidences >= (calibration["abstain_below"] or 0))
    resting = np.array([names[label] == RESTING for label in predictions.labels])
    misnamed = np.where(resting, answered & ~correct, np.nan)

    def mean(values) -> dict | None:
        return bootstrap_mean(values, subjects, seed=seed) if np.isfinite(values).any() else None

    return {
        "unlike": mean(strange),
        "answered": mean(answered),
        "accuracy": mean(np.where(answered, correct, np.nan)),
        "resting_misnamed": mean(misnamed),
    }


def told_apart(known: np.ndarray, others: np.ndarray) -> float:
    """The chance that a scan of others is farther than a known one: the area under the ROC curve of distances."""
    far = np.concatenate([known, others])
    return float(auroc(np.stack([-far, far], 1), np.repeat([0, 1], [len(known), len(others)])))


class Calibrator:
    """Temperature, threshold and limit of distance of one classifier, fitted once and asked about several sets.

    Args:
        train (`(n, D)`): features of the training scans; `None`: nothing of them is to be kept, so nobody is told apart.
        held: validation people, first those of the tested data set.
        target_accuracy, seed: as in `evaluate`.
    """

    def __init__(self, train: np.ndarray | None, held: Sequence[Held], *, target_accuracy: float, seed: int):
        self.held, self.target_accuracy, self.seed = list(held), target_accuracy, seed
        self.familiarity = None if train is None else fit_statistic(train, self.held)

    def calibrate(self, tested: Predictions, features: SplitFeatures) -> dict:
        """`calibrate` on all validation people, and what the model folder keeps of familiarity."""
        options: dict[str, Any] = {"target_accuracy": self.target_accuracy, "seed": self.seed}
        if self.familiarity is not None:
            options |= {"choose_limits": self._choose_limits, "far": self._far(features)[tested.rows]}
        found = calibrate(pooled(self.held), tested, **options)
        largest = found.pop("unlike_above", None)
        if self.familiarity is not None and largest is not None:
            found["familiarity"] = asdict(replace(self.familiarity, unlike_above=largest))
        return found

    def _choose_limits(self, confidences: np.ndarray, correct: np.ndarray) -> tuple[float | None, float]:
        far = [self._far(one.features)[one.predictions.rows] for one in self.held]
        counts = [len(rows) for rows in far]
        names, learnt = [one.name for one in self.held], [one.learnt for one in self.held]
        return choose_limits(
            confidences,
            correct,
            np.concatenate(far),
            np.repeat(names, counts).tolist(),
            np.repeat(learnt, counts),
            target_accuracy=self.target_accuracy,
        )

    def _far(self, features: SplitFeatures) -> np.ndarray:
        return distances_of(features.features, self.familiarity)  # type: ignore[arg-type]  # asked only where it is known

    def answers(self, classifier: SplitClassifier, features: SplitFeatures, calibration: Mapping) -> dict | None:
        """`answers` about the classes of a set, and the distance of each scan; `None` if nothing was calibrated."""
        if "temperature" not in calibration:
            return None
        shown = classifier.known(classifier.predictions(_only_named(features, classifier), features.image_embeds))
        if not len(shown.rows):
            return None
        far = None if self.familiarity is None else self._far(features)
        found = answers(shown, classifier.names, calibration, None if far is None else far[shown.rows], seed=self.seed)
        return found | {"distance": far}

    def summary(self, answered: Mapping[str, dict | None]) -> dict | None:
        """What becomes of the scans of the tested and the transfer sets; told_apart: how well distance tells these apart."""
        known = {name: dict(one) for name, one in answered.items() if one}
        if not known:
            return None
        far = {name: one.pop("distance") for name, one in known.items()}
        for name, one in known.items():
            is_other = name != "test" and far[name] is not None
            one["told_apart"] = told_apart(far["test"], far[name]) if is_other else None
        return {"calibrated_on": [one.name for one in self.held[1:]], "sets": known}
