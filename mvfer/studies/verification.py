"""Who is it: `mvfer study verification --model runs/first --dataset data/anny --out report`.

In: a model and a data set. Out: `verification.json`: how well the cosine of two embeddings tells whether two scans of test
subjects show one person. A model of expressions should not know; this measures how much it does.
"""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from mvfer.evaluation.embeddings import embed_split
from mvfer.evaluation.evaluate import open_splits
from mvfer.evaluation.metrics import area_and_equal_error, bootstrap_counts
from mvfer.reports.pages import interval

MOST_PAIRS = 10_000


def evaluate_verification(model, processor, dataset_dir: str | Path, *, seed: int = 0) -> dict:
    """ROC-AUC and equal error rate over pairs of scans of test subjects.

    Returns:
        `dict`, ready for JSON: auc, eer (each `{"mean", "low", "high"}`, subjects resampled), num_pairs per kind, num_subjects.
    Raises:
        ValueError: if no subject has two scans, or there is one subject only.
    """
    split = open_splits(dataset_dir, "test", processor)["test"]
    features = embed_split(model, processor.image_processor, split)
    return verify(features.image_embeds, features.subjects, seed=seed)


def verify(embeds: np.ndarray, subjects: Sequence[str], *, seed: int = 0) -> dict:
    """`evaluate_verification` on embeddings `(n, D)` of unit length and `n` subjects."""
    first, second, same = pairs(subjects, seed=seed)
    cosines = (embeds[first] * embeds[second]).sum(1)
    who = np.asarray(subjects)

    def measure(counts: dict[str, int]) -> dict[str, float]:
        drawn = np.array([counts[subject] for subject in who])
        weights = np.where(same, drawn[first], drawn[first] * drawn[second])
        kept = weights > 0
        found = area_and_equal_error(cosines[kept], same[kept], weights[kept])
        return {"auc": found["auc"], "eer": found["eer"]}

    counts = {"same": int(same.sum()), "different": int((~same).sum())}
    return bootstrap_counts(subjects, measure, seed=seed) | {
        "num_pairs": counts,
        "num_subjects": len(set(subjects)),
        "seed": seed,
    }


def pairs(subjects: Sequence[str], *, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of rows: those of one subject, and as many of two subjects, at most `MOST_PAIRS` of a kind, drawn by seed.

    Returns:
        first and second row `(p,)`, and whether they show one subject `(p,)`.
    Raises:
        ValueError: if no subject has two scans, or there is one subject only.
    """
    who, rng = np.asarray(subjects), np.random.default_rng(seed)
    rows = [np.flatnonzero(who == subject) for subject in np.unique(who)]
    same = np.array([pair for own in rows for pair in combinations(own.tolist(), 2)])
    if not len(same) or len(rows) < 2:
        raise ValueError("verification compares scans: it needs two subjects, and two scans of one of them")
    same = same[rng.permutation(len(same))[:MOST_PAIRS]]
    different = np.empty((0, 2), dtype=int)
    while len(different) < len(same):
        drawn = rng.integers(len(who), size=(2 * len(same), 2))
        different = np.concatenate([different, drawn[who[drawn[:, 0]] != who[drawn[:, 1]]]])
    chosen = np.concatenate([same, different[: len(same)]])
    return chosen[:, 0], chosen[:, 1], np.arange(len(chosen)) < len(same)


def report(results: dict, out: Path) -> str:
    rows = [("area under the curve", results["auc"]), ("equal error rate", results["eer"])]
    return "\n".join(f"{name:<22} {interval(value)}" for name, value in rows)
