import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from mvfer.evaluation import metrics
from mvfer.evaluation.protocols.multilabel import multilabel_score, targets_of_tasks


def test_scores_match_a_case_worked_by_hand():
    targets = [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]]
    predictions = [[1, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 0]]
    scored = multilabel_score(targets, predictions, list("aabb"), ["x", "y", "z"], seed=0)
    # x: TP 1, FP 1, FN 1; y: TP 2; z never occurs
    assert scored["uf1"]["mean"] == pytest.approx((2 / 4 + 1) / 2)
    assert scored["uar"]["mean"] == pytest.approx((1 / 2 + 1) / 2)
    assert scored["per_label"]["x"] == pytest.approx({"f1": 0.5, "recall": 0.5, "precision": 0.5, "count": 2})
    assert scored["per_label"]["z"]["count"] == 0 and (scored["num_scans"], scored["num_subjects"]) == (4, 2)
    assert scored["uf1"]["low"] <= scored["uf1"]["mean"] <= scored["uf1"]["high"]


@pytest.mark.parametrize("labels", [1, 4])
def test_scores_match_scikit_learn(labels):
    rng = np.random.default_rng(2)
    targets, predictions = rng.random((50, labels)) < 0.4, rng.random((50, labels)) < 0.4
    scored = multilabel_score(targets, predictions, [str(i % 6) for i in range(50)], list("abcd")[:labels], seed=0)
    average = "macro" if labels > 1 else "binary"
    assert scored["uf1"]["mean"] == pytest.approx(f1_score(targets, predictions, average=average))
    assert scored["uar"]["mean"] == pytest.approx(recall_score(targets, predictions, average=average))


def test_with_one_label_each_they_are_the_single_label_scores():
    rng = np.random.default_rng(3)
    labels, predicted, subjects = rng.integers(4, size=50), rng.integers(4, size=50), [str(i % 6) for i in range(50)]
    several = multilabel_score(np.eye(4)[labels], np.eye(4)[predicted], subjects, list("abcd"), seed=1)
    single = metrics.score(labels, predicted, subjects, list("abcd"), seed=1)
    assert several["uf1"] == pytest.approx(single["macro_f1"])
    assert several["uar"] == pytest.approx(single["balanced_accuracy"])


@pytest.mark.parametrize("targets", [[[1, 0]], [[1], [0]], []])
def test_tables_that_do_not_fit_are_refused(targets):
    with pytest.raises(ValueError, match="expected targets and predictions"):
        multilabel_score(targets, targets, ["a", "b"], ["x", "y"], seed=0)


def test_joined_tasks_become_several_labels():
    names = ["negative", "repression", "surprise"]
    targets = targets_of_tasks(["Surprise", "Negative+Repression"], names)
    assert targets.tolist() == [[False, False, True], [True, True, False]]
    with pytest.raises(ValueError, match=r"unknown labels \['joy'\]"):
        targets_of_tasks(["joy"], names)
