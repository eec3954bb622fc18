"""Training-time changes to views and their words: what is drawn where samples are loaded. In: a random generator. Out: changes.

Everything here keeps what the caption says true: a mirrored face has its views reversed and its sides renamed, and a
shortened caption still holds. What would change the geometry (identity, pose, light) belongs to the data builders. Pixels are
changed for a whole batch at once, on the device that learns from them (`view_changes`).
"""

import math
from dataclasses import dataclass

import numpy as np

from mvfer.data.wording import split_phrases


@dataclass(frozen=True)
class Augmentation:
    """How much to vary. The default recipe is the one that worked for small models; zero switches a part off.

    Args:
        view_dropout: chance that a view is left out; at least one always stays.
        occlusion: chance, per view, that a rectangle, or half of the view, is blanked.
        shift: largest translation, as a fraction of the image's side (3 pixels of 64).
        mirror: mirror half of the scans, with views reversed and left and right renamed.
        gain: brightness of shaded and coloured channels is multiplied by up to 1 +- gain; geometric channels stay.
        noise: standard deviation of pixel noise on the face, as a fraction of the range.
        poor_sensor: chance that a scan is seen as by a poor sensor: with up to 4 times fewer pixels a side, with noise of up to a
            tenth of the range, or with both.
        drop_phrases: chance that a phrase is left out of a caption; at least one always stays.
    """

    view_dropout: float = 0.3
    occlusion: float = 0.3
    shift: float = 3 / 64
    mirror: bool = True
    gain: float = 0.1
    noise: float = 0.01
    poor_sensor: float = 0.0
    drop_phrases: float = 0.1

    def __post_init__(self):
        for name in ("view_dropout", "occlusion", "shift", "gain", "noise", "poor_sensor", "drop_phrases"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"augmentation: expected 0 <= {name} <= 1, got {value}")


@dataclass
class Changes:
    """What happens to the `V` views of one scan, or of all frames of one sequence alike, in this order.

    Args:
        mirrored: whether they are flipped.
        gain: factor of brightness.
        coarseness: how many times fewer pixels a side are seen; 1: all.
        noise: standard deviation of pixel noise, as a fraction of the range; `noise_seed`: which noise.
        moves (`(V, 2)` int): pixels down and right. hidden (`(V, 4)` int): top, bottom, left, right of what is blanked.
    """

    mirrored: bool
    gain: float
    coarseness: float
    noise: float
    noise_seed: int
    moves: np.ndarray
    hidden: np.ndarray


def draw_changes(
    rng: np.random.Generator, augmentation: Augmentation, *, views: int, size: tuple[int, int], mirrored: bool
) -> tuple[Changes, np.ndarray]:
    """Draw what happens to a scan's views of `size` (H, W) pixels.

    Returns:
        The changes, and a mask `(V,)`, true for the views that stay (never all false).
    """
    kept = np.greater_equal(rng.random(views), augmentation.view_dropout)
    if not kept.any():
        kept[rng.integers(views)] = True
    gain = float(rng.uniform(1 - augmentation.gain, 1 + augmentation.gain)) if augmentation.gain else 1.0
    coarseness, noise = 1.0, augmentation.noise
    if augmentation.poor_sensor and rng.random() < augmentation.poor_sensor:
        coarse, noisy = ((True, False), (False, True), (True, True))[rng.integers(3)]
        coarseness = math.exp(rng.uniform(math.log(1.2), math.log(4))) if coarse else 1.0
        noise = float(rng.uniform(noise, 0.1)) if noisy else noise
    reach = round(augmentation.shift * max(size))
    moves = rng.integers(-reach, reach + 1, size=(views, 2))
    hidden = np.zeros((views, 4), np.int64)
    for view in np.flatnonzero(rng.random(views) < augmentation.occlusion):
        rows, columns = _hidden_part(*size, rng)
        hidden[view] = *rows.indices(size[0])[:2], *columns.indices(size[1])[:2]
    return Changes(mirrored, gain, coarseness, noise, int(rng.integers(2**31)), moves, hidden), kept


def mirror_cameras(view_angles_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the camera at yaw +a would see of the mirrored face is the flipped image of the camera at -a.

    Args:
        view_angles_deg (`(V, 2)`).
    Returns:
        The order `(V,)` of views, and their angles. Where the set of cameras is symmetric, the views are put back into the
        given order of angles, so that a view's place keeps its meaning.
    """
    angles = view_angles_deg * np.array([-1, 1], dtype=view_angles_deg.dtype)
    same = (np.abs(view_angles_deg[:, None] - angles[None]) <= 1e-3).all(-1)  # (V wanted, V at hand)
    if (same.sum(0) == 1).all() and (same.sum(1) == 1).all():
        order = same.argmax(1)
        return order, angles[order]
    return np.arange(len(angles)), angles


def drop_phrases(caption: str, rng: np.random.Generator, *, chance: float) -> str:
    """Leave out phrases at random, at least one stays, order kept."""
    phrases = split_phrases(caption)
    kept = [phrase for phrase in phrases if rng.random() >= chance]
    kept = kept or [phrases[rng.integers(len(phrases))]] if phrases else []
    if len(kept) == len(phrases):
        return caption
    return ("、" if "、" in caption else ", ").join(kept)


def halves(H: int, W: int) -> dict[str, tuple[slice, slice]]:
    """Rows and columns of the four halves of an image, by the side that they lie on, as seen in the image."""
    whole = slice(None)
    return {
        "top": (slice(0, H // 2), whole),
        "bottom": (slice(H - H // 2, H), whole),
        "left": (whole, slice(0, W // 2)),
        "right": (whole, slice(W - W // 2, W)),
    }


def _hidden_part(H: int, W: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """What something in front of the camera hides: one half of the view, or a rectangle of 20 to 50 % of its sides."""
    if rng.random() < 0.5:
        return list(halves(H, W).values())[int(rng.integers(4))]
    height, width = (round(side * rng.uniform(0.2, 0.5)) for side in (H, W))
    top, left = rng.integers(0, H - height + 1), rng.integers(0, W - width + 1)
    return slice(top, top + height), slice(left, left + width)
