"""Test a multi-label model, whose head tells action units: each unit's area under the ROC curve, F1 and balanced accuracy.

In: the model, its processor and data set folders. Out: one dictionary, written as `results.json`, of kind "units". A unit counts
as seen from a probability of one half on. Scans that nobody coded are left out.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from mvfer.data.schema import dataset_info, load_splits
from mvfer.evaluation.actions import judged_units, score_decisions, unit_targets
from mvfer.evaluation.audits.leakage import find_leaks
from mvfer.evaluation.embeddings import SplitFeatures, embed_split
from mvfer.evaluation.evaluate import check_channels, embed_splits, provenance, transfer_leaks
from mvfer.evaluation.results import SCHEMA_VERSION, UNITS
from processing.prompts_mvfer import action_phrases

FEWEST = 3  # validation scans that show a unit
NOT_CALIBRATED = "several units may be true at once; a unit counts as seen from a probability of 0.5 on"


def known_units() -> list[str]:
    """The units of FACS that have a phrase here, without sides."""
    return [unit for unit in action_phrases() if unit[-1] not in "LR"]


def evaluate_units(
    model,
    processor,
    dataset_dir: str | Path,
    *,
    split: str = "test",
    seed: int = 0,
    also: Mapping[str, str | Path] | None = None,
    seen: Mapping[str, Sequence[str]] | None = None,
    batch_size: int = 64,
    command: str = "",
    progress: bool = True,
) -> dict:
    """Scores on one data set, from all views and from every single one; and on others.

    Args:
        model (`MVFERForFaceClassification` of several labels, units of FACS), processor (`MVFERProcessor`): what to test.
        dataset_dir, split, seed, also, seen, batch_size, command: as in `evaluate`.
    Returns:
        `dict`, ready for JSON: kind, test (mean scores, counts), by_view, actions (per data set, as `score_actions` gives),
        calibration (why there is none), leakage, supervision, and what made the numbers.
    Raises:
        ValueError: if the views' channels are not the model's, or the rows tell no units that can be judged.
    """
    splits = _open(dataset_dir, split, processor)
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    embedded = embed_splits(model, processor, splits, split, seed=seed, **options)
    features = embedded[split]
    tested = _score(model, features.image_embeds, splits[split], dataset_dir, seed=seed)
    views = {
        name: _summary(_score(model, embeds, splits[split], dataset_dir, seed=seed))
        for name, embeds in features.by_view.items()
    }
    results: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "kind": UNITS,
        "test": _summary(tested),
        "by_view": views,
        "actions": {"test": tested},
        "calibration": {"not_calibrated": NOT_CALIBRATED},
        "leakage": find_leaks(dataset_info(dataset_dir), embedded, split, seen),
        "supervision": ["unit_labels"],
    }
    for name, folder in (also or {}).items():
        rows = _open(folder, split, processor)[split]
        scans = embed_split(model, processor.image_processor, rows, **options)
        results["actions"][name] = _score(model, scans.image_embeds, rows, folder, seed=seed)
        results["leakage"]["found"] += transfer_leaks(name, folder, scans, seen)
    return results | provenance(dataset_dir, splits, split, seed=seed, command=command)


def validation_auc(model, processor, rows) -> float:
    """The mean over units of the area under the ROC curve on some rows (`datasets.Dataset`): the number to watch in training.

    Raises:
        ValueError: if no unit can be judged.
    """
    targets = unit_targets(rows, list(model.config.id2label.values()))
    judged = judged_units(targets)
    if not judged:
        raise ValueError("the validation rows tell no action units that some show and others do not; give them units")
    features: SplitFeatures = embed_split(model, processor.image_processor, rows, progress=False)
    logits = unit_logits(model, features.image_embeds)
    known, shown = targets.known, targets.seen
    return float(np.mean([roc_auc_score(shown[known[:, k], k], logits[known[:, k], k]) for k in judged]))


@torch.no_grad()
def centre_thresholds(model, processor, splits: Sequence) -> None:
    """Move each unit's bias so that a probability of one half is where validation people give the largest F1.

    Units that fewer than `FEWEST` of their scans show keep theirs.

    Args:
        model (`MVFERForFaceClassification`): its head is changed. splits: of validation rows (`datasets.Dataset`).
    """
    units = list(model.config.id2label.values())
    targets = [unit_targets(rows, units) for rows in splits]
    logits = np.concatenate(
        [
            unit_logits(model, embed_split(model, processor.image_processor, rows, progress=False).image_embeds)
            for rows in splits
        ]
    )
    known, seen = (np.concatenate([getattr(one, name) for one in targets]) for name in ("known", "seen"))
    for column in range(len(units)):
        rows = known[:, column]
        if FEWEST <= seen[rows, column].sum() < rows.sum():
            model.head.bias[column] -= best_threshold(logits[rows, column], seen[rows, column])


def best_threshold(logits: np.ndarray, seen: np.ndarray) -> float:
    """The logit, half way between two scans, from which on calling a unit seen gives the largest F1; of equals, nearest to 0."""
    order = np.sort(np.unique(logits))
    places = np.concatenate([order[:1] - 1, (order[:-1] + order[1:]) / 2])
    called = logits[None] > places[:, None]  # (P, n)
    hits = (called & seen).sum(1)
    scores = 2 * hits / (called.sum(1) + seen.sum())
    best = places[scores >= scores.max() - 1e-9]
    return float(best[np.abs(best).argmin()])


@torch.no_grad()
def unit_logits(model, embeds: np.ndarray) -> np.ndarray:
    """`(n, D)` to `(n, K)`, before the sigmoid."""
    return model.head(torch.from_numpy(np.ascontiguousarray(embeds)).to(model.device)).float().cpu().numpy()


def _open(folder: str | Path, split: str, processor):
    check_channels(folder, processor)
    splits = load_splits(folder)
    for name in {"train", "validation", split} - set(splits):
        raise ValueError(f"{folder}: expected a split {name!r}, found {sorted(splits)}; build the data set again")
    return splits


def _score(model, embeds: np.ndarray, rows, folder: str | Path, *, seed: int) -> dict:
    """Of the scans that were coded and, in `embeds`, have all that is asked for."""
    units, present = list(model.config.id2label.values()), np.flatnonzero(np.isfinite(embeds).all(1))
    targets = unit_targets(rows.select(present) if len(present) < len(rows) else rows, units)
    logits = unit_logits(model, embeds[present])
    found = score_decisions(logits, logits > 0, targets, phrases_of(units), seed=seed)
    if found is None:
        raise ValueError(
            f"{folder}: its rows tell none of the model's action units, {', '.join(units)}, that some lack"
        )
    return found


def phrases_of(units: Sequence[str]) -> dict[str, list[str]]:
    """Wordings of each; of a unit that has none, its name."""
    known = action_phrases()
    return {unit: known.get(unit, [unit]) for unit in units}


def _summary(scored: dict) -> dict:
    return scored["mean"] | {name: scored[name] for name in ("num_scans", "num_subjects")}
