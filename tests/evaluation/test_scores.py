import evaluate
import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
    top_k_accuracy_score,
)

import mvfer.evaluation.mvfer_metrics
from mvfer.evaluation import metrics
from mvfer.evaluation.mvfer_metrics import scores

FOLDER = mvfer.evaluation.mvfer_metrics.__path__[0]


def made_up(seed, n=90, classes=5, digits=None):
    """Labels with every class, and probabilities that know something of them; with few digits there are ties."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(classes, size=n - classes)])
    logits = rng.standard_normal((n, classes)) + 1.2 * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return labels, probabilities if digits is None else probabilities.round(digits)


@pytest.mark.parametrize("seed", range(5))
def test_all_scores_agree_with_scikit_learn(seed):
    labels, probabilities = made_up(seed)
    predicted = probabilities.argmax(1)
    subjects = [str(i % 7) for i in range(len(labels))]
    found = metrics.score(labels, predicted, subjects, list("abcde"), seed=0, scores=probabilities)
    expected = {
        "accuracy": accuracy_score(labels, predicted),
        "balanced_accuracy": balanced_accuracy_score(labels, predicted),
        "macro_f1": f1_score(labels, predicted, average="macro"),
        "top_2": top_k_accuracy_score(labels, probabilities, k=2),
        "auroc": roc_auc_score(labels, probabilities, multi_class="ovr", average="macro"),
    }
    assert {name: found[name]["mean"] for name in expected} == pytest.approx(expected, abs=1e-9)
    for name, slow in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        per_class = [values[name] for values in found["per_class"].values()]
        np.testing.assert_allclose(per_class, slow(labels, predicted, average=None, zero_division=0), atol=1e-9)


def test_ties_count_half_in_the_auroc():
    labels, probabilities = made_up(0, digits=1)
    slow = np.mean([roc_auc_score(labels == k, probabilities[:, k]) for k in range(5)])
    assert scores.auroc(probabilities, labels) == pytest.approx(slow, abs=1e-9)
    assert scores.auroc(np.array([[0.9, 0.1], [0.5, 0.5], [0.5, 0.5]]), np.array([0, 0, 1])) == pytest.approx(0.75)


def test_weighted_scans_are_repeated_scans():
    labels, probabilities = made_up(1, n=40)
    weights = np.random.default_rng(2).integers(0, 4, size=(3, 40))
    fast = scores.auroc(probabilities, labels, weights)
    for weight, area in zip(weights, fast, strict=True):
        rows = np.repeat(np.arange(40), weight)
        assert area == pytest.approx(scores.auroc(probabilities[rows], labels[rows]), abs=1e-12)


def test_one_class_has_no_auroc():
    assert np.isnan(scores.auroc(np.array([[0.2, 0.8], [0.6, 0.4]]), np.array([1, 1])))
    found = metrics.score([1, 1], [1, 0], ["a", "b"], ["x", "y"], seed=0, scores=np.eye(2))
    assert found["auroc"] is None and found["top_2"]["mean"] == 1


def test_scores_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"expected scores \(2, 2\)"):
        metrics.score([1, 0], [1, 0], ["a", "b"], ["x", "y"], seed=0, scores=np.eye(3))


def test_the_metric_of_the_evaluate_library_gives_the_same_numbers_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_EVALUATE_OFFLINE", "1")
    labels, probabilities = made_up(3)
    predicted = probabilities.argmax(1)
    own = metrics.score(labels, predicted, ["a"] * len(labels), list("abcde"), seed=0, scores=probabilities)
    plain = evaluate.load(FOLDER, cache_dir=str(tmp_path), experiment_id="plain")
    found = plain.compute(predictions=predicted.tolist(), references=labels.tolist())
    assert found == {name: own[name]["mean"] for name in ("accuracy", "balanced_accuracy", "macro_f1")}
    rich = evaluate.load(FOLDER, "scores", cache_dir=str(tmp_path), experiment_id="rich")
    found = rich.compute(predictions=probabilities.tolist(), references=labels.tolist())
    names = ("accuracy", "balanced_accuracy", "macro_f1", "top_2", "auroc")
    assert found == pytest.approx({name: own[name]["mean"] for name in names}, abs=1e-12)
    with pytest.raises(ValueError, match="expected classes 0 to 4"):
        rich.compute(predictions=probabilities.tolist(), references=[7] * len(labels))


def test_intervals_over_subjects_cover_at_their_nominal_rate():
    """Forty people of unequal skill, ten scans each; the truth is the population's mean accuracy."""
    rng = np.random.default_rng(0)
    covered = {"subjects": [], "scans": []}
    for seed in range(250):
        skill = rng.beta(1.5, 0.5, 40)  # mean 0.75; scans of one person correlate by a third
        correct = (rng.random((40, 10)) < skill[:, None]).reshape(-1)
        for unit in covered if seed < 60 else ["subjects"]:
            people = np.repeat(np.arange(40), 10) if unit == "subjects" else np.arange(400)
            found = metrics.bootstrap_mean(correct, people, seed=seed, num_resamples=200)
            covered[unit].append(found["low"] <= 0.75 <= found["high"])
    assert (
        0.90 < np.mean(covered["subjects"]) < 0.98
    )  # nominally 0.95; percentile intervals of 40 people are a little narrow
    assert np.mean(covered["scans"]) < 0.85  # as if scans of one person were independent: too narrow


def test_intervals_over_runs_are_students_and_cover():
    found = metrics.mean_over_runs([0.8, 0.9, 0.85])
    assert found["mean"] == pytest.approx(0.85)
    assert found["high"] - found["mean"] == pytest.approx(4.3027 * 0.05 / 3**0.5, rel=1e-4)  # t(0.975, 2) s / sqrt(n)
    rng = np.random.default_rng(0)
    runs = [metrics.mean_over_runs(rng.normal(0.8, 0.02, 5)) for _ in range(2000)]
    assert np.mean([run["low"] <= 0.8 <= run["high"] for run in runs]) == pytest.approx(0.95, abs=0.015)
    assert metrics.mean_over_runs([0.5]) == {"mean": 0.5, "low": None, "high": None}
    with pytest.raises(ValueError, match="at least one"):
        metrics.mean_over_runs([])


def test_a_missing_value_is_left_out_of_a_mean():
    found = metrics.bootstrap_mean([1.0, np.nan, 0.0, 0.0], ["a", "a", "b", "b"], seed=0)
    assert found["mean"] == pytest.approx(1 / 3)
