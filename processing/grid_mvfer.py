"""Range images to triangles: what the readers of scanner grids (`bnt_mvfer.py`, `abs_mvfer.py`) share.

In: a grid of points and which of them are on the surface. Out: vertices and faces. Neighbours become triangles, except
over the background and over jumps of depth.
"""

from __future__ import annotations

import numpy as np

from .obj_mvfer import MeshFileError

# A triangle is a jump when its depth changes by more than this many grid steps; the side of a nose changes by 3 or 4.
_JUMP_STEPS = 8.0
MAX_POINTS = 2**22  # 2048 x 2048; FRGC has 640 x 480


def triangulate_grid(points: np.ndarray, valid: np.ndarray) -> dict:
    """Join the neighbours of a grid.

    Args:
        points (`np.ndarray` of shape `(>= 3, rows, columns)`): x, y, z; further channels are ignored.
        valid (`np.ndarray` of shape `(rows, columns)`, bool): false for the background.
    Returns:
        `dict`: `vertices` (N, 3), the valid points in the order of the grid; `faces` (M, 3), counter-clockwise as seen
        from +z, whichever way the rows and columns run.
    Raises:
        MeshFileError: if nothing is valid, or no valid points are neighbours.
    """
    check_grid(*valid.shape)
    if not valid.any():
        raise MeshFileError(
            f"all {valid.shape[0]} x {valid.shape[1]} points are background", "this scan is empty: leave it out"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # absurd coordinates: the door refuses what is left of them
        faces = _grid_faces(points, valid)
    if not len(faces):
        raise MeshFileError("no two rows of points are neighbours: a point cloud", "this scan is damaged: leave it out")
    number = np.cumsum(valid.ravel()) - 1  # grid position -> vertex
    return {"vertices": points[:3, valid].T, "faces": number[faces]}


def check_grid(rows: int, columns: int) -> None:
    """MeshFileError if a grid has more points than any scanner of faces sees."""
    if rows * columns > MAX_POINTS:
        raise MeshFileError(f"a grid of {rows} x {columns} points, more than {MAX_POINTS}", "scale it down")


def _grid_faces(points: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Two triangles per grid cell -> (M, 3) positions in the flat grid."""
    columns = valid.shape[1]
    a, b, c, d = valid[:-1, :-1], valid[:-1, 1:], valid[1:, 1:], valid[1:, :-1]  # the corners of every cell, in a round
    row, column, half = np.stack([a & b & c, a & c & d], -1).nonzero()
    steps = np.array([[0, 1, columns + 1], [0, columns + 1, columns]])  # from a
    faces = (row * columns + column)[:, None] + steps[half]
    if not len(faces):
        return faces
    x, y, z = points[:3].reshape(3, -1)
    first, second, third = faces.T
    doubled_area = (x[second] - x[first]) * (y[third] - y[first]) - (x[third] - x[first]) * (y[second] - y[first])
    step = np.sqrt(np.median(np.abs(doubled_area)))
    depths = z[faces.T]  # (3, M): reductions over rows are far faster than over triples
    faces = faces[depths.max(0) - depths.min(0) <= _JUMP_STEPS * step]
    return faces if np.median(doubled_area) >= 0 else faces[:, ::-1]
