"""Coordinates of a scan: which count, how they stay precise in 32 bits, which are the same point.

In: vertices `(N, 3)` in any unit, wherever on earth the scan was taken. Out: float32. Near the origin it rounds finely
enough; a scan in map coordinates (500,000 m east, 4,200,000 m north) would become steps of half a metre, so what is far
away is first brought to the origin, in float64.
"""

from __future__ import annotations

import numpy as np

_FAR = 64.0  # times its own size: a scan so far from the origin keeps no more than 2**-17 of its size in float32
_ROWS = 64
Origin = tuple[float, float, float]


def used_vertices(faces: np.ndarray, count: int) -> np.ndarray:
    """`(N,)` bool: which vertices a face uses; all others are no part of the surface."""
    used = np.zeros(count, bool)
    used[np.asarray(faces).reshape(-1)] = True
    return used


def bounds(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest coordinates `(3,)` of points `(n, 3)`; many rows at once, as numpy is slow on short ones."""
    whole = len(points) // _ROWS * _ROWS
    parts = [points[whole:]] if whole < len(points) else []
    if whole:
        rows = points[:whole].reshape(-1, 3 * _ROWS)
        parts += [rows.min(axis=0).reshape(-1, 3), rows.max(axis=0).reshape(-1, 3)]
    few = np.concatenate(parts)
    return few.min(axis=0), few.max(axis=0)


def origin_of(points: np.ndarray) -> Origin:
    """What to subtract in float64 from finite points `(n, 3)` that are to become float32.

    Nothing, unless they are far away and rounding would change them.
    """
    low, high = (corner.astype(np.float64) for corner in bounds(points))
    if max(-low.min(), high.max()) <= _FAR * (high - low).max() or np.array_equal(points, points.astype(np.float32)):
        return 0.0, 0.0, 0.0
    x, y, z = ((low + high) / 2).tolist()
    return x, y, z


def to_float32(vertices: np.ndarray, origin: Origin = (0.0, 0.0, 0.0)) -> np.ndarray:
    """Coordinates `(..., 3)` as float32, less `origin`; near meshes keep every bit."""
    if any(origin):
        vertices = np.asarray(vertices, np.float64) - origin
    with np.errstate(over="ignore", invalid="ignore"):  # vertices that no face uses may be anything
        return np.ascontiguousarray(vertices, np.float32)


def merge_equal_vertices(mesh: dict) -> dict:
    """Vertices of a dict of a `Mesh`'s fields whose float32 coordinates are equal become one; uvs keep their own indices."""
    faces = mesh["faces"]
    if not len(faces) or not 0 <= faces.min() <= faces.max() < len(mesh["vertices"]):
        return mesh  # for the door to refuse
    exact = np.asarray(mesh["vertices"])
    used = used_vertices(faces, len(exact))
    points = exact if used.all() else exact[used]
    origin = origin_of(points) if np.isfinite(points).all() else (0.0, 0.0, 0.0)
    vertices = to_float32(exact, origin) + np.float32(0)  # -0 -> 0
    bits = vertices.view(np.uint32).astype(np.uint64)  # (N, 3)
    keys = (bits[:, 0] * np.uint64(0x9E3779B97F4A7C15) ^ bits[:, 1]) * np.uint64(0xC2B2AE3D27D4EB4F) ^ bits[:, 2]
    _, first, index = np.unique(keys, return_index=True, return_inverse=True)
    if not np.array_equal(vertices[first[index]].view(np.uint32), vertices.view(np.uint32)):  # two points, one key
        _, first, index = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    mesh["vertices"] = exact[first] if any(origin) else vertices[first]
    mesh["faces"] = index.reshape(-1)[faces]
    if mesh.get("vertex_colors") is not None:
        mesh["vertex_colors"] = mesh["vertex_colors"][first]
    return mesh
