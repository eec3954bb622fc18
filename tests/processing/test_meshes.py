"""Each reader against trimesh or against values written by hand."""

import pickle
import struct
import unicodedata
import warnings

import numpy as np
import pytest
import trimesh
from PIL import Image

from processing.meshes_mvfer import Mesh, as_mesh, check_mesh, load_mesh

TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)


@pytest.fixture(scope="module")
def bump():
    """A 9 x 9 grid of points on a smooth bump, 128 triangles."""
    x, y = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 9))
    vertices = np.stack([x, y, np.exp(-(x**2) - y**2)], -1).reshape(-1, 3)
    index = np.arange(81).reshape(9, 9)
    first = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:]], -1).reshape(-1, 3)
    second = np.stack([index[:-1, :-1], index[1:, 1:], index[1:, :-1]], -1).reshape(-1, 3)
    return trimesh.Trimesh(vertices, np.concatenate([first, second]), process=False)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def save_image(path, color=(10, 200, 30), size=(4, 2)):
    Image.new("RGB", size, color).save(path)
    return path


def corners(mesh):
    """Triangles as coordinates, sorted, so that the numbering of vertices does not matter."""
    triangles = np.asarray(mesh.vertices)[np.asarray(mesh.faces)].reshape(-1, 9)
    return triangles[np.lexsort(np.round(triangles.T, 4))]


# ---- OBJ ----


def test_obj_equals_trimesh_vertex_by_vertex(bump, tmp_path):
    bump.export(tmp_path / "bump.obj")
    mesh = load_mesh(tmp_path / "bump.obj")
    reference = trimesh.load_mesh(tmp_path / "bump.obj", process=False)
    np.testing.assert_array_equal(mesh.vertices, reference.vertices.astype(np.float32))
    np.testing.assert_array_equal(mesh.faces, reference.faces)
    assert (mesh.vertices.dtype, mesh.faces.dtype) == (np.float32, np.int64)
    assert mesh.source == str(tmp_path / "bump.obj")


def test_obj_numbers_are_read_bit_for_bit(tmp_path):
    numbers = ["0.1", "-12.345678", "1e-3", "5.", "-.5", "+3", "123456789.123456789012345", "-1.5E+2", "7"]
    rows = "\n".join(f"v {a} {b} {c}" for a, b, c in zip(*[iter(numbers)] * 3, strict=True))
    mesh = load_mesh(write(tmp_path / "n.obj", rows + "\nf 1 2 3\n"))
    np.testing.assert_array_equal(mesh.vertices.ravel(), np.array([float(n) for n in numbers]).astype(np.float32))


def test_obj_polygons_become_fans_in_file_order(tmp_path):
    points = "".join(f"v {np.cos(a):.4f} {np.sin(a):.4f} 0\n" for a in np.arange(5))
    mesh = load_mesh(write(tmp_path / "p.obj", points + "f 1 2 3\nf 1 2 3 4\nf 1 2 3 4 5\n"))
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 3], [0, 1, 2], [0, 2, 3], [0, 3, 4]]


def test_obj_negative_indices_count_back_from_their_own_line(tmp_path):
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\nv 5 0 0\nv 6 0 0\nv 5 1 0\nf -3 -2 -1\nf 1 -1 2\n"
    assert load_mesh(write(tmp_path / "n.obj", text)).faces.tolist() == [[0, 1, 2], [3, 4, 5], [0, 5, 1]]


VT = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0.1 0.2\nvt 0.3 0.4\nvt 0.5 0.6 0.0\nvn 0 0 1\n"


@pytest.mark.parametrize("face", ["f 1/3 2/1 3/2", "f 1/3/1 2/1/1 3/2/1", "f 1/-1 2/-3 3/-2", "f 1/3/1 2/1 3/2/1"])
def test_obj_uv_indices_are_separate_from_vertex_indices(tmp_path, face):
    mesh = load_mesh(write(tmp_path / "uv.obj", VT + face + "\n"))
    assert mesh.faces.tolist() == [[0, 1, 2]]
    np.testing.assert_allclose(mesh.uvs[mesh.uv_faces[0]], [[0.5, 0.6], [0.1, 0.2], [0.3, 0.4]], atol=1e-7)


@pytest.mark.parametrize("face", ["f 1//1 2//1 3//1", "f 1 2 3"])
def test_obj_faces_without_uv_give_no_uvs(tmp_path, face):
    mesh = load_mesh(write(tmp_path / "n.obj", VT + face + "\n"))
    assert mesh.faces.tolist() == [[0, 1, 2]]
    assert mesh.uvs is None and mesh.uv_faces is None


def test_obj_corners_without_uv_share_one_extra_uv(tmp_path):
    mesh = load_mesh(write(tmp_path / "mixed.obj", VT + "f 1/1 2/2 3/3\nf 1//1 3//1 2//1\n"))
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 1]]
    assert mesh.uv_faces.tolist() == [[0, 1, 2], [3, 3, 3]]
    assert mesh.uvs[3].tolist() == [0, 0]


@pytest.mark.parametrize("scale, expected", [("1 0 0.5", [255, 0, 128]), ("255 0 128", [255, 0, 128])])
def test_obj_vertex_colors_follow_the_coordinates(tmp_path, scale, expected):
    text = f"v 0 0 0 {scale}\nv 1 0 0 {scale}\nv 0 1 0 {scale}\nf 1 2 3\n"
    mesh = load_mesh(write(tmp_path / "c.obj", text))
    assert mesh.vertex_colors.tolist() == [expected] * 3
    np.testing.assert_array_equal(mesh.vertices, TRIANGLE)
    assert load_mesh(tmp_path / "c.obj", geometry_only=True).vertex_colors is None


PLAIN = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
ODD_OBJ = {
    "windows line ends": PLAIN.replace("\n", "\r\n"),
    "old mac line ends": PLAIN.replace("\n", "\r"),
    "no last line break": PLAIN.rstrip(),
    "byte order mark": "\ufeff" + PLAIN,
    "indented with tabs": PLAIN.replace("v ", "\tv\t").replace("f ", "  f   "),
    "trailing comments": PLAIN.replace("\n", " # v 9 9 9\n"),
    "groups and a line": "o face\ng skin\n" + PLAIN + "s off\nl 1 2\n",
    "w coordinate": PLAIN.replace("0 0\n", "0 0 1\n", 1)
    .replace("v 1 0 0", "v 1 0 0 1")
    .replace("v 0 1 0", "v 0 1 0 1"),
    "colour on one vertex only": PLAIN.replace("v 1 0 0", "v 1 0 0 0.5 0.5 0.5"),
    "continued line": PLAIN.replace("f 1 2 3", "f 1 2 \\\n 3"),
    "faces before vertices": "f 1 2 3\n" + PLAIN[:-8],
    "extra whitespace": PLAIN.replace(" ", "   "),
}


@pytest.mark.parametrize("text", ODD_OBJ.values(), ids=ODD_OBJ.keys())
def test_odd_but_valid_obj_is_the_same_triangle(tmp_path, text):
    path = tmp_path / "odd.obj"
    path.write_bytes(text.encode())
    mesh = load_mesh(path)
    np.testing.assert_array_equal(mesh.vertices, TRIANGLE)
    assert mesh.faces.tolist() == [[0, 1, 2]]


def test_obj_texture_comes_from_the_material_of_most_faces(tmp_path):
    save_image(tmp_path / "skin tone.png", (1, 2, 3))
    save_image(tmp_path / "eye.png", (9, 9, 9))
    write(tmp_path / "m.mtl", "newmtl skin\nmap_Kd skin tone.png\nnewmtl eye\nmap_Kd -clamp on eye.png\nnewmtl none\n")
    faces = "usemtl eye\nf 1/1 2/2 3/3\nusemtl skin\n" + "f 1/1 2/2 3/3\n" * 3 + "usemtl none\n" + "f 1/1 2/2 3/3\n" * 9
    with pytest.warns(UserWarning, match="several textures"):
        mesh = load_mesh(write(tmp_path / "m.obj", "mtllib m.mtl\n" + VT + faces))
    assert mesh.texture.shape == (2, 4, 3) and mesh.texture.dtype == np.uint8
    assert mesh.texture[0, 0].tolist() == [1, 2, 3]
    assert load_mesh(tmp_path / "m.obj", geometry_only=True).texture is None


@pytest.mark.parametrize("missing", ["m.mtl", "skin.png"])
def test_missing_texture_or_material_file_is_a_warning_that_names_it(tmp_path, missing):
    if missing != "m.mtl":
        write(tmp_path / "m.mtl", "newmtl skin\nmap_Kd skin.png\n")
    path = write(tmp_path / "m.obj", "mtllib m.mtl\nusemtl skin\n" + VT + "f 1/1 2/2 3/3\n")
    with pytest.warns(UserWarning, match=missing):
        mesh = load_mesh(path)
    assert mesh.texture is None and mesh.uvs is not None


def test_japanese_names_work_for_mesh_material_and_texture(tmp_path):
    folder = tmp_path / "顔データ"
    folder.mkdir()
    save_image(folder / unicodedata.normalize("NFD", "がぞう.png"), (5, 6, 7))  # decomposed, as macOS stores it
    (folder / "材質.mtl").write_bytes("newmtl 肌\nmap_Kd がぞう.png\n".encode("cp932"))
    mesh = load_mesh(write(folder / "笑顔.obj", "mtllib 材質.mtl\nusemtl 肌\n" + VT + "f 1/1 2/2 3/3\n"))
    assert mesh.source.endswith("笑顔.obj")
    assert mesh.texture[0, 0].tolist() == [5, 6, 7]


def test_cp932_material_that_ends_in_a_backslash_byte_does_not_swallow_the_next_line(tmp_path):
    (tmp_path / "m.obj").write_bytes(PLAIN.replace("f ", "usemtl 表\nf ").encode("cp932"))
    assert load_mesh(tmp_path / "m.obj").faces.tolist() == [[0, 1, 2]]


def test_textures_in_a_folder_below_and_with_backslashes_are_found(tmp_path):
    (tmp_path / "tex").mkdir()
    save_image(tmp_path / "tex" / "skin.png", (5, 6, 7))
    write(tmp_path / "m.mtl", "newmtl skin\nmap_Kd tex\\skin.png\n")
    mesh = load_mesh(write(tmp_path / "m.obj", "mtllib m.mtl\nusemtl skin\n" + VT + "f 1/1 2/2 3/3\n"))
    assert mesh.texture[0, 0].tolist() == [5, 6, 7]


def test_textures_linked_into_the_hub_cache_are_followed(tmp_path):
    blobs, snapshot = tmp_path / "datasets--a--b" / "blobs", tmp_path / "datasets--a--b" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    Image.new("RGB", (2, 2), (5, 6, 7)).save(blobs / "0f", format="PNG")
    write(blobs / "1a", "newmtl skin\nmap_Kd skin.png\n")
    write(blobs / "2b", "mtllib m.mtl\nusemtl skin\n" + VT + "f 1/1 2/2 3/3\n")
    for name, blob in (("skin.png", "0f"), ("m.mtl", "1a"), ("m.obj", "2b")):
        (snapshot / name).symlink_to(f"../../blobs/{blob}")
    assert load_mesh(snapshot / "m.obj").texture[0, 0].tolist() == [5, 6, 7]


# ---- formats read through trimesh ----


@pytest.mark.parametrize("suffix", ["ply", "off", "stl", "glb", "obj"])
def test_every_format_gives_the_same_triangles(bump, tmp_path, suffix):
    path = tmp_path / f"bump.{suffix.upper()}"
    path.write_bytes(as_bytes(bump.export(file_type=suffix)))
    mesh = load_mesh(path)
    assert mesh.vertices.shape == (81, 3) and mesh.faces.shape == (128, 3)
    np.testing.assert_allclose(corners(mesh), corners(bump), atol=1e-6)


def test_text_forms_of_ply_and_stl_give_the_same_triangles(bump, tmp_path):
    (tmp_path / "a.ply").write_bytes(bump.export(file_type="ply", encoding="ascii"))
    (tmp_path / "a.stl").write_text(bump.export(file_type="stl_ascii"))
    for name in ("a.ply", "a.stl"):
        mesh = load_mesh(tmp_path / name)
        assert mesh.vertices.shape == (81, 3)
        np.testing.assert_allclose(corners(mesh), corners(bump), atol=1e-6)


def as_bytes(content):
    return content.encode() if isinstance(content, str) else content


def test_ply_keeps_the_order_of_vertices_and_their_colors(bump, tmp_path):
    colored = bump.copy()
    colored.visual.vertex_colors = np.arange(81 * 4, dtype=np.uint8).reshape(81, 4)
    colored.export(tmp_path / "c.ply")
    mesh = load_mesh(tmp_path / "c.ply")
    np.testing.assert_allclose(mesh.vertices, bump.vertices, atol=1e-7)
    np.testing.assert_array_equal(mesh.vertex_colors, colored.visual.vertex_colors[:, :3])


def test_ply_texture_is_named_in_its_comment(tmp_path):
    save_image(tmp_path / "skin.png", (5, 6, 7))
    header = (
        "ply\nformat ascii 1.0\ncomment TextureFile skin.png\nelement vertex 3\nproperty float x\nproperty float y\n"
        "property float z\nproperty float s\nproperty float t\nelement face 1\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    mesh = load_mesh(write(tmp_path / "t.ply", header + "0 0 0 0.1 0.2\n1 0 0 0.3 0.4\n0 1 0 0.5 0.6\n3 0 1 2\n"))
    np.testing.assert_allclose(mesh.uvs[mesh.uv_faces[0]], [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], atol=1e-6)
    assert mesh.texture[0, 0].tolist() == [5, 6, 7]


def test_glb_texture_and_uvs_survive_and_seams_are_welded(tmp_path):
    vertices = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    uvs = np.array([[0, 0], [0.5, 0], [0.5, 1], [0.6, 0], [1, 1], [0.6, 1]])
    image = Image.new("RGB", (4, 2), (5, 6, 7))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=image)
    visual = trimesh.visual.TextureVisuals(uv=uvs, material=material)
    trimesh.Trimesh(vertices, [[0, 1, 2], [3, 4, 5]], visual=visual, process=False).export(tmp_path / "t.glb")
    mesh = load_mesh(tmp_path / "t.glb")
    assert mesh.vertices.shape == (4, 3) and mesh.uvs.shape == (6, 2)
    np.testing.assert_allclose(mesh.vertices[mesh.faces].reshape(-1, 3), vertices, atol=1e-6)
    np.testing.assert_allclose(mesh.uvs[mesh.uv_faces].reshape(-1, 2), uvs, atol=1e-6)
    assert mesh.texture.shape == (2, 4, 3) and mesh.texture[0, 0].tolist() == [5, 6, 7]


def test_off_polygons_become_triangles(tmp_path):
    text = "OFF # a square\n4 1 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n4 0 1 2 3\n"
    mesh = load_mesh(write(tmp_path / "q.off", text))
    assert mesh.faces.shape == (2, 3)
    area = 0.5 * np.linalg.norm(
        np.cross(*(mesh.vertices[mesh.faces[:, i]] - mesh.vertices[mesh.faces[:, 0]] for i in (1, 2))), axis=1
    )
    assert area.sum() == pytest.approx(1)


# ---- VRML ----

WRL = """#VRML V2.0 utf8
# a scan, 4 points [ { "
Group { children [ Shape {
  appearance Appearance { texture DEF T ImageTexture { url "face.bmp" } }
  geometry IndexedFaceSet {
    coord DEF C Coordinate { point [ 0 0 0, 1 0 0,
      1 1 0 , 0 1 0.5, ] }
    normal Normal { vector [ 0 0 1, 0 0 1 ] }
    texCoord TextureCoordinate { point [0.0 0.0, 1.0 0.0, 1.0 1.0, 0.0 1.0] }
    coordIndex [ 0, 1, 2, 3, -1, 0 2 3 -1 ]
    texCoordIndex [ 0,1,2,3,-1, 0,2,3 ]
  } } ] }
"""


def test_wrl_quads_uvs_and_texture_as_in_bu3dfe(tmp_path):
    save_image(tmp_path / "face.bmp", (5, 6, 7))
    mesh = load_mesh(write(tmp_path / "F0001_AN01WH_F3D.wrl", WRL))
    np.testing.assert_array_equal(mesh.vertices, np.float32([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.5]]))
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 2, 3]]
    assert mesh.uv_faces.tolist() == mesh.faces.tolist()
    assert mesh.uvs.tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]
    assert mesh.texture[0, 0].tolist() == [5, 6, 7]


@pytest.mark.parametrize("kind", ["F3D", "RAW"])
@pytest.mark.parametrize("image", ["F3D.bmp", "F3D.BMP", "F3D.jpg"])
def test_wrl_texture_falls_back_to_the_atlas_of_bu3dfe_and_never_to_its_photo(tmp_path, kind, image):
    save_image(tmp_path / "F0001_AN01WH_F2D.bmp", (0, 0, 0), (2, 2))
    text = WRL.replace('ImageTexture { url "face.bmp" }', "NULL").replace("DEF T ", "")
    scan = write(tmp_path / f"F0001_AN01WH_{kind}.wrl", text)
    assert load_mesh(scan).texture is None
    save_image(tmp_path / f"F0001_AN01WH_{image}", (0, 0, 0), (6, 3))
    assert load_mesh(scan).texture.shape == (3, 6, 3)


def test_wrl_missing_texture_is_a_warning_that_names_it(tmp_path):
    with pytest.warns(UserWarning, match="face.bmp"):
        assert load_mesh(write(tmp_path / "m.wrl", WRL)).texture is None


def test_wrl_faces_may_stand_in_texcoordindex_only_as_in_bu4dfe(tmp_path):
    text = WRL.replace("coordIndex [ 0, 1, 2, 3, -1, 0 2 3 -1 ]", "")
    save_image(tmp_path / "000.jpg")
    mesh = load_mesh(write(tmp_path / "000.wrl", text.replace("\n", "\r\n")))
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 2, 3]]


def test_wrl_colors_belong_to_vertices(tmp_path):
    colors = "color Color { color [1 0 0, 0 1 0, 0 0 1, 1 1 1] } coordIndex [0 1 2 -1]"
    text = (
        WRL.replace("coordIndex [ 0, 1, 2, 3, -1, 0 2 3 -1 ]", colors)
        .replace(", 0,2,3 ]", "]")
        .replace("0,1,2,3,-1", "0,1,2,-1")
    )
    save_image(tmp_path / "c.png")
    mesh = load_mesh(write(tmp_path / "c.wrl", text))
    assert mesh.vertex_colors.tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]


def test_wrl_shapes_are_joined_under_their_transforms(tmp_path):
    shape = "Shape { geometry IndexedFaceSet { coord Coordinate { point [1 0 0 0 1 0 0 0 1] } coordIndex [0 1 2] } }"
    text = f"""#VRML V2.0 utf8
    DEF A {shape}
    Transform {{ translation 10 0 0 rotation 0 0 1 1.5707963 scale 2 2 2 children [ USE A ] }}"""
    mesh = load_mesh(write(tmp_path / "two.wrl", text))
    assert mesh.faces.tolist() == [[0, 1, 2], [3, 4, 5]]
    np.testing.assert_allclose(mesh.vertices[3:], [[10, 2, 0], [8, 0, 0], [10, 0, 2]], atol=1e-5)


# ---- Bosphorus ----


def bnt_bytes(points, background=-1e9, name=b"bs000_N_N_0.png"):
    """points (5, rows, columns)."""
    _, rows, columns = points.shape
    header = struct.pack("<HHdH", rows, columns, background, len(name)) + name + struct.pack("<I", points.size)
    return header + points.astype("<f8").tobytes()


def bnt_grid(rows=4, columns=5):
    """A slope; the first row is the bottom, where v, which counts from the top, is 1."""
    y, x = np.meshgrid(np.arange(rows, dtype=float), np.arange(columns, dtype=float), indexing="ij")
    return np.stack([x, y, 0.5 * x, x / (columns - 1), 1 - y / (rows - 1)])


def test_bnt_grid_becomes_two_triangles_per_cell_facing_the_viewer(tmp_path):
    (tmp_path / "bs000_N_N_0.bnt").write_bytes(bnt_bytes(bnt_grid()))
    save_image(tmp_path / "bs000_N_N_0.png", (5, 6, 7))
    mesh = load_mesh(tmp_path / "bs000_N_N_0.bnt")
    assert mesh.vertices.shape == (20, 3) and mesh.faces.shape == (2 * 3 * 4, 3)
    assert mesh.vertices[6].tolist() == [1, 1, 0.5]  # second row from the bottom, second column
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()
    assert mesh.uvs[6].tolist() == pytest.approx([1 / 4, 1 / 3])
    assert mesh.texture[0, 0].tolist() == [5, 6, 7]


def test_bnt_top_row_shows_the_top_of_its_picture(tmp_path):
    (tmp_path / "a.bnt").write_bytes(bnt_bytes(bnt_grid()))
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2, :, 0] = 255  # red above
    Image.fromarray(pixels).save(tmp_path / "a.png")
    mesh = load_mesh(tmp_path / "a.bnt")
    top = mesh.vertices[mesh.faces][..., 1] == mesh.vertices[:, 1].max()
    assert mesh.uvs[mesh.uv_faces][top][:, 1] == pytest.approx(1)  # a Mesh's v is 1 at the texture's first row
    assert mesh.texture[0, 0].tolist() == [255, 0, 0]


def test_bnt_background_and_depth_jumps_are_holes(tmp_path):
    points = bnt_grid(6, 6)
    points[2, 0, 0] = -1e9  # a corner is background: its cell's two triangles go
    points[2, :, 3:] += 100  # a cliff between columns 2 and 3: five cells go
    (tmp_path / "hole.bnt").write_bytes(bnt_bytes(points))
    mesh = load_mesh(tmp_path / "hole.bnt")
    assert mesh.vertices.shape == (35, 3)
    assert len(mesh.faces) == 2 * 25 - 2 - 2 * 5
    assert np.ptp(mesh.vertices[mesh.faces][..., 2], axis=1).max() < 2


def test_bnt_mirrored_columns_still_face_the_viewer(tmp_path):
    (tmp_path / "m.bnt").write_bytes(bnt_bytes(bnt_grid()[:, :, ::-1]))
    mesh = load_mesh(tmp_path / "m.bnt")
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()


# ---- the door ----


@pytest.mark.parametrize(
    "up_axis, up, looks",
    [("y", "y", "z"), ("-y", "-y", "-z"), ("z", "z", "-y"), ("-z", "-z", "y"), ("x", "x", "z"), ("-x", "-x", "z")],
)
def test_up_axis_turns_the_file_into_our_coordinates_without_mirroring(tmp_path, up_axis, up, looks):
    def axis(name):
        return np.eye(3)["xyz".index(name[-1])] * (-1 if name[0] == "-" else 1)

    rows = [np.cross(axis(up), axis(looks)), axis(up), axis(looks)]  # the viewer's right, up, towards the viewer
    text = "".join("v {} {} {}\n".format(*row) for row in rows) + "f 1 2 3\n"
    np.testing.assert_allclose(
        load_mesh(write(tmp_path / "a.obj", text), up_axis=up_axis).vertices, np.eye(3), atol=1e-7
    )


def test_as_mesh_takes_path_mesh_trimesh_and_dict(bump, tmp_path):
    bump.export(tmp_path / "b.ply")
    mesh = load_mesh(tmp_path / "b.ply")
    fields = {"vertices": bump.vertices.tolist(), "faces": bump.faces.tolist()}
    for same in (str(tmp_path / "b.ply"), tmp_path / "b.ply", mesh, bump, fields):
        np.testing.assert_allclose(as_mesh(same).vertices, mesh.vertices, atol=1e-7)
        np.testing.assert_array_equal(as_mesh(same).faces, mesh.faces)


def test_check_mesh_gives_the_promised_types_and_is_idempotent():
    mesh = check_mesh(Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.array([[0, 1, 2]], np.uint16)))
    assert (mesh.vertices.dtype, mesh.faces.dtype) == (np.float32, np.int64)
    again = check_mesh(mesh)
    assert again.vertices is mesh.vertices and again.faces is mesh.faces


def test_unused_vertices_and_single_degenerate_faces_are_fine(tmp_path):
    mesh = load_mesh(write(tmp_path / "d.obj", PLAIN + "v 9 9 9\nf 1 1 2\n"))
    assert mesh.vertices.shape == (4, 3) and mesh.faces.shape == (2, 3)


def test_tiny_and_far_away_meshes_are_fine():
    check_mesh(Mesh(TRIANGLE * 1e-6, [[0, 1, 2]]))
    check_mesh(Mesh(TRIANGLE * 100 + 5000, [[0, 1, 2]]))


def test_mesh_survives_pickling_for_worker_processes():
    mesh = pickle.loads(pickle.dumps(check_mesh(Mesh(TRIANGLE, [[0, 1, 2]]))))
    np.testing.assert_array_equal(mesh.vertices, TRIANGLE)


def test_loading_a_clean_mesh_warns_of_nothing(bump, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for suffix in ("obj", "ply", "stl", "off", "glb"):
            bump.export(tmp_path / f"b.{suffix}")
            load_mesh(tmp_path / f"b.{suffix}")
