"""Avatars: GLB files with morph targets, made here byte by byte."""

import json

import numpy as np
import pytest

from dataset_scripts import build_avatar
from dataset_scripts.synthetic.gltf_morphs import read_morph_parts
from dataset_scripts.synthetic.unit_tables import ARKIT, read_table
from mvfer.data import schema
from tests.processing.gltf_files import Gltf

from .conftest import half_egg

SMILE, OPEN = np.array([0.0, 2.0, 0.5]), np.array([0.0, -3.0, 0.0])


def avatar(path, targets, *, seam=False, node=None):
    """An egg with a nose; `targets` are name -> (place in x and y, displacement there)."""
    vertices, quads = half_egg(grid=21)
    faces = np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]])
    shapes = {
        name: np.exp(-((vertices[:, 0] / 8 - x) ** 2 + (vertices[:, 1] / 8 - y) ** 2) / 0.05)[:, None] * move
        for name, ((x, y), move) in targets.items()
    }
    if seam:  # one triangle has corners of its own, as along a seam of the texture
        own = faces[0]
        vertices, shapes = (
            np.concatenate([vertices, vertices[own]]),
            {k: np.concatenate([s, s[own]]) for k, s in shapes.items()},
        )
        faces[0] = np.arange(len(vertices) - 3, len(vertices))
    scene = Gltf(
        nodes=[{"mesh": 0, **(node or {})}], scenes=[{"nodes": [0]}], meshes=[{"primitives": [{}], "name": "head"}]
    )
    scene.primitive.update(
        attributes={"POSITION": scene.array(vertices)},
        indices=scene.array(faces.reshape(-1), "u2"),
        targets=[{"POSITION": scene.array(shape)} for shape in shapes.values()],
    )
    scene.document["meshes"][0]["extras"] = {"targetNames": list(shapes)}
    path.write_bytes(scene.glb())
    return path


ARKIT_TARGETS = {name: ((0.4 if name.endswith("Left") else -0.4, -0.4), SMILE) for name in ARKIT.shapes}
ODD = {"grin_l": ((0.4, -0.4), SMILE), "grin_r": ((-0.4, -0.4), SMILE), "ah": ((0.0, -0.7), OPEN)}


def build(source, out, *flags):
    options = ["--source", source, "--out", out, "--size_px", 24, "--num_proc", 1, "--random_per_subject", 1]
    return build_avatar.main([str(flag) for flag in [*options, "--expressions_per_subject", 1, *flags]])


def test_targets_are_read_in_the_scene_and_vertices_of_seams_are_joined(tmp_path):
    plain = read_morph_parts(avatar(tmp_path / "a.glb", ODD))[0]
    turned = {"rotation": [0, 0, 1, 0], "scale": [2, 2, 2], "translation": [1, 0, 0]}  # half a turn about z
    moved = read_morph_parts(avatar(tmp_path / "b.glb", ODD, seam=True, node=turned))[0]
    assert len(plain.vertices) == len(moved.vertices) == 441 and len(plain.faces) == len(moved.faces)
    np.testing.assert_allclose(np.sort(moved.vertices[:, 0]), np.sort(-2 * plain.vertices[:, 0] + 1), atol=1e-4)
    highest = moved.shapes["grin_l"][np.abs(moved.shapes["grin_l"]).sum(1).argmax()]
    np.testing.assert_allclose(highest, [0, -4, 1], atol=0.2)


@pytest.mark.parametrize("name", ["mouthSmileLeft", "mouthSmile_L", "Wolf.MouthSmileLeft", "blendShape1.mouthSmile_L"])
def test_arkits_names_are_known_however_they_are_spelled(name):
    assert build_avatar.arkit_name(name) == "mouthSmileLeft"


def test_an_avatar_with_all_shapes_shows_everything_and_its_left_is_left(tmp_path):
    head = build_avatar.read_avatar(avatar(tmp_path / "full.glb", ARKIT_TARGETS))
    assert head.table.units == ARKIT.units
    smile = head.shapes[head.shape_names.index("mouthSmileLeft")].norm(dim=1)
    assert head.vertices[smile.argmax(), 0] > 0
    assert build(tmp_path / "full.glb", tmp_path / "out") == 0
    info = schema.dataset_info(tmp_path / "out")
    assert info["rows"]["train"] == 8 and not info["may_share"] and "nobody's" not in info["sharing"].lower()


def test_missing_shapes_are_told_and_what_needs_them_is_not_shown(tmp_path, capsys):
    some = {name: place for name, place in ARKIT_TARGETS.items() if not name.startswith(("browDown", "cheekPuff"))}
    assert build(avatar(tmp_path / "some.glb", some), tmp_path / "out", "--random_per_subject", 20) == 0
    assert "some.glb: no shapes for action units 4, 33; left out" in capsys.readouterr().err
    rows = list(schema.load_splits(tmp_path / "out")["train"])
    shown = {unit["name"].rstrip("LR") for row in rows for unit in row["action_units"]}
    assert not shown & {"4", "33"} and "12" in shown
    assert not any("brows lowered" in caption for row in rows for caption in row["captions"])


def test_a_mapping_says_which_targets_make_a_unit(tmp_path):
    mapping = tmp_path / "map.json"
    mapping.write_text(json.dumps({"12L": {"grin_l": 0.8}, "12R": {"grin_r": 0.8}, "25": {"ah": 0.3}, "26": {"ah": 1}}))
    table = read_table(mapping)
    assert table.weights({"12": 1.0}) == {"grin_l": 0.8, "grin_r": 0.8} and table.weights({"12L": 0.5}) == {
        "grin_l": 0.4
    }
    path = avatar(tmp_path / "odd.glb", ODD)
    assert build(path, tmp_path / "out", "--mapping", mapping) == 0
    rows = list(schema.load_splits(tmp_path / "out")["train"])
    assert {"neutral", "happiness", "random"} <= {row["task"] for row in rows} and "anger" not in {
        row["task"] for row in rows
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"99": {"a": 1}}', "'99': expected one of"),
        ('{"12L": {"a": 1}}', "units 12 have one side only"),
        ('{"26": {"a": 2}}', "above 0, at most 1; a"),
        ("[]", "expected one of"),
        ("{", "cannot be read as JSON"),
    ],
)
def test_a_wrong_mapping_is_refused(tmp_path, text, reason):
    (tmp_path / "map.json").write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_table(tmp_path / "map.json")


def test_files_that_show_nothing_and_folders_without_any_are_refused(tmp_path, capsys):
    assert build(avatar(tmp_path / "odd.glb", ODD), tmp_path / "out") == 1
    assert "none of its morph targets makes an action unit" in capsys.readouterr().err
    (tmp_path / "cut.glb").write_bytes((tmp_path / "odd.glb").read_bytes()[:-100])
    assert build(tmp_path / "cut.glb", tmp_path / "out") == 1
    assert "cut.glb: " in capsys.readouterr().err
    assert build(tmp_path / "none", tmp_path / "out") == 1
    assert build(tmp_path / "out2", tmp_path / "out") == 1
