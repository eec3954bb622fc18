"""Faint expressions made visible: the face's movement since the onset frame, times a factor, before anything is rendered.

In: the vertices of a sequence whose frames correspond vertex by vertex, and those of the face at rest. Out: vertices that have
moved further. How the head moves is left as it is.
"""

import math

import numpy as np


def magnify(vertices: np.ndarray, onset: np.ndarray, *, magnification: float) -> np.ndarray:
    """Multiply every vertex's displacement since the onset, the head's own motion aside: onset + a (vertex - onset).

    The head's motion is the rigid one that fits all vertices best; it is taken away before and given back afterwards.

    Args:
        vertices (`np.ndarray` of shape `(T, N, 3)`): the frames, any unit.
        onset (`(N, 3)`): the face before it moves, the same vertices in the same order.
        magnification (`float`): a > 0; 1 returns the frames as they are.
    Returns:
        `np.ndarray` of shape `(T, N, 3)`, of the type of `vertices`.
    Raises:
        ValueError: if shapes do not fit, or the factor is not positive and finite.
    Source:
        Geometric magnification of 4D faces, arXiv:2105.02319. The text could not be read: the formula is our reading of the name,
        the plain (Lagrangian) magnification of displacements; that the head's motion is left out is ours.
    """
    check_magnification(magnification)
    if vertices.ndim != 3 or onset.ndim != 2 or vertices.shape[1:] != onset.shape or onset.shape[-1] != 3:
        raise ValueError(f"expected vertices (T, N, 3) and onset (N, 3), got {vertices.shape} and {onset.shape}")
    if magnification == 1:
        return vertices
    rest, magnified = onset.astype(np.float64), np.empty_like(vertices)
    for t, frame in enumerate(vertices.astype(np.float64)):
        rotation, middle = _rigid_motion(frame, rest)
        still = (frame - middle) @ rotation + rest.mean(0)  # the head where it was at the onset
        moved = rest + magnification * (still - rest)
        magnified[t] = (moved - rest.mean(0)) @ rotation.T + middle
    return magnified


def check_magnification(value) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"expected a magnification > 0, got {value!r}")


def _rigid_motion(points: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rotation that turns `(N, 3)` points, around their middle, best onto the target (Kabsch 1976), and that middle."""
    middle = points.mean(0)
    u, _, vt = np.linalg.svd((points - middle).T @ (target - target.mean(0)))
    u[:, -1] *= np.sign(np.linalg.det(u @ vt))  # a rotation, never a reflection
    return u @ vt, middle
