"""The tip of the nose and the rim of the face on a depth map of a whole, upright face: what a frame is defined by.

No landmarks are needed, and nothing that only some scans have (ears, hair, neck, eyes) is used. Looking from the
front at a small depth map: the nose is where the surface falls away steeply to both sides, and its tip is the nearest
point there. From the tip a wide cone opens backwards. Going sideways and up, away from the jaw, the last surface
point outside this cone lies on the rim of the face, where the surface turns away; the distance to the rim is the unit
of length.
"""

import numpy as np

from .depth_maps_mvfer import DepthMap, sample

NOSE_FLANK = 0.25  # of the half-width of a row: how far to the sides the surface must have fallen away
CENTRAL_SHARE = 0.4  # of the half-width of a row: where the nose is looked for
LOOK_ABOVE, LOOK_BELOW = 2.0, 0.5  # half-widths within which nothing is nearer than the tip of the nose
CAP_RADIUS, CAP_HEIGHT = 0.2, 0.06  # half-widths: the part of the nose whose middle is its tip
CONE_SLOPE = 1.15  # depth behind the tip over distance from it, on the cone
RIM_DIRECTIONS_DEG = (0.0, 10.0, 20.0, 30.0, 40.0)  # above the horizontal, to both sides
RIM_SHAPE = np.repeat([0.89, 0.93, 1.0, 1.11, 1.31], 2)  # distances to the rim over their median; they vary by 3 %
ROUNDER = 0.12  # logarithm of distances beside the face over those above, and over a face's; clean heads: at most 0.111
BEFORE_CONE = 0.15  # share of the cone's depth by which a scan that ends there has not reached it
RIM_RADIUS = 0.95  # framed units from the tip to the rim
TIP_HEIGHT = 0.18  # framed units from the middle of the window up to the tip
TIP_DEPTH = 0.57  # framed units from the plane z = 0 forward to the tip


FAR_APART = "no face found: its pieces lie far apart; cut away what is not the head"


class NoNose(ValueError):
    """Nothing lies in the middle of what is seen, as where a scan's pieces are far apart."""


def measure(view: DepthMap) -> tuple[tuple[float, float, float], float]:
    """Tip of the nose (column, row, depth) and distance to the rim of the face, in pixels."""
    tip = nose_tip(view.depth)
    return tip, rim_radius(view.depth, tip)


def nose_tip(depth: np.ndarray) -> tuple[float, float, float]:
    """The nearest point of its surroundings from which the surface falls away most steeply to both sides.

    Raises:
        NoNose: if there is none.
    """
    size = len(depth)
    rows = np.arange(size)
    seen = np.isfinite(depth)
    first, last = seen.argmax(1), size - 1 - seen[:, ::-1].argmax(1)
    half_width = np.where(seen.any(1), (last - first + 1) / 2, 0)  # (S,)
    half_width = np.maximum(half_width, 0.25 * half_width.max())
    central = seen & (np.abs(rows - (first + last)[:, None] / 2) < CENTRAL_SHARE * half_width[:, None])
    profile = np.where(central, depth, -np.inf)
    column, profile = profile.argmax(1), profile.max(1)  # the nearest central point of every row

    def nearest(above: float, below: float) -> np.ndarray:
        """Rows whose point is as near as all from `above` half-widths over it to `below` under it, `(S,)` bool."""
        first = np.maximum(0, (rows - above * half_width).astype(int))
        last = np.minimum((rows + below * half_width).astype(int), size - 1)
        windows = np.stack([first, last + 1], 1).ravel()
        return profile >= np.maximum.reduceat(np.append(profile, -np.inf), windows)[::2]

    def fall(row: int) -> float:
        flank = round(NOSE_FLANK * half_width[row])
        sides = depth[row, [max(0, column[row] - flank), min(size - 1, column[row] + flank)]]
        drop = (depth[row, column[row]] - sides.max()) / half_width[row]
        return float(drop) if np.isfinite(drop) else -1.0  # next to a hole

    known = np.isfinite(profile)
    if not known.any():
        raise NoNose(FAR_APART)
    best = max(rows[known & nearest(LOOK_ABOVE, LOOK_BELOW)], key=fall)
    # Puckered lips may be nearer than a flat nose; the nose is then the highest such peak.
    above = known & (rows < best) & (rows > best - half_width[best])
    for row in rows[above & nearest(0.12, 0.12)]:
        if fall(row) > 0.5 * fall(best):
            best = row
            break
    # The middle of the cap around that point: finer than a pixel, and the same for fine and coarse meshes.
    row, column, width = best, column[best], half_width[best]
    pixels = np.arange(size)
    lower = pixels[(profile < profile[row] - CAP_HEIGHT * width) & (pixels > row)]  # the lips are beyond this row
    near = np.hypot(pixels[:, None] - row, pixels - column) < CAP_RADIUS * width
    near &= (pixels < lower.min(initial=size))[:, None]
    height = depth - (depth[row, column] - CAP_HEIGHT * width)
    weight = np.where(near & (height > 0), height, 0)
    weight /= weight.sum()
    return float(weight.sum(0) @ pixels + 0.5), float(weight.sum(1) @ pixels + 0.5), float(depth[row, column])


def rim_radius(depth: np.ndarray, tip: tuple[float, float, float]) -> float:
    found = rims(depth, tip)[0]
    found = found[np.isfinite(found)]
    return float(np.median(found)) if len(found) else len(depth) / 4


def rim_radius_of(radii: np.ndarray, is_trusted: np.ndarray) -> float:
    """What `rim_radius` would be, if some of the distances to the rim cannot be trusted: faces' rims are alike."""
    likely = float(np.median(radii[is_trusted] / RIM_SHAPE[is_trusted]))
    return float(np.median(np.where(is_trusted, radii, likely * RIM_SHAPE)))


def rims(depth: np.ndarray, tip: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the tip to the rim along every direction, NaN where there is none, and whether the scan ends there."""
    column, row, height = tip
    size = len(depth)
    radii = np.arange(2.0, 1.5 * size, 0.25)
    angles, sides = (
        np.repeat(np.radians(RIM_DIRECTIONS_DEG), 2)[:, None],
        np.tile([-1, 1], len(RIM_DIRECTIONS_DEG))[:, None],
    )
    profiles = sample(depth, column + sides * radii * np.cos(angles), row - radii * np.sin(angles))  # (10, R)
    found, is_cut = [], []
    fallen, cone = height - profiles, CONE_SLOPE * radii
    for profile, depths, outside_cone in zip(profiles, fallen / cone, fallen <= cone, strict=True):
        last = outside_cone.nonzero()[0][-1] if outside_cone.any() else None  # False where nothing was seen
        found.append(np.nan if last is None else radii[last])
        is_cut.append(last is not None and _ends(profile, last, depths))
    return np.array(found), np.array(is_cut)


def _ends(profile: np.ndarray, last: int, depth: np.ndarray) -> bool:
    """Whether a scan ends at a sample, four of which are a pixel, though its surface has not yet turned away to the cone."""
    is_end = not np.isfinite(profile[last + 1 : last + 5]).any()
    is_flat = profile[max(last - 12, 0)] - profile[last] < 3 * CONE_SLOPE
    return bool(is_end and (is_flat or depth[last] < 1 - BEFORE_CONE))


def follows_hair(radii: np.ndarray) -> bool:
    """Whether these distances, NaN where they are not to be trusted, are those of something round about the head."""
    around = np.log(radii / RIM_SHAPE).reshape(len(RIM_DIRECTIONS_DEG), 2)
    beside, above = around[:2], around[3:]
    if not (np.isfinite(beside).any() and np.isfinite(above).any()):
        return True  # who knows
    return bool(np.nanmedian(above) - np.nanmedian(beside) < -ROUNDER)
