"""A linear classifier on frozen embeddings: how much of the expression is there to be read.

In go embeddings and labels of the training and validation subjects; out comes a fitted classifier. Its one setting is
chosen on the validation subjects; test subjects are never seen here.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)  # scikit-learn's C; smaller regularises more


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
    known, known_validation = np.asarray(train_labels) >= 0, np.asarray(validation_labels) >= 0
    if len(np.unique(train_labels[known])) < 2 or not known_validation.any():
        raise ValueError(
            "a linear probe needs labels of two or more classes in training and some in validation; "
            f"got {len(np.unique(train_labels[known]))} classes and {int(known_validation.sum())} validation rows"
        )
    best, best_accuracy, best_strength = None, -1.0, 0.0
    for strength in STRENGTHS:
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
        probe.fit(train_embeds[known], train_labels[known])
        accuracy = probe.score(validation_embeds[known_validation], validation_labels[known_validation])
        if accuracy > best_accuracy:
            best, best_accuracy, best_strength = probe, accuracy, strength
    return best, best_strength
