import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mvfer.evaluation.probes import STRENGTHS, fit_linear_probe


def blobs(count, seed, noise=0.3):
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=count)
    return np.eye(3, 6)[labels] + noise * rng.standard_normal((count, 6)), labels


def test_the_probe_reads_what_is_linearly_there():
    (train, labels), (validation, val_labels), (test, test_labels) = blobs(90, 0), blobs(30, 1), blobs(60, 2)
    probe, strength = fit_linear_probe(train, labels, validation, val_labels)
    assert (probe.predict(test) == test_labels).mean() > 0.9
    assert strength in STRENGTHS


def test_unlabelled_rows_are_left_out():
    (train, labels), (validation, val_labels) = blobs(60, 0), blobs(30, 1)
    junk = np.full((10, 6), 50.0)
    with_junk, _ = fit_linear_probe(
        np.concatenate([train, junk]), np.concatenate([labels, [-1] * 10]), validation, val_labels
    )
    without, _ = fit_linear_probe(train, labels, validation, val_labels)
    np.testing.assert_array_equal(with_junk.predict(validation), without.predict(validation))
    assert -1 not in with_junk.classes_


def test_the_strength_is_the_smallest_of_the_best_on_the_validation_rows():
    (train, labels), (validation, val_labels) = blobs(40, 0, noise=3.0), blobs(400, 1, noise=3.0)
    accuracies = []
    for strength in STRENGTHS:
        twin = LogisticRegression(C=strength, max_iter=1000)
        mean, std = train.mean(0), train.std(0)
        twin.fit((train - mean) / std, labels)
        accuracies.append(twin.score((validation - mean) / std, val_labels))
    _, chosen = fit_linear_probe(train, labels, validation, val_labels)
    assert chosen == STRENGTHS[accuracies.index(max(accuracies))]


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="two or more classes"):
        fit_linear_probe(np.ones((4, 2)), np.zeros(4, int), np.ones((2, 2)), np.zeros(2, int))
