"""Search a face in a whole scan. In: points and faces, and how the scan may lie. Out: the most face-like `FaceFrame`.

First a look at the whole scan, then at the best places closely: turned upright, what stands before the face left out. There the
tip of the nose and the rim of the face are measured as on a whole scan; where the scan has a hole or something strange, the
fitted mean face stands in.
"""

from dataclasses import replace

import numpy as np
import torch

from .depth_maps_mvfer import DepthMap
from .face_fit_mvfer import (
    QUICK,
    ROLLED,
    THOROUGH,
    WIDE,
    Effort,
    Fits,
    completed,
    scored,
    search,
    settle,
    settle_inside,
)
from .face_frame_mvfer import FRAMED, MIDDLE, PLACES, FaceFrame, as_rows
from .face_net_mvfer import correction
from .nose_and_rim_mvfer import (
    FAR_APART,
    RIM_DIRECTIONS_DEG,
    RIM_RADIUS,
    TIP_DEPTH,
    TIP_HEIGHT,
    NoNose,
    follows_hair,
    nose_tip,
    rim_radius_of,
    rims,
)

INSIDE = 0.02  # share of the surface beyond either end of a box around the scan's main part
CLOSE_UP = 2.6  # framed units across
NEAREST, FARTHEST, ASIDE = 0.95, -3.0, 1.9  # framed units: what is looked at closely
# Framed units by which the scan's tip of the nose may differ from the fitted one; the latter next to a hole.
TIP_ERROR, TIP_ERROR_HOLE = 0.16, 0.08
RIM_ERROR = 0.16  # logarithm of the size by the rim over the fitted one; more is no rim of a face
OUTER = 0.5  # framed units from the tip; from there to the rim the scan must be a face's for the rim to be trusted
FEWEST_RIMS, RIMS_ENOUGH = 2, 0.3  # how many of ten say something of the size, and the share that says it alone
SIZE_INFERRED = 1.02  # the face's size over the fitted one where hair hides its rim, see `docs/results.md`
HOPELESS, HOPELESS_ROUGH = (
    0.5,
    0.2,
)  # face-likeness of a place, and of a first look, below which it is not looked at again
SURE = 0.9  # face-likeness at which no other place is looked at closely
LEANS_DEG = (8.0, 3.0, 3.0)  # pitch, yaw, roll that may be the face's own: chins and brows differ more than sides
ELSEWHERE = 0.02  # framed units by which the network must differ to replace a frame
FAR, LOOKS = 0.05, 3  # framed units; the network looks again where it moved a frame farther, so often in all
UNSURE = 0.025  # framed units that the network expects to be off, from which that is said
ORIENTATIONS = 2  # of the 24, searched thoroughly

Closely = tuple[FaceFrame, Fits, DepthMap]  # where a face is, what is fitted there, and on which close-up


def search_scan(points, faces, given: np.ndarray, others: list[np.ndarray], *, sure: float) -> FaceFrame | None:
    """The most face-like frame by tip and rim, in the given orientation or, if that is not sure, in any other.

    Args:
        points (`(N, 3)` float32 tensor), faces (`(M, 3)`); given, others: rotations into our coordinates.
    """
    low, high = _main_part(points, faces)
    best = _search_from(points, faces, given, low, high, (QUICK, THOROUGH))
    if others and _likeness(best) < sure:
        for turn in _orientations(points, faces, others, low, high):
            found = _search_from(points, faces, turn, low, high, (QUICK, THOROUGH))
            best = found if _likeness(found) > _likeness(best) else best
            if _likeness(best) >= sure:
                break
    if best is None or not best.is_face:
        found = _search_from(points, faces, given, low, high, (WIDE,))
        best = found if _likeness(found) > _likeness(best) else best
    return best


def _likeness(frame: FaceFrame | None) -> float:
    return -1.0 if frame is None else frame.face_likeness or 0.0


def _orientations(points, faces, others: list[np.ndarray], low, high) -> list[np.ndarray]:
    """Those in which a first look finds most of a face."""
    looked = []
    for look in {
        tuple(turn[2]): turn for turn in others
    }.values():  # six, each with the head upright, lying or upside down
        view, seen = _overview(points, faces, look, low, high)
        fits = search(view, ROLLED)
        turn = np.array(seen.then(frame_at(view, fits)).turn)
        if fits.score[0] > HOPELESS_ROUGH:
            looked.append((float(fits.score[0]), max(others, key=lambda other: np.trace(other.T @ turn))))
    return [turn for _, turn in sorted(looked, key=lambda one: -one[0])[:ORIENTATIONS]]


def look_near(points, faces, turn: np.ndarray, frame: FaceFrame) -> FaceFrame | None:
    """The face about where a frame is, measured closely; the scan lies as the rotation `turn` says."""
    found = _look_closely(points, faces, frame)
    if found is None:
        return None
    return _measured(*_stood_upright(points, faces, turn, found))


def _search_from(points, faces, turn, low, high, efforts: tuple[Effort, ...]) -> FaceFrame | None:
    """With the first effort, and if that is not sure, with the next."""
    view, seen = _overview(points, faces, turn, low, high)
    best = None
    for fits in (search(view, effort) for effort in efforts):
        for h in np.flatnonzero(fits.score > max(HOPELESS, 0.8 * fits.score[0])).tolist():
            best = _better(best, _look_closely(points, faces, seen.then(frame_at(view, fits, h))))
            if best is not None and best[1].score[0] < SURE:  # perhaps not yet there
                best = _better(best, _look_closely(points, faces, best[0]))
            if best is not None and best[1].score[0] >= SURE:
                return _measured(*_stood_upright(points, faces, turn, best))
    return None if best is None else _measured(*_stood_upright(points, faces, turn, best))


def as_seen(points, faces, frame: FaceFrame) -> FaceFrame:
    """A frame, or the network's if that has eyes and mouth elsewhere; what is unsure is said.

    A head that stands as its scan does, along the axes, is not turned.
    """
    is_upright = frame.turn is None or np.allclose(frame.turn, np.round(frame.turn), atol=1e-4)
    seen, inferred = frame, frame.inferred
    for look in range(LOOKS):
        if (view := close_up(points, faces, seen)) is None:
            break
        change, error = correction(view)
        if is_upright:
            x, y, z = map(float, MIDDLE - change.apply(MIDDLE) / change.scale)
            change = FaceFrame((x, y, z), change.scale)
        if look == 0 and error > UNSURE:
            inferred = (*inferred, "place")
        moved = np.linalg.norm(change.apply(PLACES) - PLACES, axis=1).max()
        if look == 0 and moved <= ELSEWHERE:
            break
        seen = seen.then(change)
        if moved < FAR:
            break
    return replace(seen, face_likeness=frame.face_likeness, is_inside_out=frame.is_inside_out, inferred=inferred)


def _stood_upright(points, faces, turn: np.ndarray, found: Closely) -> Closely:
    """A head that leans no more than faces differ stands as its scan does: fitted there again, without another turn."""
    frame = found[0]
    if not is_lean(np.array(frame.turn) @ turn.T):
        return found
    middle = frame.inverse().apply(MIDDLE)
    x, y, z = (middle - turn.T @ MIDDLE / frame.scale).tolist()
    upright = _look_closely(points, faces, FaceFrame((x, y, z), frame.scale, as_rows(turn)), keep_turn=True)
    if upright is None:
        return found
    upright[1].score = found[1].score  # whether it is a face is told without this wish
    return upright


def is_lean(turn: np.ndarray) -> bool:
    """Whether a rotation `(3, 3)` is so small that it may be the face's own: it leans, but is not turned."""
    angles_deg = np.degrees([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2
    return bool((np.abs(angles_deg) <= LEANS_DEG).all() and np.trace(turn) >= 2)


def _better(one: Closely | None, other: Closely | None) -> Closely | None:
    if one is None or other is None:
        return one or other
    return other if other[1].score[0] > one[1].score[0] else one


def _main_part(points: torch.Tensor, faces: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Corners of a box around nearly all of the surface, whatever lies far away.

    Raises:
        NoNose: if there is no box.
    """
    a, b, c = points.index_select(0, faces.reshape(-1)).view(-1, 3, 3).unbind(1)
    one, other = ((corner - a) / points.abs().max() for corner in (b, c))  # in any unit, areas are numbers
    area, middle = torch.linalg.cross(one, other).norm(dim=1).double(), (a + b + c) / 3
    ends = []
    for axis in range(3):
        order = middle[:, axis].argsort()
        share = area[order].cumsum(0) / area.sum()
        where = torch.searchsorted(share, share.new_tensor([INSIDE, 1 - INSIDE])).clamp(max=len(order) - 1)
        ends.append(middle[order[where], axis])
    low, high = torch.stack(ends, 1).double().numpy()
    size = (high - low).max()
    if not size > 1e-9 * np.abs([low, high]).max():  # one triangle has nearly all of the area
        raise NoNose(FAR_APART)
    return low, np.maximum(high, low + 1e-3 * size)


def _overview(points, faces, turn: np.ndarray, low, high) -> tuple[DepthMap, FaceFrame]:
    """The main part of a scan in another orientation, and the frame of that map."""
    corners = np.stack([low, high]) @ turn.T
    low, high = corners.min(0), corners.max(0)
    extent, depth = 1.15 * float((high - low)[:2].max()), float(high[2] - low[2])
    seen = FaceFrame((0.0, 0.0, 0.0), 1.0, as_rows(turn))
    turned = seen.apply(points)
    near = (turned[:, 2] > low[2] - depth) & (turned[:, 2] < high[2] + depth)
    kept = faces[near[faces].all(1)]
    middle = torch.as_tensor((low + high) / 2, dtype=torch.float32)
    depths = (float(low[2]) - 1.01 * depth, float(high[2]) + 1.01 * depth)
    return DepthMap.look(turned, kept, middle, extent, depths, mend=True), seen


def _look_closely(points, faces, frame: FaceFrame, *, keep_turn: bool = False) -> Closely | None:
    """The frame made better by a close-up, the fit in it, and another close-up there."""
    shape = np.zeros(0)
    for is_last in (False, True):
        if (view := close_up(points, faces, frame)) is None:
            return None
        fit = fit_at(view, FRAMED)
        if not is_last:
            fit = settle(view, fit, keep_turn=keep_turn)
            frame, shape = frame.then(frame_at(view, fit)), fit.shape
    fit.shape = shape
    return frame, scored(view, fit), view


def close_up(points, faces, frame: FaceFrame) -> DepthMap | None:
    """What is framed, without what stands far before, behind or beside it; `None` if nothing is left."""
    framed = frame.apply(points)
    x, y, z = framed.unbind(1)
    far = (x.square() + y.square() > ASIDE**2) | (z > NEAREST) | (z < FARTHEST)
    kept = faces[~far[faces].any(1)]
    if not len(kept):
        return None
    return DepthMap.look(framed, kept, (0.0, 0.0, 0.0), CLOSE_UP, (FARTHEST - 0.001, NEAREST + 0.05), mend=True)


def _measured(frame: FaceFrame, fit: Fits, view: DepthMap) -> FaceFrame:
    """The frame by the tip of the nose and the rim, where they are seen."""
    whole, strange, alone = completed(view, fit)
    expected = nose_tip(_middle(alone))
    try:
        tip = nose_tip(_middle(whole))
    except ValueError:
        tip = expected
    limit = TIP_ERROR if _is_whole(view, tip) else TIP_ERROR_HOLE
    if np.linalg.norm(np.subtract(view.to_world(tip), view.to_world(expected))) > limit:
        tip = expected
    column, row, _ = map(int, tip)
    inferred = ("nose",) if strange[row, column] else ()
    radii, is_trusted = _trusted_rims(view.depth, strange, tip, view.pixel)
    unit = 1.0
    inferred += ("size",) if is_trusted.mean() < RIMS_ENOUGH else ()
    if is_trusted.sum() >= FEWEST_RIMS:
        unit = rim_radius_of(radii, is_trusted) * view.pixel / RIM_RADIUS
        unit = unit ** min(1.0, is_trusted.mean() / RIMS_ENOUGH) if abs(np.log(unit)) < RIM_ERROR else 1.0
    elif strange.any() and np.isfinite(view.depth[strange]).mean() > 0.5:  # hidden, as by hair, rather than cut away
        unit = SIZE_INFERRED * float(settle_inside(view, fit).size[0]) * view.pixel
    x, y, z = view.to_world(tip)
    likeness = float(fit.score[0])
    center = (x, y - TIP_HEIGHT * unit, z - TIP_DEPTH * unit)
    return frame.then(FaceFrame(center, 1 / unit, None, likeness, inferred=inferred))


def _is_whole(view: DepthMap, tip) -> bool:
    """Whether the scan has no hole near the tip of the nose."""
    reach, (column, row, _) = TIP_ERROR / view.pixel, map(int, tip)
    part = view.depth[
        max(int(row - reach), 0) : int(row + reach) + 1, max(int(column - reach), 0) : int(column + reach) + 1
    ]
    return bool(np.isfinite(part).all())


def _middle(view: DepthMap) -> np.ndarray:
    """Only what lies within one framed unit."""
    reach, half = round(1 / view.pixel), len(view.depth) // 2
    depth = np.full_like(view.depth, np.nan)
    window = slice(half - reach, half + reach)
    depth[window, window] = view.depth[window, window]
    return depth


def _trusted_rims(depth: np.ndarray, strange: np.ndarray, tip, pixel: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the rim, in pixels, and whether what leads there is the face, and does not end with the scan."""
    radii, is_cut = rims(depth, tip)
    is_face = []
    for angle, pair in zip(np.radians(RIM_DIRECTIONS_DEG), radii.reshape(-1, 2), strict=True):
        for side, radius in zip((-1, 1), pair.tolist(), strict=True):
            along = np.linspace(OUTER / pixel, max(OUTER / pixel, radius if np.isfinite(radius) else 0.0), 16)
            row = (tip[1] - along * np.sin(angle)).astype(int).clip(0, len(depth) - 1)
            column = (tip[0] + side * along * np.cos(angle)).astype(int).clip(0, len(depth) - 1)
            is_face.append(strange[row, column].mean() < 0.15)
    is_trusted = np.array(is_face) & ~is_cut & np.isfinite(radii)
    return radii, is_trusted & (not follows_hair(np.where(is_trusted, radii, np.nan)))


def fit_at(view: DepthMap, frame: FaceFrame) -> Fits:
    """The mean face on a map, at a frame that is not turned."""
    return Fits.at(view.to_map(np.array(frame.center), upwards=True), 1 / frame.scale / view.pixel, np.eye(3))


def frame_at(view: DepthMap, fits: Fits, h: int = 0) -> FaceFrame:
    """The frame of a placement on a map."""
    half = len(view.depth) / 2
    x, y, z = (fits.place[h] - [half, half, 0]) * view.pixel + np.array(view.middle)
    return FaceFrame((float(x), float(y), float(z)), float(1 / (fits.size[h] * view.pixel)), as_rows(fits.turn[h].T))
