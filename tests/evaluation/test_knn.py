import numpy as np
import pytest

from mvfer.evaluation.probes import NEIGHBOURS, fit_knn


def blobs(count, seed, noise=0.4):
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=count)
    points = np.eye(3, 6)[labels] + noise * rng.standard_normal((count, 6))
    return points / np.linalg.norm(points, axis=1, keepdims=True), labels


def test_the_vote_is_that_of_the_largest_cosines():
    (train, labels), (validation, val_labels), (test, _) = blobs(90, 0), blobs(60, 1), blobs(40, 2)
    classifier, k = fit_knn(train, labels, validation, val_labels)
    nearest = np.argsort(-test @ train.T, axis=1)[:, :k]
    votes = np.stack([np.bincount(labels[row], minlength=3) for row in nearest])
    np.testing.assert_array_equal(classifier.predict(test), votes.argmax(1))


def test_k_is_the_smallest_of_the_best_on_the_validation_rows():
    (train, labels), (validation, val_labels) = blobs(120, 0, noise=0.8), blobs(200, 1, noise=0.8)
    nearest = np.argsort(-validation @ train.T, axis=1)
    accuracies = []
    for k in NEIGHBOURS:
        votes = np.stack([np.bincount(labels[row[:k]], minlength=3) for row in nearest])
        accuracies.append((votes.argmax(1) == val_labels).mean())
    assert fit_knn(train, labels, validation, val_labels)[1] == NEIGHBOURS[int(np.argmax(accuracies))]


def test_unlabelled_rows_do_not_vote_and_one_class_is_refused():
    train, labels = blobs(30, 0)
    junk = np.concatenate([labels, [-1] * 30])
    classifier, _ = fit_knn(np.concatenate([train, train]), junk, train, labels)
    assert -1 not in classifier.classes_
    with pytest.raises(ValueError, match="two or more classes"):
        fit_knn(train, np.zeros(30, int), train, labels)
