"""The proof of concept that a company needs before it invests: `mvfer poc`.

In go a model, a data set with labels, and prices. Out come `poc.json` and a two-page `poc.html`: how many labelled people are
needed, what training and predictions cost on this machine, what the model saves beside people deciding every case, and a
recommendation with its uncertainty. The classifier is a linear probe on frozen embeddings: minutes to fit, on a CPU.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from dataset_scripts.schema import load_splits
from evaluation.benefit import Prices, choose_threshold, cost_of_policies, recommend
from evaluation.costs import Cost, measure
from evaluation.evaluate import environment
from evaluation.features import SplitFeatures, embed_split
from evaluation.learning_curve import LearningCurve, foretell, measure_learning_curve, subjects_needed
from evaluation.linear_probe import fit_linear_probe
from evaluation.pages import LEGAL


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


def main(argv: list[str] | None = None) -> int:
    """`mvfer poc`: write `poc.json` and `poc.html`, print the recommendation."""
    args = parser().parse_args(argv)
    plan = Plan(
        prices=Prices(args.cost_per_error, args.cost_per_review, args.review_error_rate),
        cases=args.cases,
        fixed_cost=args.fixed_cost,
        target=args.target,
        watts=args.watts,
        draws=args.draws,
        seed=args.seed,
    )
    from transformers.utils.logging import disable_progress_bar

    from evaluation.poc_report import poc_page
    from modeling_mvfer.hub import load_run  # which imports the evaluation

    disable_progress_bar()
    model, processor = load_run(args.model, needs_texts=True)
    found = proof_of_concept(model, processor, args.dataset, plan, meshes=args.meshes)
    found["command"] = "mvfer poc " + shlex.join(sys.argv[2:] if argv is None else argv)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "poc.json").write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "poc.html").write_text(poc_page(found), encoding="utf-8")
    print(f"{found['recommendation']['verdict']}: {found['recommendation']['reason']}")
    print(f"wrote poc.json and poc.html to {out}")
    return 0


def parser(**options) -> argparse.ArgumentParser:
    """The flags of `mvfer poc`."""
    flags = argparse.ArgumentParser(
        prog="mvfer poc",
        description="Is it worth it? Labelled people needed, cost on this machine, and what is saved beside people deciding "
        "every case, with intervals and a recommendation.",
        epilog="example (prices in euros, 50,000 cases a year):\n  mvfer poc --model runs/first --dataset data/own "
        "--cost_per_error 40 --cost_per_review 2.5 --cases 50000 --fixed_cost 30000 --out poc",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,
    )
    add = flags.add_argument
    add("--model", required=True, metavar="DIR", help="folder of a run, or a repository on the Hub")
    add("--dataset", required=True, metavar="DIR", help="folder written by dataset_scripts.build_*, with labels")
    add("--out", required=True, metavar="DIR", help="folder for poc.json and poc.html")
    add("--cost_per_error", type=float, required=True, help="what a wrong answer costs that nobody notices")
    add("--cost_per_review", type=float, required=True, help="what it costs that a person decides a case")
    add("--review_error_rate", type=float, default=0.0, help="share of wrong answers of people (default: 0)")
    add("--cases", type=float, default=1000.0, help="how many cases are expected (default: 1000)")
    add("--fixed_cost", type=float, default=0.0, help="what the project costs once (default: 0)")
    add("--target", type=float, default=0.9, help="accuracy to reach (default: 0.9)")
    add("--watts", type=float, default=65.0, help="power of the machine, if it does not count energy (default: 65)")
    add("--meshes", nargs="+", default=[], metavar="MESH", help="also time reading and rendering of these files")
    add("--draws", type=int, default=6, help="choices of people per point of the learning curve (default: 6)")
    add("--seed", type=int, default=0)
    return flags
