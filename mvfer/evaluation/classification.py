"""Test a fine-tuned classifier on held-out subjects, and on data sets it never saw.

In go an `MVFERForFaceClassification`, its processor and data set folders; out comes one dictionary, written as `results.json`,
laid out as that of `evaluate_run`, with `classification` in the place of `zero_shot`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mvfer.data.schema import dataset_info
from mvfer.evaluation.audits.decisions import calibrate
from mvfer.evaluation.audits.leakage import find_leaks
from mvfer.evaluation.classifiers import FineTuned, check_single_label, labels_of_head
from mvfer.evaluation.embeddings import embed_split
from mvfer.evaluation.evaluate import (
    TARGET_ACCURACY,
    audit,
    circumstances,
    corrupt,
    embed_splits,
    open_splits,
    score_answers,
    score_views,
    tested_meshes,
    transfer_leaks,
)


def evaluate_classifier(
    model,
    processor,
    dataset_dir: str | Path,
    *,
    split: str = "test",
    seed: int = 0,
    also: Mapping[str, str | Path] | None = None,
    target_accuracy: float = TARGET_ACCURACY,
    seen: Mapping[str, Sequence[str]] | None = None,
    robustness: bool = False,
    meshes: str | Path | None = None,
    batch_size: int = 64,
    command: str = "",
    progress: bool = True,
) -> dict:
    """Scores on one data set, from all views, every single one and covered ones, with what lets them be trusted; and transfer.

    Args:
        model (`MVFERForFaceClassification`), processor (`MVFERProcessor`): what to test.
        others: as for `evaluate_run`. The temperature is fitted on scans of classes that the model knows.
    Returns:
        `dict`, ready for JSON. Scores are `{"mean", "low", "high"}` (95 %, subjects resampled). Keys as of `evaluate_run`,
        without knn, linear_probe and what is of prompts.
    Raises:
        ValueError: if a split is missing or empty, the tested one has no rows with a label of the model, the views' channels
            are not those that the model's processor renders, or the model is a multi-label one.
    """
    check_single_label(model)
    splits, options = open_splits(dataset_dir, split, processor), {"batch_size": batch_size, "progress": progress}
    files = tested_meshes(meshes, splits[split])
    embedded = embed_splits(model, processor, splits, split, seed=seed, **options)
    test, classifier = embedded[split], FineTuned.build(model, splits.values())
    known = {name: classifier.known(classifier.answers(one, one.image_embeds)) for name, one in embedded.items()}
    if not len(known[split].labels):
        raise ValueError(
            f"{dataset_dir}: split {split!r} shows none of the expressions that the model knows: {labels_of_head(model)}"
        )
    results = {
        **score_views("classification", classifier, test, seed=seed),
        "calibration": calibrate(known["validation"], known[split], target_accuracy=target_accuracy, seed=seed),
        **audit(classifier, splits[split], test, seed=seed),
        "leakage": find_leaks(dataset_info(dataset_dir), embedded, split, seen),
        **corrupt(
            model, processor, splits[split], test, classifier, views=robustness, files=files, seed=seed, **options
        ),
        "transfer": {},
    }
    for name, folder in (also or {}).items():
        scored = test_fused(model, processor, folder, split=split, seed=seed, **options)
        results["transfer"][name] = {"classification": scored}
        there = open_splits(folder, split, processor)[split]
        results["leakage"]["found"] += transfer_leaks(name, folder, there, seen)
    return results | {
        "chance": 1 / model.config.num_labels,
        "supervision": ["labels"],
        **circumstances(dataset_dir, splits, split, seed=seed, command=command),
    }


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
    answers = classifier.answers(features, features.image_embeds)
    return score_answers(answers, classifier.names, seed=seed) | {"labels": classifier.names}


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
