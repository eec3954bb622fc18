"""glTF scenes, made byte by byte: what the reader shows is what the specification's formulas give."""

import base64
import json

import numpy as np
import pytest
import trimesh

from processing.meshes_mvfer import load_mesh

from .gltf_files import SQUARE, TWO, Gltf, png
from .mesh_files import assert_refused, save

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def triangles(mesh):
    """(M, 3, 3), in the file's order."""
    return mesh.vertices[mesh.faces]


def colors_at_corners(mesh):
    """(M, 3, 3) uint8: the texture's nearest pixel to each corner's uv; v runs upwards."""
    height, width = mesh.texture.shape[:2]
    u, v = np.moveaxis(mesh.uvs[mesh.uv_faces], -1, 0)
    column, row = np.floor(u * width).astype(int), np.floor((1 - v) * height).astype(int)
    return mesh.texture[row.clip(0, height - 1), column.clip(0, width - 1)]


# ---- what moves the vertices ----

LIFT = np.array([[0, 0, 1], [0, 0, 2], [0, 0, 3], [0, 0, 4]], np.float32)
PULL = np.array([[1, 0, 0]] * 4, np.float32)


@pytest.mark.parametrize(
    "mesh_weights, node_weights, expected",
    [([1.0, 0.0], None, SQUARE + LIFT), ([1.0, 0.5], None, SQUARE + LIFT + 0.5 * PULL), (None, None, SQUARE)]
    + [([1.0, 1.0], [0.25, 0.0], SQUARE + 0.25 * LIFT), (None, [0.0, -1.0], SQUARE - PULL)],
)
def test_morph_weights_of_the_node_go_before_those_of_the_mesh(tmp_path, mesh_weights, node_weights, expected):
    scene = Gltf.with_square()
    scene.primitive["targets"] = [{"POSITION": scene.array(delta)} for delta in (LIFT, PULL)]
    if mesh_weights:
        scene.document["meshes"][0]["weights"] = mesh_weights
    if node_weights:
        scene.document["nodes"][0]["weights"] = node_weights
    np.testing.assert_allclose(triangles(scene.load(tmp_path)).reshape(-1, 3), expected[TWO], atol=1e-6)


def test_a_morph_target_may_be_sparse_and_without_data_of_its_own(tmp_path):
    scene = Gltf.with_square()
    sparse = scene.array(np.zeros((4, 3)), data=False, sparse={3: (0, 0, 7)})
    scene.primitive["targets"] = [{"POSITION": sparse}]
    scene.document["meshes"][0]["weights"] = [1]
    expected = SQUARE + np.array([[0], [0], [0], [1]]) * np.array([0, 0, 7])
    np.testing.assert_allclose(triangles(scene.load(tmp_path)).reshape(-1, 3), expected[TWO], atol=1e-6)


def test_sparse_values_replace_those_of_the_base(tmp_path):
    scene = Gltf.with_square()
    scene.primitive["attributes"]["POSITION"] = scene.array(SQUARE, sparse={1: (5, 0, 0), 3: (0, 5, 0)})
    expected = np.array([[0, 0, 0], [5, 0, 0], [1, 1, 0], [0, 5, 0]])
    np.testing.assert_array_equal(triangles(scene.load(tmp_path)).reshape(-1, 3), expected[TWO])


def turn(axis, degrees):
    """Quaternion x, y, z, w."""
    half = np.radians(degrees) / 2
    return [*(np.sin(half) * np.asarray(axis, float)).tolist(), float(np.cos(half))]


def matrix(node):
    """(4, 4) of translation, rotation and scale, by trimesh's own functions."""
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    result = trimesh.transformations.quaternion_matrix([w, x, y, z])
    result[:3, :3] = result[:3, :3] @ np.diag(node.get("scale", (1, 1, 1)))
    result[:3, 3] = node.get("translation", (0, 0, 0))
    return result


def test_nodes_place_their_meshes_under_their_parents(tmp_path):
    parent = {"rotation": turn([0, 0, 1], 90), "scale": [2, 2, 2], "translation": [1, 2, 3], "children": [1]}
    child = {"mesh": 0, "matrix": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 10, 0, 0, 1]}  # by columns: a shift along x
    scene = Gltf.with_square()
    scene.document["nodes"] = [parent, child]
    expected = trimesh.transform_points(SQUARE + [10, 0, 0], matrix(parent))
    np.testing.assert_allclose(triangles(scene.load(tmp_path)).reshape(-1, 3), expected[TWO], atol=1e-5)


def test_a_mirroring_node_turns_the_corners_round_so_that_faces_look_outwards(tmp_path):
    scene = Gltf.with_square()
    scene.document["nodes"][0]["scale"] = [-1, 1, 1]
    expected = (SQUARE * [-1, 1, 1])[TWO.reshape(-1, 3)[:, ::-1].ravel()]
    np.testing.assert_allclose(triangles(scene.load(tmp_path)).reshape(-1, 3), expected, atol=1e-6)


ARMATURE = {"rotation": turn([1, 0, 0], 90), "scale": [0.01] * 3, "children": [1, 2]}
HEAD = {"mesh": 0, "skin": 0, "translation": [99, 99, 99]}  # where a skinned mesh itself stands does not count
JAW = {"rotation": turn([1, 0, 0], 20), "translation": [0, 5, 0], "scale": [100] * 3}
WEIGHTS = np.array([[1, 0, 0, 0], [0.25, 0.75, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
JOINTS = np.array([[0, 1, 0, 0]] * 3 + [[1, 0, 0, 0]])


def test_a_skin_moves_every_vertex_by_its_joints(tmp_path):
    scene = Gltf.with_square(skins=[{"joints": [0, 2]}])
    scene.document["nodes"] = [ARMATURE, HEAD, JAW]
    inverse = np.random.default_rng(0).normal(size=(2, 4, 4))
    inverse[:, 3] = [0, 0, 0, 1]
    scene.document["skins"][0]["inverseBindMatrices"] = scene.array(inverse.transpose(0, 2, 1).reshape(2, 16))
    scene.primitive["attributes"] |= {"JOINTS_0": scene.array(JOINTS, "u1"), "WEIGHTS_0": scene.array(WEIGHTS)}
    world = [matrix(ARMATURE), matrix(ARMATURE) @ matrix(JAW)]
    expected = []
    for vertex, joints, weights in zip(
        SQUARE, JOINTS, [*WEIGHTS[:3], [1, 0, 0, 0]], strict=True
    ):  # no weights: the first
        moved = [world[j] @ inverse[j] @ [*vertex, 1] for j in joints]
        expected.append(sum(w * point for w, point in zip(weights, moved, strict=True))[:3])
    np.testing.assert_allclose(
        triangles(scene.load(tmp_path)).reshape(-1, 3), np.array(expected)[TWO], rtol=1e-4, atol=1e-5
    )


def test_weights_are_brought_to_a_sum_of_one_over_all_sets_of_joints(tmp_path):
    scene = Gltf.with_square(skins=[{"joints": [1, 2]}])
    scene.document["nodes"] = [{"mesh": 0, "skin": 0}, {"translation": [4, 0, 0]}, {"translation": [0, 0, 8]}]
    first, second = (scene.array([[j, 0, 0, 0]] * 4, "u2") for j in (0, 1))
    weights = [scene.array([[w, 0, 0, 0]] * 4) for w in (0.5, 1.5)]
    names = ("JOINTS_0", "JOINTS_1", "WEIGHTS_0", "WEIGHTS_1")
    scene.primitive["attributes"] |= dict(zip(names, [first, second, *weights], strict=True))
    np.testing.assert_allclose(triangles(scene.load(tmp_path)).reshape(-1, 3), (SQUARE + [1, 0, 6])[TWO], atol=1e-5)


@pytest.mark.parametrize("interpolation", ["LINEAR", "CUBICSPLINE"])
def test_of_an_animation_the_first_frame_is_read_and_said(tmp_path, interpolation):
    scene = Gltf.with_square()
    scene.primitive["targets"] = [{"POSITION": scene.array(delta)} for delta in (LIFT, PULL)]
    weights, shifts = [[0.5, 1.0], [0.0, 0.0]], [[0, 0, 9], [5, 5, 5]]
    if interpolation == "CUBICSPLINE":  # in-tangent, value, out-tangent of each key
        weights = [row for key in weights for row in ([7, 7], key, [8, 8])]
        shifts = [row for key in shifts for row in ([7, 7, 7], key, [8, 8, 8])]
    keys = scene.array([0.0, 1.0])
    outputs = [scene.array(np.array(weights).ravel()), scene.array(shifts)]
    samplers = [{"input": keys, "output": output, "interpolation": interpolation} for output in outputs]
    targets = [{"node": 0, "path": "weights"}, {"node": 0, "path": "translation"}, {"path": "pointer"}]
    channels = [{"sampler": i % 2, "target": target} for i, target in enumerate(targets)]
    scene.document["animations"] = [{"samplers": samplers, "channels": channels}, {"samplers": [], "channels": []}]
    expected = SQUARE + 0.5 * LIFT + PULL + [0, 0, 9]
    with pytest.warns(UserWarning, match=r"scene\.glb: animated; its first frame is read"):
        np.testing.assert_allclose(triangles(scene.load(tmp_path)).reshape(-1, 3), expected[TWO], atol=1e-6)


# ---- what is drawn ----


def test_invisible_nodes_and_all_below_them_are_not_drawn(tmp_path):
    hidden = {"extensions": {"KHR_node_visibility": {"visible": False}}}
    shown = {"extensions": {"KHR_node_visibility": {"visible": True}}}
    scene = Gltf.with_square(extensionsRequired=["KHR_node_visibility"])
    scene.document["nodes"] = [{"mesh": 0} | shown, {"mesh": 0, "children": [2]} | hidden, {"mesh": 0} | shown]
    scene.document["scenes"] = [{"nodes": [0, 1]}]
    assert len(scene.load(tmp_path).faces) == 2


def test_only_the_default_scene_is_drawn(tmp_path):
    scene = Gltf.with_square(scene=1)
    scene.document["nodes"] += [{"mesh": 0, "translation": [0, 0, 5]}]
    scene.document["scenes"] = [{"nodes": [0]}, {"nodes": [1]}]
    np.testing.assert_array_equal(triangles(scene.load(tmp_path)).reshape(-1, 3), (SQUARE + [0, 0, 5])[TWO])


STRIP, FAN = 5, 6
MODES = {
    "strip": (STRIP, [0, 1, 2, 3], [[0, 1, 2], [1, 3, 2]]),
    "longer strip": (STRIP, [0, 1, 2, 3, 0], [[0, 1, 2], [1, 3, 2], [2, 3, 0]]),
    "fan": (FAN, [0, 1, 2, 3], [[1, 2, 0], [2, 3, 0]]),
}


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("mode, corners, expected", MODES.values(), ids=MODES)
def test_strips_and_fans_give_all_their_triangles_facing_one_way(tmp_path, mode, corners, expected, indexed):
    scene = Gltf.with_square()
    scene.primitive["mode"] = mode
    if indexed:
        scene.primitive["indices"] = scene.array(corners, "u1")
    else:
        del scene.primitive["indices"]
        scene.primitive["attributes"]["POSITION"] = scene.array(SQUARE[corners])
    np.testing.assert_array_equal(triangles(scene.load(tmp_path)), SQUARE[expected])


def test_quantised_and_interleaved_positions_are_read(tmp_path):
    scene = Gltf.with_square(extensionsRequired=["KHR_mesh_quantization"])
    rows = np.zeros((4, 4), "<i2")
    rows[:, :3] = np.round(SQUARE * 32767)
    view = scene.view(rows.tobytes(), byteStride=8)
    scene.primitive["attributes"]["POSITION"] = scene.array(SQUARE, "i2", bufferView=view, normalized=True)
    np.testing.assert_allclose(triangles(scene.load(tmp_path)).reshape(-1, 3), SQUARE[TWO], atol=1e-4)


def test_a_scene_of_turned_parts_equals_trimesh(tmp_path):
    rng, scene = np.random.default_rng(0), trimesh.Scene()
    for _ in range(3):
        pose = trimesh.transformations.random_rotation_matrix(rng.random(3))
        pose[:3, 3] = rng.normal(size=3)
        scene.add_geometry(trimesh.creation.icosphere(subdivisions=1), transform=pose)
    scene.export(tmp_path / "scene.glb")
    reference = trimesh.load_mesh(tmp_path / "scene.glb", process=False)
    ours = load_mesh(tmp_path / "scene.glb")
    np.testing.assert_array_equal(
        np.unique(ours.vertices, axis=0), np.unique(reference.vertices.astype(np.float32), axis=0)
    )
    assert ours.faces.shape == reference.faces.shape and len(ours.vertices) == 3 * 42


# ---- what is refused ----


@pytest.mark.parametrize(
    "name, remedy",
    [
        ("KHR_draco_mesh_compression", "gltf-transform"),
        ("EXT_meshopt_compression", "gltfpack"),
        ("EXT_unheard_of", "ply"),
    ],
)
def test_required_extensions_that_are_not_known_are_refused_by_name(tmp_path, name, remedy):
    scene = Gltf.with_square(extensionsRequired=[name], extensionsUsed=[name])
    assert_refused(save(tmp_path / "scene.glb", scene.glb()), rf"{name}, which is not supported; .*{remedy}")


def test_optional_compression_is_read_where_the_file_holds_the_plain_arrays_too_else_refused(tmp_path):
    scene = Gltf.with_square(extensionsUsed=["KHR_draco_mesh_compression"])
    scene.primitive["extensions"] = {"KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {"POSITION": 0}}}
    assert len(scene.load(tmp_path).faces) == 2
    scene.primitive["attributes"]["POSITION"] = scene.array(SQUARE, data=False)
    assert_refused(save(tmp_path / "scene.glb", scene.glb()), "compressed with KHR_draco_mesh_compression")
    scene = Gltf.with_square()
    scene.glb()
    scene.document["bufferViews"][0]["buffer"] = 1
    scene.document["buffers"].append({"byteLength": 99, "extensions": {"EXT_meshopt_compression": {"fallback": True}}})
    scene.document["buffers"][0]["uri"] = "data:;base64," + base64.b64encode(scene.body).decode()
    save(tmp_path / "scene.gltf", json.dumps(scene.document))
    assert_refused(tmp_path / "scene.gltf", "compressed with EXT_meshopt_compression")


def test_indices_beyond_their_own_array_are_refused_though_the_next_part_has_such(tmp_path):
    scene = Gltf.with_square()
    scene.document["meshes"][0]["primitives"].append(dict(scene.primitive))
    scene.primitive["indices"] = scene.array([0, 1, 6], "u4")
    assert_refused(save(tmp_path / "scene.glb", scene.glb()), "index 6 in faces is out of range for 4 vertices")


def test_points_alone_are_a_point_cloud(tmp_path):
    scene = Gltf.with_square()
    scene.primitive["mode"] = 0
    assert_refused(save(tmp_path / "scene.glb", scene.glb()), "4 vertices but no faces: a point cloud; .*Poisson")


@pytest.mark.parametrize(
    "nodes, roots",
    [
        ([{"mesh": 0, "children": [1]}, {"children": [0]}], [0]),
        ([{"mesh": 0}], [0, 0]),
        ([{"children": [0], "mesh": 0}], [0]),
    ],
)
def test_nodes_in_a_loop_or_drawn_twice_are_refused(tmp_path, nodes, roots):
    scene = Gltf.with_square()
    scene.document |= {"nodes": nodes, "scenes": [{"nodes": roots}]}
    assert_refused(save(tmp_path / "scene.glb", scene.glb()), "nodes in a loop, or twice")


def test_version_1_is_refused(tmp_path):
    scene = Gltf.with_square()
    scene.document["asset"]["version"] = "1.0"
    assert_refused(save(tmp_path / "scene.glb", scene.glb()), r"glTF 1\.0, expected 2\.0")


# ---- colours ----

PICTURE = np.array([[RED, GREEN], [BLUE, WHITE]])
UVS = np.array([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]])  # red, green, white, blue: v runs down
CORNER_COLORS = np.array([RED, GREEN, WHITE, BLUE])


def test_the_texture_takes_the_set_of_coordinates_that_its_material_names(tmp_path):
    scene = Gltf.with_square().paint(PICTURE, UVS, texture={"texCoord": 1}, name="TEXCOORD_1")
    scene.primitive["attributes"]["TEXCOORD_0"] = scene.array(np.zeros((4, 2)))
    np.testing.assert_array_equal(colors_at_corners(scene.load(tmp_path)).reshape(-1, 3), CORNER_COLORS[TWO])


def test_a_set_of_coordinates_that_is_absent_is_said(tmp_path):
    scene = Gltf.with_square().paint(PICTURE, UVS, texture={"texCoord": 2})
    with pytest.warns(UserWarning, match="needs TEXCOORD_2, which is absent"):
        assert scene.load(tmp_path).texture is None


MOVES = {  # of the lower left quadrant, turned clockwise by 90 degrees: the extension's own example
    "example": ({"offset": [0, 1], "rotation": np.pi / 2, "scale": [0.5, 0.5]}, [[0.125, 0.875], [0.375, 0.625]]),
    "inverted": ({"offset": [0, 1], "scale": [1, -1]}, [[0.25, 0.75], [0.75, 0.25]]),
    "other set": ({"texCoord": 1}, [[0.25, 0.25], [0.75, 0.75]]),
}


@pytest.mark.parametrize("moved, expected", MOVES.values(), ids=MOVES)
def test_texture_transforms_scale_turn_and_shift(tmp_path, moved, expected):
    name = f"TEXCOORD_{moved.get('texCoord', 0)}"
    picture = np.arange(8 * 8 * 3).reshape(8, 8, 3)
    scene = Gltf.with_square(extensionsRequired=["KHR_texture_transform"])
    scene.paint(picture, UVS, texture={"extensions": {"KHR_texture_transform": moved}}, name=name)
    scene.primitive["attributes"].setdefault("TEXCOORD_0", scene.array(np.zeros((4, 2))))
    mesh = scene.load(tmp_path)
    upside_down = np.array(expected)[:, :1] * [1, 0] + [0, 1] - np.array(expected)[:, 1:] * [0, 1]
    np.testing.assert_allclose(mesh.uvs[mesh.uv_faces[0, [0, 2]]], upside_down, atol=1e-6)


REPEAT, MIRROR, CLAMP = 10497, 33648, 33071
WRAPS = {  # where u = 1.25, 1.75 and -0.25 are on the picture's upper row
    "repeat": (REPEAT, [RED, GREEN, GREEN]),
    "mirror": (MIRROR, [GREEN, RED, RED]),
    "clamp": (CLAMP, [GREEN, GREEN, RED]),
}


@pytest.mark.parametrize("wrap, expected", WRAPS.values(), ids=WRAPS)
def test_textures_go_on_beyond_their_edge_as_the_sampler_says(tmp_path, wrap, expected):
    places = np.array([[1.25, 0.25], [1.75, 0.25], [-0.25, 0.25], [-0.25, 0.25]])
    scene = Gltf.with_square().paint(PICTURE, places, sampler={"wrapS": wrap})
    np.testing.assert_array_equal(colors_at_corners(scene.load(tmp_path))[0], expected)


def test_several_textures_and_plain_colours_become_one_picture(tmp_path):
    scene = Gltf.with_square()
    parts = scene.document["meshes"][0]["primitives"]
    parts += [
        {"attributes": dict(scene.primitive["attributes"]), "indices": scene.primitive["indices"]} for _ in range(2)
    ]
    scene.paint(PICTURE, UVS).paint(np.array([[BLUE]] * 3), UVS, primitive=parts[1])
    scene.document["materials"].append({"pbrMetallicRoughness": {"baseColorFactor": [0, 1, 0, 1]}})
    parts[2]["material"] = 2
    expected = [*CORNER_COLORS[TWO], *[BLUE] * 6, *[GREEN] * 6]
    np.testing.assert_array_equal(colors_at_corners(scene.load(tmp_path)).reshape(-1, 3), expected)


@pytest.mark.parametrize("dtype, most", [("u1", 255), ("u2", 65535), ("f4", 1)])
def test_colours_of_vertices_are_read_in_every_type(tmp_path, dtype, most):
    scene = Gltf.with_square()
    colors = np.array([RED, GREEN, BLUE, WHITE]) / 255 * most
    scene.primitive["attributes"]["COLOR_0"] = scene.array(colors, dtype, normalized=dtype != "f4")
    mesh = scene.load(tmp_path)
    np.testing.assert_array_equal(
        mesh.vertex_colors[mesh.faces].reshape(-1, 3), np.array([RED, GREEN, BLUE, WHITE])[TWO]
    )
    assert scene.load(tmp_path, geometry_only=True).vertex_colors is None


# ---- .gltf, and what lies beside it ----


def apart(folder, scene, *, buffer="my%20data.bin", image="skin.png"):
    """A .gltf with its buffer and picture in files."""
    scene.glb()
    scene.document["buffers"][0]["uri"] = buffer
    scene.document["images"] = [{"uri": image}]
    save(folder / "my data.bin", scene.body)
    save(folder / "short.bin", b"short")
    save(folder / "Skin.PNG", png(PICTURE))
    return save(folder / "scene.gltf", json.dumps(scene.document))


def test_gltf_is_read_with_the_files_beside_it(tmp_path):
    mesh = load_mesh(apart(tmp_path, Gltf.with_square().paint(PICTURE, UVS)))  # the picture's name in another case, too
    np.testing.assert_array_equal(triangles(mesh).reshape(-1, 3), SQUARE[TWO])
    np.testing.assert_array_equal(colors_at_corners(mesh).reshape(-1, 3), CORNER_COLORS[TWO])


def test_gltf_may_hold_everything_itself(tmp_path):
    scene = Gltf.with_square().paint(PICTURE, UVS)
    inside = [
        "data:application/octet-stream;base64," + base64.b64encode(data).decode() for data in (scene.body, png(PICTURE))
    ]
    mesh = load_mesh(apart(tmp_path, scene, buffer=inside[0], image=inside[1]))
    np.testing.assert_array_equal(colors_at_corners(mesh).reshape(-1, 3), CORNER_COLORS[TWO])


@pytest.mark.parametrize(
    "buffer, reason",
    [("gone.bin", r"its buffer gone\.bin is missing; .*one \.glb"), ("../my data.bin", "outside its own folder")]
    + [
        ("data:;base64,AA=", "damaged data URI"),
        ("short.bin", "has 5: truncated"),
        ("file:///etc/hostname", "outside its own folder"),
    ],
)
def test_gltf_whose_buffer_cannot_be_had_is_refused(tmp_path, buffer, reason):
    assert_refused(apart(tmp_path, Gltf.with_square(), buffer=buffer), reason)


def test_gltf_without_its_picture_is_read_with_a_warning(tmp_path):
    path = apart(tmp_path, Gltf.with_square().paint(PICTURE, UVS), image="gone.png")
    with pytest.warns(UserWarning, match=r"its texture gone\.png is missing"):
        assert load_mesh(path).texture is None


def test_large_files_beside_are_refused(tmp_path):
    path = apart(tmp_path, Gltf.with_square())
    save(tmp_path / "my data.bin", b"\0" * 5000)
    with pytest.raises(ValueError, match=r"scene\.gltf: its buffer .* 5000 bytes, more than max_bytes=4000"):
        load_mesh(path, max_bytes=4000)
