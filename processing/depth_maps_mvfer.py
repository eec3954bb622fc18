"""A small depth map of a scan, seen from the front without perspective: what framing searches. In: points and faces."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as nnf

from .compiled_mvfer import LOOPS
from .rasterizer_mvfer import nearest_triangles

MAP_SIZE_PX = 128


@dataclass(frozen=True)
class DepthMap:
    """An orthographic view from the front: `depth (S, S)` in pixels towards the viewer, NaN where there is nothing."""

    depth: np.ndarray
    middle: tuple[float, float, float]  # world coordinates of the map's middle, at depth 0
    pixel: float  # world units

    @classmethod
    def look(cls, points, faces, middle, extent: float, depth_range, *, mend: bool = False) -> "DepthMap":
        size = MAP_SIZE_PX
        pixel = extent / (size - 2)
        back, front = depth_range
        nearness = 1 + (points[:, 2] - back) / (front - back)  # 1 to 2: the z-buffer asks for positive numbers
        column = (points[:, 0] - middle[0]) / pixel + size / 2
        row = (middle[1] - points[:, 1]) / pixel + size / 2
        key = _nearest(torch.stack([column, row, nearness]), faces, size)
        depth = ((key >> 32).to(torch.int32).view(torch.float32).double() - 1) * ((front - back) / pixel)
        depth[key == 0] = torch.nan
        depth = depth.view(size, size)
        return cls(
            _without_spikes(_mended(depth) if mend else depth), (float(middle[0]), float(middle[1]), back), pixel
        )

    @cached_property
    def gradient(self) -> tuple[np.ndarray, np.ndarray]:
        """Change of depth per pixel to the right and up, `(S, S)` each; of one side beside a hole."""
        return difference(self.depth, 1), -difference(self.depth, 0)

    @cached_property
    def slopes(self) -> np.ndarray:
        """Depth and its gradient at every pixel, `(3, S * S)` float32."""
        return np.stack([self.depth, *self.gradient]).reshape(3, -1).astype(np.float32)

    def to_world(self, place) -> tuple[float, float, float]:
        """(column, row, depth) in pixels -> (x, y, z)."""
        x, y, z = self.middle
        column, row, depth = place
        half = len(self.depth) / 2
        return (x + (column - half) * self.pixel, y - (row - half) * self.pixel, z + depth * self.pixel)

    def to_map(self, point, *, upwards: bool = False) -> tuple[float, float, float]:
        """(x, y, z) -> (column, row, depth) in pixels; `upwards`: rows counted from the bottom."""
        x, y, z = ((p - m) / self.pixel for p, m in zip(point, self.middle, strict=True))
        half = len(self.depth) / 2
        return (x + half, half + y if upwards else half - y, z)


def _nearest(screen: torch.Tensor, faces: torch.Tensor, size: int) -> torch.Tensor:
    """`rasterizer_mvfer.nearest_triangles` of one image, by whichever loop is there."""
    if (loop := LOOPS.get("nearest_triangles")) is None:
        return nearest_triangles(screen, faces.t().contiguous(), 1, size)
    keys = np.empty((size, size), np.int64)
    loop(screen.t().contiguous().numpy(), faces.contiguous().numpy().view(np.uint64), keys, True)
    return torch.from_numpy(keys.reshape(-1))


def _mended(depth: torch.Tensor) -> torch.Tensor:
    """Without gaps up to four pixels wide, then without spikes up to two."""

    def widest(image, size: int):
        image = nnf.max_pool2d(image, (size, 1), stride=1, padding=(size // 2, 0))
        return nnf.max_pool2d(image, (1, size), stride=1, padding=(0, size // 2))

    low = torch.finfo(depth.dtype).min
    closed = -widest(-widest(depth.nan_to_num(low)[None], 5), 5)
    opened = widest(-widest(-closed, 3), 3)[0]
    return opened.where(opened > low / 2, torch.nan)


def _without_spikes(depth: torch.Tensor) -> np.ndarray:
    """Mean over 3 x 3 neighbours that were seen; holes stay holes."""
    seen = depth.isfinite()
    both = nnf.avg_pool2d(torch.stack([depth.nan_to_num(0), seen.double()])[None], 3, stride=1, padding=1)[0]
    return (both[0] / both[1]).where(seen, torch.nan).numpy()


def sample(depth: np.ndarray, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Bilinear samples; NaN outside and next to holes."""
    c, r = column - 0.5, row - 0.5
    c0, r0 = np.floor(c).astype(int), np.floor(r).astype(int)
    inside = (c0 >= 0) & (r0 >= 0) & (c0 < len(depth) - 1) & (r0 < len(depth) - 1)
    c0, r0 = np.where(inside, c0, 0), np.where(inside, r0, 0)
    s, t = c - c0, r - r0
    upper = depth[r0, c0] * (1 - s) + depth[r0, c0 + 1] * s
    lower = depth[r0 + 1, c0] * (1 - s) + depth[r0 + 1, c0 + 1] * s
    return np.where(inside, upper * (1 - t) + lower * t, np.nan)


def difference(depth: np.ndarray, axis: int) -> np.ndarray:
    """Mean of the differences to both neighbours, or the one there is."""
    step = np.diff(depth, axis=axis)
    edge = np.full_like(depth.take([0], axis), np.nan)
    before, after = np.concatenate([edge, step], axis), np.concatenate([step, edge], axis)
    both = (before + after) / 2
    return np.where(np.isfinite(both), both, np.where(np.isfinite(before), before, after))
