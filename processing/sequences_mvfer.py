"""A sequence as a user gives it, made into frames with times, and into views.

In: `{"frames": [...], "fps": 25.0}`, or with `frame_times_s`, and perhaps the `onset`: the face at rest. Out: the chosen frames,
their times, and the onset, by which all frames are framed alike and from which their movement is magnified.
"""

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from .framing_mvfer import FaceFrame
from .magnification_mvfer import magnify
from .meshes_mvfer import Mesh
from .rendering_mvfer import RenderSettings, frame_mesh, render_mesh
from .view_batches_mvfer import sample_frames

DEFAULT_FPS = 25.0
KEYS = ("frames", "fps", "frame_times_s", "onset", "face_frame")


class FrameSequence(NamedTuple):
    """The chosen frames of a sequence."""

    frames: list
    times_s: np.ndarray  # (T,) float32, since the first frame that was given
    onset: Any  # a frame of the kind of the others
    face_frame: FaceFrame | None = None  # of the onset, if it is known


def read_sequence(sequence, where: str, num_frames: int) -> FrameSequence:
    """Choose at most `num_frames` frames of a sequence, uniformly in time.

    Args:
        sequence (mapping): `frames`, each a mesh, a photo, or a list with one photo per view; `fps` (25 if absent) or
            `frame_times_s`; `onset`, a mesh of the face at rest (the first frame if absent); `face_frame`, where its face is,
            if it is known.
        where: how messages call the sequence.
    Raises:
        ValueError: if it is none, or its times make no sense.
    """
    if not isinstance(sequence, Mapping) or "frames" not in sequence:
        raise ValueError(f'{where}: expected {{"frames": [...], "fps": 25.0}}, got {type(sequence).__name__}')
    unknown = set(sequence) - set(KEYS)
    if unknown:
        raise ValueError(f"{where}: unknown keys {sorted(unknown)}; known are {', '.join(KEYS)}")
    frames = as_list(sequence["frames"], f"{where}, frames")
    times, fps = sequence.get("frame_times_s"), sequence.get("fps", DEFAULT_FPS)
    if times is None:
        try:
            times = np.arange(len(frames)) / frames_per_second(fps)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    times = np.asarray(times, dtype=np.float64)
    if times.shape != (len(frames),):
        raise ValueError(f"{where}: expected {len(frames)} frame_times_s, got shape {times.shape}")
    try:
        chosen = sample_frames(times, num_frames)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    onset = frames[0] if sequence.get("onset") is None else sequence["onset"]
    since = (times[chosen] - times[0]).astype(np.float32)  # a clock's time would lose its fractions in 32 bits
    return FrameSequence([frames[t] for t in chosen], since, onset, sequence.get("face_frame"))


def frames_per_second(value) -> float:
    """A number of any kind (of Python, numpy or torch), or its text: 25, `Fraction(30000, 1001)`, "29.97", "30000/1001".

    Raises:
        ValueError: if it is no number, not above 0, or not finite.
    """
    number: Any = value.item() if getattr(value, "shape", None) == () else value
    try:
        if isinstance(number, str):
            above, _, below = number.partition("/")
            number = float(above) / float(below or 1)
        is_number = isinstance(number, numbers.Real | Decimal) and not isinstance(number, bool)
        rate = float(number) if is_number else 0.0
    except (ArithmeticError, ValueError):  # "x", "1/0", a signalling NaN, a fraction beyond what a float holds
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise ValueError(f"expected fps > 0, got {value!r}; it is a number, such as 25, 29.97 or '30000/1001'")
    return rate


def render_sequence(
    meshes: list[Mesh],
    onset: Mesh,
    settings: RenderSettings,
    *,
    where: str,
    magnification: float = 1.0,
    frame: FaceFrame | None = None,
) -> np.ndarray:
    """Render the frames of a sequence, framed as its onset is (`frame`, if that is known), their movement magnified.

    Returns:
        `np.ndarray` of shape `(T, V, H, W, 3)`, uint8.
    Raises:
        ValueError: if the movement is to be magnified, but a frame has other vertices or faces than the onset.
    """
    if magnification != 1:
        for t, mesh in enumerate(meshes):
            if mesh.vertices.shape != onset.vertices.shape or not np.array_equal(mesh.faces, onset.faces):
                raise ValueError(
                    f"{mesh.source or f'{where}, frame {t}'}: {len(mesh.vertices)} vertices and {len(mesh.faces)} faces do not "
                    f"correspond to the onset's {len(onset.vertices)} and {len(onset.faces)}; magnification needs frames "
                    "registered to one topology: register them, or pass magnification=1"
                )
        placed = np.stack([_relative_to(onset, mesh) for mesh in meshes])
        moved = magnify(placed, onset.vertices, magnification=magnification)
        changes = ({"vertices": vertices, "origin": onset.origin} for vertices in moved)
        meshes = [replace(mesh, **change) for mesh, change in zip(meshes, changes, strict=True)]
    return render_mesh(meshes, settings, frame=frame or frame_mesh(onset))


def _relative_to(onset: Mesh, mesh: Mesh) -> np.ndarray:
    """The vertices `(N, 3)` of a frame, from the origin of the onset."""
    if mesh.origin == onset.origin:
        return mesh.vertices
    return (mesh.vertices + np.subtract(mesh.origin, onset.origin)).astype(np.float32)


def as_list(items, where: str, one: tuple = ()) -> list:
    """A non-empty list; one item of the types `one`, a path or a mesh counts as a list of itself."""
    if one and (isinstance(items, one) or hasattr(items, "__fspath__") or hasattr(items, "vertices")):
        items = [items]
    if not isinstance(items, Sequence | np.ndarray) or isinstance(items, str):
        raise ValueError(f"{where}: expected a list, got {type(items).__name__}")
    if len(items) == 0:
        raise ValueError(f"{where}: expected at least one, got an empty list")
    return list(items)
