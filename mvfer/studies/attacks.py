"""Photos held in front of the scanner: a sheet of paper as a mesh, flat or bent, that shows somebody's frontal view.

In: a photo, a kind and a random generator. Out: a `Mesh` in the package's coordinates, to be rendered like any scan.
"""

import numpy as np

from processing.meshes_mvfer import Mesh

KINDS = ("flat", "bent")  # the species of attack, in the words of ISO/IEC 30107-3
HEIGHT_M, WIDTH_M = 0.24, 0.18
RADIUS_M = (0.07, 0.30)  # from wrapped around a head to hardly bent
TILT_DEG, STEPS = 15.0, 40


def photo_mesh(photo: np.ndarray, kind: str, rng: np.random.Generator) -> Mesh:
    """A held sheet: tilted by up to 15 degrees about each axis; bent around an upright or a lying cylinder.

    Args:
        photo (`(h, w, 3)` uint8): what is printed on it.
        kind: "flat" or "bent".
    Raises:
        ValueError: for another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"expected a kind of {KINDS}, got {kind!r}")
    across, down = np.meshgrid(np.linspace(-0.5, 0.5, STEPS + 1), np.linspace(0.5, -0.5, STEPS + 1))
    x, y, z = across * WIDTH_M, down * HEIGHT_M, np.zeros_like(across)
    if kind == "bent":
        radius = rng.uniform(*RADIUS_M)
        if rng.random() < 0.5:
            x, z = radius * np.sin(x / radius), radius * (np.cos(x / radius) - 1)
        else:
            y, z = radius * np.sin(y / radius), radius * (np.cos(y / radius) - 1)
    vertices = np.stack([x, y, z], axis=-1).reshape(-1, 3) @ _tilt(rng).T
    index = np.arange((STEPS + 1) ** 2).reshape(STEPS + 1, STEPS + 1)
    a, b, c, d = (part.reshape(-1) for part in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]))
    rows, columns = ((0.5 - down) * (photo.shape[0] - 1)), ((across + 0.5) * (photo.shape[1] - 1))
    colors = photo[rows.round().astype(int), columns.round().astype(int)].reshape(-1, 3)
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return Mesh(vertices.astype(np.float32), faces.astype(np.int64), vertex_colors=colors, source=f"{kind} photo")


def _tilt(rng: np.random.Generator) -> np.ndarray:
    """A rotation by up to `TILT_DEG` about each axis."""
    turned = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(rng.uniform(-TILT_DEG, TILT_DEG, size=3))):
        i, j = [k for k in range(3) if k != axis]
        one = np.eye(3)
        one[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        turned = one @ turned
    return turned
