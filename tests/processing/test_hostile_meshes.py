"""Files that must be refused, each with a message that names the file and says what is wrong with it."""

import json
import logging
import os
import struct
import sys
import threading

import numpy as np
import pytest
import trimesh

from processing.meshes_mvfer import Mesh, as_mesh, check_mesh, load_mesh

from .mesh_files import PLY, POINTS, VT, V, assert_refused, ply, save, wrl


def bnt(points, *, rows=None, count=None):
    rows = points.shape[1] if rows is None else rows
    head = struct.pack("<HHdH", rows, points.shape[2], -1e9, 5) + b"a.png"
    return head + struct.pack("<I", points.size if count is None else count) + points.tobytes()


def glb(document, *, body=b""):
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(body), b"BIN\0") + body if body else b""
    return (
        struct.pack("<4sII", b"glTF", 2, 20 + len(text) + len(body))
        + struct.pack("<I4s", len(text), b"JSON")
        + text
        + body
    )


def lossy(data):
    """What is left of bytes that were read as UTF-8, errors replaced, and written again."""
    return data.decode(errors="replace").encode()


GRID = np.stack([*np.meshgrid(np.arange(4.0), np.arange(3.0)), np.zeros((3, 4)), np.zeros((3, 4)), np.zeros((3, 4))])
DEEP_WRL = "#VRML V2.0 utf8\n" + "Group { children [ " * 5000 + "] }" * 5000

# name: (content, what the message must say)
FILES = {
    # not what the name says
    "zero_bytes.obj": (b"", "an empty file, 0 bytes"),
    "page.obj": ("<!DOCTYPE html>\n<html><body>404</body></html>", r"a web page \(HTML\)"),
    "page_after_blank.ply": ("\n  <html>", r"a web page \(HTML\)"),
    "pointer.ply": ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a Git LFS pointer"),
    "packed.wrl": (b"\x1f\x8b\x08\0\0\0\0\0", "compressed"),
    "archive.obj": (b"PK\x03\x04aaaa", "compressed"),
    "binary.obj": (V.encode() + b"\0\0\0f 1 2 3\n", "binary data, not OBJ text"),
    "face.xyz": ("0 0 0\n", "unknown kind of file '.xyz'"),
    "face.fbx": (b"Kaydara FBX Binary", r"unknown kind of file '\.fbx'; convert it to \.glb, with Blender or FBX2glTF"),
    "avatar.vrm": (b"glTF", r"unknown kind of file '\.vrm'; it is a GLB: name it \.glb"),
    "cloud.pcd": ("# .PCD v0.7\n", r"unknown kind of file '\.pcd'; a point cloud: .*Poisson"),
    "as_text.stl": (lossy(b"x" * 80 + struct.pack("<I12fH", 1, *[-1.5] * 12, 0)), "read and written as UTF-8 text"),
    "as_text.glb": (lossy(b"glTF\2\0\0\0" + b"\xff\xfe\0" * 50), "read and written as UTF-8 text"),
    "as_text.abs.gz": (lossy(b"\x1f\x8b\x08\0\0\0\0\0\xf3\xf4"), "read and written as UTF-8 text"),
    "no_extension": (V + "f 1 2 3\n", "unknown kind of file ''"),
    "scene.gltf": ("{}", "no triangles found in it"),
    # OBJ
    "comments_only.obj": ("# a mesh\n# will follow\n", "no vertices"),
    "points.obj": (V, "a point cloud"),
    "nan.obj": (V.replace("1 0 0", "1 nan 0") + "f 1 2 3\n", "vertex 1 is not finite"),
    "inf.obj": (V.replace("v 0 1 0", "v 0 inf 0") + "f 1 2 3\n", "vertex 2 is not finite"),
    "overflow.obj": (V.replace("v 0 1 0", "v 0 1e300 0") + "f 1 2 3\n", "vertex 2 is not finite"),
    "far_out.obj": (V.replace("v 0 1 0", "v 0 1e20 0") + "f 1 2 3\n", "coordinates up to 1e.20"),
    "index_high.obj": (V + "f 1 2 4\n", "index 3 in faces is out of range for 3 vertices"),
    "index_zero.obj": (V + "f 0 1 2\n", "vertex index 0 in a face"),
    "index_back.obj": (V + "f -4 -2 -1\n", "vertex index -4 reaches back before the first"),
    "index_forward_back.obj": ("f -3 -2 -1\n" + V, "reaches back before the first"),
    "index_huge.obj": (V + "f 1 2 99999999999999999999999\n", "out of range for 3 vertices"),
    "index_float.obj": (V + "f 1 2 2.5\n", "'f' lines: something that is not a number"),
    "uv_high.obj": (VT + "f 1/1 2/2 3/9\n", "index 8 in uv_faces is out of range for 3 uvs"),
    "uv_nan.obj": (VT.replace("vt 1 0", "vt nan 0") + "f 1/1 2/2 3/3\n", "uvs are not finite"),
    "cut_face.obj": (V + "f 1 2", "line 4: a face of 2 corners"),
    "cut_vertex.obj": ("v 0 0 0\nv 1 0\n", "line 2: 'v' with 2 numbers"),
    "five_numbers.obj": (V.replace("\n", " 1 1\n") + "f 1 2 3\n", "vertex lines of 5 numbers"),
    "decimal_comma.obj": (V.replace("1 0 0", "1,5 0 0") + "f 1 2 3\n", "'v' lines: something that is not a number"),
    "two_points.obj": (V.replace("1 0 0", "1.2.3 0 0") + "f 1 2 3\n", "'v' lines"),
    "word.obj": (V + "f one two three\n", "'f' lines"),
    "slashes.obj": (V + "f /1 /2 /3\n", "'f' lines hold something that is not an index"),
    "line.obj": ("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "the faces have no area"),
    "one_place.obj": ("v 5 5 5\n" * 3 + "f 1 2 3\n", "the faces have no area"),
    # PLY
    "billions.ply": (ply("", kind="binary_little_endian", vertices=4_000_000_000), "promises 4000000000 vertices"),
    "cut_binary.ply": (
        ply(b"\0" * 20, kind="binary_little_endian"),
        "promises 3 vertices and 1 faces, at least 37 bytes, but there are 20",
    ),
    "cut_text.ply": (ply("0 0 0\n1 0 0\n"), "promises 3 vertices and 1 faces, at least 20 bytes, but there are 12"),
    "cut_faces.ply": (ply(POINTS.replace(",", "\n") + "\n3 0 1 2\n", faces=2), "1 faces found, the header promises 2"),
    "headless.ply": ("0 0 0\n", "no PLY header"),
    "minus.ply": (ply("", vertices=-3), "header line 'element vertex -3'"),
    "points.ply": ((PLY.format("ascii", 2) + "end_header\n0 0 0\n1 1 1\n"), "2 vertices but no faces: a point cloud"),
    "index_high.ply": (ply("0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n"), "index 7 in faces is out of range for 3 vertices"),
    "nan.ply": (ply("0 0 0\n1 nan 0\n0 1 0\n3 0 1 2\n"), "vertex 1 is not finite"),
    # OFF
    "cut.off": ("OFF\n3 2 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", "promises 3 vertices and 2 faces"),
    "cut_long.off": (
        "OFF\n3 2 0\n0.0000 0 0\n1.0000 0 0\n0 1 0.0000\n3 0 1 2\n",
        "1 faces found, the header promises 2",
    ),
    "billions.off": ("OFF\n999999999999 1 0\n0 0 0\n", "promises 999999999999 vertices"),
    "headless.off": ("0 0 0\n", "no OFF header"),
    "minus.off": ("OFF\n-3 1 0\n", "no OFF header"),
    "index_high.off": ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 5\n", "index 5 in faces is out of range for 3 vertices"),
    # STL
    "billions.stl": (b"x" * 80 + struct.pack("<I", 4_000_000_000) + b"\0" * 50, "promises 4000000000 triangles"),
    "cut.stl": (
        b"x" * 80 + struct.pack("<I", 2) + b"\0" * 60,
        "promises 2 triangles, at least 100 bytes, but there are 60",
    ),
    "none.stl": (b"x" * 80 + struct.pack("<I", 0), "no triangles found"),
    "short.stl": (b"abc", "shorter than an STL header"),
    "tail.stl": (b"x" * 80 + struct.pack("<I", 1) + b"\0" * 70, "20 bytes after the 1 triangles"),
    "cut_text.stl": ("solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\n", "without 'endsolid'"),
    "zeros.stl": (b"x" * 80 + struct.pack("<I", 1) + b"\0" * 50, "the faces have no area"),
    # GLB
    "headless.glb": (b"x" * 40, "no GLB header"),
    "cut.glb": (glb({"accessors": []}, body=b"\0" * 400)[:200], "the GLB header promises a file"),
    "billions.glb": (glb({"accessors": [{"count": 10**10}]}), "an array of 10000000000 elements"),
    "not_json.glb": (struct.pack("<4sIII4s", b"glTF", 2, 24, 4, b"JSON") + b"{{{{", "the GLB's JSON is damaged"),
    "nothing.glb": (glb({"asset": {"version": "2.0"}}), "no triangles found in it"),
    # VRML
    "cut.wrl": (wrl()[:-30], "a VRML array without its"),
    "cut_array.wrl": (wrl()[: wrl().index("1 0 0")], r"a VRML array without its '\]'"),
    "cut_node.wrl": (wrl()[:-2], "ends inside a node"),
    "version_1.wrl": ("#VRML V1.0 ascii\nSeparator { }", "VRML 1.0, expected VRML 2.0"),
    "prose.wrl": ("hello world", "'hello' is no VRML 2.0 node"),
    "no_faces.wrl": ("#VRML V2.0 utf8\nGroup { children [ ] }", "no IndexedFaceSet"),
    "nested.wrl": (DEEP_WRL, "nested more than 100 deep"),
    "cycle.wrl": ("#VRML V2.0 utf8\nDEF A Group { children [ USE A ] }", "no IndexedFaceSet"),
    "odd_count.wrl": (wrl(points="0 0 0, 1 0 0, 0 1"), "8 numbers, expected a multiple of 3"),
    "index_high.wrl": (wrl(index="0 1 7 -1"), "index 7 in faces is out of range"),
    "index_minus.wrl": (wrl(index="0 1 -2 -1"), "holds the index -2"),
    "two_corners.wrl": (wrl(index="0 1 2 -1 0 1 -1"), "a polygon of 2 corners"),
    "word.wrl": (wrl(points="0 0 0, 1 x 0, 0 1 0"), "Coordinate point: something that is not a number"),
    "proto.wrl": ("#VRML V2.0 utf8\nPROTO A [ ] { Group { } }", "PROTO definitions are not supported"),
    # Bosphorus
    "short.bnt": (b"\1\0\1\0", "4 bytes, shorter than a .bnt header"),
    "cut.bnt": (bnt(GRID)[:-8], "the .bnt header promises 503 bytes, the file has 495"),
    "cut_name.bnt": (bnt(GRID)[:18], "cut off in the image's name"),
    "lie.bnt": (bnt(GRID, rows=65535), "promises 60 numbers for a grid of 65535 x 4"),
    "billions.bnt": (bnt(GRID, count=4_000_000_000), "promises 4000000000 numbers"),
    "background.bnt": (bnt(np.full_like(GRID, -1e9)), "all 3 x 4 points are background"),
    "one_row.bnt": (bnt(GRID[:, :1]), "a point cloud"),
}


@pytest.mark.parametrize("name", FILES)
def test_hostile_file_is_refused_by_name_reason_and_remedy(tmp_path, name):
    content, reason = FILES[name]
    assert_refused(save(tmp_path / name, content), reason)


def sphere(suffix):
    content = trimesh.creation.icosphere(subdivisions=1).export(file_type=suffix)
    return content if isinstance(content, bytes) else content.encode()


WHOLE = {suffix: lambda suffix=suffix: sphere(suffix) for suffix in ("ply", "off", "stl", "stl_ascii", "glb")}
WHOLE |= {"wrl": lambda: wrl().encode(), "bnt": lambda: bnt(GRID)}


@pytest.mark.parametrize("suffix", WHOLE)
def test_file_cut_anywhere_is_refused(tmp_path, suffix):
    data = WHOLE[suffix]()
    path = tmp_path / f"cut.{suffix[:3]}"
    assert len(load_mesh(save(path, data), geometry_only=True).faces) > 0
    for end in np.linspace(0, len(data) - 4, 40).astype(int):
        with pytest.raises(ValueError, match=r"cut\.\w+: .*; "):
            load_mesh(save(path, data[:end]))


@pytest.mark.parametrize("suffix", [*WHOLE, "obj"])
def test_flipped_bytes_give_a_finite_mesh_or_a_value_error(tmp_path, suffix):
    data = WHOLE[suffix]() if suffix in WHOLE else sphere(suffix)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = np.frombuffer(data, np.uint8).copy()
        damaged[random.integers(len(data), size=3)] = random.integers(256, size=3)
        try:
            mesh = load_mesh(save(tmp_path / f"flip.{suffix[:3]}", damaged.tobytes()))
        except ValueError as error:
            refused += 1
            assert "flip." in str(error)
        else:
            assert np.isfinite(mesh.vertices).all() and mesh.faces.max() < len(mesh.vertices)
    assert refused > 0


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith((".obj", ".wrl")) and "uv" not in name])
def test_skipping_textures_does_not_skip_the_checks(tmp_path, name):
    with pytest.raises(ValueError, match=FILES[name][1]):
        load_mesh(save(tmp_path / name, FILES[name][0]), geometry_only=True)


# ---- things on the disk that are no files ----


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.obj: no such file; check the path"):
        load_mesh(tmp_path / "absent.obj")


def test_directory(tmp_path):
    (tmp_path / "folder.obj").mkdir()
    with pytest.raises(ValueError, match=r"folder\.obj: a directory"):
        load_mesh(tmp_path / "folder.obj")


def test_loop_of_links(tmp_path):
    (tmp_path / "a.obj").symlink_to("b.obj")
    (tmp_path / "b.obj").symlink_to("a.obj")
    with pytest.raises(ValueError, match=r"a\.obj: a loop of symbolic links"):
        load_mesh(tmp_path / "a.obj")


def test_dangling_link(tmp_path):
    (tmp_path / "a.obj").symlink_to("gone.obj")
    with pytest.raises(ValueError, match=r"a\.obj: no such file"):
        load_mesh(tmp_path / "a.obj")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.obj")
    with pytest.raises(ValueError, match=r"pipe\.obj: not a regular file"):
        load_mesh(tmp_path / "pipe.obj")


def test_no_permission(tmp_path, monkeypatch):
    path = save(tmp_path / "locked.obj", V)

    def refuse(self):
        raise PermissionError(13, "Permission denied")  # what the system says to anyone but root

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    with pytest.raises(ValueError, match=r"locked\.obj: no permission to read it"):
        load_mesh(path)


def test_larger_than_allowed(tmp_path):
    path = save(tmp_path / "large.obj", V + "f 1 2 3\n")
    with pytest.raises(ValueError, match=r"large\.obj: 32 bytes, more than max_bytes=31"):
        load_mesh(path, max_bytes=31)
    assert len(load_mesh(path, max_bytes=32).faces) == 1


def test_sparse_giant_is_refused_without_reading_it(tmp_path):
    with (tmp_path / "giant.ply").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match=r"giant\.ply: 1099511627776 bytes"):
        load_mesh(tmp_path / "giant.ply")


@pytest.mark.parametrize("path", ["", None, 3, b"", "a\0b.obj", "x" * 5000 + ".obj"])
def test_what_is_no_path(path):
    with pytest.raises(ValueError, match="path"):
        load_mesh(path)


def test_unknown_up_axis(tmp_path):
    with pytest.raises(ValueError, match="up_axis must be one of y, -y, .* got 'up'"):
        load_mesh(tmp_path / "a.obj", up_axis="up")


# ---- meshes in memory ----

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
ARRAYS = {
    "flat vertices": ({"vertices": CORNERS.ravel()}, r"vertices \(9,\) float32, expected \(n, 3\)"),
    "ragged vertices": ({"vertices": [[0, 0, 0], [1, 0]]}, "vertices is no array"),
    "text": ({"vertices": [["a", "b", "c"]]}, r"vertices \(1, 3\) <U1"),
    "complex": ({"vertices": CORNERS * 1j}, "vertices are complex"),
    "no vertices": ({"vertices": np.zeros((0, 3))}, "empty, no vertices"),
    "no faces": ({"faces": []}, "3 vertices but no faces: a point cloud"),
    "quads": ({"faces": [[0, 1, 2, 0]]}, r"faces \(1, 4\) int64"),
    "float faces": ({"faces": [[0.0, 1.0, 2.0]]}, "faces .* float64, expected .* integer"),
    "negative index": ({"faces": [[0, 1, -1]]}, "index -1 in faces is out of range for 3 vertices"),
    "high index": ({"faces": [[0, 1, 3]]}, "index 3 in faces is out of range for 3 vertices"),
    "nan": ({"vertices": CORNERS * [1, np.nan, 1]}, "vertex 0 is not finite"),
    "no area": ({"faces": [[0, 1, 1]]}, "no area"),
    "uvs alone": ({"uvs": CORNERS[:, :2]}, "uvs and uv_faces must be given together"),
    "too few uv_faces": ({"uvs": CORNERS[:, :2], "uv_faces": np.zeros((0, 3), int)}, "0 uv_faces for 1 faces"),
    "uv index": ({"uvs": CORNERS[:, :2], "uv_faces": [[0, 1, 9]]}, "index 9 in uv_faces is out of range for 3 uvs"),
    "float texture": ({"texture": np.zeros((2, 2, 3))}, r"texture \(2, 2, 3\) float64, expected \(h, w, 3\) uint8"),
    "gray texture": ({"texture": np.zeros((2, 2), np.uint8)}, r"texture \(2, 2\) uint8"),
    "colour per face": (
        {"vertex_colors": np.zeros((1, 3), np.uint8)},
        r"vertex_colors \(1, 3\) uint8, expected \(3, 3\)",
    ),
}


@pytest.mark.parametrize("changes, reason", ARRAYS.values(), ids=ARRAYS.keys())
def test_hostile_arrays_are_refused(changes, reason):
    with pytest.raises(ValueError, match=r"^mesh: .*" + reason):
        check_mesh(Mesh(**{"vertices": CORNERS, "faces": [[0, 1, 2]], **changes}))


def test_uvs_that_no_face_uses_become_numbers():
    uvs = np.array([[0, 0], [1, 0], [0, 1], [np.nan, 1e39]])
    mesh = check_mesh(Mesh(CORNERS, [[0, 1, 2]], uvs=uvs, uv_faces=[[0, 1, 2]]))
    assert mesh.uvs.tolist() == [[0, 0], [1, 0], [0, 1], [0, 0]]


@pytest.mark.parametrize("thing", [None, 3, [CORNERS], {"vertices": CORNERS}, {"vertices": 1, "faces": 1, "colour": 1}])
def test_as_mesh_refuses_what_is_no_mesh(thing):
    with pytest.raises(ValueError, match="expected a (path|dict)"):
        as_mesh(thing)


def test_the_sign_for_lost_bytes_is_allowed_in_text(tmp_path):
    path = save(tmp_path / "a.obj", "# caf\ufffd\n" + V + "f 1 2 3\n")
    assert len(load_mesh(path).faces) == 1


def test_point_clouds_are_refused_with_a_way_to_a_surface(tmp_path):
    for name, content in (("a.obj", V), ("a.ply", PLY.format("ascii", 2) + "end_header\n0 0 0\n1 1 1\n")):
        assert_refused(save(tmp_path / name, content), "a point cloud; .*Poisson")
    with pytest.raises(ValueError, match="mesh: 3 vertices but no faces: a point cloud; .*Poisson"):
        check_mesh(Mesh(CORNERS, np.zeros((0, 3), int)))


def test_what_trimesh_logs_while_we_read_is_silent_and_only_that(tmp_path, caplog):
    text = ply("0 0 0 0 0\n1 0 0 1 0\n0 1 0 0 1\n3 0 1 2\n").decode()
    text = text.replace("1.0\n", "1.0\ncomment TextureFile gone.png\n", 1)
    text = text.replace("float z\n", "float z\nproperty float s\nproperty float t\n")
    log = logging.getLogger("trimesh.util")

    sphere_bytes, whole = WHOLE["stl"](), trimesh.creation.icosphere(subdivisions=1)
    caplog.clear()

    def from_another_thread(*_, **__):
        thread = threading.Thread(target=log.warning, args=("somebody else's",))
        thread.start()
        thread.join()
        log.warning("ours")
        return whole

    with caplog.at_level(logging.DEBUG):
        with pytest.warns(UserWarning, match=r"gone\.png is missing"):
            load_mesh(save(tmp_path / "a.ply", text))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trimesh, "load_mesh", from_another_thread)
            load_mesh(save(tmp_path / "a.stl", sphere_bytes))
        log.warning("theirs")
    said = [record.getMessage() for record in caplog.records if record.name.startswith("trimesh")]
    assert said == ["somebody else's", "theirs"]


def test_without_trimesh_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(ValueError, match=r"a\.stl: reading \.stl needs trimesh; pip install"):
        load_mesh(save(tmp_path / "a.stl", sphere("stl")))
    assert len(load_mesh(save(tmp_path / "a.obj", V + "f 1 2 3\n")).faces) == 1
