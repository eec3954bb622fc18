"""The proof of concept that a company needs before it invests: `mvfer poc`.

In go a model, a data set with labels, and prices. Out come `poc.json` and a two-page `poc.html`: how many labelled people are
needed, what training and predictions cost on this machine, what the model saves beside people deciding every case, and a
recommendation with its uncertainty. The classifier is a linear probe on frozen embeddings: minutes to fit, on a CPU.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from mvfer.data.schema import load_splits
from mvfer.evaluation.embeddings import SplitFeatures, embed_split
from mvfer.evaluation.probes import fit_linear_probe
from mvfer.evaluation.results import environment
from mvfer.reports.pages import LEGAL
from mvfer.studies.benefit import Prices, choose_threshold, cost_of_policies, recommend
from mvfer.studies.costs import Cost, measure
from mvfer.studies.learning_curve import LearningCurve, foretell, measure_learning_curve, subjects_needed


@dataclass(frozen=True)
class Plan:
    """What the user knows and wants.

    Attributes:
        prices: of an unnoticed error and of a person's review, in any one currency.
        cases, fixed_cost: how many cases are expected, and what the project costs once.
        target: the accuracy to reach.
        watts: the machine's power under load, where it does not count its energy.
        draws, seed: of the learning curve and all intervals.
    """

    prices: Prices
    cases: float
    fixed_cost: float = 0.0
    target: float = 0.9
    watts: float = 65.0
    draws: int = 6
    seed: int = 0

    def __post_init__(self):
        if self.cases <= 0 or self.fixed_cost < 0 or not 0 < self.target < 1 or self.watts <= 0 or self.draws < 2:
            raise ValueError(
                "expected cases and watts above 0, fixed_cost of 0 or more, target between 0 and 1 and 2 draws or more, got "
                f"cases {self.cases:g}, watts {self.watts:g}, fixed_cost {self.fixed_cost:g}, target {self.target:g}, "
                f"draws {self.draws}"
            )


def proof_of_concept(model, processor, dataset_dir: str | Path, plan: Plan, *, meshes: Sequence[str] = ()) -> dict:
    """Everything that the report says, ready for JSON.

    Args:
        model (`MVFERModel`), processor (`MVFERProcessor`), dataset_dir: a folder of a `build_*` script, with labels.
        meshes: files, of which reading and rendering is timed as well.
    Raises:
        ValueError: if a split is missing or has too few labelled subjects.
    """
    splits = load_splits(dataset_dir)
    missing = {"train", "validation", "test"} - set(splits)
    if missing:
        raise ValueError(f"{dataset_dir}: expected splits train, validation and test, lacks {sorted(missing)}")

    def embed(name: str) -> SplitFeatures:
        return _labelled(embed_split(model, processor.image_processor, splits[name]))

    def fit():
        return fit_linear_probe(train.image_embeds, train.labels, validation.image_embeds, validation.labels)

    train, embedding = measure(lambda: embed("train"), watts=plan.watts)
    validation = embed("validation")
    test, predicting = measure(lambda: embed("test"), watts=plan.watts)
    curve = measure_learning_curve(
        (train.image_embeds, train.labels, train.subjects),
        (validation.image_embeds, validation.labels),
        (test.image_embeds, test.labels, test.subjects),
        draws=plan.draws,
        seed=plan.seed,
        progress=lambda fits: tqdm(fits, desc="learning curve", unit="fit", disable=None),
    )
    (probe, _), fitting = measure(fit, watts=plan.watts)
    have = int(curve.sizes[-1])
    needed = subjects_needed(curve, plan.target, seed=plan.seed)
    benefit = _benefit(probe, validation, test, plan)
    word, reason = recommend(
        benefit["per_1000_cases"]["saving"], plan.fixed_cost, plan.cases, needed, have, plan.target
    )
    size = max(needed["mean"] or have, have)
    return {
        "schema": 1,
        "recommendation": {"verdict": word, "reason": reason},
        "learning_curve": _curve(curve, size, plan) | {"subjects_needed": needed},
        "cost": {
            "training": _sum(embedding, fitting).as_dict(),
            "training_at_target_size": _sum(embedding, fitting).scaled(size / have).as_dict() | {"subjects": size},
            "per_1000_predictions": predicting.scaled(1000 / len(test.labels)).as_dict(),
            "reading_and_rendering_1000_meshes": _rendering(processor, meshes, plan.watts),
        },
        "benefit": benefit,
        "plan": asdict(plan),
        "data": {"name": Path(dataset_dir).name, "training_subjects": have, "test_subjects": len(curve.scans)},
        "environment": environment(),
        "legal": f"{LEGAL} No saving outweighs that: settle it first.",
    }


def _curve(curve: LearningCurve, size: int, plan: Plan) -> dict:
    accuracies = [1 - wrong.sum(1) / curve.scans.sum() for wrong in curve.wrong]
    ahead = sorted({int(n) for n in np.geomspace(curve.sizes[0], max(size, 2 * curve.sizes[-1]), 24).round()})
    return {
        "subjects": curve.sizes.tolist(),
        "accuracy": [float(values.mean()) for values in accuracies],
        "single_draws": [values.tolist() for values in accuracies],
        "foretold_subjects": ahead,
        "foretold": foretell(curve, ahead, seed=plan.seed),
    }


def _benefit(probe, validation: SplitFeatures, test: SplitFeatures, plan: Plan) -> dict:
    """The threshold is chosen on validation subjects, what it is worth is measured on test subjects."""
    threshold = choose_threshold(*_answers(probe, validation), plan.prices)
    confidence, right = _answers(probe, test)
    costs = cost_of_policies(confidence, right, test.subjects, threshold=threshold, prices=plan.prices, seed=plan.seed)
    return {"threshold": threshold, "accuracy_without_people": float(right.mean()), "per_1000_cases": costs}


def _answers(probe, features: SplitFeatures) -> tuple[np.ndarray, np.ndarray]:
    """How sure the probe is of each scan, and whether it is right."""
    probabilities = probe.predict_proba(features.image_embeds)
    return probabilities.max(1), probe.classes_[probabilities.argmax(1)] == features.labels


def _rendering(processor, meshes: Sequence[str], watts: float) -> dict | None:
    if not meshes:
        return None
    processor(meshes=list(meshes[:1]), return_tensors="pt")  # the first call compiles
    _, cost = measure(lambda: [processor(meshes=[mesh], return_tensors="pt") for mesh in meshes], watts=watts)
    return cost.scaled(1000 / len(meshes)).as_dict()


def _sum(first: Cost, second: Cost) -> Cost:
    return Cost(
        first.seconds + second.seconds,
        max(first.memory_mib, second.memory_mib),
        first.joules + second.joules,
        first.energy_source,
    )


def _labelled(features: SplitFeatures) -> SplitFeatures:
    rows = np.flatnonzero(features.labels >= 0)
    return SplitFeatures(
        image_embeds=features.image_embeds[rows],
        by_view={},
        half_occluded=None,
        same_half_occluded=None,
        labels=features.labels[rows],
        subjects=[features.subjects[row] for row in rows],
        ids=[features.ids[row] for row in rows],
    )
