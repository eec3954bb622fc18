"""The schema of `results.json`, and how it is read. In: results of an evaluation. Out: their scores, by readable names."""

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch

from mvfer.evaluation.metrics import METRICS

SCHEMA_VERSION = 4
PACKAGES = ("torch", "transformers", "datasets", "numpy", "scikit-learn")
KINDS = {"zero_shot": "zero-shot", "classification": "fine-tuned"}  # of tests, in words
UNITS = "units"  # the kind of a test of a head that tells action units, see `unit_head`
TRANSFER_TESTS = KINDS | {"zero_shot_normalised": "zero-shot, normalised", "linear_probe": "linear probe"}
TESTS = ("zero_shot", "knn", "linear_probe", "fine_tuned")  # of a protocol
MULTILABEL_TESTS = ("multilabel_probe", "every_label")
VIEWS = ("by_view", "half_occluded", "same_half_occluded")
# Schema 3 and earlier called the scores by their kind: `zero_shot`, `zero_shot_by_view`, ...
RENAMED = {kind: {kind: "test", **{f"{kind}_{name}": name for name in VIEWS}} for kind in KINDS}


class Interval(TypedDict):
    """A number with its 95 % interval; subjects are resampled."""

    mean: float
    low: float
    high: float


class Scores(TypedDict):
    """One test: macro-averages with intervals, what was counted."""

    accuracy: Interval
    balanced_accuracy: Interval
    macro_f1: Interval
    top_2: NotRequired[Interval]
    auroc: NotRequired[Interval | None]
    per_class: NotRequired[dict[str, dict[str, float]]]
    num_scans: int
    num_subjects: int


class ConfusionMatrix(TypedDict):
    """K labels, and K lists of K counts; rows are true."""

    labels: list[str]
    counts: list[list[int]]


class ActionResults(TypedDict):
    """Action units on one set of scans; `None` where there is nothing of the kind."""

    mean: dict[str, Interval | None]  # over the judged units: auc, f1, balanced_accuracy, icc
    per_unit: dict[str, dict[str, Any]]
    side_right: Interval | None  # share of one-sided actions
    sides: dict[str, dict[str, float]]
    not_judged: list[str]  # units that are not shown, or always
    calibrated: bool
    num_scans: int
    num_subjects: int


class Familiarity(TypedDict):
    """What becomes of the scans of the tested set ("test") and of sets of another origin, by name."""

    calibrated_on: list[str]  # further sets
    sets: dict[str, dict[str, Any]]  # unlike, answered, accuracy, resting_misnamed: intervals; told_apart: a number


class Leakage(TypedDict):
    """Sentences: what was checked, what could not be, and what was found."""

    checked: list[str]
    not_checked: list[str]
    found: list[str]


class Results(TypedDict):
    """What `evaluate` writes. Findings of audits stand beside these under their names in `AUDITS`."""

    schema_version: int
    kind: str  # of KINDS: by prompts, or by a fine-tuned head
    test: Scores  # all views
    by_view: dict[str, Scores]  # the model given one view
    half_occluded: Scores  # every view covered on a side of its own
    same_half_occluded: Scores  # all views covered on the same side
    knn: NotRequired[Scores | None]
    linear_probe: NotRequired[Scores | None]
    confusion_matrix: ConfusionMatrix
    calibration: dict[str, Any]
    familiarity: NotRequired[Familiarity | None]
    actions: NotRequired[dict[str, ActionResults | None]]  # "test", and data sets of another origin
    leakage: Leakage
    by_baseline: NotRequired[dict[str, dict[str, Scores]]]  # data set, then how many of a person's own scans were given
    transfer: dict[str, dict[str, Scores | None]]  # data set, then a key of TRANSFER_TESTS
    chance: float
    supervision: list[str]
    prompt_kinds: NotRequired[list[str]]
    language: NotRequired[str]
    prompts: NotRequired[dict[str, list[str]]]
    split: str
    seed: int
    data: dict[str, Any]
    render_settings: dict[str, Any] | None
    command: str
    environment: dict[str, str]


def read_results(path: str | Path) -> dict[str, Any]:
    """The results in a file, those of earlier versions under today's names.

    Raises:
        ValueError: if it holds no results; OSError: if it cannot be read.
    """
    try:
        results = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: no JSON ({error}); give a results.json that mvfer evaluate wrote") from error
    if not isinstance(results, dict):
        raise ValueError(f"{path}: expected an object of results; give a results.json that mvfer evaluate wrote")
    return renamed(results)


def renamed(results: Mapping) -> dict[str, Any]:
    """Results of any schema under today's names; those of a protocol keep theirs."""
    if "kind" in results or "protocol" in results or "tables" in results:
        return dict(results)
    kind = next((kind for kind in KINDS if kind in results), None)
    names = RENAMED[kind] if kind else {}
    return ({"kind": kind} if kind else {}) | {names.get(key, key): value for key, value in results.items()}


def environment() -> dict[str, str]:
    """Versions of what made the numbers."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"python": platform.python_version(), "platform": platform.platform(), "device": device, **versions}


def table(results: dict) -> str:
    """The main numbers as lines of text, one per test; of action units, one per unit."""
    if results["kind"] == UNITS:
        return "\n\n".join(_units_table(name, one) for name, one in results["actions"].items())
    lines = [f"{'accuracy on ' + results['data']['name']:<44}  mean   95 % interval"]
    for name, value in accuracies(results).items():
        lines.append(f"{name:<44} {value['mean']:6.3f}  [{value['low']:.3f}, {value['high']:.3f}]")
    lines.append(f"{'chance':<44} {results['chance']:6.3f}")
    return "\n".join(lines)


def _units_table(name: str, found: Mapping) -> str:
    mean = found["mean"]["auc"]
    lines = [f"{'units, ' + name:<44}    AUC     F1  balanced accuracy"]
    lines += [
        f"{unit + ' ' + one['phrase']:<44} {one['auc']['mean']:6.3f} {one['f1']:6.3f} {one['balanced_accuracy']:6.3f}"
        for unit, one in found["per_unit"].items()
    ]
    lines.append(f"{'mean':<44} {mean['mean']:6.3f}  [{mean['low']:.3f}, {mean['high']:.3f}]")
    return "\n".join(lines)


def accuracies(results: Mapping) -> dict[str, dict[str, float]]:
    """Every accuracy of the results under a readable name, in the order of the report."""
    return {name: scores["accuracy"] for name, scores in scores_by_test(results).items()}


def scores_by_test(results: Mapping) -> dict[str, dict]:
    """The scores of every test under a readable name, in the order of the report; of action units, which have others, none."""
    if results["kind"] == UNITS:
        return {}
    words = KINDS[results["kind"]]
    found = {
        words: results["test"],
        "nearest neighbours": results.get("knn"),
        "linear probe": results.get("linear_probe"),
    }
    if "wise_ft" in results:
        found["before fine-tuning (zero-shot)"] = results["wise_ft"]["zero_shot"]["classification"]
        found["after fine-tuning, not mixed"] = results["wise_ft"]["fine_tuned"]["classification"]
    found[f"{words}, half of each view covered"] = results["half_occluded"]
    found[f"{words}, the same half of all covered"] = results["same_half_occluded"]
    found = {name: value for name, value in found.items() if value}
    found |= {f"{words}, {view} view only": value for view, value in results["by_view"].items()}
    for data, tests in results["transfer"].items():
        found |= {f"{TRANSFER_TESTS[test]} on {data}": value for test, value in tests.items() if value}
    for data, counts in results.get("by_baseline", {}).items():
        found |= {f"{words} on {data}, {_baseline_words(count)}": scores for count, scores in counts.items()}
    return found


def _baseline_words(count: str) -> str:
    known = {
        "0": "no baseline",
        "all": "beside all own scans",
        "rest": "beside one at rest",
        "scanner": "beside others'",
    }
    own = count.removeprefix("scanner+")
    return known.get(own, f"beside {own} own scans") + (" and others'" if own != count else "")


def summary(scored: dict) -> dict:
    """The scores and counts alone."""
    return {key: scored[key] for key in (*METRICS, "top_2", "auroc", "num_scans", "num_subjects") if key in scored}


def tables_of(results: Mapping) -> dict[str, Mapping]:
    """Protocol name to its results, of one protocol or of all; empty if the results are of no protocol."""
    if "protocol" in results:
        return {results["protocol"]["name"]: results}
    return results.get("tables", {})


def scores_of(results: Mapping) -> dict[str, dict]:
    """Of the results of one protocol: readable name of a test to its scores, in the order of the report."""
    return {test.replace("_", " "): results[test] for test in (*TESTS, *MULTILABEL_TESTS) if results.get(test)}
