"""How a scan's coordinates lie: which axis points up, and where the face looks. In: a name. Out: rotations into ours.

Names: "auto"; an axis that points up ("y", "-z"), the face then looking where it usually does in such files; both axes, up and
where the face looks ("z/-y"); and either with "/mirrored" for left-handed coordinates ("y/-z/mirrored").
"""

from functools import cache
from itertools import product

import numpy as np

Rows = tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]

# Rows are our x, y, z in terms of the file's; each is a rotation. Where the face looks in the file is the usual case.
UP_AXES: dict[str, Rows] = {
    "y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),  # face towards +z: ours
    "-y": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),  # face towards -z: depth cameras, OpenCV
    "z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),  # face towards -y: Anny, Blender, many scanners
    "-z": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),  # face towards +y
    "x": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),  # face towards +z: scanner lying on its side
    "-x": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
}
AUTO = "auto"
MIRRORED = "mirrored"


def rotation_of(name: str, what: str = "orientation") -> np.ndarray:
    """The matrix `(3, 3)` that takes a scan's coordinates to ours; it mirrors for "/mirrored".

    Raises:
        ValueError: if there is no such orientation.
    """
    up, *rest = name.split("/")
    mirrors = bool(rest) and rest[-1] == MIRRORED
    looks = rest[:-1] if mirrors else rest
    known = up in UP_AXES and len(looks) <= 1 and all(axis in UP_AXES and axis[-1] != up[-1] for axis in looks)
    if not known:
        raise ValueError(
            f"{what} must be one of {', '.join(UP_AXES)}, or both axes, up and where the face looks, such as y/-z, also "
            f"with /{MIRRORED}; got {name!r}"
        )
    matrix = np.array(UP_AXES[up], float)
    if looks:
        rows = _axis(up), _axis(looks[0])
        matrix = np.stack([np.cross(*rows), *rows])
    return np.diag([-1.0, 1.0, 1.0]) @ matrix if mirrors else matrix


@cache
def rotations(name: str) -> tuple[np.ndarray, ...]:
    """What is to be tried, the likeliest first: one rotation, or for "auto" all 24.

    Raises:
        ValueError: if there is no such orientation.
    """
    if name != AUTO:
        return (rotation_of(name),)
    names = [f"{up}/{looks}" for up, looks in product(UP_AXES, UP_AXES) if up[-1] != looks[-1]]
    usual = [np.array(matrix, float) for matrix in UP_AXES.values()]
    rest = [rotation_of(name) for name in names]
    return (*usual, *(one for one in rest if not any(np.array_equal(one, other) for other in usual)))


def _axis(name: str) -> np.ndarray:
    return (-1.0 if name.startswith("-") else 1.0) * np.eye(3)["xyz".index(name[-1])]
