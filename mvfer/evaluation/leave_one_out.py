"""Leave one subject out: a linear probe that is fitted on all other people, for everybody in turn.

In: embeddings, labels and subjects of one data set. Out: a prediction per row, made by a probe that never saw that person. All
folds are scored together, as is usual for micro-expressions, whose sets are small.
"""

from collections.abc import Sequence

import numpy as np

from mvfer.data.protocols import Protocol, folds
from mvfer.evaluation.probes import fit_linear_probe

EVERYBODY = Protocol("", 0, source="", reading="one subject left out at a time")


def leave_one_subject_out(
    embeds: np.ndarray, labels: np.ndarray, subjects: Sequence[str], *, seed: int = 0
) -> np.ndarray:
    """Predictions `(n,)` of every row, each by a probe of the other subjects.

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
