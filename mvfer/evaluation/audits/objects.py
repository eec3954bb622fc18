"""Things in front of faces, as meshes: glasses, a mask, a hand. In: a framed face's vertices. Out: vertices and faces to add.

Places are in framed coordinates (`cameras_mvfer`), where every face's nose, eyes and mouth lie about the same; depths follow
the face at hand. The shapes are rough: they cover what such things cover.
"""

import numpy as np
from scipy.ndimage import maximum_filter

EYE = (0.42, 0.57)  # framed x (of the subject's left eye) and y
BROAD = 0.12  # how far around a place its depth is looked for

Part = tuple[np.ndarray, np.ndarray]  # vertices (N, 3) float32, faces (M, 3) int64


def glasses(vertices: np.ndarray, severity: int, rng: np.random.Generator) -> Part:
    """Rims around the eyes, thicker with every grade; from grade 4 on dark lenses, at 5 large ones."""
    rim = (0.02, 0.035, 0.05, 0.05, 0.06)[severity - 1]
    size = 1.3 if severity == 5 else 1.0
    bridge = _depth(vertices, 0.0, EYE[1]) + 0.03
    parts = []
    for side in (-1, 1):
        angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
        x, y = side * EYE[0] + 0.27 * size * np.cos(angle), EYE[1] + 0.2 * size * np.sin(angle)
        ring = np.stack([x, y, bridge - 0.4 * x**2], 1)
        parts.append(_tube(ring, rim, closed=True))
        if severity >= 4:
            parts.append(_fan(ring))
    x = np.linspace(-0.16, 0.16, 5)
    parts.append(_tube(np.stack([x, np.full(5, EYE[1] + 0.05), bridge - 0.4 * x**2 + 0.02], 1), rim, closed=False))
    return join(parts)


def mask(vertices: np.ndarray, severity: int, rng: np.random.Generator) -> Part:
    """A sheet over the lower face: from the chin up to below the mouth (1), over the mouth (2), to the nose (5)."""
    top = (-0.4, -0.1, 0.1, 0.25, 0.4)[severity - 1]
    x, y = np.meshgrid(np.linspace(-0.6, 0.6, 15), np.linspace(-0.85, top, 15))
    depth = np.array([_depth(vertices, *place) for place in zip(x.ravel(), y.ravel(), strict=True)]).reshape(x.shape)
    return _sheet(np.stack([x, y, maximum_filter(depth, 3) + 0.05], -1))


def hand(vertices: np.ndarray, severity: int, rng: np.random.Generator) -> Part:
    """A palm and four fingers before one half of the face, larger and nearer to its middle with every grade."""
    size = (0.5, 0.7, 0.9, 1.1, 1.3)[severity - 1]
    side = 1 if rng.random() < 0.5 else -1
    middle = np.array([side * (0.75 - 0.1 * severity), rng.uniform(-0.5, 0.1)])
    front = _depth(vertices, *middle) + 0.15
    parts = [_ellipsoid((*middle, front), (0.26 * size, 0.26 * size, 0.1))]
    for finger in range(4):
        x = middle[0] + size * 0.13 * (finger - 1.5)
        parts.append(_ellipsoid((x, middle[1] + 0.42 * size, front), (0.065 * size, 0.28 * size, 0.08)))
    return join(parts)


def join(parts: list[Part]) -> Part:
    """Several meshes as one."""
    counts = np.cumsum([0] + [len(vertices) for vertices, _ in parts])
    faces = [faces + start for (_, faces), start in zip(parts, counts, strict=False)]
    return np.concatenate([vertices for vertices, _ in parts]).astype(np.float32), np.concatenate(faces)


def _depth(vertices: np.ndarray, x: float, y: float) -> float:
    """How far forward the face reaches about a place; 0 where there is none."""
    near = np.abs(vertices[:, :2] - [x, y]).max(1) < BROAD
    return float(vertices[near, 2].max()) if near.any() else 0.0


def _tube(path: np.ndarray, radius: float, *, closed: bool, sides: int = 8) -> Part:
    """A tube along a path `(P, 3)` that runs across the view."""
    ahead = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    across = np.cross(ahead, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    third = np.cross(across, ahead)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)[:, None, None]
    rings = path + radius * (np.cos(angle) * across + np.sin(angle) * third)  # (sides, P, 3)
    return _grid(rings, wrap_rows=True, wrap_columns=closed)


def _sheet(points: np.ndarray) -> Part:
    """A surface through `(R, C, 3)` points, rows upwards and columns to the right, that faces the viewer."""
    return _grid(points, wrap_rows=False, wrap_columns=False)


def _ellipsoid(center, radii, *, steps: int = 12) -> Part:
    up = np.linspace(-np.pi / 2, np.pi / 2, steps)[:, None]
    around = np.linspace(0, 2 * np.pi, 2 * steps, endpoint=False)[None]
    points = np.stack([np.cos(up) * np.sin(around), np.sin(up) + 0 * around, np.cos(up) * np.cos(around)], -1)
    return _grid(np.asarray(center) + points * np.asarray(radii), wrap_rows=False, wrap_columns=True)


def _fan(ring: np.ndarray) -> Part:
    """A disc with a rim `(P, 3)` that runs against the clock, as the viewer sees it."""
    P = len(ring)
    faces = np.stack([np.full(P, P), np.arange(P), (np.arange(P) + 1) % P], 1)
    return np.concatenate([ring, ring.mean(0, keepdims=True)]), faces


def _grid(points: np.ndarray, *, wrap_rows: bool, wrap_columns: bool) -> Part:
    """Two triangles per cell of `(R, C, 3)` points."""
    R, C = points.shape[:2]
    row, column = np.meshgrid(
        np.arange(R if wrap_rows else R - 1), np.arange(C if wrap_columns else C - 1), indexing="ij"
    )
    a, b = row * C + column, row * C + (column + 1) % C
    c, d = (row + 1) % R * C + column, (row + 1) % R * C + (column + 1) % C
    faces = np.concatenate([np.stack([a, b, d], -1).reshape(-1, 3), np.stack([a, d, c], -1).reshape(-1, 3)])
    return points.reshape(-1, 3), faces.astype(np.int64)
