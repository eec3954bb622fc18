"""The schema of `results.json`, and how it is read. In: results of an evaluation. Out: their scores, by readable names."""

import importlib.metadata
import platform
from collections.abc import Mapping

import torch

from mvfer.evaluation.metrics import METRICS

# Of the results; 2 added k-NN, top-2, AUROC, calibration, fairness, leakage, and audits on request; 3 weights and mistakes.
SCHEMA_VERSION = 3
PACKAGES = ("torch", "transformers", "datasets", "numpy", "scikit-learn")
TESTS = ("zero_shot", "knn", "linear_probe", "fine_tuned")
MULTILABEL_TESTS = ("multilabel_probe", "every_label")
TRANSFER_TESTS = {
    "zero_shot": "zero-shot",
    "zero_shot_normalised": "zero-shot, normalised",
    "linear_probe": "linear probe",
    "classification": "fine-tuned",
}


def environment() -> dict[str, str]:
    """Versions of what made the numbers."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"python": platform.python_version(), "platform": platform.platform(), "device": device, **versions}


def table(results: dict) -> str:
    """The main numbers as lines of text, one per test."""
    lines = [f"{'accuracy on ' + results['data']['name']:<44}  mean   95 % interval"]
    for name, value in accuracies(results).items():
        lines.append(f"{name:<44} {value['mean']:6.3f}  [{value['low']:.3f}, {value['high']:.3f}]")
    lines.append(f"{'chance':<44} {results['chance']:6.3f}")
    return "\n".join(lines)


def accuracies(results: dict) -> dict[str, dict[str, float]]:
    """Every accuracy of the results under a readable name, in the order of the report."""
    return {name: scores["accuracy"] for name, scores in scores_by_test(results).items()}


def scores_by_test(results: dict) -> dict[str, dict]:
    """The scores of every test under a readable name, in the order of the report."""
    test = main_test(results)
    words = TRANSFER_TESTS[test]
    found = {
        words: results[test],
        "nearest neighbours": results.get("knn"),
        "linear probe": results.get("linear_probe"),
    }
    if "wise_ft" in results:
        found["before fine-tuning (zero-shot)"] = results["wise_ft"]["zero_shot"]["classification"]
        found["after fine-tuning, not mixed"] = results["wise_ft"]["fine_tuned"]["classification"]
    found[f"{words}, half of each view covered"] = results[f"{test}_half_occluded"]
    found[f"{words}, the same half of all covered"] = results[f"{test}_same_half_occluded"]
    found = {name: value for name, value in found.items() if value}
    found |= {f"{words}, {view} view only": value for view, value in results[f"{test}_by_view"].items()}
    for data, tests in results["transfer"].items():
        found |= {f"{TRANSFER_TESTS[test]} on {data}": value for test, value in tests.items() if value}
    return found


def main_test(results: Mapping) -> str:
    """The key of the scores that the results are about: of prompts, or of a fine-tuned head."""
    return "zero_shot" if "zero_shot" in results else "classification"


def brief(scored: dict) -> dict:
    """The scores and counts alone."""
    return {key: scored[key] for key in (*METRICS, "top_2", "auroc", "num_scans", "num_subjects") if key in scored}


def tables_of(results: dict) -> dict[str, dict]:
    """Protocol name to its results, of one protocol or of all; empty if the results are of no protocol."""
    if "protocol" in results:
        return {results["protocol"]["name"]: results}
    return results.get("tables", {})


def scores_of(results: Mapping) -> dict[str, dict]:
    """Of the results of one protocol: readable name of a test to its scores, in the order of the report."""
    return {test.replace("_", " "): results[test] for test in (*TESTS, *MULTILABEL_TESTS) if results.get(test)}


def main_scores(results: Mapping) -> Mapping:
    """Of all views together: zero-shot, or a fine-tuned classifier's."""
    return results[main_test(results)]
