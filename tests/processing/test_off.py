"""OFF files with colours, normals and uvs; STL files, whose colours are not read, which is said."""

import struct

import numpy as np
import pytest

from processing.meshes_mvfer import load_mesh

from .mesh_files import assert_refused, save

POINTS = ["0 0 0", "1 0 0", "1 1 0", "0 1 0"]


def off(word="OFF", vertex="", faces=("4 0 1 2 3",), newline="\n"):
    """`vertex` stands behind each vertex."""
    lines = [word, f"{len(POINTS)} {len(faces)} 0", *(f"{point} {vertex}".rstrip() for point in POINTS), *faces]
    return newline.join(lines) + newline


COLORED = {
    "bytes": off("COFF", "200 10 10 255"),
    "bytes without alpha": off("COFF", "200 10 10"),
    "shares": off("COFF", "0.7843137 0.0392157 0.0392157 1.0"),
    "without the letter": off("OFF", "200 10 10 255"),
    "normals before": off("CNOFF", "0 0 1 200 10 10 255"),
    "uvs behind": off("STCOFF", "200 10 10 255 0.25 0.75"),
    "faces": off(faces=("3 0 1 2 200 10 10", "3 0 2 3 200 10 10")),
    "faces with alpha": off(faces=("4 0 1 2 3 200 10 10 255",)),
    "comments": off("COFF # colours\n# of bytes", "200 10 10 255 # here"),
    "lines of Windows": off("COFF", "200 10 10 255", newline="\r\n"),
    "byte order mark": "\ufeff" + off("COFF", "200 10 10 255"),
}


@pytest.mark.parametrize("text", COLORED.values(), ids=COLORED)
def test_colors_of_off_files_are_read(tmp_path, text):
    mesh = load_mesh(save(tmp_path / "a.off", text))
    assert mesh.vertex_colors.tolist() == [[200, 10, 10]] * 4
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert load_mesh(tmp_path / "a.off", geometry_only=True).vertex_colors is None


def test_normals_are_no_colors_and_uvs_are_read(tmp_path):
    assert load_mesh(save(tmp_path / "n.off", off("NOFF", "0 0 1"))).vertex_colors is None
    mesh = load_mesh(save(tmp_path / "s.off", off("STOFF", "0.25 0.75")))
    assert mesh.uvs.tolist() == [[0.25, 0.75]] * 4 and mesh.uv_faces.tolist() == mesh.faces.tolist()


def test_the_color_of_a_vertex_is_the_mean_of_its_faces(tmp_path):
    mesh = load_mesh(save(tmp_path / "a.off", off(faces=("3 0 1 2 100 0 0", "3 0 2 3 0 50 0"))))
    assert mesh.vertex_colors.tolist() == [[50, 25, 0], [100, 0, 0], [50, 25, 0], [0, 50, 0]]


@pytest.mark.parametrize("faces", [("3 0 1 2 7", "3 0 2 3 7"), ("3 0 1 2 1 0 0", "3 0 2 3")])
def test_colors_that_are_not_read_are_a_warning(tmp_path, faces):
    with pytest.warns(UserWarning, match=r"a\.off: not all faces have a colour"):
        assert load_mesh(save(tmp_path / "a.off", off(faces=faces))).vertex_colors is None


REFUSED = {
    "binary": ("OFF BINARY\n" + off(), "'OFF BINARY' files are not supported"),
    "four dimensions": (off("4OFF", "1"), "'4OFF' files are not supported"),
    "uneven lines": (off().replace("1 0 0", "1 0 0 5"), "vertex lines of 3 to 4 numbers"),
    "too many numbers": (off("NOFF", "0 0 1 4 5"), "do not fit the letters"),
    "no colours": (off("COFF"), "do not fit the letters"),
    "two corners": (off(faces=("3 0 1 2", "2 0 1 2")), "the number of its corners"),
    "short face": (off(faces=("3 0 1 2", "4 0 1 2")), "the number of its corners"),
    "half a corner": (off(faces=("3 0 1 2.5",)), "no whole numbers"),
    "word": (off().replace("1 1 0", "1 x 0"), "something that is not a number"),
}


@pytest.mark.parametrize("text, reason", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused(tmp_path, text, reason):
    assert_refused(save(tmp_path / "a.off", text), reason)


@pytest.mark.parametrize("header, behind", [(b"", 0x8000 | 31 << 10), (b"COLOR=\xff\xff\xff\xff", 31)])
def test_colors_of_an_stl_are_not_read_and_that_is_said(tmp_path, header, behind):
    corners = np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes()
    path = save(tmp_path / "a.stl", header.ljust(80) + struct.pack("<I", 1) + corners + struct.pack("<H", behind))
    with pytest.warns(UserWarning, match=r"a\.stl: the colours of an STL are not read; export it as \.ply"):
        assert load_mesh(path).faces.shape == (1, 3)
