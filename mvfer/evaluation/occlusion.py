"""Half of every view covered: the same half, or each view its own. In: views and sides. Out: views with background there."""

import numpy as np

from mvfer.data.augmentation import halves

SIDES = ("left", "right", "top", "bottom")


def draw_sides(count: int, views: int, *, seed: int) -> list[list[str]]:
    """The side to cover of each view of `count` scans, each of the four equally likely, in row order."""
    return [[SIDES[i] for i in row] for row in np.random.default_rng(seed).integers(len(SIDES), size=(count, views))]


def cover_halves(views: np.ndarray, sides: list[str]) -> np.ndarray:
    """Cover half of every view, each with its own side, as things in front of each camera do: `(..., V, H, W, 3)`."""
    return np.stack(
        [cover_half(views[..., v, :, :, :], side) for v, side in enumerate(sides[: views.shape[-4]])], axis=-4
    )


def cover_half(views: np.ndarray, side: str) -> np.ndarray:
    """Set the named half of every image of a scan to background (0), the same half in all its views and frames.

    Args:
        views (`uint8 (..., H, W, 3)`): not changed.
        side (`str`): left, right, top or bottom, as seen in the image.
    """
    parts = halves(*views.shape[-3:-1])
    if side not in parts:
        raise ValueError(f"expected a side of {list(parts)}, got {side!r}")
    covered = views.copy()
    covered[(..., *parts[side], slice(None))] = 0
    return covered
