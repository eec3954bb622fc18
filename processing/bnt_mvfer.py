"""Bosphorus `.bnt` range images to triangles.

In: the bytes of a file. Out: a dict of the fields of a `Mesh`. The file is a grid of points, rows from bottom to
top: u16 rows, u16 columns, f64 background depth, u16 length and that many bytes of image name, u32 count of
numbers, then f64 x, y, z, u, v, each for all points; all little-endian. Neighbours become triangles, except over
the background and over jumps of depth. The layout is the one of A. Savran's reader, published with the database.
"""

from __future__ import annotations

import struct

import numpy as np

from .obj_mvfer import MeshFileError

# A triangle is a jump when its depth changes by more than this many grid steps; the side of a nose changes by 3 or 4.
_JUMP_STEPS = 8.0


def parse_bnt(data: bytes, *, geometry_only: bool = False) -> dict:
    """Read a `.bnt` file.

    Returns:
        `dict`: `vertices` (N, 3), the foreground points, by rows from the bottom; `faces` (M, 3), counter-clockwise
        as seen from +z; `uvs` (N, 2) and `uv_faces`, if the file has uvs within 0..1, unless `geometry_only`.
    Raises:
        MeshFileError: if the header promises more than the file holds, or nothing is foreground.
    """
    rows, columns, background, points = _read(data)
    valid = np.isfinite(points).all(axis=0) & (points[2] > background)  # (rows, columns)
    if not valid.any():
        raise MeshFileError(f"all {rows} x {columns} points are background", "this scan is empty: leave it out")
    faces = _grid_faces(points, valid)
    if not len(faces):
        raise MeshFileError("no two rows of points are neighbours: a point cloud", "this scan is damaged: leave it out")
    number = np.cumsum(valid.ravel()) - 1  # grid position -> vertex
    mesh = {"vertices": points[:3, valid].T, "faces": number[faces]}
    uvs = points[3:, valid].T
    if not geometry_only and uvs.min() >= 0 and uvs.max() <= 1 and np.ptp(uvs) > 0:
        mesh.update(uvs=uvs, uv_faces=mesh["faces"])
    return mesh


def _read(data: bytes) -> tuple[int, int, float, np.ndarray]:
    """Header and points (5, rows, columns)."""
    remedy = "copy the .bnt file again"
    if len(data) < 18:
        raise MeshFileError(f"{len(data)} bytes, shorter than a .bnt header", remedy)
    rows, columns, background, name_length = struct.unpack_from("<HHdH", data)
    start = 14 + name_length + 4
    if len(data) < start:
        raise MeshFileError("the .bnt header is cut off in the image's name", remedy)
    count = struct.unpack_from("<I", data, start - 4)[0]
    if count != 5 * rows * columns or count == 0:
        raise MeshFileError(
            f"the .bnt header promises {count} numbers for a grid of {rows} x {columns}, expected 5 per point", remedy
        )
    if len(data) < start + 8 * count:
        raise MeshFileError(f"the .bnt header promises {start + 8 * count} bytes, the file has {len(data)}", remedy)
    points = np.frombuffer(data, "<f8", count, start).reshape(5, rows, columns)
    return rows, columns, background, points


def _grid_faces(points: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Two triangles per grid cell -> (M, 3) positions in the flat grid."""
    rows, columns = valid.shape
    index = np.arange(rows * columns).reshape(rows, columns)
    corners = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], -1).reshape(-1, 4)
    faces = corners[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)
    faces = faces[valid.ravel()[faces].all(axis=1)]
    if not len(faces):
        return faces
    x, y, z = points[:3].reshape(3, -1)
    first, second, third = faces.T
    doubled_area = (x[second] - x[first]) * (y[third] - y[first]) - (x[third] - x[first]) * (y[second] - y[first])
    step = np.sqrt(np.median(np.abs(doubled_area)))
    faces = faces[np.ptp(z[faces], axis=1) <= _JUMP_STEPS * step]
    return faces if np.median(doubled_area) >= 0 else faces[:, ::-1]
