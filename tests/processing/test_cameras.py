"""Coordinates and cameras: which side is left, where is up."""

import pytest
import torch

from processing.cameras_mvfer import CAMERA_DISTANCE, FOCAL_LENGTH, view_name, world_to_camera


def on_screen(point, angle):
    """Where a world point lands in [-1, 1]^2, x to the right and y up."""
    x, y, z, _ = (world_to_camera([angle])[0] @ torch.tensor([*point, 1.0])).tolist()
    return x / -z * FOCAL_LENGTH, y / -z * FOCAL_LENGTH


def test_plane_through_the_origin_fills_the_frontal_window():
    assert on_screen((1, 1, 0), (0, 0)) == pytest.approx((1, 1), abs=1e-5)
    assert on_screen((-1, 0.5, 0), (0, 0)) == pytest.approx((-1, 0.5), abs=1e-5)


def test_every_camera_is_a_rotation_about_the_origin():
    matrices = world_to_camera([(-30, 0), (0, 0), (45, 20), (120, -60)])
    rotation = matrices[:, :3, :3]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(4, 3, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(4))
    torch.testing.assert_close(matrices[:, :3, 3], torch.tensor([[0, 0, -CAMERA_DISTANCE]]).expand(4, 3))


@pytest.mark.parametrize("angle", [(0, 0), (-30, 0), (45, 20), (120, -60)])
def test_cameras_turn_around_the_point_that_they_aim_at(angle):
    camera = world_to_camera([angle], aim_y=0.2)[0]
    assert (camera @ torch.tensor([0, 0.2, 0, 1])).tolist() == pytest.approx([0, 0, -CAMERA_DISTANCE, 1], abs=1e-6)
    torch.testing.assert_close(camera[:3, :3], world_to_camera([angle])[0, :3, :3])


def test_positive_yaw_brings_the_subjects_left_to_the_front():
    left_ear, nose = (1, 0, 0), (0, 0, 1)
    camera = world_to_camera([(30, 0)])[0]
    assert (camera @ torch.tensor([*left_ear, 1.0]))[2] > -CAMERA_DISTANCE  # the left ear has come nearer
    assert on_screen(nose, (30, 0))[0] < 0  # and the nose points to the viewer's left
    assert view_name((30, 0)) == "left_30"


def test_positive_pitch_looks_down_on_the_crown():
    assert (world_to_camera([(0, 30)])[0] @ torch.tensor([0.0, 1, 0, 1]))[2] > -CAMERA_DISTANCE
    assert on_screen((0, 0, 1), (0, 30))[1] < 0


@pytest.mark.parametrize(
    ("angle", "name"),
    [((0, 0), "front"), ((-30, 0), "right_30"), ((30, 10), "left_30_up_10"), ((0, -7.5), "down_7.5")],
)
def test_a_view_is_named_after_the_side_that_it_sees(angle, name):
    assert view_name(angle) == name


@pytest.mark.parametrize("angles", [[], [(0,)], [(200, 0)], [(0, 90)], [(float("nan"), 0)], [("a", 0)], 3])
def test_bad_angles_are_refused(angles):
    with pytest.raises(ValueError, match="view_angles_deg"):
        world_to_camera(angles)
