"""k nearest neighbours on frozen embeddings: what the embedding space says with nothing fitted to it.

In go embeddings and labels of the training and validation subjects; out comes a classifier. k is chosen on the validation
subjects; test subjects are never seen here.
"""

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

NEIGHBOURS = (1, 5, 20, 50)


def fit_knn(
    train_embeds: np.ndarray, train_labels: np.ndarray, validation_embeds: np.ndarray, validation_labels: np.ndarray
) -> tuple[KNeighborsClassifier, int]:
    """Majority vote of the k training scans with the largest cosine, with k chosen by validation accuracy.

    Args:
        train_embeds, validation_embeds (`(n, D)`): frozen embeddings of unit length, where Euclidean and cosine neighbours agree.
        train_labels, validation_labels (`(n,)`): classes; rows with a negative label are left out.
    Returns:
        `(classifier, k)`: the classifier has `predict`; of equally good k the smallest is taken.
    Raises:
        ValueError: if fewer than two classes are labelled in training, or none in validation.
    """
    train_labels, validation_labels = np.asarray(train_labels), np.asarray(validation_labels)
    known, known_validation = train_labels >= 0, validation_labels >= 0
    classes = len(np.unique(train_labels[known]))
    if classes < 2 or not known_validation.any():
        raise ValueError(
            "nearest neighbours need labels of two or more classes in training and some in validation; "
            f"got {classes} classes and {int(known_validation.sum())} validation rows"
        )
    best, best_accuracy, best_k = None, -1.0, 0
    for k in (k for k in NEIGHBOURS if k <= known.sum()):
        classifier = KNeighborsClassifier(k).fit(train_embeds[known], train_labels[known])
        accuracy = classifier.score(validation_embeds[known_validation], validation_labels[known_validation])
        if accuracy > best_accuracy:
            best, best_accuracy, best_k = classifier, accuracy, k
    return best, best_k
