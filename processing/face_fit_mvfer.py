"""Fit the mean face to a depth map. In: a map. Out: where faces are, how large, how turned, and how well they fit.

Every cell of the template is looked up on the map where it would be seen, and place, size, pose and shape are moved until
the depths agree (projective, trimmed iterative closest points; Gauss-Newton). Faces differ along the template's modes, each
as likely as among the heads that it was made of, so what is left of a face says where the rest must be. What does not fit,
such as hair, a hole or a fragment before the face, has no weight. All places are fitted at once.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from .depth_maps_mvfer import DepthMap, sample
from .face_template_mvfer import MEAN, MODES, REACH, VALID

CLOSE = 0.07  # framed units between scan and template, along the surface's normal, within which a cell agrees
ODD = 1.6  # mean square of the shape's coordinates, 1 among faces, at which a placement is half as likely a face
PRIOR = 0.002  # of the shape against the residuals: their variance, times how many neighbouring cells say the same
START_SIZES_PX = (60.0, 42.0, 30.0, 21.0, 15.0, 10.5)  # per framed unit
START_SPACING = 0.4  # framed units between places that are tried
START_TURNS_DEG = tuple(product((0, -35, 35), (0, -20, 20), (0, -22, 22)))  # yaw, pitch, roll
FEW_TURNS_DEG = tuple(product((0, -25, 25), (0,), (0,)))
_STEPS = np.linspace(-REACH, REACH, len(MEAN))
_X, _Y = (grid[VALID] for grid in np.meshgrid(_STEPS, -_STEPS))
_MEAN, _MODES = MEAN[VALID], MODES[:, VALID].T  # (P,), (P, K)


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
        return cls(place.copy(), size.copy(), turn.copy(), np.zeros((count, _MODES.shape[1])), np.zeros(count))

    def points(self, step: int = 1) -> np.ndarray:
        """Every so many of the template's points, turned but neither scaled nor moved, `(H, P, 3)`."""
        z = _MEAN[::step] + self.shape @ _MODES[::step].T
        framed = np.stack([np.broadcast_to(_X[::step], z.shape), np.broadcast_to(_Y[::step], z.shape), z], -1)
        return framed @ self.turn.transpose(0, 2, 1)


def search(view: DepthMap, *, rough: bool = False) -> Fits:
    """Upright faces of any size on a map, turned by up to 45 degrees, best first; `rough`: by few starts, for a first look."""
    found = []
    half = len(view.depth)
    for size in START_SIZES_PX[: 4 if rough else None]:
        steps = np.arange(START_SPACING * size / 2, half, START_SPACING * size)
        column, row = (grid.ravel() for grid in np.meshgrid(steps, steps))
        depth = view.depth[np.floor(half - row).astype(int).clip(0, half - 1), np.floor(column).astype(int)]
        near = np.isfinite(depth)
        place = np.stack([column, row, np.where(near, depth, 0)], 1)[near]
        angles = START_TURNS_DEG if size > 20 and not rough else FEW_TURNS_DEG if size > 12 else ((0, 0, 0),)
        turns = np.stack([turn_of(*angle) for angle in angles])
        if len(place):
            many = Fits.at(np.tile(place, (len(turns), 1)), size, np.repeat(turns, len(place), 0))
            found.append(_started(view, many))
    if not found:
        return Fits.at(np.zeros((1, 3)), 1.0, np.eye(3))
    counts = (120, 40, 8, 1) if rough else (600, 200, 24, 5)
    fits = _best(_joined(found), counts[0])
    fits = refine(view, fits, widths=(0.4, 0.4), step=9, shape=False)
    fits = _best(scored(view, fits, close=0.25, step=5), counts[1])
    fits = refine(view, fits, widths=(0.4, 0.35, 0.3), step=5, shape=False)
    fits = _distinct(_best(scored(view, fits, close=0.2, step=2)))[: counts[2]]
    fits = scored(view, refine(view, fits, widths=(0.3, 0.3, 0.25, 0.25), step=3))
    fits = _distinct(_best(fits))[: counts[3]]
    return _best(scored(view, refine(view, fits, widths=(0.2, 0.2, 0.15, 0.15, 0.15))))


def refine(view: DepthMap, fits: Fits, *, widths, step: int = 1, shape: bool = True) -> Fits:
    """One Gauss-Newton step per width, in framed units, beyond which a cell has no weight."""
    gradient = view.gradient
    for width in widths:
        turned = fits.points(step)
        residual, normal, seen = _residuals(view, gradient, fits, turned)
        weight = seen * np.square(np.clip(1 - np.square(residual / width), 0, None))
        columns = [
            normal / fits.size[:, None, None],  # place, in pixels
            (normal * turned).sum(-1)[..., None],  # log size
            np.cross(turned, normal),  # turn
        ]
        count = 7
        if shape:
            columns.append(np.einsum("hpi,hi->hp", normal, fits.turn[:, :, 2])[..., None] * _MODES[::step])
            count += _MODES.shape[1]
        jacobian = np.concatenate(columns, -1)  # (H, P, count)
        weighted = jacobian * weight[..., None]
        matrix = weighted.transpose(0, 2, 1) @ jacobian
        right = (weighted * residual[..., None]).sum(1)
        damping = np.full(count, 1e-9)
        damping[3:7] = 0.02 / step  # of steps in size and pose
        damping[7:] = PRIOR / step
        right[:, 7:] -= damping[7:] * fits.shape[:, : count - 7]
        matrix[:, range(count), range(count)] += damping
        move = np.linalg.solve(matrix, right[..., None])[..., 0]
        move[:, 3] = move[:, 3].clip(-0.15, 0.15)
        move[:, 4:7] = move[:, 4:7].clip(-0.2, 0.2)
        limit = 0.3 * fits.size[:, None]
        place = fits.place + move[:, :3].clip(-limit, limit)
        turn = _rotations(move[:, 4:7]) @ fits.turn
        new_shape = (fits.shape + move[:, 7:]).clip(-3, 3) if shape else fits.shape
        fits = Fits(place, fits.size * np.exp(move[:, 3]), turn, new_shape, fits.score)
    return fits


def _residuals(view: DepthMap, gradient, fits: Fits, turned: np.ndarray):
    """How far the scan lies before the template along the scan's normal `(H, P)`, framed units; normals; what was seen."""
    size = fits.size[:, None]
    column = fits.place[:, :1] + size * turned[..., 0]
    row = fits.place[:, 1:2] + size * turned[..., 1]
    depth = fits.place[:, 2:] + size * turned[..., 2]
    i, j = np.floor(len(view.depth) - row).astype(int), np.floor(column).astype(int)
    inside = (i >= 0) & (j >= 0) & (i < len(view.depth)) & (j < len(view.depth))
    i, j = np.where(inside, i, 0), np.where(inside, j, 0)
    found, slope_x, slope_y = view.depth[i, j], gradient[0][i, j], gradient[1][i, j]
    seen = inside & np.isfinite(found) & np.isfinite(slope_x + slope_y)
    slope_x, slope_y = np.where(seen, slope_x, 0), np.where(seen, slope_y, 0)
    # to the exact place within the pixel
    found = np.where(seen, found, 0) + slope_x * (column - (j + 0.5)) + slope_y * (row - (len(view.depth) - i - 0.5))
    normal = np.stack([-slope_x, -slope_y, np.ones_like(slope_x)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return np.where(seen, normal[..., 2] * (found - depth) / size, 0), normal, seen


def scored(view: DepthMap, fits: Fits, close: float = CLOSE, step: int = 1) -> Fits:
    """How much like a face each placement is, 0 to 1."""
    turned = fits.points(step)
    residual, _, seen = _residuals(view, view.gradient, fits, turned)
    share = (seen * np.clip(1 - np.square(residual / close), 0, None)).mean(1)
    odd = np.square(fits.shape).mean(1)
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
    turned = fits.points(6)
    column = np.floor(fits.place[:, :1] + fits.size[:, None] * turned[..., 0]).astype(int)
    row = np.floor(len(view.depth) - fits.place[:, 1:2] - fits.size[:, None] * turned[..., 1]).astype(int)
    inside = (column >= 0) & (row >= 0) & (column < len(view.depth)) & (row < len(view.depth))
    found = np.where(inside, view.depth[np.where(inside, row, 0), np.where(inside, column, 0)], np.nan)
    offset = found / fits.size[:, None] - turned[..., 2]
    offset = np.where(np.isfinite(offset), offset, 1e6)
    middle = np.sort(offset, 1)[:, int(0.4 * offset.shape[1])]
    fits.place[:, 2] = np.where(middle < 1e5, middle, 0) * fits.size
    fits.score = np.clip(1 - np.square((offset - middle[:, None]) / 0.25), 0, None).mean(1) * (middle < 1e5)
    return fits


def _joined(parts: list[Fits]) -> Fits:
    return Fits(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("place", "size", "turn", "shape", "score")))


def _distinct(fits: Fits) -> Fits:
    """Without those that lie where a better one does."""
    kept: list[int] = []
    for i in range(len(fits.size)):
        near = [
            np.linalg.norm(fits.place[i] - fits.place[k]) < 0.15 * fits.size[k]
            and abs(np.log(fits.size[i] / fits.size[k])) < 0.1
            and np.trace(fits.turn[i].T @ fits.turn[k]) > 2.97
            for k in kept
        ]
        if not any(near):
            kept.append(i)
    return fits[np.array(kept)]


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
    grid[VALID] = _MEAN + _MODES @ fit.shape[0]
    cell = _STEPS[1] - _STEPS[0]
    column, row = (np.broadcast_to(v, view.depth.shape) for v in ((x + REACH) / cell + 0.5, (REACH - y) / cell + 0.5))
    template = (sample(grid, column, row) - view.middle[2]) / view.pixel
    strange = np.isfinite(template) & ~(np.abs(view.depth - template) < 0.12 / view.pixel)
    alone = DepthMap(template, view.middle, view.pixel)
    return DepthMap(np.where(strange, template, view.depth), view.middle, view.pixel), strange, alone
