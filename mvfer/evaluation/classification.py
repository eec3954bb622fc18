"""Test a fine-tuned classifier on held-out subjects, and on data sets it never saw.

In go an `MVFERForFaceClassification`, its processor and data set folders; out comes one dictionary, written as `results.json`,
laid out as that of `evaluate_run`, with `classification` in the place of `zero_shot`.
"""

from functools import partial
from pathlib import Path

import numpy as np

from mvfer.evaluation.classifiers import FineTuned
from mvfer.evaluation.embeddings import embed_split
from mvfer.evaluation.evaluate import evaluate, open_splits, score_fused


def evaluate_classifier(model, processor, dataset_dir: str | Path, **options) -> dict:
    """Test a fine-tuned classifier as `evaluate` says.

    Args:
        model (`MVFERForFaceClassification`), processor (`MVFERProcessor`): what to test.
        others: of `evaluate`.
    Returns:
        `dict`: as of `evaluate` with `classification` scores.
    Raises:
        ValueError: as `evaluate`, if the tested split has no rows with a label of the model, or the model is a multi-label one.
    """
    return evaluate(model, processor, dataset_dir, partial(FineTuned.build, model), **options)


def test_fused(model, processor, dataset_dir: str | Path, *, split: str = "test", seed: int = 0, **options) -> dict:
    """Scores on one data set from all views together, with `labels` and `confusion_matrix`.

    Args:
        **options: of `embed_split`.
    Raises:
        ValueError: as `evaluate_classifier`.
    """
    splits = open_splits(dataset_dir, split, processor)
    classifier = FineTuned.build(model, splits.values())
    features = embed_split(model, processor.image_processor, splits[split], **options)
    return score_fused(classifier, features, seed=seed)


def classifier_score(model, processor, split) -> float:
    """Accuracy on the labelled rows of one split: the number to watch in training.

    Raises:
        ValueError: if no row has a label.
    """
    rows = np.flatnonzero(np.array(split["expression"]) >= 0)
    if not len(rows):
        raise ValueError("expected labelled rows (expression >= 0) to validate on, got none")
    features = embed_split(model, processor.image_processor, split.select(rows), progress=False)
    answers = FineTuned.build(model, [split]).answers(features, features.image_embeds)
    return float((answers.guesses == answers.labels).mean())
