"""The proof of concept that a company needs before it invests: `mvfer poc`.

In: a model, a data set with labels, and prices. Out: what `poc.json` and a two-page `poc.html` say: how many labelled people are
needed, what training and predictions cost on this machine, what errors and reviews cost with the model, without it, and with a
person for the uncertain cases, and a recommendation with its uncertainty. The classifier is a linear probe on frozen
embeddings: minutes to fit, on a CPU.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil

from mvfer.evaluation.embeddings import SplitFeatures, embed_split
from mvfer.evaluation.evaluate import open_splits
from mvfer.evaluation.metrics import bootstrap_mean
from mvfer.evaluation.probes import fit_linear_probe
from mvfer.evaluation.results import environment
from mvfer.progress import progress_bar
from mvfer.reports.pages import LEGAL
from mvfer.studies.learning_curve import LearningCurve, extrapolate, measure_learning_curve, subjects_needed

COUNTERS = Path("/sys/class/powercap")  # of the energy that the processor has used
Result = TypeVar("Result")


@dataclass(frozen=True)
class Prices:
    """What things cost, in any one currency.

    Attributes:
        error: a wrong answer that nobody noticed.
        review: a case that a person decides.
        review_error_rate: share of wrong answers that people give; 0: never wrong.
    """

    error: float
    review: float
    review_error_rate: float = 0.0

    def __post_init__(self):
        if min(self.error, self.review) < 0 or not 0 <= self.review_error_rate <= 1:
            raise ValueError(f"expected prices of 0 or more and a rate in [0, 1], got {self}")

    @property
    def by_person(self) -> float:
        """A case that a person decides, the person's errors included."""
        return self.review + self.review_error_rate * self.error


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
        ValueError: if a split is missing, shows other channels than the model reads, or has too few labelled subjects.
    """
    splits = open_splits(dataset_dir, "test", processor)

    def embed(name: str) -> SplitFeatures:
        features = embed_split(model, processor.image_processor, splits[name])
        return features.select(np.flatnonzero(features.labels >= 0))

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
        progress=lambda fits: progress_bar(fits, what="learning curve", unit="fit"),
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
            "training": asdict(embedding + fitting),
            "training_at_target_size": asdict((embedding + fitting).scaled(size / have)) | {"subjects": size},
            "per_1000_predictions": asdict(predicting.scaled(1000 / len(test.labels))),
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
        "foretold": extrapolate(curve, ahead, seed=plan.seed),
    }


def _benefit(probe, validation: SplitFeatures, test: SplitFeatures, plan: Plan) -> dict:
    """The threshold is chosen on validation subjects, what it is worth is measured on test subjects."""
    threshold = choose_threshold_for_cost(*_answers(probe, validation), plan.prices)
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
    return asdict(cost.scaled(1000 / len(meshes)))


def choose_threshold_for_cost(confidence: np.ndarray, right: np.ndarray, prices: Prices) -> float:
    """The confidence below which a person should decide, for the least cost.

    Args:
        confidence (`(n,)`): the highest class probability of each validation scan; right (`(n,)`, bool).
    Returns:
        `float`: 0 keeps everything automatic, a number above 1 gives everything to people. Of equal costs the lowest.
    """
    order = np.argsort(-confidence)
    automatic = np.arange(len(confidence) + 1)  # the k most confident cases are automatic
    errors = np.concatenate([[0], np.cumsum(~right[order])])
    costs = errors * prices.error + (len(confidence) - automatic) * prices.by_person
    ranked = confidence[order]
    between = np.append(ranked, -1.0)[1:] < ranked  # equal confidences fall on the same side
    allowed = np.concatenate([[True], between])
    most = int(np.flatnonzero(allowed & (costs <= costs[allowed].min() + 1e-12))[-1])
    if most == len(confidence):
        return 0.0
    return float((ranked[most - 1] + ranked[most]) / 2) if most else float(np.nextafter(1.0, 2.0))


def cost_of_policies(
    confidence: np.ndarray,
    right: np.ndarray,
    subjects: Sequence[str],
    *,
    threshold: float,
    prices: Prices,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """What 1,000 cases cost, `{"mean", "low", "high"}` (95 %, subjects resampled).

    Args:
        confidence, right (`(n,)`), subjects (`n` strings): test scans.
        threshold: from `choose_threshold_for_cost`, on other subjects.
    Returns:
        `dict`: all_by_people, all_automatic, with_threshold, saving (all_by_people - with_threshold), and per 1,000 cases the
        numbers errors, reviews and errors_avoided (those of the automatic cases that the threshold gave to people and
        that would have been wrong).
    """
    automatic = confidence >= threshold
    wrong = ~np.asarray(right, dtype=bool)
    per_case = {
        "all_by_people": np.full(len(wrong), prices.by_person),
        "all_automatic": wrong * prices.error,
        "with_threshold": np.where(automatic, wrong * prices.error, prices.by_person),
        "errors": np.where(automatic, wrong, prices.review_error_rate),
        "reviews": ~automatic,
        "errors_avoided": ~automatic * (wrong - prices.review_error_rate),
    }
    per_case["saving"] = per_case["all_by_people"] - per_case["with_threshold"]
    return {name: bootstrap_mean(1000.0 * values, subjects, seed=seed) for name, values in per_case.items()}


def recommend(saving: dict, fixed_cost: float, cases: float, needed: dict, have: int, target: float) -> tuple[str, str]:
    """A verdict (`go`, `collect more`, `stop`) and its reason in a sentence.

    Args:
        saving: per 1,000 cases, from `cost_of_policies`; fixed_cost: what the project costs once; cases: how many are expected.
        needed: labelled subjects for the target accuracy, from `subjects_needed`; have: how many there are.
    """
    low, high = (saving[edge] * cases / 1000 - fixed_cost for edge in ("low", "high"))
    if low > 0:
        return "go", f"Even the low end of the interval pays: {low:,.0f} saved over {cases:,.0f} cases."
    if high <= 0:
        return "stop", f"Even the high end of the interval does not pay: {high:,.0f} over {cases:,.0f} cases."
    if needed["mean"] is not None and needed["mean"] > have:
        return (
            "collect more",
            f"The saving lies between {low:,.0f} and {high:,.0f}; about {needed['mean']:,} labelled subjects (now {have:,}) "
            f"should bring {target:.0%} accuracy.",
        )
    return "collect more", f"The saving lies between {low:,.0f} and {high:,.0f}: more test subjects would tell."


@dataclass(frozen=True)
class Cost:
    """Seconds of wall time, memory in use at the end in MiB, energy in joules and where that number comes from."""

    seconds: float
    memory_mib: float
    joules: float
    energy_source: str

    def scaled(self, factor: float) -> "Cost":
        """The same work that many times over: time and energy grow, memory does not."""
        return Cost(self.seconds * factor, self.memory_mib, self.joules * factor, self.energy_source)

    def __add__(self, other: "Cost") -> "Cost":
        """One after the other."""
        memory = max(self.memory_mib, other.memory_mib)
        return Cost(self.seconds + other.seconds, memory, self.joules + other.joules, self.energy_source)


def measure(run: Callable[[], Result], *, watts: float) -> tuple[Result, Cost]:
    """Run once and say what it took.

    Args:
        run: called without arguments.
        watts: the machine's power under load, for machines whose processor does not count energy (or not for everyone).
    Returns:
        `(what run returned, Cost)`: joules from the processor's own counter (RAPL) if readable, else seconds * watts.
    """
    before, start = _counted_joules(), time.perf_counter()
    result = run()
    seconds, after = time.perf_counter() - start, _counted_joules()
    memory = psutil.Process().memory_info().rss / 2**20
    if before is not None and after is not None and after > before:  # a counter that ran over is not used
        return result, Cost(seconds, memory, after - before, "processor's counter (RAPL)")
    return result, Cost(seconds, memory, seconds * watts, f"{watts:g} W times the seconds")


def _counted_joules() -> float | None:
    """Energy that all processor packages have used so far; `None` if they do not say."""
    try:
        packages = [path for path in COUNTERS.glob("intel-rapl:*") if path.name.count(":") == 1]
        return sum(int((path / "energy_uj").read_text()) for path in packages) / 1e6 if packages else None
    except OSError:
        return None
