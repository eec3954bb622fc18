"""Several labels per scan, tested in folds: a linear probe that decides of every label on its own, as for 4DME's emotions.

In go embeddings, the labels of every row and the subjects of every fold; out come UF1 and UAR over all rows, each predicted by a
probe that never saw its subject. The probe's one setting is chosen on the fold's validation subjects.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mvfer.evaluation.embeddings import SplitFeatures
from mvfer.evaluation.probes import STRENGTHS
from mvfer.evaluation.protocols.multilabel import multilabel_score, targets_of_tasks


def score_labels_in_folds(
    features: SplitFeatures,
    tasks: Sequence[str],
    names: Sequence[str],
    drawn: Sequence[Mapping[str, Sequence[str]]],
    *,
    seed: int,
) -> dict:
    """Fit a probe in every fold, and score all folds together.

    Args:
        features: of the `n` rows; tasks: their labels, joined by "+"; names: the `K` labels.
        drawn: of every fold, the subjects of train, validation and test.
    Returns:
        `dict`: multilabel_probe, and every_label, the same scores if each label were given to each row: what is to be beaten.
    Raises:
        ValueError: for a label that is not among the names.
    """
    targets, people = targets_of_tasks(tasks, names), np.asarray(features.subjects)
    guesses = np.zeros_like(targets)
    for fold in drawn:
        train, validation, test = (np.isin(people, fold[split]) for split in ("train", "validation", "test"))
        embeds = features.image_embeds
        guesses[test] = _predict(embeds[train], targets[train], embeds[validation], targets[validation], embeds[test])
    return {
        "multilabel_probe": multilabel_score(targets, guesses, features.subjects, names, seed=seed),
        "every_label": multilabel_score(targets, np.ones_like(targets), features.subjects, names, seed=seed),
    }


def _predict(train, train_targets, validation, validation_targets, test) -> np.ndarray:
    """Of every label whether it is true, `(n, K)`, with the strength that is best on the validation rows.

    Best is the F1 of all decisions together: some labels do not occur among so few rows. Of equal ones the smallest is taken.
    """
    best, best_f1 = np.zeros((len(test), train_targets.shape[1]), dtype=bool), -1.0
    for strength in STRENGTHS:
        held_out, guessed = _fit_and_predict(train, train_targets, strength, validation, test)
        f1 = 2 * (held_out & validation_targets).sum() / max(1, held_out.sum() + validation_targets.sum())
        if f1 > best_f1:
            best, best_f1 = guessed, f1
    return best


def _fit_and_predict(train, targets: np.ndarray, strength: float, *others: np.ndarray) -> list[np.ndarray]:
    """One logistic regression per label, both answers weighing alike; a label that training shows always or never stays so."""
    found = [np.zeros((len(other), targets.shape[1]), dtype=bool) for other in others]
    for label, truth in enumerate(targets.T):
        if truth.all() or not truth.any():
            for guesses in found:
                guesses[:, label] = truth.all()
            continue
        regression = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
        probe = make_pipeline(StandardScaler(), regression).fit(train, truth)
        for guesses, other in zip(found, others, strict=True):
            guesses[:, label] = probe.predict(other)
    return found
