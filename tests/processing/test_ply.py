"""PLY files in all the forms that programs write: text and binary, polygons, strips, colours, uvs of vertices and corners."""

import struct

import numpy as np
import pytest
from PIL import Image

from processing.meshes_mvfer import load_mesh

from .mesh_files import assert_refused, save

SQUARE = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (2, 0.5, 0)]
FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
CODES = {"uchar": "B", "int": "i", "float": "f", "double": "d", "ushort": "H", "uint": "I"}


def write_ply(path, kind, *elements, comments=(), newline="\n", blank=""):
    """elements: (name, ["float x", "list uchar int vertex_indices", ...], rows); a cell is a number, or a tuple for a list."""
    lines = ["ply", f"format {kind} 1.0", *(f"comment {text}" for text in comments)]
    for name, properties, rows in elements:
        lines += [f"element {name} {len(rows)}", *(f"property {text}" for text in properties)]
    data = (newline.join([*lines, "end_header", ""]) + blank).encode()
    for _, properties, rows in elements:
        for row in rows:
            data += packed(row, [text.split()[:-1] for text in properties], FORMATS[kind])
    return save(path, data)


def packed(row, types, order):
    if not order:
        cells = (f"{len(cell)} {' '.join(map(str, cell))}" if isinstance(cell, tuple) else str(cell) for cell in row)
        return (" ".join(cells) + "\n").encode()
    data = b""
    for cell, kind in zip(row, types, strict=True):
        if kind[0] == "list":
            data += struct.pack(order + CODES[kind[1]], len(cell)) + struct.pack(
                f"{order}{len(cell)}{CODES[kind[2]]}", *cell
            )
        else:
            data += struct.pack(order + CODES[kind[0]], cell)
    return data


def vertices(points=SQUARE, extra=(), values=()):
    rows = [(*point, *more) for point, more in zip(points, values or [()] * len(points), strict=True)]
    return "vertex", ["float x", "float y", "float z", *extra], rows


def polygons(*rows, extra=()):
    return (
        "face",
        ["list uchar int vertex_indices", *extra],
        [row if isinstance(row[0], tuple) else (row,) for row in rows],
    )


every_format = pytest.mark.parametrize("kind", FORMATS)


@every_format
@pytest.mark.parametrize("first", ["triangle first", "quad first"])
def test_triangles_and_quads_may_be_mixed(tmp_path, kind, first):
    faces = [(1, 4, 2), (0, 1, 2, 3)]
    path = write_ply(
        tmp_path / "a.ply", kind, vertices(), polygons(*faces if first == "triangle first" else faces[::-1])
    )
    mesh = load_mesh(path)
    np.testing.assert_array_equal(mesh.vertices, np.float32(SQUARE))
    expected = [[1, 4, 2], [0, 1, 2], [0, 2, 3]]
    assert mesh.faces.tolist() == (expected if first == "triangle first" else expected[1:] + expected[:1])


@every_format
@pytest.mark.parametrize("mixed", [False, True])
def test_uvs_of_corners_leave_the_surface_whole(tmp_path, kind, mixed):
    def uvs(face, shift):
        return tuple(value for corner in face for value in (0.125 * corner + shift, 0.5))

    faces = [(0, 1, 2), (0, 2, 3), (1, 4, 2)] if not mixed else [(0, 1, 2, 3), (1, 4, 2)]
    rows = [(face, uvs(face, shift)) for face, shift in zip(faces, (0, 0.25, 0.5), strict=False)]
    Image.new("RGB", (2, 2), (5, 6, 7)).save(tmp_path / "my skin.png")
    face = polygons(*rows, extra=["list uchar float texcoord"])
    mesh = load_mesh(write_ply(tmp_path / "a.ply", kind, vertices(), face, comments=["TextureFile my skin.png"]))
    assert len(mesh.vertices) == 5 and len(mesh.faces) == 3  # nothing is torn at the seams
    assert mesh.uvs[mesh.uv_faces[0]].tolist() == [[0, 0.5], [0.125, 0.5], [0.25, 0.5]]
    shift = 0.25 if mixed else 0.5
    assert mesh.uvs[mesh.uv_faces[2]].tolist() == [[0.125 + shift, 0.5], [0.5 + shift, 0.5], [0.25 + shift, 0.5]]
    assert mesh.texture[0, 0].tolist() == [5, 6, 7]
    assert load_mesh(tmp_path / "a.ply", geometry_only=True).uvs is None


@every_format
def test_faces_without_uvs_of_corners_have_zeros(tmp_path, kind):
    face = polygons(((0, 1, 2), ()), ((0, 2, 3), (1, 1, 1, 0, 0, 1)), extra=["list uchar float texcoord"])
    mesh = load_mesh(write_ply(tmp_path / "a.ply", kind, vertices(), face))
    assert mesh.uvs[mesh.uv_faces].tolist() == [[[0, 0]] * 3, [[1, 1], [1, 0], [0, 1]]]


def test_of_several_textures_that_of_most_faces_is_used(tmp_path):
    for name, value in (("a.png", 1), ("b.png", 2)):
        Image.new("RGB", (2, 2), (value, value, value)).save(tmp_path / name)
    rows = [(face, (0,) * 6, number) for face, number in (((0, 1, 2), 1), ((0, 2, 3), 0), ((1, 4, 2), 1))]
    face = polygons(*rows, extra=["list uchar float texcoord", "int texnumber"])
    path = write_ply(tmp_path / "a.ply", "ascii", vertices(), face, comments=["TextureFile a.png", "TextureFile b.png"])
    with pytest.warns(UserWarning, match="several textures"):
        assert load_mesh(path).texture[0, 0].tolist() == [2, 2, 2]


@every_format
def test_strips_become_triangles_that_all_face_one_way(tmp_path, kind):
    points = [(x / 2, y, 0) for x in range(4) for y in (0, 1)]
    strip = ("tristrips", ["list int int vertex_indices"], [((1, 0, 3, 2, 5, 4, 4, 6, -1, 5, 4, 7, 6),)])
    mesh = load_mesh(write_ply(tmp_path / "a.ply", kind, vertices(points), strip))
    assert mesh.faces.tolist() == [[1, 0, 3], [3, 0, 2], [3, 2, 5], [5, 2, 4], [5, 4, 7], [7, 4, 6]]
    a, b, c = mesh.vertices[mesh.faces].swapaxes(0, 1)
    assert (np.cross(b - a, c - a)[:, 2] == 0.5).all()


@every_format
def test_a_blank_line_after_the_header_is_skipped(tmp_path, kind):
    mesh = load_mesh(write_ply(tmp_path / "a.ply", kind, vertices(), polygons((0, 1, 2), (0, 2, 3)), blank="\n"))
    np.testing.assert_array_equal(mesh.vertices, np.float32(SQUARE))
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]]


@every_format
@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_headers_of_windows_and_of_old_macs_are_read(tmp_path, kind, newline):
    path = write_ply(tmp_path / "a.ply", kind, vertices(), polygons((0, 1, 2)), newline=newline)
    np.testing.assert_array_equal(load_mesh(path).vertices, np.float32(SQUARE))


@every_format
def test_tables_may_come_in_any_order_with_columns_that_nobody_needs(tmp_path, kind):
    edges = ("edge", ["int vertex1", "int vertex2", "uchar red"], [(0, 1, 7), (1, 2, 7)])
    lists = ("more", ["list uchar double values"], [((1.0, 2.0),), ((),)])
    face = polygons((5, (0, 1, 2)), (6, (0, 2, 3)))
    face = (face[0], ["ushort group", "list uint uint vertex_index"], [(5, (0, 1, 2)), (6, (0, 2, 3))])
    mesh = load_mesh(
        write_ply(tmp_path / "a.ply", kind, edges, face, lists, vertices(extra=["double quality"], values=[(0.5,)] * 5))
    )
    np.testing.assert_array_equal(mesh.vertices, np.float32(SQUARE))
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]]


COLORS = {
    "bytes": ("uchar", [(255, 0, 128)] * 5, [255, 0, 128]),
    "bytes of nearly black": ("uchar", [(1, 0, 1)] * 5, [1, 0, 1]),
    "shares": ("float", [(1.0, 0.0, 0.5)] * 5, [255, 0, 128]),
    "sixteen bits": ("ushort", [(65535, 0, 32896)] * 5, [255, 0, 128]),
}


@pytest.mark.parametrize("kind", ["binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("type_, values, expected", COLORS.values(), ids=COLORS)
def test_colors_are_read_by_their_type(tmp_path, kind, type_, values, expected):
    extra = [f"{type_} {name}" for name in ("red", "green", "blue")]
    mesh = load_mesh(write_ply(tmp_path / "a.ply", kind, vertices(extra=extra, values=values), polygons((0, 1, 2))))
    assert mesh.vertex_colors.tolist() == [expected] * 5


def test_bytes_of_a_text_are_bytes(tmp_path):
    extra = [f"uchar {name}" for name in ("red", "green", "blue")]
    mesh = load_mesh(
        write_ply(tmp_path / "a.ply", "ascii", vertices(extra=extra, values=[(1, 0, 1)] * 5), polygons((0, 1, 2)))
    )
    assert mesh.vertex_colors.tolist() == [[1, 0, 1]] * 5


@every_format
def test_colors_of_faces_become_the_mean_around_each_vertex(tmp_path, kind):
    extra = [f"uchar {name}" for name in ("red", "green", "blue")]
    face = polygons(((0, 1, 2, 3), 100, 0, 0), ((1, 4, 2), 0, 0, 40), extra=extra)
    mesh = load_mesh(write_ply(tmp_path / "a.ply", kind, vertices(), face))
    assert mesh.vertex_colors[[0, 3, 4]].tolist() == [[100, 0, 0], [100, 0, 0], [0, 0, 40]]
    assert mesh.vertex_colors[1].tolist() == [50, 0, 20] and mesh.vertex_colors[2].tolist() == [
        67,
        0,
        13,
    ]  # 2 of 3 triangles


REFUSED = {
    "two corners": ((vertices(), polygons((0, 1, 2), (0, 1))), "a face of 2 corners"),
    "broken index": ((vertices(), ("face", ["list uchar float vertex_indices"], [((0, 1, 1.5),)])), "no whole numbers"),
    "uvs of a corner missing": (
        (vertices(), polygons(((0, 1, 2), (0, 0, 1, 1)), extra=["list uchar float texcoord"])),
        "do not hold two numbers per corner",
    ),
    "no z": ((("vertex", ["float x", "float y"], [(0, 0)] * 3), polygons((0, 1, 2))), "no vertices with x, y and z"),
    "two of one name": ((vertices(extra=["float x"], values=[(0,)] * 5), polygons((0, 1, 2))), "have the same name"),
    "strips of nothing": (
        (vertices(), ("tristrips", ["list int int vertex_indices"], [((0, 1, -1, 2),)])),
        "a point cloud",
    ),
}


@every_format
@pytest.mark.parametrize("elements, reason", REFUSED.values(), ids=REFUSED)
def test_what_is_no_surface_is_refused(tmp_path, kind, elements, reason):
    assert_refused(write_ply(tmp_path / "a.ply", kind, *elements), reason)


@pytest.mark.parametrize("line", ["property float16x y", "property list uchar vertex_indices", "format text 1.0"])
def test_headers_that_make_no_sense_are_refused(tmp_path, line):
    path = write_ply(tmp_path / "a.ply", "ascii", vertices(), polygons((0, 1, 2)))
    save(path, path.read_bytes().replace(b"end_header", line.encode() + b"\nend_header"))
    assert_refused(path, "PLY header line|PLY format")
