"""Fit the mean face to a depth map. In: a map. Out: where faces are, how large, how turned, and how well they fit.

Every cell of the template is looked up on the map where it would be seen, and place, size, pose and shape are moved until
the depths agree (projective, trimmed iterative closest points; Gauss-Newton). Faces differ along the template's modes, each
as likely as among the heads that it was made of, so what is left of a face says where the rest must be. What does not fit,
such as hair, a hole or a fragment before the face, has no weight. All places are fitted at once.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from .compiled_mvfer import LOOPS
from .depth_maps_mvfer import DepthMap, sample
from .face_template_mvfer import MEAN, MODES, REACH, VALID

CLOSE = 0.07  # framed units between scan and template, along the surface's normal, within which a cell agrees
ODD = 1.6  # mean square of the shape's coordinates, 1 among faces, at which a placement is half as likely a face
PRIOR = 0.0007  # of the shape against the residuals: their variance, times how many neighbouring cells say the same
ALIKE_FROM, ALIKE = 0.4, 0.75  # cosines between normals: from where a cell has weight, and all of it
DAMPING, FIXED = 0.005, 1e6  # of steps in size and pose; of what is to stay
SINGLE_THREADED = 2**18  # multiplications of a matrix product up to which OpenBLAS keeps to one thread
INSIDE_WIDE, INSIDE_HIGH, INSIDE_MIDDLE = 0.7, 0.75, 0.05  # framed units, of an ellipse that hair leaves free
FEW_MODES = 16  # while a face is searched
START_SIZES_PX = (60.0, 42.0, 30.0, 21.0, 15.0, 10.5)  # per framed unit
START_SPACING = 0.4  # framed units between places that are tried
START_TURNS_DEG = tuple(product((0, -35, 35), (0, -20, 20), (0, -22, 22)))  # yaw, pitch, roll
FEW_TURNS_DEG, UPRIGHT = tuple(product((0, -25, 25), (0,), (0,))), ((0, 0, 0),)
SMALL_PX = 12.0  # per framed unit: at this size and below, no turns are tried
_STEPS = np.linspace(-REACH, REACH, len(MEAN))
_XY = np.stack([grid[VALID] for grid in np.meshgrid(_STEPS, -_STEPS)]).astype(np.float32)  # (2, P)
_MEAN, _MODES = MEAN[VALID].astype(np.float32), MODES[:, VALID].astype(np.float32)  # (P,), (K, P)
_INSIDE = (np.hypot(_XY[0] / INSIDE_WIDE, (_XY[1] - INSIDE_MIDDLE) / INSIDE_HIGH) < 1).astype(np.float32)  # (P,)
_ACROSS, _DOWN = np.gradient(MEAN, _STEPS[1] - _STEPS[0])[::-1]
_NORMALS = np.stack([-_ACROSS[VALID], _DOWN[VALID], np.ones(VALID.sum())])
_NORMALS = (_NORMALS / np.linalg.norm(_NORMALS, axis=0)).astype(
    np.float32
)  # (3, P) of the mean face; rough at its edge


class Effort(NamedTuple):
    """How thoroughly a face is searched.

    Attributes:
        sizes: how many of `START_SIZES_PX`, the largest.
        turns_deg: yaw, pitch and roll of each start; if empty, `START_TURNS_DEG` where the face is large enough.
        kept: how many placements are left after each of four steps.
    """

    sizes: int
    turns_deg: tuple
    kept: tuple[int, int, int, int]


QUICK = Effort(4, FEW_TURNS_DEG, (100, 30, 6, 1))
ROLLED = Effort(4, tuple(product((0, -25, 25), (0,), (0, 90, 180, 270))), (100, 30, 6, 1))
THOROUGH = Effort(6, (), (400, 120, 16, 3))
WIDE = Effort(6, (), (2000, 300, 32, 3))  # for faces that are turned far in all directions: at first others fit better


@dataclass
class Fits:
    """H placements of the template on a map, whose axes run right, up and forward: map = place + size * turn @ (x, y, z)."""

    place: np.ndarray  # (H, 3) pixels
    size: np.ndarray  # (H,) pixels per framed unit
    turn: np.ndarray  # (H, 3, 3) rotations, from framed to map
    shape: np.ndarray  # (H, K) of the modes
    score: np.ndarray  # (H,)

    def __getitem__(self, index) -> "Fits":
        return Fits(*(getattr(self, name)[index] for name in ("place", "size", "turn", "shape", "score")))

    @classmethod
    def at(cls, place, size, turn) -> "Fits":
        place = np.atleast_2d(np.asarray(place, float))
        count = len(place)
        size, turn = np.broadcast_to(size, count).astype(float), np.broadcast_to(turn, (count, 3, 3)).astype(float)
        return cls(place.copy(), size.copy(), turn.copy(), np.zeros((count, len(_MODES))), np.zeros(count))

    def points(self, step: int = 1) -> np.ndarray:
        """Every so many of the template's points, turned but neither scaled nor moved, `(3, H, P)`."""
        turn = self.turn.transpose(1, 0, 2).astype(np.float32)  # (3, H, 3)
        z = _MEAN[None, ::step]
        if self.shape.any():
            z = z + np.einsum("hk,kp->hp", self.shape.astype(np.float32), _MODES[:, ::step])  # without BLAS, see below
        flat = turn[..., :2].reshape(-1, 2) @ _XY[:, ::step]
        return flat.reshape(3, len(self.size), -1) + turn[..., 2:] * z


def search(view: DepthMap, effort: Effort) -> Fits:
    """Faces of any size on a map, best first: upright, turned by up to 45 degrees."""
    found = []
    half = len(view.depth)
    for size in START_SIZES_PX[: effort.sizes]:
        steps = np.arange(START_SPACING * size / 2, half, START_SPACING * size)
        column, row = (grid.ravel() for grid in np.meshgrid(steps, steps))
        depth = view.depth[np.floor(half - row).astype(int).clip(0, half - 1), np.floor(column).astype(int)]
        near = np.isfinite(depth)
        place = np.stack([column, row, np.where(near, depth, 0)], 1)[near]
        angles = effort.turns_deg or (UPRIGHT if size <= SMALL_PX else FEW_TURNS_DEG if size <= 20 else START_TURNS_DEG)
        turns = np.stack([turn_of(*angle) for angle in angles])
        if len(place):
            starts = Fits.at(np.tile(place, (len(turns), 1)), size, np.repeat(turns, len(place), 0))
            found.append(_started(view, starts))
    if not found:
        return Fits.at(np.zeros((1, 3)), 1.0, np.eye(3))
    many, some, few, last = effort.kept
    fits = _best(_joined(found), many)
    fits = refine(view, fits, widths=(0.4, 0.4), step=11, modes=0)
    fits = _distinct(_best(scored(view, fits, close=0.25, step=7)))[:some]
    fits = refine(view, fits, widths=(0.4, 0.35, 0.3), step=5, modes=0)
    fits = _distinct(_best(scored(view, fits, close=0.2, step=3)))[:few]
    stiff: dict[str, Any] = {"modes": FEW_MODES, "prior": 10 * PRIOR, "like_normals": True}
    fits = scored(view, refine(view, fits, widths=(0.3, 0.3, 0.25, 0.25), step=3, **stiff))
    fits = _distinct(_best(fits))[:last]
    return _best(scored(view, refine(view, fits, widths=(0.2, 0.2, 0.15, 0.15), **stiff)))


def settle(view: DepthMap, fits: Fits, *, keep_turn: bool = False) -> Fits:
    """From about there to exactly there: the shape is let go little by little, and what stands out is left out."""
    same: dict[str, Any] = {"like_normals": True, "keep_turn": keep_turn}
    fits = refine(view, fits, widths=(0.2, 0.15, 0.15), modes=FEW_MODES, prior=10 * PRIOR, **same)
    return scored(view, refine(view, fits, widths=(0.12, 0.12, 0.1, 0.1, 0.1), **same))


def settle_inside(view: DepthMap, fits: Fits) -> Fits:
    """From a fit to one of the face's inside alone, not turned: what surrounds the face says nothing."""
    return refine(view, fits, widths=(0.1, 0.1, 0.1, 0.1), like_normals=True, keep_turn=True, inside=True)


def refine(
    view: DepthMap,
    fits: Fits,
    *,
    widths,
    step: int = 1,
    modes: int = len(_MODES),
    prior=PRIOR,
    like_normals=False,
    keep_turn=False,
    inside=False,
) -> Fits:
    """One Gauss-Newton step per width, in framed units, beyond which a cell has no weight; with so many modes of the shape.

    `like_normals`: cells where the scan faces elsewhere than the mean face, as hair and edges do, have no weight either;
    `inside`: nor have those at the rim of the face.
    """
    count = 7 + modes
    damping = np.full(count, 1e-9)
    damping[3:7] = DAMPING / step
    damping[4:7] += FIXED if keep_turn else 0
    damping[7:] = prior / step
    for width in widths:
        jacobian, weight, residual = _linearised(view, fits, step, modes, width, like_normals, inside)
        matrix, right = _normal_equations(jacobian, weight, residual)
        right[:, 7:] -= damping[7:] * fits.shape[:, :modes]
        matrix[:, range(count), range(count)] += damping
        move = np.linalg.solve(matrix, right[..., None])[..., 0]
        place = fits.place + move[:, :3].clip(-0.3, 0.3) * fits.size[:, None]
        turn = _rotations(move[:, 4:7].clip(-0.2, 0.2)) @ fits.turn
        shape = fits.shape.copy()
        shape[:, :modes] = (shape[:, :modes] + move[:, 7:]).clip(-3, 3)
        fits = Fits(place, fits.size * np.exp(move[:, 3].clip(-0.15, 0.15)), turn, shape, fits.score)
    return fits


def _linearised(view: DepthMap, fits: Fits, step: int, modes: int, width: float, like_normals: bool, inside: bool):
    """The Jacobian `(H, 7 + modes, P)`, weights `(H, P)` and residuals `(H, P)` of one step, by whichever loop is there."""
    turned = fits.points(step)
    axes = fits.turn.transpose(1, 0, 2).astype(np.float32)  # (3, H, 3)
    expected = axes @ _NORMALS[:, ::step] if like_normals else turned  # (3, H, P)
    jacobian = np.empty((turned.shape[1], 7 + modes, turned.shape[2]), np.float32)
    if (loop := LOOPS.get("linearised")) is not None:
        out = jacobian, np.empty(turned.shape[1:], np.float32), np.empty(turned.shape[1:], np.float32)
        place, size, forward = (v.astype(np.float32) for v in (fits.place, fits.size, fits.turn[:, :, 2]))
        numbers = np.float32(width), np.float32(ALIKE_FROM), np.float32(ALIKE - ALIKE_FROM)
        flags = bool(like_normals), bool(inside)
        seen_as = turned, expected, place, size, forward
        loop(view.slopes, len(view.depth), *seen_as, _MODES, _INSIDE, step, numbers, flags, out)
        return out
    residual, normal, seen = _residuals(view, fits, turned)
    weight = seen * np.square(np.clip(1 - np.square(residual / width), 0, None))
    if like_normals:
        weight *= np.clip(((expected * normal).sum(0) - ALIKE_FROM) / (ALIKE - ALIKE_FROM), 0, 1)
    if inside:
        weight *= _INSIDE[::step]
    x, y, z = turned
    u, v, w = normal
    jacobian[:, 0], jacobian[:, 1], jacobian[:, 2] = u, v, w  # place, in framed units
    jacobian[:, 3] = u * x + v * y + w * z  # log size
    jacobian[:, 4], jacobian[:, 5], jacobian[:, 6] = y * w - z * v, z * u - x * w, x * v - y * u  # turn
    a, b, c = axes[..., 2:]  # (H, 1) each
    np.multiply((u * a + v * b + w * c)[:, None], _MODES[:modes, ::step], out=jacobian[:, 7:])
    return jacobian, weight, residual


def _normal_equations(jacobian: np.ndarray, weight: np.ndarray, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`J W J^T` (H, C, C) and `J W r` (H, C) of Jacobians (H, C, P), weights and residuals (H, P).

    They are summed over pieces so small that BLAS keeps to one thread: where a machine is busy, waiting for its other threads
    takes a hundred times as long as the product.
    """
    many, count, cells = jacobian.shape
    matrix, right = np.zeros((many, count, count)), np.zeros((many, count))
    step = max(SINGLE_THREADED // count**2, 1)
    for start in range(0, cells, step):
        part = jacobian[..., start : start + step]
        weighted = part * weight[:, None, start : start + step]
        matrix += weighted @ part.transpose(0, 2, 1)
        right += (weighted @ residual[:, start : start + step, None])[..., 0]
    return matrix, right


def _residuals(view: DepthMap, fits: Fits, turned: np.ndarray):
    """How far the scan lies before the template along its normal `(H, P)`, framed units; normals `(3, H, P)`; what is seen."""
    count = len(view.depth)
    size = fits.size[:, None].astype(np.float32)
    column, up, depth = turned * size + fits.place.T[..., None].astype(np.float32)
    row = count - up  # from the top
    i, j = np.floor(row).astype(np.int32), np.floor(column).astype(np.int32)
    inside = (i >= 0) & (j >= 0) & (i < count) & (j < count)
    index = np.where(inside, i * count + j, 0)
    found, slope_x, slope_y = view.slopes[:, index]
    seen = inside & np.isfinite(slope_x + slope_y + found)
    found, slope_x, slope_y = (np.where(seen, one, np.float32(0)) for one in (found, slope_x, slope_y))
    # to the exact place within the pixel
    ahead = found + slope_x * (column - (j + 0.5)) + slope_y * (i + 0.5 - row) - depth
    steep = 1 / np.sqrt(slope_x * slope_x + slope_y * slope_y + 1)
    residual = np.where(seen, steep * ahead / size, np.float32(0)).astype(np.float32)
    return residual, np.stack([-slope_x * steep, -slope_y * steep, steep]).astype(np.float32), seen


def scored(view: DepthMap, fits: Fits, close: float = CLOSE, step: int = 1) -> Fits:
    """How much like a face each placement is, 0 to 1."""
    residual, _, seen = _residuals(view, fits, fits.points(step))
    share = (seen * np.clip(1 - np.square(residual / close), 0, None)).mean(1)
    odd = np.square(fits.shape[:, :FEW_MODES]).mean(1)
    leaning = np.degrees(np.arccos(fits.turn[:, 2, 2].clip(-1, 1)))
    share = share / np.sqrt(np.maximum(seen.mean(1), 0.4))
    fits.score = share / (1 + (odd / ODD) ** 4) * np.clip((75 - leaning) / 15, 0, 1)
    return fits


def _rotations(vectors: np.ndarray) -> np.ndarray:
    """Rotation vectors `(H, 3)` to matrices."""
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)
    small = np.maximum(angle, 1e-12)
    return np.eye(3) + np.sin(angle) / small * cross + (1 - np.cos(angle)) / small**2 * cross @ cross


def _best(fits: Fits, count: int | None = None) -> Fits:
    return fits[np.argsort(-fits.score, kind="stable")[:count]]


def _started(view: DepthMap, fits: Fits) -> Fits:
    """Depth by the median of what is seen, and the share of cells that then agree roughly."""
    count = len(view.depth)
    size = fits.size[:, None].astype(np.float32)
    x, y, z = fits.points(9)
    column = np.floor(x * size + fits.place[:, :1].astype(np.float32)).astype(np.int32)
    row = np.floor(count - fits.place[:, 1:2].astype(np.float32) - y * size).astype(np.int32)
    inside = (column >= 0) & (row >= 0) & (column < count) & (row < count)
    offset = view.slopes[0][np.where(inside, row * count + column, 0)] / size - z
    offset = np.where(inside & np.isfinite(offset), offset, np.float32(1e6))
    half = int(0.4 * offset.shape[1])
    middle = np.partition(offset, half, axis=1)[:, half]
    fits.place[:, 2] = np.where(middle < 1e5, middle, 0) * fits.size
    agree = np.clip(1 - np.square((offset - middle[:, None]) / 0.25), 0, None)
    fits.score = agree.mean(1) * (middle < 1e5)
    return fits


def _joined(parts: list[Fits]) -> Fits:
    return Fits(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("place", "size", "turn", "shape", "score")))


def _distinct(fits: Fits) -> Fits:
    """Without those that lie where a better one does."""
    size = fits.size[:, None]
    away = np.linalg.norm(fits.place[:, None] - fits.place, axis=-1) / size
    turn = fits.turn.reshape(-1, 9)
    alike = (away < 0.15) & (np.abs(np.log(size / fits.size)) < 0.1) & (turn @ turn.T > 2.97)  # (H, H)
    kept = np.ones(len(fits.size), bool)
    for i in range(1, len(kept)):
        kept[i] = not (alike[i, :i] & kept[:i]).any()
    return fits[kept]


def turn_of(yaw_deg: float, pitch_deg: float, roll_deg: float) -> np.ndarray:
    """Roll about z, then pitch about x, then yaw about y."""
    yaw, pitch, roll = np.radians([yaw_deg, pitch_deg, roll_deg])
    vectors = np.array([[0, yaw, 0], [pitch, 0, 0], [0, 0, roll]], float)
    a, b, c = _rotations(vectors)
    return a @ b @ c


def completed(view: DepthMap, fit: Fits) -> tuple[DepthMap, np.ndarray, DepthMap]:
    """A close-up whose holes, and what does not belong to the face, show the fitted template instead.

    Returns:
        the map; where the template stands in `(S, S)` bool; the template alone.
    """
    steps = np.arange(len(view.depth)) + 0.5 - len(view.depth) / 2
    x, y = steps[None] * view.pixel, -steps[:, None] * view.pixel
    grid = np.full(MEAN.shape, np.nan)
    grid[VALID] = _MEAN + np.einsum("k,kp->p", fit.shape[0], _MODES)
    cell = _STEPS[1] - _STEPS[0]
    column, row = (np.broadcast_to(v, view.depth.shape) for v in ((x + REACH) / cell + 0.5, (REACH - y) / cell + 0.5))
    template = (sample(grid, column, row) - view.middle[2]) / view.pixel
    strange = np.isfinite(template) & ~(np.abs(view.depth - template) < 0.12 / view.pixel)
    alone = DepthMap(template, view.middle, view.pixel)
    return DepthMap(np.where(strange, template, view.depth), view.middle, view.pixel), strange, alone


def near_mean_face(points: np.ndarray, within: float) -> np.ndarray:
    """Which of these `(N, 3)` framed points are at most so far before or behind the mean face, `(N,)` bool."""
    cell, last = _STEPS[1] - _STEPS[0], len(_STEPS) - 1
    column, row = (np.round((REACH + v) / cell) for v in (points[:, 0], -points[:, 1]))
    inside = (column >= 0) & (column <= last) & (row >= 0) & (row <= last)
    column, row = (np.where(inside, v, 0).astype(int) for v in (column, row))
    return inside & VALID[row, column] & (np.abs(points[:, 2] - MEAN[row, column]) < within)
