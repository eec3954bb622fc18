"""Training-time changes to views and their words. In: a scan's uint8 views, a random generator. Out: the same, varied.

Everything here keeps what the caption says true: a mirrored face has its views reversed and its sides renamed, and a
shortened caption still holds. What would change the geometry (identity, pose, light) belongs to the data builders.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mvfer.data.wording import split_phrases

BRIGHTNESS_CHANNELS = frozenset({"clay", "clay_curvature", "red", "green", "blue", "gray"})


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


def drop_phrases(caption: str, rng: np.random.Generator, *, chance: float) -> str:
    """Leave out phrases at random, at least one stays, order kept."""
    phrases = split_phrases(caption)
    kept = [phrase for phrase in phrases if rng.random() >= chance]
    kept = kept or [phrases[rng.integers(len(phrases))]] if phrases else []
    if len(kept) == len(phrases):
        return caption
    return ("、" if "、" in caption else ", ").join(kept)


def mirror_views(
    views: np.ndarray, view_angles_deg: np.ndarray, *, channels: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Mirror a scan: what the camera at yaw +a would see of the mirrored face is the flipped image of the camera at -a.

    Args:
        views (`(T, V, H, W, 3)` uint8), view_angles_deg (`(V, 2)`).
        channels: names of the three channels; the left-right component of a normal changes sign.
    Returns:
        Views and angles. Where the set of cameras is symmetric, the views are put back into the given order of angles,
        so that a view's place keeps its meaning.
    """
    flipped = views[..., ::-1, :]
    if "normal_x" in channels:
        flipped = flipped.copy()
        for index in (i for i, name in enumerate(channels) if name == "normal_x"):
            plane = flipped[..., index]
            np.subtract(255, plane, out=plane, where=plane > 0)
    angles = view_angles_deg * np.array([-1, 1], dtype=view_angles_deg.dtype)
    same = np.isclose(view_angles_deg[:, None], angles[None], atol=1e-3).all(-1)  # (V wanted, V at hand)
    if (same.sum(0) == 1).all() and (same.sum(1) == 1).all():
        order = same.argmax(1)
        return flipped[:, order], angles[order]
    return flipped, angles


def augment_views(
    views: np.ndarray, rng: np.random.Generator, augmentation: Augmentation, *, channels: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """View dropout, then brightness, noise, shift and occlusion of what stays. Frames of one sequence are changed alike.

    Args:
        views (`(T, V, H, W, 3)` uint8): not changed in place.
    Returns:
        The varied views, those left out black, and a mask `(V,)`, true for the views that stay (never all false).
    """
    V = views.shape[1]
    kept = np.greater_equal(rng.random(V), augmentation.view_dropout)
    if not kept.any():
        kept[rng.integers(V)] = True
    if kept.all():
        return _vary(views.copy(), rng, augmentation, channels), kept
    varied = np.zeros_like(views)
    varied[:, kept] = _vary(views[:, kept], rng, augmentation, channels)
    return varied, kept


def _vary(views: np.ndarray, rng: np.random.Generator, augmentation: Augmentation, channels) -> np.ndarray:
    """Change all views `(T, V, H, W, 3)`, in place where that can be, and return them."""
    _, V, H, W, _ = views.shape
    if augmentation.gain:
        table = np.arange(256) * rng.uniform(1 - augmentation.gain, 1 + augmentation.gain)
        table = table.round().clip(0, 255).astype(np.uint8)
        for index in (i for i, name in enumerate(channels) if name in BRIGHTNESS_CHANNELS):
            views[..., index] = table[views[..., index]]
    noise = augmentation.noise
    if augmentation.poor_sensor and rng.random() < augmentation.poor_sensor:
        coarse, noisy = ((True, False), (False, True), (True, True))[rng.integers(3)]
        if coarse:
            views = coarser(views, float(np.exp(rng.uniform(math.log(1.2), math.log(4)))))
        noise = float(rng.uniform(noise, 0.1)) if noisy else noise
    if noise:
        reach = max(1, round(math.sqrt(3) * 255 * noise))  # uniform: its deviation is reach / sqrt(3)
        noisy = views + rng.integers(-reach, reach + 1, size=views.shape, dtype=np.int16)
        np.copyto(views, noisy.clip(0, 255).astype(np.uint8), where=views > 0)
    for view in range(V):
        if augmentation.shift:
            reach = round(augmentation.shift * max(H, W))
            _shift(views[:, view], *rng.integers(-reach, reach + 1, size=2))
        if rng.random() < augmentation.occlusion:
            rows, columns = _hidden_part(H, W, rng)
            views[:, view, rows, columns] = 0
    return views


def coarser(views: np.ndarray, factor: float) -> np.ndarray:
    """Views `(T, V, H, W, 3)` as seen with `factor` times fewer pixels a side, at their old size."""
    small = tuple(max(1, round(side / factor)) for side in views.shape[3:1:-1])
    return each_image(
        views, lambda image: image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BILINEAR)
    )


def each_image(views: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Views `(T, V, H, W, 3)`, every one of them changed."""
    flat = views.reshape(-1, *views.shape[2:])
    return np.stack([np.asarray(change(Image.fromarray(image))) for image in flat]).reshape(views.shape)


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


def _shift(images: np.ndarray, down: int, right: int) -> None:
    """Translate `(T, H, W, 3)` images in place; what comes in is background."""
    H, W = images.shape[1:3]
    moved = np.zeros_like(images)
    moved[:, max(down, 0) : H + min(down, 0), max(right, 0) : W + min(right, 0)] = images[
        :, max(-down, 0) : H + min(-down, 0), max(-right, 0) : W + min(-right, 0)
    ]
    images[:] = moved
