"""Neutral scans as users have them: turned, with shoulders, or no faces at all."""

from pathlib import Path

import numpy as np
import pytest

from dataset_scripts.synthetic.neutrals import LARGEST_OPENING, find_neutrals, mouth_opening, read_neutral, same_files
from processing.framing_mvfer import frame_upright
from processing.meshes_mvfer import load_mesh
from tests.tiny import face_obj, write_obj

__all__ = ["face_obj"]  # a fixture


@pytest.fixture(scope="module")
def head(face_obj):
    mesh = load_mesh(face_obj)
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)


@pytest.mark.parametrize("orientation", ["auto", "z"])
def test_a_scan_is_turned_upright_however_it_lies(head, tmp_path, orientation):
    vertices, faces = head
    x, y, z = vertices.T
    path = tmp_path / "z_up.obj"
    write_obj(path, 1000 * np.stack([x, -z, y], 1), faces)  # z up, face towards -y, millimetres
    upright, _ = read_neutral(path, orientation=orientation)
    expected = frame_upright(vertices, faces).apply(vertices)
    apart = np.abs(upright - expected)  # framed units; a search also undoes the head's own small turn
    assert apart.mean() < 0.1 and apart.max() < 0.3


def test_what_is_no_face_is_refused(tmp_path):
    angles = np.stack(np.meshgrid(np.linspace(0.1, 3.0, 20), np.linspace(0, 6.28, 40)), -1).reshape(-1, 2)
    ball = np.stack([np.sin(a := angles[:, 0]) * np.cos(b := angles[:, 1]), np.sin(a) * np.sin(b), np.cos(a)], 1)
    index = np.arange(800).reshape(40, 20)
    faces = np.stack([index[:-1, :-1], index[1:, :-1], index[1:, 1:]], -1).reshape(-1, 3)
    write_obj(tmp_path / "anna.obj", ball, faces)
    (tmp_path / "ben.obj").write_text("v 0 0 0\n")
    for path in find_neutrals(str(tmp_path)):
        with pytest.raises(ValueError, match="no face"):
            read_neutral(path)


def test_an_open_mouth_is_refused_and_a_closed_one_is_not(head):
    vertices, faces = head
    points = np.asarray(frame_upright(vertices, faces).apply(vertices), float)
    assert mouth_opening(points, faces) <= LARGEST_OPENING
    in_mouth = (np.abs(points[:, 0]) < 0.3) & (np.abs(points[:, 1] + 0.32) < 0.08)
    assert mouth_opening(points, faces[~in_mouth[faces].any(1)]) > LARGEST_OPENING  # a hole there
    chin = points.copy()
    chin[:, 2] -= 0.25 * np.exp(-(((points[:, 1] + 0.7) / 0.25) ** 2))  # a receding chin is no open mouth
    assert mouth_opening(chin, faces) <= LARGEST_OPENING


def test_surprise_opens_the_mouth():
    with pytest.raises(ValueError, match="mouth is open"):
        read_neutral(Path(__file__).parents[2] / "examples" / "surprise.ply")


def test_copies_are_found_and_other_files_are_not_scans(head, tmp_path):
    for name in ("a.obj", "b.obj", "c.obj"):
        write_obj(tmp_path / name, head[0] * (1 + (name == "b.obj")), head[1])
    (tmp_path / "notes.txt").write_text("not a scan")
    paths = find_neutrals(str(tmp_path))
    assert [path.name for path in paths] == ["a.obj", "b.obj", "c.obj"] and same_files(paths) == {2: 0}
