"""Frame a face: where is its centre, and how large is it? In: vertices and faces in any unit. Out: a `FaceFrame`.

No landmarks are needed, and nothing that only some scans have (ears, hair, neck, eyes) is used. Looking from the
front at a small depth map: the nose is where the surface falls away steeply to both sides, and its tip is the nearest
point there. From the tip a wide cone opens backwards. Going sideways and up, away from the jaw, the last surface
point outside this cone lies on the rim of the face, where the surface turns away; the distance to the rim is the unit
of length.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as nnf

from .rasterizer_mvfer import nearest_triangles

MAP_SIZE_PX = 128  # of the depth map that is searched
ZOOM_BELOW_PX = 27.0  # look closer if the face is smaller than this on the first map
NOSE_FLANK = 0.25  # of the half-width of a row: how far to the sides the surface must have fallen away
CENTRAL_SHARE = 0.4  # of the half-width of a row: where the nose is looked for
LOOK_ABOVE, LOOK_BELOW = 2.0, 0.5  # half-widths within which nothing is nearer than the tip of the nose
CAP_RADIUS, CAP_HEIGHT = 0.2, 0.06  # half-widths: the part of the nose whose middle is its tip
CONE_SLOPE = 1.15  # depth behind the tip over distance from it, on the cone
RIM_DIRECTIONS_DEG = (0.0, 10.0, 20.0, 30.0, 40.0)  # above the horizontal, to both sides
RIM_RADIUS = 0.95  # framed units from the tip to the rim
TIP_HEIGHT = 0.18  # framed units from the middle of the window up to the tip
TIP_DEPTH = 0.57  # framed units from the plane z = 0 forward to the tip


@dataclass(frozen=True)
class FaceFrame:
    """Where a face is and how large: framed = (vertices - center) * scale."""

    center: tuple[float, float, float]
    scale: float

    def apply(self, vertices):
        """Take `(..., 3)` vertices (numpy or torch) to framed coordinates, float32."""
        if isinstance(vertices, torch.Tensor):
            center = torch.tensor(self.center, dtype=torch.float32, device=vertices.device)
            return (vertices.to(torch.float32) - center) * self.scale
        return ((np.asarray(vertices) - np.asarray(self.center)) * self.scale).astype(np.float32)


FRAMED = FaceFrame((0.0, 0.0, 0.0), 1.0)  # of vertices that are framed already


def frame_face(vertices, faces) -> FaceFrame:
    """Find the face in a scan (y up, face towards +z).

    Args:
        vertices (`(N, 3)`), faces (`(M, 3)`, integers): a head, with or without neck and shoulders, or a face alone.
    Returns:
        `FaceFrame`: in framed coordinates a frontal camera sees brows to chin.
    Raises:
        ValueError: if the mesh has no extent seen from the front.
    """
    points = torch.as_tensor(np.asarray(vertices, dtype=np.float32))
    faces = torch.as_tensor(np.asarray(faces, dtype=np.int64))
    used = torch.zeros(len(points), dtype=torch.bool)
    used[faces.reshape(-1)] = True
    low, high = points[used].amin(0), points[used].amax(0)
    extent = float((high - low)[:2].max())
    if not 0 < extent < float("inf") or not bool((high - low > 0).all()):
        raise ValueError(f"cannot frame a mesh without extent: it spans {(high - low).tolist()}")
    middle, depth_range = (low + high) / 2, (float(low[2]), float(high[2]))
    view = _DepthMap.look(points, faces, middle, extent, depth_range)
    tip, radius = _measure(view)
    if radius < ZOOM_BELOW_PX:
        middle = torch.tensor(view.to_world(tip))
        view = _DepthMap.look(points, faces, middle, 4 * radius * view.pixel, depth_range)
        tip, radius = _measure(view)
    x, y, z = view.to_world(tip)
    unit = radius * view.pixel / RIM_RADIUS
    return FaceFrame((x, y - TIP_HEIGHT * unit, z - TIP_DEPTH * unit), 1 / unit)


@dataclass(frozen=True)
class _DepthMap:
    """An orthographic view from the front: `depth (S, S)` in pixels towards the viewer, NaN where there is nothing."""

    depth: np.ndarray
    middle: tuple[float, float, float]  # world coordinates of the map's middle, at depth 0
    pixel: float  # world units

    @classmethod
    def look(cls, points, faces, middle, extent: float, depth_range) -> "_DepthMap":
        size = MAP_SIZE_PX
        pixel = extent / (size - 2)
        back, front = depth_range
        nearness = 1 + (points[:, 2] - back) / (front - back)  # 1 to 2: the z-buffer asks for positive numbers
        column = (points[:, 0] - middle[0]) / pixel + size / 2
        row = (middle[1] - points[:, 1]) / pixel + size / 2
        key = nearest_triangles(torch.stack([column, row, nearness]), faces.t().contiguous(), 1, size)
        depth = ((key >> 32).to(torch.int32).view(torch.float32).double() - 1) * ((front - back) / pixel)
        depth[key == 0] = torch.nan
        return cls(_without_spikes(depth.view(size, size)), (float(middle[0]), float(middle[1]), back), pixel)

    def to_world(self, place) -> tuple[float, float, float]:
        """(column, row, depth) in pixels -> (x, y, z)."""
        x, y, z = self.middle
        column, row, depth = place
        half = len(self.depth) / 2
        return (x + (column - half) * self.pixel, y - (row - half) * self.pixel, z + depth * self.pixel)


def _without_spikes(depth: torch.Tensor) -> np.ndarray:
    """Mean over 3 x 3 neighbours that were seen; holes stay holes."""
    seen = depth.isfinite()
    both = nnf.avg_pool2d(torch.stack([depth.nan_to_num(0), seen.double()])[None], 3, stride=1, padding=1)[0]
    return (both[0] / both[1]).where(seen, torch.nan).numpy()


def _measure(view: _DepthMap) -> tuple[tuple[float, float, float], float]:
    """Tip of the nose (column, row, depth) and distance to the rim of the face, in pixels."""
    tip = _nose_tip(view.depth)
    return tip, _rim_radius(view.depth, tip)


def _nose_tip(depth: np.ndarray) -> tuple[float, float, float]:
    """The nearest point of its surroundings from which the surface falls away most steeply to both sides."""
    size = len(depth)
    rows = np.arange(size)
    seen = np.isfinite(depth)
    first, last = seen.argmax(1), size - 1 - seen[:, ::-1].argmax(1)
    half_width = np.where(seen.any(1), (last - first + 1) / 2, 0)  # (S,)
    half_width = np.maximum(half_width, 0.25 * half_width.max())
    central = seen & (np.abs(rows - (first + last)[:, None] / 2) < CENTRAL_SHARE * half_width[:, None])
    profile = np.where(central, depth, -np.inf)
    column, profile = profile.argmax(1), profile.max(1)  # the nearest central point of every row

    def is_nearest(row: int, above: float, below: float) -> bool:
        window = slice(max(0, int(row - above * half_width[row])), int(row + below * half_width[row]) + 1)
        return profile[row] >= profile[window].max()

    def fall(row: int) -> float:
        flank = round(NOSE_FLANK * half_width[row])
        sides = depth[row, [max(0, column[row] - flank), min(size - 1, column[row] + flank)]]
        drop = (depth[row, column[row]] - sides.max()) / half_width[row]
        return float(drop) if np.isfinite(drop) else -1.0  # next to a hole

    rows = rows[np.isfinite(profile)]
    best = max((row for row in rows if is_nearest(row, LOOK_ABOVE, LOOK_BELOW)), key=fall)
    # Puckered lips may be nearer than a flat nose; the nose is then the highest such peak.
    for row in rows[(rows < best) & (rows > best - half_width[best])]:
        if is_nearest(row, 0.12, 0.12) and fall(row) > 0.5 * fall(best):
            best = row
            break
    # The middle of the cap around that point: finer than a pixel, and the same for fine and coarse meshes.
    row, column, width = best, column[best], half_width[best]
    pixels = np.arange(size)
    lower = pixels[(profile < profile[row] - CAP_HEIGHT * width) & (pixels > row)]  # the lips are beyond this row
    near = np.hypot(pixels[:, None] - row, pixels - column) < CAP_RADIUS * width
    near &= (pixels < lower.min(initial=size))[:, None]
    height = depth - (depth[row, column] - CAP_HEIGHT * width)
    weight = np.where(near & (height > 0), height, 0)
    weight /= weight.sum()
    return float(weight.sum(0) @ pixels + 0.5), float(weight.sum(1) @ pixels + 0.5), float(depth[row, column])


def _rim_radius(depth: np.ndarray, tip: tuple[float, float, float]) -> float:
    column, row, height = tip
    size = len(depth)
    radii = np.arange(2.0, 1.5 * size, 0.25)
    found = []
    for angle in np.radians(RIM_DIRECTIONS_DEG):
        for side in (-1, 1):
            profile = _sample(depth, column + side * radii * np.cos(angle), row - radii * np.sin(angle))
            outside_cone = height - profile <= CONE_SLOPE * radii  # False where nothing was seen
            if outside_cone.any():
                found.append(radii[outside_cone.nonzero()[0][-1]])
    return float(np.median(found)) if found else size / 4


def _sample(depth: np.ndarray, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Bilinear samples; NaN outside and next to holes."""
    c, r = column - 0.5, row - 0.5
    c0, r0 = np.floor(c).astype(int), np.floor(r).astype(int)
    inside = (c0 >= 0) & (r0 >= 0) & (c0 < len(depth) - 1) & (r0 < len(depth) - 1)
    c0, r0 = np.where(inside, c0, 0), np.where(inside, r0, 0)
    s, t = c - c0, r - r0
    upper = depth[r0, c0] * (1 - s) + depth[r0, c0 + 1] * s
    lower = depth[r0 + 1, c0] * (1 - s) + depth[r0 + 1, c0 + 1] * s
    return np.where(inside, upper * (1 - t) + lower * t, np.nan)
