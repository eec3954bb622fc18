"""Who is seen relative to which of a batch's scans in training. In: the batch's samples. Out: what `get_image_features` takes.

Of every person of a batch it is drawn whether their scans are seen as they are, or relative to other scans: some of their
own, those of their own that are at rest, or those of everybody else on their scanner. So the same weights learn to do
without a baseline, and with any. It is a function of the samples, and so of seed, epoch and rows.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from mvfer.data.schema import is_at_rest

KINDS = {"own": 0.6, "at_rest": 0.25, "scanner": 0.15}  # of a baseline, and how often
FEWEST_OTHERS = 8  # scans of other people that tell what a scanner is like


def rows_at_rest(split) -> list[bool]:
    """Which rows of a split (`datasets.Dataset`) are known to show the face at rest: synthetic heads without actions."""
    if not {"action_units", "caption_source", "intensity"} <= set(split.column_names):
        return [False] * len(split)
    columns = split.select_columns(["action_units", "caption_source", "intensity"])
    return [
        row["caption_source"] == "captions" and row["intensity"] is not None and is_at_rest(row["action_units"])
        for row in columns
    ]


def draw_baselines(samples: Sequence[Mapping], *, share: float) -> dict[str, torch.Tensor]:
    """Draw the baselines of a batch, of one process: the scans of others serve no baseline here.

    Args:
        samples: of `ViewDataset`, `B` of them: `subject`, `source` (the number of its data set), `at_rest`, `draw` (a number).
        share: chance that a person is seen relative to a baseline, in 0..1.
    Returns:
        `baseline_weights` `(B, B)` float, `baseline_at_rest` `(B,)`, `is_at_rest` `(B,)` bool.
    """
    rng = np.random.default_rng([sample["draw"] for sample in samples])
    at_rest = np.array([sample["at_rest"] for sample in samples])
    sources = np.array([sample["source"] for sample in samples])
    people: dict[tuple[int, str], list[int]] = {}
    for row, sample in enumerate(samples):
        people.setdefault((sample["source"], sample["subject"]), []).append(row)
    weights, shows_rest = np.zeros((len(samples), len(samples)), np.float32), np.zeros(len(samples), bool)
    for (source, _), rows in people.items():
        has_baseline, kind = rng.random() < share, rng.choice([*KINDS], p=[*KINDS.values()])
        if not has_baseline:
            continue
        rows = np.array(rows)
        if kind == "scanner":
            others = np.flatnonzero((sources == source) & ~np.isin(np.arange(len(samples)), rows))
            weights[np.ix_(rows, others)] = len(others) >= FEWEST_OTHERS
            continue
        resting = rows[at_rest[rows]]
        kind = "at_rest" if kind == "at_rest" and len(resting) else "own"
        for row in rows:
            candidates = resting if kind == "at_rest" else rows
            candidates = candidates[candidates != row]
            if len(candidates):
                weights[row, rng.choice(candidates, rng.integers(1, len(candidates) + 1), replace=False)] = 1
                shows_rest[row] = kind == "at_rest"
    return {
        "baseline_weights": torch.from_numpy(weights),
        "baseline_at_rest": torch.from_numpy(shows_rest),
        "is_at_rest": torch.from_numpy(at_rest),
    }
