"""The VALID avatars: a made-up NPZ of six of them, and the real heads where somebody has them."""

import os
from pathlib import Path

import numpy as np
import pytest

from dataset_scripts import build_valid
from dataset_scripts.synthetic.heads import Source
from dataset_scripts.synthetic.unit_tables import VALID, number
from mvfer.data import schema
from processing.prompts_mvfer import EXPRESSIONS

from .conftest import half_egg

SHARED = Path(os.environ.get("MVFER_SHARED_DATA", Path(__file__).parents[2].parent / "shared" / "data")) / "valid"
PEOPLE = ["Asian_F_1", "Asian_F_2", "Hispanic_M_1", "White_M_2", "X_AIAN_F_1", "AIAN_F_2"]


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    """Eggs with a nose; every shape moves a few vertices on its side."""
    neutral, quads = half_egg(grid=21)
    rng = np.random.default_rng(0)
    index = [
        np.flatnonzero(neutral[:, 0] > 1 if name[0] == "L" else neutral[:, 0] < -1)[::7] for name in build_valid.SHAPES
    ]
    start = np.cumsum([0, *map(len, index)])
    path = tmp_path_factory.mktemp("valid") / "heads.npz"
    np.savez(
        path,
        ids=PEOPLE,
        faces=np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]]).astype(np.int32),
        neutral=np.stack([neutral * (1 + 0.01 * i) / 80 for i in range(6)]).astype(np.float32),
        names=build_valid.SHAPES,
        delta_start=start.astype(np.int32),
        delta_index=np.concatenate(index).astype(np.uint16),
        delta_offset=rng.normal(0, 0.003, (6, start[-1], 3)).astype(np.float16),
    )
    return path


def build(npz, out, *flags):
    options = ["--source", npz, "--out", out, "--size_px", 24, "--num_proc", 1, "--random_per_subject", 1]
    return build_valid.main([str(flag) for flag in [*options, "--expressions_per_subject", 1, *flags]])


def test_near_twins_share_a_split_and_every_row_says_who_it_is(npz, tmp_path):
    assert build(npz, tmp_path, "--subjects", 2, 2, 2, "--rest_per_subject", 2) == 0
    splits = schema.load_splits(tmp_path)
    people = sorted(PEOPLE)
    found = {split: {people[int(s.split("-")[1])] for s in rows["subject"]} for split, rows in splits.items()}
    twins = [{"Asian_F_1", "Asian_F_2"}, {"X_AIAN_F_1", "AIAN_F_2"}, {"Hispanic_M_1", "White_M_2"}]
    assert all(names in twins for names in found.values())
    rows = [row for split in splits.values() for row in split]
    assert all(row["sex"] == {"F": "female", "M": "male"}[_person(row)[-3]] for row in rows)
    assert {row["ancestry"] for row in rows if "Asian" in _person(row)} == {"asian"}
    assert schema.dataset_info(tmp_path)["license"] == "mit"


def _person(row):
    return sorted(PEOPLE)[int(row["subject"].split("-")[1])]


def test_rows_at_rest_come_on_top_and_change_no_other_row(npz, tmp_path):
    assert build(npz, tmp_path / "a", "--subjects", 6, 0, 0) == 0
    assert build(npz, tmp_path / "b", "--subjects", 6, 0, 0, "--rest_per_subject", 2) == 0
    before, after = (list(schema.load_splits(tmp_path / name)["train"]) for name in "ab")
    rest = [row for row in after if "-rest-" in row["id"]]
    assert [row for row in after if "-rest-" not in row["id"]] == before and len(rest) == 12
    for row in rest:
        assert schema.is_at_rest(row["action_units"]) and row["captions"][0] == "a relaxed face"
        assert row["expression"] == EXPRESSIONS.index("neutral") and row["intensity"] == 0
    assert not any(schema.is_at_rest(row["action_units"]) for row in before if row["expression"] not in (-1, 0))


def test_splits_that_would_cut_a_family_or_need_more_people_are_refused(npz, tmp_path, capsys):
    assert build(npz, tmp_path, "--subjects", 7, 0, 0) == 1
    assert "at most 6 subjects" in capsys.readouterr().err
    twins = Source("x", "X", "", "mit", "1", "", families=((0, 1), (2, 3)))
    with pytest.raises(ValueError, match="cut a family of near-twins"):
        twins.splits((3, 0, 1), seed=0)
    splits = twins.splits((2, 0, 2), seed=0)
    assert sorted([splits["train"], splits["test"]]) == [[0, 1], [2, 3]] and splits["validation"] == []


def test_a_folder_without_avatars_and_another_npz_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected files such as Asian_F_1_Busi.glb"):
        build_valid.find_people(str(tmp_path))
    np.savez(tmp_path / "other.npz", ids=["Asian_F_1"])
    with pytest.raises(ValueError, match="no arrays faces, neutral"):
        build_valid.find_people(str(tmp_path / "other.npz"))


needs_heads = pytest.mark.skipif(not (SHARED / "valid_heads.npz").exists(), reason="needs the VALID heads")


@needs_heads
def test_left_and_right_of_the_table_are_the_sides_that_move():
    heads = build_valid.load_heads(str(SHARED / "valid_heads.npz"))
    for person in (0, 21, 41):
        head = heads.head(person)
        x = head.vertices[:, 0].numpy()
        for unit in VALID.units:
            sides = [unit + side for side in "LR"] if unit in VALID.left else [unit]
            for sided in sides:
                weights = VALID.weights({sided: 1.0})
                moved = sum(w * head.shapes[head.shape_names.index(shape)] for shape, w in weights.items()).numpy()
                size = np.linalg.norm(moved, axis=1)
                assert 0.001 < size.max() < 0.06, sided  # metres
                if number(sided) == "30":  # the jaw goes to that side
                    assert np.sign(moved[size > 0.001, 0].mean()) == (1 if sided == "30L" else -1)
                elif sided != unit:
                    own = size[(x > 0) == (sided[-1] == "L")].sum() / size.sum()
                    assert own > 0.7, sided


@needs_heads
def test_no_two_people_of_different_families_are_nearly_the_same():
    names = list(build_valid.find_people(str(SHARED / "valid_heads.npz")))
    heads = build_valid.load_heads(str(SHARED / "valid_heads.npz"))
    vertices = np.stack([heads.head(i).vertices.numpy()[:6508:4] for i in range(len(names))]).astype(np.float64)
    middle = vertices.mean(0)
    face = vertices[:, (middle[:, 2] > -0.04) & (abs(middle[:, 1] + 0.02) < 0.1)]
    face -= face.mean(1, keepdims=True)
    family = {i: k for k, members in enumerate(build_valid.families(names)) for i in members}
    apart = {True: [], False: []}
    for i in range(len(names)):
        for j in range(i):
            u, s, vt = np.linalg.svd(face[i].T @ face[j])
            turned = face[i] @ u @ vt * (s.sum() / (face[i] ** 2).sum())
            apart[family[i] == family[j]].append(np.sqrt(((turned - face[j]) ** 2).sum(1).mean()))
    assert sorted(family) == list(range(42)) and len(apart[True]) == 26
    assert min(apart[False]) > 0.0016 and np.median(apart[False]) > 0.003


@needs_heads
def test_a_compressed_file_of_the_clone_is_refused_with_the_command_that_unpacks_it():
    path = SHARED / "glb" / "White_M_1_Busi.glb"
    with pytest.raises(ValueError, match="White_M_1_Busi.glb.*EXT_meshopt_compression.*gltf-transform.*gltfpack"):
        build_valid.read_avatar(path, "White_M_1")
