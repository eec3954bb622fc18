"""Where the cameras stand. In: yaw and pitch in degrees. Out: world-to-camera matrices and the names of views.

Coordinates, stated here once. World (framed) coordinates are right-handed: y up, the face looks towards +z, x to the
viewer's right, which is the subject's *left*. A camera at yaw_deg > 0 has moved towards +x and sees the subject's
left side; at pitch_deg > 0 it has moved up. Cameras look at the point (0, aim_y, 0) along their own -z (as in OpenGL) with x to
the right and y up, from the distance where the plane z = 0 is exactly 2 units high. The origin is at the tip of the nose's
height; a little above it, brows and forehead are in the image, and less of the neck. An image's row 0 is the top.
"""

import math

import torch
from torch import Tensor

FIELD_OF_VIEW_DEG = 26.0  # vertical, and horizontal: images are square
FOCAL_LENGTH = 1 / math.tan(math.radians(FIELD_OF_VIEW_DEG / 2))  # of an image plane that spans [-1, 1]
CAMERA_DISTANCE = FOCAL_LENGTH  # in framed units: there z = 0 spans [-1, 1]
DEFAULT_AIM_Y = 0.2  # framed units
DEFAULT_VIEW_ANGLES_DEG = ((-30.0, 0.0), (0.0, 0.0), (30.0, 0.0))


def world_to_camera(view_angles_deg, aim_y: float = 0.0) -> Tensor:
    """Matrices that take framed coordinates to camera coordinates.

    Args:
        view_angles_deg (`(V, 2)` numbers): yaw and pitch of every camera.
        aim_y: how far above the origin they look, and turn around, in framed units.
    Returns:
        `torch.Tensor` of shape `(V, 4, 4)`, float32, on the CPU (computed in float64).
    Raises:
        ValueError: if the angles are not `(V >= 1, 2)` finite numbers, |yaw| <= 180, |pitch| < 90.
    """
    rows = []
    for yaw_deg, pitch_deg in check_view_angles(view_angles_deg):
        yaw, pitch = math.radians(yaw_deg), math.radians(pitch_deg)
        sy, cy, sp, cp = math.sin(yaw), math.cos(yaw), math.sin(pitch), math.cos(pitch)
        rows.append(
            [
                [cy, 0.0, -sy, 0.0],  # the camera's x axis (right), in world coordinates
                [-sy * sp, cp, -cy * sp, -cp * aim_y],  # its y axis (up)
                [sy * cp, sp, cy * cp, -sp * aim_y - CAMERA_DISTANCE],  # its z axis, from the face to the camera
                [0.0, 0.0, 0.0, 1.0],
            ]
        )
    return torch.tensor(rows, dtype=torch.float64).to(torch.float32)


def view_name(view_angle_deg) -> str:
    """Name a view by the side of the subject that it sees: "front", (30, 0) "left_30", (-30, 10) "right_30_up_10"."""
    ((yaw_deg, pitch_deg),) = check_view_angles([view_angle_deg])
    parts = []
    if yaw_deg:
        parts.append(f"{'left' if yaw_deg > 0 else 'right'}_{abs(yaw_deg):g}")
    if pitch_deg:
        parts.append(f"{'up' if pitch_deg > 0 else 'down'}_{abs(pitch_deg):g}")
    return "_".join(parts) or "front"


def check_view_angles(view_angles_deg) -> tuple[tuple[float, float], ...]:
    """Return the angles as a tuple of (yaw, pitch) floats, or raise a ValueError that says what is wrong."""
    try:
        angles = tuple((float(yaw), float(pitch)) for yaw, pitch in view_angles_deg)
    except (TypeError, ValueError):
        raise ValueError(f"view_angles_deg: expected (yaw, pitch) pairs in degrees, got {view_angles_deg!r}") from None
    if not angles or not all(abs(yaw) <= 180 and abs(pitch) < 90 for yaw, pitch in angles):
        raise ValueError(f"view_angles_deg: expected pairs with |yaw| <= 180 and |pitch| < 90, got {view_angles_deg!r}")
    return angles
