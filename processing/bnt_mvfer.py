"""Bosphorus `.bnt` range images to triangles.

In: the bytes of a file. Out: a dict of the fields of a `Mesh`. The file is a grid of points, rows from bottom to
top: u16 rows, u16 columns, f64 background depth, u16 length and that many bytes of image name, u32 count of
numbers, then f64 x, y, z, u, v, each for all points; all little-endian. u and v are 0 at the upper left of the image. The
layout is the one of A. Savran's reader, published with the database.
"""

from __future__ import annotations

import struct

import numpy as np

from .grid_mvfer import check_grid, triangulate_grid
from .obj_mvfer import MeshFileError


def parse_bnt(data: bytes, *, geometry_only: bool = False) -> dict:
    """Read a `.bnt` file.

    Returns:
        `dict`: `vertices` (N, 3), the foreground points, by rows from the bottom; `faces` (M, 3), counter-clockwise
        as seen from +z; `uvs` (N, 2) and `uv_faces`, if the file has uvs within 0..1, unless `geometry_only`.
    Raises:
        MeshFileError: if the header promises more than the file holds, or nothing is foreground.
    """
    background, points = _read(data)
    valid = np.isfinite(points).all(axis=0) & (points[2] > background)  # (rows, columns)
    mesh = triangulate_grid(points, valid)
    uvs = points[3:, valid].T * [1, -1] + [0, 1]  # v counts from the top in the file, from the bottom in a Mesh
    if not geometry_only and uvs.min() >= 0 and uvs.max() <= 1 and np.ptp(uvs) > 0:
        mesh.update(uvs=uvs, uv_faces=mesh["faces"])
    return mesh


def _read(data: bytes) -> tuple[float, np.ndarray]:
    """Background depth and points (5, rows, columns)."""
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
    check_grid(rows, columns)
    if len(data) < start + 8 * count:
        raise MeshFileError(f"the .bnt header promises {start + 8 * count} bytes, the file has {len(data)}", remedy)
    return background, np.frombuffer(data, "<f8", count, start).reshape(5, rows, columns)
