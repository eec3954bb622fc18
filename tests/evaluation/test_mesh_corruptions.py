import numpy as np
import pytest

from evaluation.mesh_corruptions import MESH_CORRUPTIONS, framed_scene, render_scene
from processing.rendering_mvfer import RenderSettings, render_scan
from tests.tiny import bumpy_face

SETTINGS = RenderSettings(size_px=48)


@pytest.fixture(scope="module")
def scene():
    return framed_scene(*bumpy_face(81))


def corrupt(name, scene, severity, seed=1):
    return MESH_CORRUPTIONS[name](scene, severity, np.random.default_rng(seed))


def test_a_clean_scene_is_the_scan_as_everybody_renders_it(scene):
    vertices, faces = bumpy_face(81)
    views, angles = render_scene(scene, SETTINGS)
    expected = render_scan(vertices, faces, SETTINGS)[0]
    assert np.abs(views.astype(int) - expected).mean() < 0.5  # framed twice instead of once
    np.testing.assert_array_equal(angles, SETTINGS.view_angles_deg)


@pytest.mark.parametrize("name", MESH_CORRUPTIONS)
def test_every_corruption_changes_the_views_and_leaves_its_input_alone(name, scene):
    before = scene.vertices.copy(), scene.faces.copy()
    clean = render_scene(scene, SETTINGS)[0].astype(int)
    change = []
    for severity in (1, 5):
        views, angles = render_scene(corrupt(name, scene, severity), SETTINGS)
        assert views.shape == clean.shape and angles.shape == (3, 2)
        change.append(np.abs(views - clean).mean())
    assert 0 < change[0] < change[1]
    np.testing.assert_array_equal(scene.vertices, before[0])
    np.testing.assert_array_equal(scene.faces, before[1])


def test_noise_has_the_stated_size(scene):
    moved = corrupt("noise", scene, 3).vertices - scene.vertices
    assert np.linalg.norm(moved, axis=1).std() + 1e-9 < 0.01 < 2 * np.sqrt((moved**2).sum(1).mean())
    assert np.sqrt((moved**2).sum(1).mean()) == pytest.approx(0.01, rel=0.1)


def test_a_coarser_mesh_has_fewer_vertices_in_the_same_place(scene):
    coarse = corrupt("decimation", scene, 4)
    assert len(coarse.vertices) < 0.7 * len(scene.vertices) and coarse.faces.max() < len(coarse.vertices)
    assert np.abs(coarse.vertices.mean(0) - scene.vertices.mean(0)).max() < 0.05


def test_things_are_added_before_the_face_and_face_the_viewer(scene):
    for name in ("glasses", "mask", "hand"):
        added = corrupt(name, scene, 5)
        part = added.vertices[len(scene.vertices) :]
        assert len(part) > 50 and (added.faces[: len(scene.faces)] == scene.faces).all()
        assert part[:, 2].mean() > 0 and added.faces.max() == len(added.vertices) - 1
    a, b, c = added.vertices[added.faces[len(scene.faces) :]].transpose(
        1, 0, 2
    )  # of the hand: outwards on the near side
    normals, middles = np.cross(b - a, c - a), (a + b + c) / 3
    near = middles[:, 2] > np.quantile(middles[:, 2], 0.8)
    assert (normals[near, 2] > 0).mean() > 0.95


def test_moved_cameras_are_told_and_a_turned_head_is_not(scene):
    moved, turned = (
        render_scene(corrupt("unseen_angles", scene, 5), SETTINGS),
        render_scene(corrupt("pose", scene, 5), SETTINGS),
    )
    assert np.abs(moved[1][:, 0] - [-30, 0, 30]).tolist() == [30, 30, 30]
    np.testing.assert_array_equal(turned[1], SETTINGS.view_angles_deg)
