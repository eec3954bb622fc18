"""Classifiers on frozen embeddings: what the embedding space says, by a linear probe or with nothing fitted to it.

In: embeddings and labels of the training and validation subjects. Out: a fitted classifier. Its one setting is chosen on the
validation subjects; test subjects are never seen here.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from mvfer.data.protocols import Protocol, folds

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)  # scikit-learn's C; smaller regularises more
NEIGHBOURS = (1, 5, 20, 50)
EVERYBODY = Protocol("", 0, source="", reading="one subject left out at a time")


def fit_linear_probe(
    train_embeds: np.ndarray, train_labels: np.ndarray, validation_embeds: np.ndarray, validation_labels: np.ndarray
) -> tuple[Pipeline, float]:
    """Fit standardisation and logistic regression on training rows, with C chosen by validation accuracy.

    Args:
        train_embeds, validation_embeds (`(n, D)`): frozen embeddings.
        train_labels, validation_labels (`(n,)`): classes; rows with a negative label are left out.
    Returns:
        `(classifier, C)`: the classifier has `predict`; of equally good values of C the smallest is taken.
    Raises:
        ValueError: if fewer than two classes are labelled in training, or none in validation.
    """
    probes = {C: make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000)) for C in STRENGTHS}
    train, validation = (train_embeds, train_labels), (validation_embeds, validation_labels)
    return _fit_best(probes, "a linear probe needs", train, validation)


def fit_knn(
    train_embeds: np.ndarray, train_labels: np.ndarray, validation_embeds: np.ndarray, validation_labels: np.ndarray
) -> tuple[KNeighborsClassifier, int]:
    """Majority vote of the k training scans with the largest cosine, with k chosen by validation accuracy.

    Args:
        train_embeds, validation_embeds (`(n, D)`): frozen embeddings of unit length, where Euclidean and cosine neighbours agree.
        others, returns and raises: as `fit_linear_probe`, with k instead of C.
    """
    num_labelled = np.count_nonzero(np.asarray(train_labels) >= 0)
    votes = {k: KNeighborsClassifier(k) for k in NEIGHBOURS if k <= num_labelled}
    train, validation = (train_embeds, train_labels), (validation_embeds, validation_labels)
    return _fit_best(votes, "nearest neighbours need", train, validation)


def _fit_best(classifiers: Mapping, needing: str, train: tuple, validation: tuple) -> tuple:
    """Fit classifiers, given by setting: the one that is best on the validation rows, or the first of equals, and its setting."""
    (embeds, labels), (held_out, held_out_labels) = (_labelled(*rows) for rows in (train, validation))
    classes = len(np.unique(labels))
    if classes < 2 or not len(held_out):
        raise ValueError(
            f"{needing} labels of two or more classes in training and some in validation; "
            f"got {classes} classes and {len(held_out)} validation rows"
        )
    accuracies = {
        setting: one.fit(embeds, labels).score(held_out, held_out_labels) for setting, one in classifiers.items()
    }
    best = max(accuracies, key=accuracies.__getitem__)
    return classifiers[best], best


def _labelled(embeds: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels = np.asarray(labels)
    return embeds[labels >= 0], labels[labels >= 0]


def leave_one_subject_out(
    embeds: np.ndarray, labels: np.ndarray, subjects: Sequence[str], *, seed: int = 0
) -> np.ndarray:
    """Predictions `(n,)` of every row, each by a linear probe of the other subjects.

    All folds are to be scored together, as is usual for micro-expressions, whose sets are small.

    Args:
        embeds (`(n, D)`): frozen embeddings.
        labels (`(n,)` integers): classes 0 and up.
        subjects (`n` strings): at least three; a tenth of the others chooses the probe's regularisation in each fold.
        seed (`int`): who that tenth is.
    Raises:
        ValueError: if there are too few subjects, or lengths differ.
    """
    labels, people = np.asarray(labels), np.asarray(subjects)
    if not len(embeds) == len(labels) == len(people):
        raise ValueError(
            f"expected as many labels and subjects as rows, got {len(embeds)}, {len(labels)}, {len(people)}"
        )
    rows = [{"subject": str(person), "expression": 0, "intensity": None} for person in people]
    predictions = np.full(len(labels), -1)
    for fold in folds(EVERYBODY, rows, seed=seed):
        train, validation, test = (np.isin(people, fold[split]) for split in ("train", "validation", "test"))
        probe, _ = fit_linear_probe(embeds[train], labels[train], embeds[validation], labels[validation])
        predictions[test] = probe.predict(embeds[test])
    return predictions
