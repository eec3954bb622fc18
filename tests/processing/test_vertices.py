"""Scans far from the origin, and vertices that are no part of the surface: neither may change what the model sees."""

import struct
import warnings

import numpy as np
import pytest
import torch
import trimesh

from processing import MVFERImageProcessor, RenderSettings, render_mesh, render_scan
from processing.meshes_mvfer import Mesh, as_mesh, check_mesh, load_mesh
from processing.rendering_mvfer import frame_mesh, framed_vertices
from processing.sequences_mvfer import render_sequence
from processing.vertices_mvfer import bounds
from tests.tiny import bumpy_face

from .gltf_files import Gltf
from .mesh_files import save

UTM = np.array([500_000.0, 4_200_000.0, 300.0])  # metres east and north, and height
SETTINGS = RenderSettings(size_px=48, channels=("clay", "curvature", "depth"))
VERTICES, FACES = bumpy_face(33)
VERTICES = VERTICES.astype(np.float64) * 0.1  # a face in metres


def obj(vertices, number="{!r}"):
    rows = [f"v {' '.join(number.format(float(x)) for x in vertex)}" for vertex in vertices]
    return "\n".join([*rows, *(f"f {a} {b} {c}" for a, b, c in FACES + 1)]) + "\n"


def ply(vertices):
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(vertices)}\n"
    head += "".join(f"property double {axis}\n" for axis in "xyz")
    head += f"element face {len(FACES)}\nproperty list uchar int vertex_indices\nend_header\n"
    faces = b"".join(struct.pack("<B3i", 3, *map(int, face)) for face in FACES)
    return head.encode() + np.asarray(vertices, "<f8").tobytes() + faces


def off(vertices):
    rows = ["{!r} {!r} {!r}".format(*map(float, vertex)) for vertex in vertices]
    return (
        f"OFF\n{len(vertices)} {len(FACES)} 0\n"
        + "\n".join([*rows, *("3 {} {} {}".format(*face) for face in FACES)])
        + "\n"
    )


def wrl(vertices):
    points = ", ".join("{!r} {!r} {!r}".format(*map(float, vertex)) for vertex in vertices)
    index = ", ".join("{}, {}, {}, -1".format(*face) for face in FACES)
    shape = f"Shape {{ geometry IndexedFaceSet {{ coord Coordinate {{ point [{points}] }} coordIndex [{index}] }} }}"
    return "#VRML V2.0 utf8\n" + shape


def glb(vertices):
    """float32 positions, which a node carries to where they belong."""
    middle = np.asarray(vertices).mean(axis=0)
    scene = Gltf.with_square()
    scene.primitive.update(
        attributes={"POSITION": scene.array(vertices - middle)}, indices=scene.array(FACES.ravel(), "u4")
    )
    scene.document["nodes"][0]["translation"] = middle.tolist()
    return scene.glb()


FORMATS = {"obj": obj, "ply": ply, "off": off, "wrl": wrl, "glb": glb}


def near(views, others):
    """Whether two pictures differ by no more than the rounding of a few edge pixels."""
    return np.abs(views.astype(int) - others.astype(int)).mean() < 0.3


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_scan_in_map_coordinates_looks_like_the_same_scan_at_the_origin(tmp_path, suffix):
    here = load_mesh(save(tmp_path / f"here.{suffix}", FORMATS[suffix](VERTICES)))
    there = load_mesh(save(tmp_path / f"there.{suffix}", FORMATS[suffix](VERTICES + UTM)))
    assert here.origin == (0, 0, 0) and there.vertices.dtype == np.float32
    assert here.vertices.shape == there.vertices.shape
    np.testing.assert_allclose(np.asarray(there.origin), UTM, atol=1)
    assert near(render_mesh(there, SETTINGS), render_mesh(here, SETTINGS))


def test_arrays_trimesh_objects_and_the_renderer_itself_keep_the_precision_of_float64():
    expected = render_scan(VERTICES, FACES, SETTINGS)
    far = VERTICES + UTM
    for mesh in ({"vertices": far, "faces": FACES}, trimesh.Trimesh(far, FACES, process=False), Mesh(far, FACES)):
        assert near(render_mesh(as_mesh(mesh), SETTINGS), expected)
    assert near(render_scan(far, FACES, SETTINGS), expected)
    assert near(render_scan(torch.from_numpy(far), FACES, SETTINGS), expected)
    frame = frame_mesh(as_mesh({"vertices": far, "faces": FACES}))
    assert near(render_scan(far, FACES, SETTINGS, frame=frame), expected)


def test_near_meshes_keep_every_bit():
    for sizes in (0, 3, -60):  # a face of 20 cm is 12 m away from the scanner's origin at most
        vertices = VERTICES + sizes * np.ptp(VERTICES, axis=0).max()
        mesh = check_mesh(Mesh(vertices, FACES))
        assert mesh.origin == (0, 0, 0)
        np.testing.assert_array_equal(mesh.vertices, vertices.astype(np.float32))


def test_far_coordinates_that_float32_holds_exactly_stay_as_they_are():
    vertices = np.array([[1, 1, -1499.5], [2, 1, -1499.5], [1, 2, -1499.25]])
    mesh = check_mesh(Mesh(vertices, [[0, 1, 2]]))
    np.testing.assert_array_equal(mesh.vertices, vertices)
    assert mesh.origin == (0, 0, 0)


def test_checking_again_changes_nothing():
    once = check_mesh(Mesh(VERTICES + UTM, FACES))
    again = check_mesh(once)
    assert again.vertices is once.vertices and again.origin == once.origin


@pytest.mark.parametrize("magnification", [1.0, 3.0])
def test_a_far_sequence_keeps_the_movement_between_its_frames(magnification):
    moves = [0, 0.004, 0.012]  # metres: the head goes right, and the mouth opens
    frames = [VERTICES + [move, 0, 0] - np.outer(move * (VERTICES[:, 1] < -0.03), [0, 1, 0]) for move in moves]
    views = []
    for place in (0, UTM):
        meshes = [check_mesh(Mesh(frame + place, FACES)) for frame in frames]
        views.append(render_sequence(meshes, meshes[0], SETTINGS, where="test", magnification=magnification))
    assert len({mesh.origin for mesh in meshes}) > 1, "the frames have origins of their own"
    assert near(views[1], views[0])
    assert not near(views[0][2], views[0][0])


def test_the_processor_sees_a_far_sequence_as_a_near_one():
    processor = MVFERImageProcessor.from_render_settings(SETTINGS)
    here, there = (
        processor(
            sequences=[{"frames": [{"vertices": VERTICES + [m, 0, 0] + place, "faces": FACES} for m in (0, 0.01)]}]
        )
        for place in (0, UTM)
    )
    difference = np.abs(np.asarray(here["pixel_values"]) - np.asarray(there["pixel_values"]))
    assert difference.mean() < 0.01


ODD = {
    "far": [1e3, 1e3, 1e3],
    "farther": [1e30, 0, 0],
    "nan": [np.nan] * 3,
    "infinite": [0, np.inf, 0],
    "huge": [1e300, 0, 0],
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_vertices_that_no_face_uses_do_not_count(odd):
    expected = check_mesh(Mesh(VERTICES, FACES))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mesh = check_mesh(Mesh(np.vstack([VERTICES, [odd]]), FACES))
    assert np.isfinite(mesh.vertices).all() and len(mesh.vertices) == len(VERTICES) + 1
    np.testing.assert_array_equal(mesh.vertices[:-1], expected.vertices)
    np.testing.assert_array_equal(render_mesh(mesh, SETTINGS), render_mesh(expected, SETTINGS))


def test_checking_does_not_write_into_the_callers_arrays():
    vertices = np.vstack([VERTICES, [[np.nan] * 3]]).astype(np.float32)
    check_mesh(Mesh(vertices, FACES))
    assert np.isnan(vertices[-1]).all()


def test_unused_vertices_in_files_do_not_count(tmp_path):
    text = obj(VERTICES).replace("\nf ", "\nv 1e9 1e9 1e9\nv nan nan nan\nf ", 1)
    mesh = load_mesh(save(tmp_path / "a.obj", text))
    np.testing.assert_array_equal(mesh.vertices[: len(VERTICES)], VERTICES.astype(np.float32))


@pytest.mark.parametrize("odd", [np.nan, 1e300])
def test_vertices_that_a_face_uses_count(odd):
    vertices = VERTICES.copy()
    vertices[FACES[5, 1]] = odd
    with pytest.raises(ValueError, match=f"vertex {FACES[5, 1]} is not finite"):
        check_mesh(Mesh(vertices, FACES))


def test_a_far_scan_is_framed_as_the_same_scan_near_by():
    far, near = (as_mesh({"vertices": vertices, "faces": FACES}) for vertices in (VERTICES + UTM, VERTICES))
    assert any(far.origin) and not any(near.origin)
    expected = framed_vertices(near, frame_mesh(near))
    np.testing.assert_allclose(framed_vertices(far, frame_mesh(far)), expected, atol=1e-3)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_bounds_are_the_smallest_and_largest_coordinates(count, kind):
    points = (100 * np.random.default_rng(count).normal(size=(count, 3))).astype(kind)
    low, high = bounds(points)
    assert np.array_equal(low, points.min(axis=0)) and np.array_equal(high, points.max(axis=0))
    assert low.dtype == kind
