"""Neutral scans on disk, one person each. In: a folder, or one file. Out: upright heads, or why a file is of no use.

They come in the order of their names, so that who has them knows which file a number means, and nobody else does.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from processing.depth_maps_mvfer import DepthMap
from processing.framing_mvfer import frame_face, frame_upright
from processing.meshes_mvfer import MESH_SUFFIXES, load_mesh
from processing.orientation_mvfer import AUTO

MOUTH, HALF_WIDTH = -0.5, 0.1  # framed units (1 is half a face's height): where the mouth is looked at
FAR = 1e6  # pixels: how deep a hole is
REACH, DEEP = (
    0.35,
    0.12,
)  # how far around a gap its rims are, and how much nearer; folds of closed mouths are 0.1 deep at most
LARGEST_OPENING = 0.05  # of a mouth that counts as closed; a quarter of the jaw's way is 0.1
LARGEST_SHIFT = 0.12  # framed units, of a head that is framed in one look, from where a search finds its face


def find_neutrals(folder: str) -> list[Path]:
    """The meshes of a folder, in order.

    Raises:
        ValueError: if there is none.
    """
    found = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in MESH_SUFFIXES)
    if not found:
        raise ValueError(f"{folder}: no meshes here; pass a folder of neutral scans, such as .obj or .ply files")
    return found


def read_neutral(path: Path, *, orientation: str = AUTO) -> tuple[np.ndarray, np.ndarray]:
    """A scan, turned so that y is up and the face looks to +z.

    Args:
        orientation: how the file lies (`orientation_mvfer`); "auto" tries all.
    Returns:
        vertices (`(N, 3)` float64), faces (`(M, 3)` int64).
    Raises:
        ValueError: if the file cannot be read, its mouth is open, there is no face in it, or so much else that the face is not
            framed at once.
    """
    mesh = load_mesh(path, geometry_only=True)
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    frame = frame_face(vertices, faces, orientation=orientation)
    if not frame.is_face:
        raise ValueError(
            f"no face found in it (face-likeness {frame.face_likeness:.2f}); look at it with mvfer render, and cut away what is "
            "not the head"
        )
    upright = frame.apply(vertices).astype(np.float64)
    if (opening := mouth_opening(upright, faces)) > LARGEST_OPENING:
        raise ValueError(
            f"its mouth is open, or has a hole: {opening / 2:.0%} of the face's height; scan this person again, lips closed"
        )
    again = frame_upright(upright, faces)
    if np.linalg.norm(again.center) + abs(np.log(again.scale)) > LARGEST_SHIFT:
        raise ValueError(
            "more than a head, so that the face is not framed alike everywhere; cut away what is not the head"
        )
    return upright, faces


def mouth_opening(points: np.ndarray, faces: np.ndarray) -> float:
    """How high the gap between the lips is, framed units: 0 where they meet.

    In the middle of the face, from below the nose to above the chin, depth falls into a gap as into no fold of the skin.

    Args:
        points (`(N, 3)`): framed. faces (`(M, 3)`).
    """
    seen = torch.from_numpy(np.asarray(points, np.float32))
    depth_range = float(seen[:, 2].min()), float(seen[:, 2].max())
    view = DepthMap.look(seen, torch.from_numpy(np.asarray(faces)), (0.0, MOUTH, 0.0), 1.0, depth_range)
    places = (np.arange(len(view.depth)) - len(view.depth) / 2) * view.pixel  # of rows, downwards, and of columns
    depth = np.nan_to_num(view.depth[:, np.abs(places) < HALF_WIDTH], nan=-FAR)
    profile = np.median(depth, axis=1) * view.pixel
    reach = round(REACH / view.pixel)
    above = np.array([profile[max(0, row - reach) : row + 1].max() for row in range(len(profile))])
    below = np.array([profile[row : row + reach + 1].max() for row in range(len(profile))])
    deep = np.minimum(above, below) - profile > DEEP
    return float((deep & (places > -0.3) & (places < 0.45)).sum() * view.pixel)


def same_files(paths: Sequence[Path]) -> dict[int, int]:
    """Which files hold the same bytes as an earlier one: their numbers, and that of the earlier."""
    first: dict[bytes, int] = {}
    found = {}
    for number, path in enumerate(paths):
        earlier = first.setdefault(path.read_bytes(), number)
        if earlier != number:
            found[number] = earlier
    return found
