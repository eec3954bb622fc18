"""Frame a face: where is its centre, how large is it, and is it one? In: vertices and faces in any unit. Out: a `FaceFrame`.

A whole, upright face is framed by the tip of its nose and its rim (`nose_and_rim_mvfer`). The mean face, fitted there, has
to agree; if it does not, because of a hole, hair, a cut, a fragment, or a turned head, it is searched (`face_search_mvfer`),
and the same tip and rim are measured where it is found. A small network (`face_net_mvfer`) looks at what was found, and at
first frames that are in doubt: it corrects the frame if it sees the face elsewhere. If no face is found, the first frame is kept
and its face-likeness says so.
"""

from dataclasses import replace

import numpy as np
import torch

from .depth_maps_mvfer import DepthMap
from .face_fit_mvfer import near_mean_face, settle
from .face_frame_mvfer import FACE_LIKE, FRAMED, MIDDLE, FaceFrame, as_rows
from .face_search_mvfer import as_seen, fit_at, frame_at, is_lean, look_near, search_scan
from .nose_and_rim_mvfer import RIM_RADIUS, TIP_DEPTH, TIP_HEIGHT, NoNose, follows_hair, measure, rims
from .orientation_mvfer import rotations

__all__ = [
    "FACE_LIKE", "FRAMED", "RIM_RADIUS", "TIP_DEPTH", "TIP_HEIGHT", "FaceFrame", "frame_face", "frame_upright",
]  # fmt: skip

ZOOM_BELOW_PX = 27.0  # look closer if the face is smaller than this on the first map
CONFIRMED = (
    0.7  # face-likeness from which the first frame may be kept, unless the fitted face lies farther from it than:
)
# Framed units; then at a hole beside the nose, or at a rim that is cut or follows hair; last at a hole in the tip.
LARGEST_SHIFT, LARGEST_SHIFT_DISTURBED, LARGEST_SHIFT_TIP = 0.11, 0.05, 0.02
BESIDE, AT_TIP = 0.3, 0.12  # framed units from the tip of the nose, within which a hole disturbs it, or is a part of it
DOUBTED = 0.05  # framed units from the first frame to the fitted face, from which the network is asked of what is kept
INSIDE = 0.5  # framed units from the tip of the nose, where a clean face has no gap
CRACKS = 0.012  # share of gaps there; more is a hole
FEW_FACES, MANY_FACES = 1000, 10_000  # triangles that are looked at, of more than these; of fewer all
NEAR_SKIN = 0.15  # framed units from the mean face: no palates
NOSE_REACH, FINE = 0.3, 0.002  # framed units from the tip of the nose; mean area of triangles there that show all of it
CUT_OFF, MOST_CUT_OFF = 5.0, 0.08  # what coarser triangles cut off the tip, framed units per area and at all
INWARDS = 0.3  # share of area, those inwards less those outwards, from which a face looks inwards; clean ones: -0.4
BETTER = 0.72  # face-likeness from which what the search found replaces the first frame, face or not
CLEAN = 0.88  # face-likeness of nearly all whole, clean heads
SURE = 0.85  # face-likeness at which no other orientation is tried


def frame_face(vertices, faces, *, orientation: str = "y") -> FaceFrame:
    """Find the face in a scan.

    Args:
        vertices (`(N, 3)`), faces (`(M, 3)`, integers): a head, with or without neck and shoulders, or a face alone; turned by
            up to 45 degrees to a side and 30 up, down or towards a shoulder.
        orientation (`str`, defaults to "y"): how the scan lies, see `orientation_mvfer`: "y" is y up, the face towards +z, and
            "auto" any of 24 orientations, of which this is tried first.
    Returns:
        `FaceFrame`: in framed coordinates a frontal camera sees brows to chin. Its `face_likeness` tells whether that is so,
            and `is_inside_out` whether its sides may be exchanged, unless the orientation says that they are.
    Raises:
        ValueError: if the mesh has no extent seen from the front, or is far-off pieces without a face; or the orientation is
            unknown.
    """
    points = torch.as_tensor(np.asarray(vertices, dtype=np.float32))
    faces = torch.as_tensor(np.asarray(faces, dtype=np.int64))
    frame, is_sure = _frame_of(points, faces, *rotations(orientation))
    if frame.is_face:
        middles, areas = _skin(frame, points, faces)
        is_told = frame.turn is not None and np.linalg.det(np.array(frame.turn)) < 0
        is_inside_out = bool(areas[:, 2].sum() < -INWARDS * np.abs(areas[:, 2]).sum()) and not is_told
        frame = replace(frame, is_inside_out=is_inside_out)
        if (cut := _cut_off(middles, areas)) > 0:
            whole = frame.then(FaceFrame((0.0, 0.0, cut), 1.0))
            frame = replace(frame, center=whole.center)
            is_sure = False
    return frame if is_sure else as_seen(points, faces, frame)


def _frame_of(
    points: torch.Tensor, faces: torch.Tensor, given: np.ndarray, *others: np.ndarray
) -> tuple[FaceFrame, bool]:
    """In the given orientation or, if the face is not found there, in one of the others; and whether that is sure.

    If it is not (it was searched, or kept though the rim is hidden, the face cracked, or the fitted face somewhat elsewhere), the
    network is asked.
    """
    seen = FaceFrame((0.0, 0.0, 0.0), 1.0, None if np.array_equal(given, np.eye(3)) else as_rows(given))
    try:
        first, view = frame_whole_face(points if seen.turn is None else seen.apply(points), faces)
    except NoNose:
        found = search_scan(points, faces, given, list(others), sure=SURE)
        if found is None or not found.is_face:
            raise
        return found, False
    fit = settle(view, fit_at(view, first))
    likeness = float(fit.score[0])
    is_rim_hidden = _is_rim_hidden(view, first)
    limit = _largest_shift(view, first, is_rim_hidden) if likeness > CLEAN else LARGEST_SHIFT_DISTURBED
    shift = _shift(first, frame_at(view, fit))
    if likeness < CONFIRMED or shift > limit:
        found = look_near(points, faces, given, seen.then(frame_at(view, fit))) if likeness >= CONFIRMED else None
        if found is None or (found.face_likeness or 0) < SURE:
            found = search_scan(points, faces, given, list(others), sure=SURE)
        likeness = min(likeness, CONFIRMED) * 0.8  # no face stayed there
        if found is not None and found.face_likeness is not None:
            if found.face_likeness >= BETTER and _shift(seen.then(first), found) > limit:
                return found, False
            likeness = max(likeness, found.face_likeness)
    kept = replace(first, face_likeness=likeness)
    kept = kept if seen.turn is None else seen.then(kept)
    is_hidden = limit == LARGEST_SHIFT_DISTURBED and (likeness <= CLEAN or is_rim_hidden)
    is_cracked = 0 < _gaps(view, _tip(view, first), INSIDE / first.scale) < CRACKS
    return kept, not (is_hidden or is_cracked or shift > DOUBTED)


def frame_upright(vertices, faces) -> FaceFrame:
    """The frame of a whole, upright head that is known to be one, such as a synthetic head; nothing is confirmed.

    Raises:
        ValueError: if the mesh has no extent seen from the front.
    """
    points = torch.as_tensor(np.asarray(vertices, dtype=np.float32))
    return frame_whole_face(points, torch.as_tensor(np.asarray(faces, dtype=np.int64)))[0]


def frame_whole_face(points: torch.Tensor, faces: torch.Tensor) -> tuple[FaceFrame, DepthMap]:
    """The frame of a whole scan of an upright face (y up, face towards +z), and the map that it was found on.

    Raises:
        ValueError: if the mesh has no extent seen from the front.
    """
    used = torch.zeros(len(points), dtype=torch.bool)
    used[faces.reshape(-1)] = True
    low, high = points[used].amin(0), points[used].amax(0)
    extent = float((high - low)[:2].max())
    if not 0 < extent < float("inf") or not bool((high - low > 0).all()):
        raise ValueError(f"cannot frame a mesh without extent: it spans {(high - low).tolist()}")
    middle, depth_range = (low + high) / 2, (float(low[2]), float(high[2]))
    view = DepthMap.look(points, faces, middle, extent, depth_range)
    tip, radius = measure(view)
    if radius < ZOOM_BELOW_PX:
        middle = torch.tensor(view.to_world(tip))
        view = DepthMap.look(points, faces, middle, 4 * radius * view.pixel, depth_range)
        tip, radius = measure(view)
    x, y, z = view.to_world(tip)
    unit = radius * view.pixel / RIM_RADIUS
    return FaceFrame((x, y - TIP_HEIGHT * unit, z - TIP_DEPTH * unit), 1 / unit), view


def _skin(frame: FaceFrame, points: torch.Tensor, faces: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Middles and areas (normals as long as these), both `(n, 3)` and framed, of some triangles of the face's skin."""
    few = faces[:: len(faces) // FEW_FACES] if len(faces) > MANY_FACES else faces
    a, b, c = frame.apply(points[few.reshape(-1)]).view(-1, 3, 3).unbind(1)
    middles, areas = ((a + b + c) / 3).numpy(), (torch.linalg.cross(b - a, c - a) / 2).numpy()
    near = near_mean_face(middles, NEAR_SKIN)
    return middles[near], areas[near]


def _cut_off(middles: np.ndarray, areas: np.ndarray) -> float:
    """How far before the scan's tip of the nose the face's lies, framed units: flat triangles cut it off if they are large."""
    sizes = np.linalg.norm(areas, axis=1)
    looks_out = areas[:, 2] * areas[:, 2].sum() > 0
    sizes = sizes[looks_out & (np.linalg.norm(middles - [0, TIP_HEIGHT, TIP_DEPTH], axis=1) < NOSE_REACH)]
    return min(max(CUT_OFF * (float(sizes.mean()) - FINE), 0.0), MOST_CUT_OFF) if len(sizes) else 0.0


def _shift(frame: FaceFrame, other: FaceFrame) -> float:
    """How far apart two frames are, framed units; infinite if one is turned."""
    change = FaceFrame(frame.center, frame.scale, frame.turn).inverse().then(other)
    turn = np.eye(3) if change.turn is None else np.array(change.turn)
    if not is_lean(turn):
        return np.inf
    return float(np.linalg.norm(change.apply(MIDDLE) - MIDDLE) + 0.6 * abs(np.log(change.scale)))


def _largest_shift(view: DepthMap, frame: FaceFrame, is_rim_hidden: bool) -> float:
    """How far the face may be from this frame: less at a hole in the nose, or where the scan ends at the rim."""
    tip = _tip(view, frame)
    if _has_hole(view, tip, AT_TIP / frame.scale):
        return LARGEST_SHIFT_TIP
    is_disturbed = is_rim_hidden or _has_hole(view, tip, BESIDE / frame.scale)
    return LARGEST_SHIFT_DISTURBED if is_disturbed else LARGEST_SHIFT


def _tip(view: DepthMap, frame: FaceFrame) -> tuple[float, float, float]:
    return view.to_map(np.array(frame.center) + np.array([0, TIP_HEIGHT, TIP_DEPTH]) / frame.scale)


def _is_rim_hidden(view: DepthMap, frame: FaceFrame) -> bool:
    """Whether the scan ends at the rim of the face, or hair hides it."""
    radii, is_cut = rims(view.depth, _tip(view, frame))
    return bool(is_cut.sum() >= 2 or follows_hair(radii))


def _has_hole(view: DepthMap, tip, within: float) -> bool:
    return _gaps(view, tip, within) > 0


def _gaps(view: DepthMap, tip, within: float) -> float:
    """The share of a square around the tip where there is no surface."""
    x, y, _ = map(int, tip)
    reach = max(2, int(within / view.pixel))
    part = view.depth[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
    return float(np.isnan(part).sum() / max(1, part.size))
