"""Test a fine-tuned classifier on held-out subjects, and on data sets it never saw.

In go an `MVFERForFaceClassification`, its processor and data set folders; out comes one dictionary, written as `results.json`,
laid out as that of `evaluate_run`, with `classification` in the place of `zero_shot`.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from dataset_scripts.schema import dataset_info
from evaluation.evaluate import brief, environment, open_splits, score_rows
from evaluation.features import embed_split
from evaluation.zero_shot import check_single_label, present_classes


def evaluate_classifier(
    model,
    processor,
    dataset_dir: str | Path,
    *,
    split: str = "test",
    seed: int = 0,
    also: Mapping[str, str | Path] | None = None,
    batch_size: int = 64,
    command: str = "",
    progress: bool = True,
) -> dict:
    """Scores on one data set, from all views, every single one and covered ones, and on other data sets.

    Args:
        model (`MVFERForFaceClassification`), processor (`MVFERProcessor`): what to test.
        dataset_dir, split, seed, also, command: as for `evaluate_run`.
    Returns:
        `dict`, ready for JSON. Scores are `{"mean", "low", "high"}` (95 %, subjects resampled).
    Raises:
        ValueError: if a split is missing, the tested one has no labelled rows, the views' channels are not those that the
            model's processor renders, or the model is a multi-label one.
    """
    check_single_label(model)
    options = {"batch_size": batch_size, "progress": progress}
    splits = open_splits(dataset_dir, split, processor)
    tested = labelled(splits[split])
    features = embed_split(model, processor.image_processor, tested, each_view=True, occlusion_seed=seed, **options)
    scored = partial(_score, model, features, splits=splits, split=split, seed=seed)
    fused = scored(features.image_embeds)
    transfer = {
        name: {"classification": test_fused(model, processor, folder, split=split, seed=seed, **options)}
        for name, folder in (also or {}).items()
    }
    return {
        "classification": {key: value for key, value in fused.items() if key not in ("confusion_matrix", "labels")},
        "classification_by_view": {name: brief(scored(embeds)) for name, embeds in features.by_view.items()},
        "classification_half_occluded": brief(scored(features.half_occluded)),
        "classification_same_half_occluded": brief(scored(features.same_half_occluded)),
        "confusion_matrix": {"labels": fused["labels"], "counts": fused["confusion_matrix"]},
        "transfer": transfer,
        "split": split,
        "seed": seed,
        "chance": 1 / model.config.num_labels,
        "data": {"name": Path(dataset_dir).name, "rows": {name: len(rows) for name, rows in splits.items()}},
        "supervision": ["labels"],
        "render_settings": dataset_info(dataset_dir).get("render_settings"),
        "command": command,
        "environment": environment(),
    }


def test_fused(model, processor, dataset_dir: str | Path, *, split: str = "test", seed: int = 0, **options) -> dict:
    """Scores on one data set from all views together, with `labels` and `confusion_matrix`.

    Args:
        **options: of `embed_split`.
    Raises:
        ValueError: as `evaluate_classifier`.
    """
    splits = open_splits(dataset_dir, split, processor)
    features = embed_split(model, processor.image_processor, labelled(splits[split]), **options)
    return _score(model, features, features.image_embeds, splits=splits, split=split, seed=seed)


def labelled(split):
    """The rows of a split that have a label."""
    return split.select(np.flatnonzero(np.array(split["expression"]) >= 0))


@torch.no_grad()
def classify(model, image_embeds: np.ndarray) -> np.ndarray:
    """Logits `(n, K)` of embeddings `(n, D)`, float32."""
    return model.head(torch.from_numpy(image_embeds).to(model.device)).float().cpu().numpy()


def classifier_score(model, processor, split) -> float:
    """Accuracy on the labelled rows of one split: the number to watch in training.

    Raises:
        ValueError: if no row has a label.
    """
    names = present_classes(split)
    if not names:
        raise ValueError("expected labelled rows (expression >= 0) to validate on, got none")
    features = embed_split(model, processor.image_processor, labelled(split), progress=False)
    every_name = split.features["expression"].names
    guess = [model.config.id2label[k] for k in classify(model, features.image_embeds).argmax(1)]
    return float(np.mean([every_name[label] == g for label, g in zip(features.labels, guess, strict=True)]))


def _score(model, features, embeds: np.ndarray, *, splits, split: str, seed: int) -> dict:
    rows = np.isfinite(embeds).all(1)
    names, every_name = present_classes(*splits.values()), splits[split].features["expression"].names
    predictions = classify(model, embeds[rows]).argmax(1)
    return score_rows(features, rows, predictions, list(model.config.id2label.values()), every_name, names, seed=seed)
