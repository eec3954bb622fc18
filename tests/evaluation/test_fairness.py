import numpy as np
import pytest

from mvfer.evaluation.audits.fairness import fairness_audit, flagged_groups


def simulate(seed, *, damping=1.0, subjects=60, scans=14, classes=7):
    """Answers of a classifier that sees expressions of strength 1, damped in one group, through noise; people differ."""
    rng = np.random.default_rng(seed)
    sex = np.where(rng.random(subjects) < 0.5, "female", "male")
    ancestry = rng.choice(["a", "b", "c"], subjects)
    strength = np.clip(rng.normal(1.0, 0.15, subjects), 0.3, None) * np.where(ancestry == "b", damping, 1.0)
    labels = np.tile(np.arange(classes), (subjects, scans // classes))
    logits = strength[:, None, None] * np.eye(classes)[labels] * 3.5 + rng.standard_normal((*labels.shape, classes))
    correct = (logits.argmax(-1) == labels).reshape(-1)
    names = np.repeat([f"s{i:03d}" for i in range(subjects)], scans)
    return correct, names, {"sex": np.repeat(sex, scans).tolist(), "ancestry": np.repeat(ancestry, scans).tolist()}


def test_a_group_whose_expressions_are_damped_is_found_and_named():
    audit = fairness_audit(*simulate(0, damping=0.6))
    assert flagged_groups(audit) == ["ancestry: b"] and audit["ancestry"]["worst"] == "b"
    gap = audit["ancestry"]["groups"]["b"]["gap"]
    assert gap["low"] > 0.05 and gap["low"] < gap["mean"] < gap["high"]


def test_a_planted_bias_is_found_nearly_always_and_fairness_flagged_at_the_nominal_rate():
    biased = [flagged_groups(fairness_audit(*simulate(seed, damping=0.6), num_permutations=200)) for seed in range(20)]
    assert np.mean([found == ["ancestry: b"] for found in biased]) > 0.9
    fair = [bool(flagged_groups(fairness_audit(*simulate(seed), num_permutations=400))) for seed in range(100, 300)]
    assert np.mean(fair) < 0.10  # nominally 0.05; the chance of 20 or more of 200 at 0.05 is 0.2 %


def test_accuracies_and_gaps_match_a_case_worked_by_hand():
    people = [f"p{i}" for i in range(10)]
    correct = [True] * 5 + [True, True, False, False, False]
    audit = fairness_audit(correct, people, {"sex": ["x"] * 5 + ["y"] * 5})["sex"]
    assert audit["groups"]["x"]["accuracy"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert audit["groups"]["y"]["accuracy"]["mean"] == pytest.approx(0.4)
    assert audit["groups"]["y"]["gap"]["mean"] == pytest.approx(0.6)
    assert (audit["best"], audit["worst"]) == ("x", "y")
    # of the 252 ways to choose 5 of 10 people, those with 3 wrong in one and none in the other: 2 * C(7, 2) = 42
    assert audit["groups"]["y"]["p_value"] == pytest.approx(42 / 252, abs=0.03)


def test_unknown_values_and_small_groups_are_left_out_and_said():
    people = [f"p{i}" for i in range(14)]
    sex = ["x"] * 5 + ["y"] * 5 + ["z"] * 2 + [None, ""]
    audit = fairness_audit([True] * 14, people, {"sex": sex, "age_group": [None] * 14})
    assert list(audit["sex"]["groups"]) == ["x", "y"] and audit["sex"]["flagged"] == []
    assert "has none" in audit["age_group"]["not_audited"]
    assert fairness_audit([True] * 14, people, {}) == {}
