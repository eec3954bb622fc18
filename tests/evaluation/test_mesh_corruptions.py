import numpy as np
import pytest

from mvfer.evaluation.audits.mesh_corruptions import MESH_CORRUPTIONS, framed_scene, render_scene
from processing.meshes_mvfer import Mesh
from processing.rendering_mvfer import RenderSettings, render_scan
from tests.tiny import bumpy_face

SETTINGS = RenderSettings(size_px=48)


@pytest.fixture(scope="module")
def scene():
    return framed_scene(Mesh(*bumpy_face(81)))


COLORED = RenderSettings(size_px=48, channels=("red", "gray", "depth"))


def painted(texture: np.ndarray) -> Mesh:
    """The face under a texture that is laid over it from the front."""
    vertices, faces = bumpy_face(81)
    uvs = (vertices[:, :2] - vertices[:, :2].min(0)) / np.ptp(vertices[:, :2], axis=0)
    return Mesh(vertices, faces, uvs=uvs.astype(np.float32), uv_faces=faces, texture=texture)


@pytest.fixture(scope="module")
def colored():
    """A scene whose forehead is red and whose left cheek, at the right of the picture, is green."""
    texture = np.full((40, 40, 3), 60, np.uint8)
    texture[:10] = (200, 20, 20)
    texture[20:, 20:] = (20, 200, 20)
    return framed_scene(painted(texture))


def corrupt(name, scene, severity, seed=1):
    return MESH_CORRUPTIONS[name](scene, severity, np.random.default_rng(seed))


def test_a_clean_scene_is_the_scan_as_everybody_renders_it(scene):
    vertices, faces = bumpy_face(81)
    views, angles = render_scene(scene, SETTINGS)
    expected = render_scan(vertices, faces, SETTINGS)[0]
    assert np.abs(views.astype(int) - expected).mean() < 0.5  # framed twice instead of once
    np.testing.assert_array_equal(angles, SETTINGS.view_angles_deg)


@pytest.mark.parametrize("name", MESH_CORRUPTIONS)
def test_every_corruption_changes_the_views_and_leaves_its_input_alone(name, scene, colored):
    scene, settings = (colored, COLORED) if name == "texture" else (scene, SETTINGS)
    before = scene.vertices.copy(), scene.faces.copy()
    clean = render_scene(scene, settings)[0].astype(int)
    change = []
    for severity in (1, 5):
        views, angles = render_scene(corrupt(name, scene, severity), settings)
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


def test_a_texture_lies_on_the_scene_as_on_the_scan(colored):
    mesh = painted(np.random.default_rng(0).integers(80, 100, (40, 40, 3), dtype=np.uint8))
    mesh.texture[20:, 20:, 0] = 200
    views = render_scene(framed_scene(mesh), COLORED)[0]
    texture = {"uvs": mesh.uvs, "uv_faces": mesh.uv_faces, "texture": mesh.texture}
    expected = render_scan(mesh.vertices, mesh.faces, COLORED, **texture)[0]
    assert np.abs(views.astype(int) - expected).mean() < 2  # colours of vertices instead of pixels
    assert (colored.colors[colored.vertices[:, 1].argmax()] == (200, 20, 20)).all()


def test_without_texture_the_face_is_grey_and_its_shape_is_there(colored):
    views, clean = render_scene(corrupt("texture", colored, 5), COLORED)[0], render_scene(colored, COLORED)[0]
    np.testing.assert_array_equal(views[..., 2], clean[..., 2])
    middle = (slice(None), slice(12, 36), slice(12, 36))
    assert np.ptp(views[middle][..., :2].astype(int)) <= 1 < np.ptp(clean[middle][..., :2].astype(int))


@pytest.mark.parametrize("name", sorted(set(MESH_CORRUPTIONS) - {"light"}))
def test_every_corruption_keeps_a_colour_for_every_vertex(name, colored):
    changed = corrupt(name, colored, 3)
    assert changed.colors.shape == changed.vertices.shape and changed.colors.dtype == np.uint8
    assert render_scene(changed, COLORED)[0][..., :2].any()
