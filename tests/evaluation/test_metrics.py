import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from mvfer.evaluation import metrics
from mvfer.evaluation.mvfer_metrics import scores


def test_scores_match_a_case_worked_by_hand():
    # true 0: right, right, taken for 1; true 1: right; true 2: taken for 0
    scored = metrics.score([0, 0, 0, 1, 2], [0, 0, 1, 1, 0], list("aabbc"), ["x", "y", "z"], seed=0)
    assert scored["confusion_matrix"] == [[2, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert scored["accuracy"]["mean"] == pytest.approx(3 / 5)
    assert scored["balanced_accuracy"]["mean"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert scored["macro_f1"]["mean"] == pytest.approx((4 / 6 + 2 / 3 + 0) / 3)
    assert scored["per_class"]["x"] == pytest.approx({"recall": 2 / 3, "precision": 2 / 3, "f1": 2 / 3, "count": 3})
    assert (scored["num_scans"], scored["num_subjects"]) == (5, 3)


def test_scores_match_scikit_learn():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(4, size=60), rng.integers(4, size=60)
    scored = metrics.score(labels, predictions, [str(i % 7) for i in range(60)], list("abcd"), seed=0)
    assert scored["accuracy"]["mean"] == pytest.approx(accuracy_score(labels, predictions))
    assert scored["balanced_accuracy"]["mean"] == pytest.approx(balanced_accuracy_score(labels, predictions))
    assert scored["macro_f1"]["mean"] == pytest.approx(f1_score(labels, predictions, average="macro"))


def test_the_bootstrap_resamples_subjects_and_not_scans():
    labels = np.zeros(100, int)
    predictions = np.repeat([0, 1], 50)
    two_people = metrics.subject_confusions(labels, predictions, ["a"] * 50 + ["b"] * 50, 2)
    a_hundred = metrics.subject_confusions(labels, predictions, [str(i) for i in range(100)], 2)
    wide = metrics.bootstrap(two_people, scores.accuracy, seed=0)
    narrow = metrics.bootstrap(a_hundred, scores.accuracy, seed=0)
    assert wide == {"mean": 0.5, "low": 0.0, "high": 1.0}  # both draws may be the same person
    assert 0.38 < narrow["low"] < 0.42 and 0.58 < narrow["high"] < 0.62


def test_the_bootstrap_matches_a_slow_twin():
    rng = np.random.default_rng(1)
    subjects = np.array([str(i % 5) for i in range(40)])
    labels, predictions = rng.integers(2, size=40), rng.integers(2, size=40)
    fast = metrics.bootstrap(metrics.subject_confusions(labels, predictions, subjects, 2), scores.accuracy, seed=3)
    means = []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(subjects == s) for s in rng.choice(np.unique(subjects), 5)])
        means.append((labels[rows] == predictions[rows]).mean())
    assert [fast["low"], fast["high"]] == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.03)


def test_equal_seeds_give_equal_intervals_and_one_subject_gives_none():
    confusions = metrics.subject_confusions([0, 1, 1], [0, 1, 0], ["a", "b", "b"], 2)
    assert metrics.bootstrap(confusions, scores.macro_f1, seed=5) == metrics.bootstrap(
        confusions, scores.macro_f1, seed=5
    )
    alone = metrics.bootstrap(confusions.sum(0, keepdims=True), scores.accuracy, seed=0)
    assert alone["low"] == alone["mean"] == alone["high"]


@pytest.mark.parametrize(
    ("labels", "predictions", "subjects", "message"),
    [([0], [0, 1], ["a"], "as many labels"), ([], [], [], "at least one"), ([2], [0], ["a"], r"labels in 0\.\.1")],
)
def test_bad_input_is_named(labels, predictions, subjects, message):
    with pytest.raises(ValueError, match=message):
        metrics.subject_confusions(labels, predictions, subjects, 2)
