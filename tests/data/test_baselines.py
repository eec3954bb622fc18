"""Who is seen relative to whom in training, and the scores of scans beside a person's others."""

import numpy as np
import pytest
import torch

from modeling_mvfer.baseline_mvfer import Baseline
from mvfer.data.baselines import draw_baselines
from mvfer.evaluation.relative import check_counts, draw_own


def batch(people: int = 12, scans: int = 6, sources: int = 2) -> list[dict]:
    """Person p of source p % sources; the first scan of each is at rest."""
    return [
        {"subject": f"s{person}", "source": person % sources, "at_rest": scan == 0, "draw": 100 * person + scan}
        for person in range(people)
        for scan in range(scans)
    ]


def test_baselines_are_own_scans_or_the_scanners_and_never_the_scan_itself():
    samples = batch()
    person = np.array([int(sample["subject"][1:]) for sample in samples])
    source, at_rest = person % 2, np.array([sample["at_rest"] for sample in samples])
    kinds = set()
    for draw in range(40):
        drawn = draw_baselines([sample | {"draw": draw} for sample in samples], share=0.8)
        weights, resting = drawn["baseline_weights"].numpy(), drawn["baseline_at_rest"].numpy()
        assert set(np.unique(weights)) <= {0.0, 1.0} and not weights.diagonal().any()
        assert drawn["is_at_rest"].tolist() == at_rest.tolist()
        for row in range(len(samples)):
            given = weights[row] > 0
            if not given.any():
                kinds.add("none")
            elif (person[given] == person[row]).all():
                kinds.add("at rest" if resting[row] else "own")
                assert not resting[row] or at_rest[given].all()
            else:
                kinds.add("scanner")
                others = (source == source[row]) & (person != person[row])
                assert (given == others).all() and not resting[row]
    assert kinds == {"none", "own", "at rest", "scanner"}


def test_the_same_samples_draw_the_same_and_a_share_of_zero_nothing():
    first, again = draw_baselines(batch(), share=0.5), draw_baselines(batch(), share=0.5)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not draw_baselines(batch(), share=0.0)["baseline_weights"].any()
    other = draw_baselines([sample | {"draw": sample["draw"] + 1} for sample in batch()], share=0.5)
    assert not torch.equal(first["baseline_weights"], other["baseline_weights"])


def test_a_person_with_one_scan_has_no_baseline_but_the_scanners():
    drawn = draw_baselines(batch(people=4, scans=1), share=1.0)
    assert not drawn["baseline_weights"].any(), "and three others are too few to tell what a scanner is like"


def test_own_scans_are_drawn_without_labels_and_leave_the_scan_out():
    subjects = np.array(["a"] * 5 + ["b"] * 2 + ["c"])
    resting = np.array([True, False, False, True, False, False, False, True])
    for count, sizes in (("0", [0] * 8), ("3", [3] * 5 + [1, 1, 0]), ("all", [4] * 5 + [1, 1, 0])):
        chosen = draw_own(subjects, resting, count, seed=1)
        assert [len(rows) for rows in chosen] == sizes
        for row, rows in enumerate(chosen):
            assert row not in rows and (subjects[rows] == subjects[row]).all()
    for row, others in enumerate(draw_own(subjects, resting, "scanner", seed=1)):
        assert len(others) and (subjects[others] != subjects[row]).all()
    rest = draw_own(subjects, resting, "rest", seed=1)
    assert [len(rows) for rows in rest] == [1] * 5 + [0, 0, 0] and rest[0].tolist() == [3] and rest[3].tolist() == [0]


def test_counts_are_checked(tiny_model):
    with pytest.raises(ValueError, match="'many'"):
        check_counts(["many"], tiny_model(baseline=True))
    with pytest.raises(ValueError, match="train.py --baseline"):
        check_counts(["1"], tiny_model())
    with pytest.raises(ValueError, match=r"'scanner\+scanner'"):
        check_counts(["scanner+scanner"], tiny_model(baseline=True))
    check_counts(["0", "12", "all", "rest", "scanner", "scanner+3", "scanner+rest"], tiny_model(baseline=True))
    assert Baseline.of(torch.ones(3, 2)).count.tolist() == [3]
