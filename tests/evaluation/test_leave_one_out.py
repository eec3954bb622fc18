import numpy as np
import pytest

from mvfer.evaluation import probes
from mvfer.evaluation.probes import leave_one_subject_out


def people(count: int, seed: int = 0):
    """Embeddings of two classes that everybody shows alike, one row of each per person."""
    rng = np.random.default_rng(seed)
    labels, subjects = np.tile([0, 1], count), [f"s{i}" for i in range(count) for _ in (0, 1)]
    return rng.normal(size=(2 * count, 4)) + 6 * labels[:, None], labels, subjects


def test_everybody_is_predicted_by_a_probe_of_the_others(monkeypatch):
    embeds, labels, subjects = people(6)
    seen, fit = [], probes.fit_linear_probe

    def watched(train, *rest):
        seen.append(train)
        return fit(train, *rest)

    monkeypatch.setattr(probes, "fit_linear_probe", watched)
    assert leave_one_subject_out(embeds, labels, subjects).tolist() == labels.tolist()
    assert len(seen) == 6
    rows = {row.tobytes(): subject for row, subject in zip(embeds, subjects, strict=True)}
    trained = [{rows[row.tobytes()] for row in fold} for fold in seen]
    assert all(len(fold) == 4 for fold in trained)  # six without the tested one and one who validates


def test_what_only_one_person_shows_cannot_be_learnt_for_that_person():
    embeds, labels, subjects = people(6)
    labels = labels.copy()
    labels[0] = 2
    assert leave_one_subject_out(embeds, labels, subjects)[0] != 2


def test_too_few_people_and_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="needs 3 subjects"):
        leave_one_subject_out(*people(2))
    embeds, labels, subjects = people(4)
    with pytest.raises(ValueError, match="as many labels"):
        leave_one_subject_out(embeds[1:], labels, subjects)
