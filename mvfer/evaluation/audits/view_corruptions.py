"""What goes wrong with pictures of faces, in five grades: a table of named corruptions of stored views.

In: the views of a scan, `uint8 (T, V, H, W, 3)` with background 0, a severity 1 to 5 and a random generator. Out:
views of the same shape. Frames of one sequence are changed alike, but for noise. What happens to the scan itself, before
rendering, is in `mesh_corruptions`.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

from mvfer.data.view_changes import BRIGHTNESS_CHANNELS
from processing.channels_mvfer import COLOR_CHANNELS

SEVERITIES = (1, 2, 3, 4, 5)


def patches(views: np.ndarray, severity: int, rng: np.random.Generator, channels: Sequence[str]) -> np.ndarray:
    """A square that covers 10 to 50 % of every view, each at its own place: things in front of each camera."""
    side = _side_of_patch(severity)
    return _each_view(views, lambda view: _cover_square(view, rng.random(2), side))


def same_patch(views: np.ndarray, severity: int, rng: np.random.Generator, channels: Sequence[str]) -> np.ndarray:
    """The same square in all views, 10 to 50 % of each: a part of the face is seen from nowhere."""
    place, side = rng.random(2), _side_of_patch(severity)
    return _each_view(views, lambda view: _cover_square(view, place, side))


def unequal_views(views: np.ndarray, severity: int, rng: np.random.Generator, channels: Sequence[str]) -> np.ndarray:
    """One view fades, by a fifth of its contrast per grade, until it shows nothing, though it is said to be there."""
    changed, chosen = views.copy(), rng.integers(views.shape[1])
    changed[:, chosen] = (views[:, chosen] * (1 - severity / 5)).round()
    return changed


def noise(views: np.ndarray, severity: int, rng: np.random.Generator, channels: Sequence[str]) -> np.ndarray:
    """Gaussian noise on the face, 5 to 60 grey levels, new in every frame: a poor sensor."""
    sigma = (5, 10, 20, 40, 60)[severity - 1]
    noisy = views + rng.normal(0, sigma, views.shape).round()
    return np.where(views.any(-1, keepdims=True), noisy.clip(0, 255), 0).astype(np.uint8)


def holes(views: np.ndarray, severity: int, rng: np.random.Generator, channels: Sequence[str]) -> np.ndarray:
    """Four to 32 discs of nothing, each view its own: what a scanner misses."""
    count = (4, 8, 16, 24, 32)[severity - 1]
    H, W = views.shape[2:4]
    rows, columns = np.ogrid[:H, :W]

    def punch(view: np.ndarray) -> np.ndarray:
        for x, y, radius in zip(
            rng.random(count) * W, rng.random(count) * H, rng.uniform(0.03, 0.08, count), strict=True
        ):
            view[:, (columns - x) ** 2 + (rows - y) ** 2 < (radius * W) ** 2] = 0
        return view

    return _each_view(views, punch)


def low_resolution(views: np.ndarray, severity: int, rng: np.random.Generator, channels: Sequence[str]) -> np.ndarray:
    """Seen with 1.5 to 6 times fewer pixels a side: a coarse scan, or a face far away."""
    return _coarser(views, (1.5, 2, 3, 4, 6)[severity - 1])


def scale(views: np.ndarray, severity: int, rng: np.random.Generator, channels: Sequence[str]) -> np.ndarray:
    """Larger or smaller by 5 to 30 %: the face was framed badly."""
    amount = (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1]
    return _warped(views, zoom=1 + amount if rng.random() < 0.5 else 1 - amount)


def shift(views: np.ndarray, severity: int, rng: np.random.Generator, channels: Sequence[str]) -> np.ndarray:
    """Moved by 3 to 20 % of the side in any direction."""
    amount = (0.03, 0.06, 0.1, 0.15, 0.2)[severity - 1]
    angle = rng.uniform(0, 2 * np.pi)
    return _warped(views, right=amount * np.cos(angle), down=amount * np.sin(angle))


def roll(views: np.ndarray, severity: int, rng: np.random.Generator, channels: Sequence[str]) -> np.ndarray:
    """The head tilted by 5 to 30 degrees to either side."""
    angle = (5, 10, 15, 20, 30)[severity - 1]
    return _warped(views, roll_deg=float(angle if rng.random() < 0.5 else -angle))


def light(views: np.ndarray, severity: int, rng: np.random.Generator, channels: Sequence[str]) -> np.ndarray:
    """Shaded and coloured channels grow brighter to one side and darker to the other, by 10 to 70 %."""
    amount = (0.1, 0.2, 0.35, 0.5, 0.7)[severity - 1]
    angle = rng.uniform(0, 2 * np.pi)
    H, W = views.shape[2:4]
    rows, columns = np.linspace(-1, 1, H)[:, None], np.linspace(-1, 1, W)
    gain = 1 + amount * (np.cos(angle) * columns + np.sin(angle) * rows).clip(-1, 1)
    changed = views.copy()
    for index in (i for i, name in enumerate(channels) if name in BRIGHTNESS_CHANNELS):
        changed[..., index] = (views[..., index] * gain).round().clip(0, 255)
    return changed


def texture(views: np.ndarray, severity: int, rng: np.random.Generator, channels: Sequence[str]) -> np.ndarray:
    """Coloured channels fade by a fifth per grade to one grey, the face's own brightness, until no texture is left."""
    colored = [index for index, name in enumerate(channels) if name in COLOR_CHANNELS]
    on_face = views.any(-1, keepdims=True)
    brightness = views[..., colored].mean(where=on_face) if on_face.any() else 0.0
    faded = views[..., colored] + severity / 5 * (brightness - views[..., colored])
    changed = views.copy()
    changed[..., colored] = np.where(on_face, faded.round(), 0)
    return changed


VIEW_CORRUPTIONS: dict[str, Callable[[np.ndarray, int, np.random.Generator, Sequence[str]], np.ndarray]] = {
    one.__name__: one
    for one in (patches, same_patch, unequal_views, noise, holes, low_resolution, scale, shift, roll, light, texture)
}
Needs = Mapping[str, tuple[frozenset[str], str]]
NEEDS_COLOR = (frozenset(COLOR_CHANNELS), "the model sees geometry alone, no colour")
NEEDS: Needs = {  # one of these channels; else why the corruption changes nothing
    "light": (BRIGHTNESS_CHANNELS, "the model sees neither shading nor colour"),
    "texture": NEEDS_COLOR,
}


def drop_frames(num_frames: int, severity: int, rng: np.random.Generator) -> np.ndarray:
    """The frames of a sequence that are left, in order, when 20 to 80 % of them are lost; at least one."""
    lost = (0.2, 0.4, 0.6, 0.7, 0.8)[severity - 1]
    count = max(1, round((1 - lost) * num_frames))
    return np.sort(rng.choice(num_frames, count, replace=False))


def applicable(channels: Sequence[str]) -> list[str]:
    """The corruptions that do something to views with these channels."""
    return [name for name in VIEW_CORRUPTIONS if name not in inapplicable(channels)]


def inapplicable(channels: Sequence[str], needs: Needs = NEEDS) -> dict[str, str]:
    """The corruptions that do nothing to views with these channels, and why."""
    return {name: why for name, (some_of, why) in needs.items() if not some_of & set(channels)}


def _side_of_patch(severity: int) -> float:
    return float(np.sqrt(severity / 10))


def _cover_square(view: np.ndarray, place: np.ndarray, side: float) -> np.ndarray:
    """Set a square of `(T, H, W, 3)` to 0; `place` in [0, 1) of where it fits."""
    H, W = view.shape[1:3]
    height, width = round(side * H), round(side * W)
    top, left = round(place[0] * (H - height)), round(place[1] * (W - width))
    view[:, top : top + height, left : left + width] = 0
    return view


def _each_view(views: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Change copies of the views one by one, each `(T, H, W, 3)`."""
    return np.stack([change(views[:, v].copy()) for v in range(views.shape[1])], axis=1)


def _warped(
    views: np.ndarray, *, zoom: float = 1.0, roll_deg: float = 0.0, right: float = 0.0, down: float = 0.0
) -> np.ndarray:
    """Zoom and turn about the middle, then move by a share of the side; what comes into sight is background."""
    H, W = views.shape[2:4]
    cosine, sine = np.cos(np.radians(roll_deg)) / zoom, np.sin(np.radians(roll_deg)) / zoom
    x, y = W / 2 + right * W, H / 2 + down * H  # where the middle comes to lie
    matrix = (cosine, sine, W / 2 - cosine * x - sine * y, -sine, cosine, H / 2 + sine * x - cosine * y)
    return _each_image(
        views, lambda image: image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    )


def _coarser(views: np.ndarray, factor: float) -> np.ndarray:
    """Views `(T, V, H, W, 3)` as seen with `factor` times fewer pixels a side, at their old size."""
    small = tuple(max(1, round(side / factor)) for side in views.shape[3:1:-1])
    return _each_image(
        views, lambda image: image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BILINEAR)
    )


def _each_image(views: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Views `(T, V, H, W, 3)`, every one of them changed."""
    flat = views.reshape(-1, *views.shape[2:])
    return np.stack([np.asarray(change(Image.fromarray(image))) for image in flat]).reshape(views.shape)
