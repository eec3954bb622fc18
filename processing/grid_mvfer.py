"""Range images to triangles: what the readers of scanner grids (`bnt_mvfer.py`, `abs_mvfer.py`) share.

In: a grid of points and which of them are on the surface. Out: vertices and faces. Neighbours become triangles, except
over the background and over jumps of depth.
"""

from __future__ import annotations

import numpy as np

from .obj_mvfer import MeshFileError

# A triangle is a jump when its depth changes by more than this many grid steps; the side of a nose changes by 3 or 4.
_JUMP_STEPS = 8.0


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
