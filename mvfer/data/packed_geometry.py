"""Meshes as few bytes, for the rows of a data set. In: framed vertices and faces. Out: binary strings, and back.

Coordinates are rounded to a grid of `STEP` framed units (the face is about 2 units high), so a vertex moves by at most
half a step along each axis. Neighbours in a list lie close together, so differences are small; these are written with their
sign in the lowest bit, byte by byte (all lowest bytes first), and deflated.
"""

import zlib
from functools import lru_cache

import numpy as np

STEP = 2.0**-13  # framed units; 0.0001, a hundredth of a pixel of a view of 160 pixels
LARGEST = 2**17  # framed units; differences of such coordinates still fit into 32 bits


def pack_mesh(vertices, faces) -> dict[str, bytes]:
    """Pack a mesh; vertices that no face uses are left out.

    Args:
        vertices (`(N, 3)` numbers): in framed coordinates, see `framing_mvfer`.
        faces (`(M, 3)` integers).
    Returns:
        dict of bytes: `vertices`, `faces`. Meshes of one topology have equal `faces`.
    Raises:
        ValueError: if a coordinate is not finite or absurdly large, so that it has no place on the grid.
    """
    vertices, faces = np.asarray(vertices, dtype=np.float64), np.asarray(faces, dtype=np.int64)
    used, numbers = np.unique(faces, return_inverse=True)
    vertices, faces = vertices[used], numbers.reshape(faces.shape)
    if not np.abs(vertices).max(initial=0) < LARGEST:
        raise ValueError(
            f"vertices: expected finite coordinates below {LARGEST} framed units, so that they can be kept"
        )
    grid = np.rint(vertices / STEP).astype(np.int64)
    return {
        "vertices": _deflate(np.diff(grid.T, axis=1, prepend=0)),
        "faces": _deflate(np.diff(faces.ravel(), prepend=0)),
    }


def unpack_mesh(packed: dict[str, bytes]) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of `pack_mesh`.

    Returns:
        vertices (`(N, 3)` float32), faces (`(M, 3)` int64, shared between calls: not to be changed).
    Raises:
        ValueError: if the bytes are damaged.
    """
    try:
        grid = np.cumsum(_inflate(packed["vertices"]).reshape(3, -1), axis=1).T
        faces = _faces(packed["faces"])
    except (zlib.error, ValueError, TypeError) as error:
        raise ValueError(f"the geometry is damaged ({error}); build the data set again") from error
    return (grid * STEP).astype(np.float32), faces


@lru_cache(maxsize=32)  # most sets have one topology
def _faces(data: bytes) -> np.ndarray:
    return np.cumsum(_inflate(data)).reshape(-1, 3)


def _deflate(differences: np.ndarray) -> bytes:
    values = differences.ravel()
    values = (values << 1 ^ values >> 63).astype("<u4")  # 0, -1, 1, -2 become 0, 1, 2, 3
    return zlib.compress(values.view(np.uint8).reshape(-1, 4).T.tobytes(), 9)


def _inflate(data: bytes) -> np.ndarray:
    planes = np.frombuffer(zlib.decompress(data), np.uint8).reshape(4, -1)
    values = np.ascontiguousarray(planes.T).view("<u4").ravel().astype(np.int64)
    return values >> 1 ^ -(values & 1)
