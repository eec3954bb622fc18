"""FRGC and UND `.abs` range images to triangles.

In: the bytes of a file, unpacked if it was `.abs.gz`. Out: a dict of the fields of a `Mesh`. The file is text: the
lines `480 rows`, `640 columns` and `pixels (flag X Y Z):`, then four blocks of rows x columns numbers: flags (1 for a
point on the surface), x, y and z, rows from top to bottom, -999999 where there is no point.
"""

from __future__ import annotations

import re

import numpy as np

from .grid_mvfer import check_grid, triangulate_grid
from .obj_mvfer import MeshFileError, parse_numbers

_HEADER = re.compile(rb"\s*(\d{1,9})[ \t]+rows\s+(\d{1,9})[ \t]+columns\s+pixels[^\r\n]*[\r\n]", re.IGNORECASE)
_NO_POINT = -999999.0
_MOST_BYTES = 32  # of one number and what separates it from the next
_REMEDY = "the file looks truncated or damaged: copy it again"


def parse_abs(data: bytes, *, geometry_only: bool = False) -> dict:
    """Read an `.abs` file. `geometry_only` changes nothing: the texture of such a scan has no uvs.

    Returns:
        `dict`: `vertices` (N, 3), the points on the surface, by rows from the top; `faces` (M, 3), counter-clockwise as
        seen from +z.
    Raises:
        MeshFileError: if the header promises other than the file holds, or no points are neighbours.
    """
    header = _HEADER.match(data)
    if header is None:
        raise MeshFileError(
            "no .abs header (rows, columns, pixels)", "check the file's extension, or copy the .abs file again"
        )
    rows, columns = int(header[1]), int(header[2])
    count, there = 4 * rows * columns, len(data) - header.end()
    promise = f"the .abs header promises {rows} x {columns} points"
    if not count:
        raise MeshFileError(promise, _REMEDY)
    if not 2 * count - 1 <= there <= _MOST_BYTES * count:
        limits = f"at least {2 * count - 1} and at most {_MOST_BYTES * count} bytes"
        raise MeshFileError(f"{promise}, {limits}, but there are {there}: truncated or forged", _REMEDY)
    check_grid(rows, columns)
    values = parse_numbers(data[header.end() :], np.float64, "the .abs file's points")
    if len(values) != count:
        raise MeshFileError(f"{promise}, {count} numbers, but there are {len(values)}", _REMEDY)
    flags, points = values[: rows * columns].reshape(rows, columns), values[rows * columns :].reshape(3, rows, columns)
    valid = (flags == 1) & (np.isfinite(points) & (points != _NO_POINT)).all(axis=0)
    return triangulate_grid(points, valid)
