"""FRGC `.abs` range images, plain and packed, against values written by hand."""

import gzip

import numpy as np
import pytest

from processing.image_processing_mvfer import _is_photo
from processing.meshes_mvfer import load_mesh

from .mesh_files import assert_refused, save

ROWS, COLUMNS = 3, 4
EMPTY = -999999.0


def grid():
    """Flags, x, y, z (4, 3, 4): a slope, its first row at the top, its columns from left to right."""
    y, x = np.meshgrid([2.0, 1.0, 0.0], np.arange(4.0), indexing="ij")
    return np.stack([np.ones_like(x), x, y, 0.5 * x - 1500])


def abs_text(points, *, rows=ROWS, columns=COLUMNS):
    flags, *blocks = (block.ravel() for block in points)
    lines = [" ".join(f"{flag:.0f}" for flag in flags), *(" ".join(f"{v:.6f}" for v in block) for block in blocks)]
    return "\n".join([f"{rows} rows", f"{columns} columns", "pixels (flag X Y Z):", *lines, ""]).encode()


def test_abs_grid_becomes_two_triangles_per_cell(tmp_path):
    mesh = load_mesh(save(tmp_path / "02463d452.abs", abs_text(grid())))
    assert mesh.vertices.shape == (12, 3) and mesh.faces.shape == (2 * 2 * 3, 3)
    assert mesh.vertices[5].tolist() == [1, 1, -1499.5]  # second row from the top, second column
    assert mesh.vertices[0].tolist() == [0, 2, -1500]
    assert (mesh.uvs, mesh.texture, mesh.vertex_colors) == (None, None, None)


@pytest.mark.parametrize("mirrored", [slice(None), slice(None, None, -1)])
def test_abs_faces_look_at_the_viewer_whichever_way_the_columns_run(tmp_path, mirrored):
    mesh = load_mesh(save(tmp_path / "a.abs", abs_text(grid()[:, :, mirrored])))
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()
    assert (mesh.vertices[:4, 1] == 2).all()  # the first row stays the top


def test_abs_points_without_flag_or_place_are_dropped(tmp_path):
    points = grid()
    points[:, 0, 0] = 0, EMPTY, EMPTY, EMPTY  # as the scanner writes it: a corner, its cell's two triangles go
    points[0, 2, 3] = 0  # a place, but no flag: the opposite corner
    points[3, 0, 3] = EMPTY  # a flag, but no place: one triangle goes
    mesh = load_mesh(save(tmp_path / "a.abs", abs_text(points)))
    assert mesh.vertices.shape == (9, 3) and len(mesh.faces) == 12 - 2 - 2 - 1
    assert mesh.vertices.min() > -1501
    assert set(mesh.faces.ravel()) <= set(range(9))


def test_abs_depth_jumps_are_holes(tmp_path):
    points = grid()
    points[3, :, 2:] += 100  # a cliff between columns 1 and 2: two cells go
    mesh = load_mesh(save(tmp_path / "a.abs", abs_text(points)))
    assert mesh.vertices.shape == (12, 3) and len(mesh.faces) == 12 - 2 * 2
    assert np.ptp(mesh.vertices[mesh.faces][..., 2], axis=1).max() < 1


def test_abs_numbers_may_stand_in_any_lines(tmp_path):
    text = abs_text(grid())
    header, body = text[: text.index(b":\n") + 2], text[text.index(b":\n") + 2 :]
    same = header.replace(b"\n", b"\r\n") + b"\r\n".join(body.split())
    expected = load_mesh(save(tmp_path / "a.abs", text))
    np.testing.assert_array_equal(load_mesh(save(tmp_path / "b.abs", same)).vertices, expected.vertices)


@pytest.mark.parametrize("name", ["a.abs.gz", "A.ABS.GZ"])
def test_packed_abs_equals_plain_abs(tmp_path, name):
    plain = load_mesh(save(tmp_path / "a.abs", abs_text(grid())))
    packed = load_mesh(save(tmp_path / name, gzip.compress(abs_text(grid()))))
    np.testing.assert_array_equal(packed.vertices, plain.vertices)
    np.testing.assert_array_equal(packed.faces, plain.faces)


TEXT = abs_text(grid())
PACKED = gzip.compress(TEXT)
NOTHING = grid() * 0 + np.array([0, EMPTY, EMPTY, EMPTY])[:, None, None]

# name: (content, what the message must say)
FILES = {
    "zero.abs": (b"", "an empty file, 0 bytes"),
    "headless.abs": (TEXT[7:], "no .abs header"),
    "header_only.abs": (TEXT[: TEXT.index(b":\n") + 2], "promises 3 x 4 points, at least 95 and .* there are 0"),
    "cut.abs": (TEXT[:-60], "promises 3 x 4 points, 48 numbers, but there are 4"),
    "more.abs": (TEXT + b"1 2 3\n", "promises 3 x 4 points, 48 numbers, but there are 51"),
    "billions.abs": (abs_text(grid(), rows=10**8, columns=10**8), "promises 100000000 x 100000000 points, at least"),
    "absurd.abs": (abs_text(grid(), rows=10**30), "no .abs header"),
    "none.abs": (abs_text(grid(), rows=0), "promises 0 x 4 points"),
    "minus.abs": (abs_text(grid(), rows=-3), "no .abs header"),
    "long.abs": (TEXT + b" " * 2000, "at most 1536 bytes, but there are"),
    "word.abs": (TEXT.replace(b"1.000000", b"one", 1), "something that is not a number"),
    "nothing.abs": (abs_text(NOTHING), "all 3 x 4 points are background"),
    "row.abs": (abs_text(grid()[:, :1], rows=1), "a point cloud"),
    "packed.abs": (PACKED, "compressed"),
    "zero.abs.gz": (b"", "an empty file, 0 bytes"),
    "nothing.abs.gz": (gzip.compress(b""), "no .abs header"),
    "plain.abs.gz": (TEXT, "not gzip data; .*name it .abs"),
    "page.abs.gz": (b"<!DOCTYPE html>\n<html></html>", r"a web page \(HTML\)"),
    "cut.abs.gz": (PACKED[:-20], "the gzip data is cut off"),
    "cut_head.abs.gz": (PACKED[:5], "the gzip data is cut off"),
    "checksum.abs.gz": (PACKED[:-8] + b"\0" * 8, "damaged gzip data"),
    "damaged.abs.gz": (PACKED[:20] + b"\xff" * 20 + PACKED[40:], "damaged gzip data|cut off"),
    "twice.abs.gz": (gzip.compress(PACKED), "compressed"),
    "tail.abs.gz": (PACKED + b"tail", "4 bytes after the gzip data"),
    "mesh.obj.gz": (PACKED, "unknown kind of file '.gz'"),
    "mesh.gz": (PACKED, "unknown kind of file '.gz'"),
}


@pytest.mark.parametrize("name", FILES)
def test_damaged_abs_is_refused_by_name_reason_and_remedy(tmp_path, name):
    content, reason = FILES[name]
    assert_refused(save(tmp_path / name, content), reason)


def test_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = save(tmp_path / "bomb.abs.gz", gzip.compress(b"0 " * 10**6))
    with pytest.raises(ValueError, match=r"bomb\.abs\.gz: unpacks to more than 100000 bytes; "):
        load_mesh(path, max_bytes=10**5)


def test_max_bytes_is_the_size_of_the_content(tmp_path):
    path = save(tmp_path / "a.abs.gz", PACKED)
    assert len(load_mesh(path, max_bytes=len(TEXT)).faces) == 12
    with pytest.raises(ValueError, match="unpacks to more than 433 bytes"):
        load_mesh(path, max_bytes=len(TEXT) - 1)


def test_a_packed_scan_is_no_photo():
    assert not _is_photo("scan.abs.gz") and not _is_photo("scan.ABS")
