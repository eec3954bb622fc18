"""Changes of views, for a whole batch at once, on the device that learns from them.

In: views `uint8` and what was drawn for each scan (`augmentation.Changes`). Out: the views, changed. The same bits come out on
every device, whatever else is in the batch, but for a grey level here or there of views that are seen coarser: matrix products
round as the device does. One image after the other, on the processor, would keep a GPU waiting.
"""

import functools
from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mvfer.data.augmentation import Changes

BRIGHTNESS_CHANNELS = frozenset({"clay", "clay_curvature", "red", "green", "blue", "gray"})
MOST_NOISE = 127  # grey levels either way
PREFIX = "change_"  # of their names in a batch
_MIX, _MIX_AGAIN, _NEXT_VIEW = 0x21F0AAAD, 0x735A2D97, 0x1B873593  # odd, so that multiplying by them loses nothing


def gather_changes(changes: Sequence[Changes]) -> dict[str, Tensor]:
    """Those of `B` scans as tensors `(B, ...)`, padded where scans have fewer views."""
    views = max(len(one.moves) for one in changes)
    columns = {}
    for name in (field.name for field in fields(Changes)):
        values = [np.asarray(getattr(one, name)) for one in changes]
        if values[0].ndim:  # what is added is of no view
            values = [v if len(v) == views else np.resize(v, (views, v.shape[1])) for v in values]
        column = torch.from_numpy(np.stack(values))
        columns[PREFIX + name] = (
            column.float() if column.is_floating_point() else column
        )  # some devices know no doubles
    return columns


def change_views(views: Tensor, view_mask: Tensor, changes: dict[str, Tensor], *, channels: Sequence[str]) -> Tensor:
    """Mirror and shift, then brightness, coarseness, noise and what is hidden, of the views that stay; the others are black.

    Args:
        views (`(B, V, H, W, 3)` or `(B, T, V, H, W, 3)` uint8): not changed. view_mask (`(B, V)` or `(B, T, V)` bool).
        changes: of `gather_changes`, on the views' device.
        channels: names of the three channels; the left-right component of a normal changes sign in the mirror.
    Returns:
        Views of the same shape.
    """
    mask = view_mask if views.ndim == 6 else view_mask[:, None]
    whole = views if views.ndim == 6 else views[:, None]
    scan, frame, view = mask.nonzero(as_tuple=True)
    mirrored, gain, coarseness, noise, seed = (
        changes[PREFIX + name][scan] for name in ("mirrored", "gain", "coarseness", "noise", "noise_seed")
    )
    down, right = changes[PREFIX + "moves"][scan, view].unbind(1)
    top, bottom, left, end = changes[PREFIX + "hidden"][scan, view].unbind(1)
    rows, rows_inside, rows_hidden = _places(whole.shape[3], down, top, bottom)
    columns, columns_inside, columns_hidden = _places(whole.shape[4], right, left, end)
    columns = torch.where(mirrored[:, None], whole.shape[4] - 1 - columns, columns)
    images = whole[scan[:, None], frame[:, None], view[:, None], rows]  # (N, H, W, 3)
    images = images.gather(2, columns[:, None, :, None].expand(images.shape))
    for index in (i for i, name in enumerate(channels) if name == "normal_x"):
        plane = images[..., index]
        images[..., index] = torch.where(mirrored[:, None, None] & (plane > 0), 255 - plane, plane)
    _brighten(images, gain, [i for i, name in enumerate(channels) if name in BRIGHTNESS_CHANNELS])
    _coarsen(images, coarseness)
    _add_noise(images, noise, seed + (frame * mask.shape[2] + view + 1) * _NEXT_VIEW)
    shown = (rows_inside[:, :, None] & columns_inside[:, None]) & ~(rows_hidden[:, :, None] & columns_hidden[:, None])
    images *= shown[..., None]
    changed = torch.zeros_like(whole)
    changed[scan, frame, view] = images
    return changed.view_as(views)


def _places(side: int, moves: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Along a side of images moved by `(N,)` pixels, `(N, side)`: where a pixel comes from, if from inside, if it is hidden."""
    pixel = torch.arange(side, device=moves.device)
    source = pixel - moves[:, None]
    hidden = (pixel >= start[:, None]) & (pixel < end[:, None])
    return source.clamp(0, side - 1), (source >= 0) & (source < side), hidden


def _brighten(images: Tensor, gain: Tensor, channels: list[int]) -> None:
    for index in channels:
        images[..., index] = (images[..., index] * gain[:, None, None]).round_().clamp_(0, 255).to(torch.uint8)


def _coarsen(images: Tensor, coarseness: Tensor) -> None:
    rows = (coarseness > 1).nonzero()[:, 0]
    if not len(rows):
        return
    height, width = images.shape[1:3]
    factors = coarseness[rows].tolist()
    down, across = (
        torch.stack([_seen_coarser(side, max(1, round(side / factor))) for factor in factors]).to(images.device)
        for side in (height, width)
    )
    planes = images[rows].permute(3, 0, 1, 2).float()  # (3, n, H, W)
    planes = down @ planes @ across.transpose(1, 2)
    images[rows] = planes.round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 3, 0)


@functools.lru_cache(maxsize=512)
def _seen_coarser(side: int, small: int) -> Tensor:
    """`(side, side)`: what a row of pixels is times this if it is seen by `small` pixels and shown by `side` ones."""
    rows = Image.fromarray(np.eye(side, dtype=np.float32), mode="F")
    rows = rows.resize((side, small), Image.Resampling.BOX).resize((side, side), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(rows))


def _add_noise(images: Tensor, noise: Tensor, seed: Tensor) -> None:
    """Uniform noise of whole grey levels, on the face alone; its deviation is its reach over the square root of three.

    The noise of a pixel is a hash of its place and the seed, so it needs no generator and is the same wherever it is computed.
    Source: the mixing is that of C. Wellons' "lowbias32" (public domain); one hash serves four values.
    """
    noisy = noise > 0
    if not noisy.any():
        return
    reach = (3**0.5 * 255 * noise).round().clamp(1, MOST_NOISE).mul(noisy).to(torch.int16)  # (N,)
    flat = images.reshape(len(images), -1)
    words = (
        torch.arange((flat.shape[1] + 3) // 4, dtype=torch.int32, device=images.device) + _mixed(seed.int())[:, None]
    )
    values = _mixed(words).view(torch.int8)[:, : flat.shape[1]].to(torch.int16)  # -128 to 127
    values.mul_(2 * reach[:, None] + 1).add_(128).bitwise_right_shift_(8)  # -reach to reach
    values.add_(flat).clamp_(0, 255)
    images.copy_(torch.where(flat > 0, values.to(torch.uint8), flat).view_as(images))


def _mixed(words: Tensor) -> Tensor:
    """Whole numbers of 32 bits `int32`, scrambled one to one, in place."""
    for shift, factor in ((16, _MIX), (15, _MIX_AGAIN)):
        words ^= (words >> shift).bitwise_and_(2 ** (32 - shift) - 1)
        words *= factor
    words ^= (words >> 15).bitwise_and_(2**17 - 1)
    return words
