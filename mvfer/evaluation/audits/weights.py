"""Which views, and which moments of a sequence, counted how much: the fusion's weights over the tested scans, and per class.

In: the features of a split. Out: means with intervals, subjects resampled. A fusion that has learnt nothing, or the mean,
gives equal weights. A weight says how much of a view entered the embedding, not how good the view is.
"""

from collections.abc import Sequence

import numpy as np

from mvfer.evaluation.embeddings import MOMENTS, SplitFeatures
from mvfer.evaluation.metrics import bootstrap_mean


def mean_weights(features: SplitFeatures, label_names: Sequence[str], *, seed: int) -> dict:
    """The mean weights of a split.

    Args:
        features: of the split; label_names: what its labels count.
    Returns:
        `dict`: `views` with `overall` (view name to `{"mean", "low", "high"}`) and `per_class` (expression to view name to
        mean), over the scans that have the view; `frames`, `None` for single scans, else with `moments` (of the duration, 0
        to 1), `overall` (per moment an interval) and `per_class` (expression to means): 1 is as much as with equal weights.
    """
    classes = {name: features.labels == label for label, name in enumerate(label_names) if label in features.labels}
    views = features.view_weights
    found: dict[str, dict | None] = {
        "views": {
            "overall": {name: bootstrap_mean(one, features.subjects, seed=seed) for name, one in views.items()},
            "per_class": {
                label: {name: float(np.nanmean(one[mine])) for name, one in views.items() if not _absent(one[mine])}
                for label, mine in classes.items()
            },
        },
        "frames": None,
    }
    frames = features.frame_weights
    if frames is not None:
        found["frames"] = {
            "moments": MOMENTS.tolist(),
            "overall": [bootstrap_mean(one, features.subjects, seed=seed) for one in frames.T],
            "per_class": {
                label: np.nanmean(frames[mine], 0).tolist()
                for label, mine in classes.items()
                if not _absent(frames[mine])
            },
        }
    return found


def _absent(values: np.ndarray) -> bool:
    return bool(np.isnan(values).all())
