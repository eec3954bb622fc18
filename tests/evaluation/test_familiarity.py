"""Limits of confidence and distance: chosen on validation people, of strange heads too, and what they do."""

import numpy as np
import pytest

from mvfer.evaluation.audits.calibration import choose_threshold_for_accuracy
from mvfer.evaluation.classifiers import Predictions
from mvfer.evaluation.familiarity import LIKE_SHARE, Calibrator, Held, answers, choose_limits, fit_statistic, told_apart


@pytest.fixture
def scans():
    """Confidences, correctness, distances, families, learnt: known heads are right, strange ones wrong though sure."""
    rng = np.random.default_rng(0)
    strange = np.repeat([False, True], 400)
    sure = rng.uniform(0.5, 1, 800)
    correct = np.where(strange, rng.random(800) < 0.3, rng.random(800) < 0.98)
    far = rng.normal(np.where(strange, 3.0, 1.0), 0.2)
    return sure, correct, far, np.where(strange, "others", "ours").tolist(), ~strange


def test_without_strange_heads_the_limit_leaves_most_of_the_known_ones(scans):
    sure, correct, far, families, learnt = (np.array(values)[:400] for values in scans)
    least, largest = choose_limits(sure, correct, far, families.tolist(), learnt, target_accuracy=0.95)
    assert (far <= largest).mean() == pytest.approx(LIKE_SHARE, abs=0.005)
    near = far <= largest
    assert least == choose_threshold_for_accuracy(sure[near], correct[near], target_accuracy=0.95)


def test_strange_heads_are_kept_out_by_their_distance(scans):
    sure, correct, far, families, learnt = scans
    least, largest = choose_limits(sure, correct, far, families, learnt, target_accuracy=0.95)
    answered = (sure >= least) & (far <= largest)
    assert answered[~learnt].sum() == 0 and answered[learnt].mean() > 0.9 and correct[answered].mean() >= 0.95


def test_strange_heads_that_look_like_known_ones_raise_the_confidence_asked_for():
    rng = np.random.default_rng(1)
    sure, learnt = rng.uniform(0, 1, 2000), np.repeat([True, False], 1000)
    correct = rng.random(2000) < np.where(learnt, 0.99, sure)
    far = rng.normal(1, 0.1, 2000)
    families = np.where(learnt, "ours", "others").tolist()
    alone, _ = choose_limits(
        sure[:1000], correct[:1000], far[:1000], families[:1000], learnt[:1000], target_accuracy=0.9
    )
    least, _ = choose_limits(sure, correct, far, families, learnt, target_accuracy=0.9)
    assert alone == 0.0 and least > 0.3


def test_what_no_limit_makes_right_has_none(scans):
    sure, _, far, families, learnt = scans
    assert choose_limits(sure, np.zeros(800, dtype=bool), far, families, learnt, target_accuracy=0.9)[0] is None


def test_answers_count_resting_faces_that_are_called_something_else():
    logits = np.array([[4.0, 0.0], [0.0, 4.0], [0.0, 4.0], [0.0, 4.0]])  # of neutral, anger
    shown = Predictions(np.arange(4), logits, np.array([0, 0, 0, 1]), list("abcd"))
    calibration = {"temperature": 1.0, "abstain_below": 0.5, "familiarity": {"unlike_above": 2.0}}
    found = answers(shown, ["neutral", "anger"], calibration, np.array([1.0, 1.0, 3.0, 1.0]), seed=0)
    assert [found[key]["mean"] for key in ("unlike", "answered")] == [0.25, 0.75]
    assert found["accuracy"]["mean"] == pytest.approx(2 / 3) and found["resting_misnamed"]["mean"] == pytest.approx(
        1 / 3
    )
    assert told_apart(np.array([0.0, 1.0]), np.array([1.0, 2.0])) == pytest.approx(0.875)


def test_too_few_training_scans_tell_nothing_of_distances():
    rng = np.random.default_rng(2)
    assert fit_statistic(rng.normal(size=(31, 8)), []) is None
    more = Held("more", True, None, None, train=rng.normal(size=(1, 8)))
    assert len(fit_statistic(rng.normal(size=(31, 8)), [more]).centre) == 8
    assert Calibrator(rng.normal(size=(31, 8)), [], target_accuracy=0.9, seed=0).summary({"test": None}) is None
