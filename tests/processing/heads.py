"""Synthetic heads for the tests: an ellipsoid with nose, eye sockets and lips, in any tessellation."""

import numpy as np


def grid_faces(rows: int, columns: int) -> np.ndarray:
    """Two triangles per cell of a grid that closes on itself sideways; counter-clockwise seen from outside."""
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns)).reshape(-1)
    right = (np.arange(rows - 1)[:, None] * columns + (np.arange(columns) + 1) % columns).reshape(-1)
    lower, lower_right = corner + columns, right + columns
    return np.concatenate([np.stack([corner, lower, right], 1), np.stack([right, lower, lower_right], 1)])


def ellipsoid(radii, middle=(0, 0, 0), rows: int = 60, columns: int = 90) -> tuple[np.ndarray, np.ndarray]:
    down = np.linspace(0.02, np.pi - 0.02, rows)[:, None]
    around = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    unit = [np.sin(down) * np.sin(around), np.cos(down) * np.ones_like(around), np.sin(down) * np.cos(around)]
    return np.stack(unit, -1).reshape(-1, 3) * radii + middle, grid_faces(rows, columns)


def head(
    *,
    rows: int = 120,
    columns: int = 160,
    jaw: float = 0.0,
    pucker: float = 0.0,
    nose: float = 0.25,
    neck: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices `(N, 3)` and faces `(M, 3)`; `jaw` drops the chin, `pucker` pushes the lips forward."""
    vertices, faces = ellipsoid((0.75, 1.1, 0.9), rows=rows, columns=columns)
    x, y, z = vertices.T
    front = z > 0

    def bump(height, at_x, at_y, width, tall):
        return front * height * np.exp(-(((x - at_x) / width) ** 2) - ((y - at_y) / tall) ** 2)

    z = z + bump(nose, 0, -0.05, 0.1, 0.12) + bump(0.6 * nose, 0, 0.15, 0.08, 0.2)  # tip and bridge
    z = z + bump(-0.12, 0.28, 0.25, 0.14, 0.1) + bump(-0.12, -0.28, 0.25, 0.14, 0.1)  # eye sockets
    z = z + bump(0.06 + pucker, 0, -0.45, 0.15, 0.06)  # lips
    y = y - jaw * np.clip((-0.4 - y) / 0.5, 0, 1)
    vertices = np.stack([x, y, z], 1)
    if neck:
        parts = ellipsoid((0.45, 1.0, 0.45), (0, -1.4, -0.2)), ellipsoid((1.9, 0.6, 0.6), (0, -2.2, -0.2))
        for part, part_faces in parts:
            faces = np.concatenate([faces, part_faces + len(vertices)])
            vertices = np.concatenate([vertices, part])
    return vertices, faces


def face_only(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The faces in front of the ears, as many scanners deliver them."""
    return faces[(vertices[faces][..., 2] > 0).all(1)]
