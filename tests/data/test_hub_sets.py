"""Geometry that a set keeps, and sets of others: `datasets` reads the one, and `build_folder` reads the other."""

import io
import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dataset_scripts.recorded.hub_sets import opened
from mvfer.data import schema
from processing.meshes_mvfer import load_mesh
from tests.tiny import write_obj
from tests.witnesses import watched, web_server

from .layouts import triangles

PEOPLE = ("anna", "ben", "cleo")


def faces(person: int, label: str):
    return triangles(person / 3 + 0.1 * (label == "neutral"))


@pytest.fixture
def scans(tmp_path) -> Path:
    """Two scans of three people, sorted by what they show."""
    for label in ("happiness", "neutral"):
        (tmp_path / "scans" / label).mkdir(parents=True)
        for number, person in enumerate(PEOPLE):
            write_obj(tmp_path / "scans" / label / f"{person}_1.obj", *faces(number, label))
    return tmp_path / "scans"


def read(folder: Path) -> datasets.DatasetDict:
    """As the card says; by its name alone, `datasets` may give an older set of the same name, from its cache."""
    return datasets.load_dataset("parquet", data_dir=str(folder))


def rows_of(folder: Path) -> dict[tuple, dict]:
    splits = read(folder)
    return {(row["split"], row["expression"]): row for split in splits.values() for row in split}


NAMES = ("--subject_pattern", "^([a-z]+)_", "--geometry_only")


def test_geometry_that_is_kept_is_read_as_meshes_and_can_be_built_from_again(build, scans, framed_once):
    plain = build("folder", scans, *NAMES, out="plain")
    kept = build("folder", scans, *NAMES, "--keep_geometry", out="kept")
    assert "meshes" not in read(plain)["train"].column_names
    rows = rows_of(kept)
    assert read(kept)["train"].features["meshes"] == datasets.List(datasets.Mesh())
    again = build("folder", kept, "--geometry_only", out="again")
    for key, row in rows_of(again).items():
        assert row["views"] == rows[key]["views"], "the same geometry, drawn in the same way"
        (mesh,) = rows[key]["meshes"]
        assert (len(mesh.vertices), len(mesh.faces)) == (1089, 2048)
        assert mesh.bounds[1, 1] == pytest.approx(0.08 * 1.28, rel=1e-4)
    assert len(rows) == 6 and {split for split, _ in rows} == set(schema.SPLITS)
    assert "`meshes` holds" in (kept / "README.md").read_text() and "`meshes`" not in (plain / "README.md").read_text()


def test_training_does_not_read_the_meshes_that_a_set_keeps(build, scans, framed_once):
    kept = build("folder", scans, *NAMES, "--keep_geometry")
    splits = schema.load_splits(kept)
    assert splits["train"].features == schema.features() | {"views": splits["train"].features["views"]}
    assert schema.view_arrays(splits["train"][0]).shape == (1, 3, 24, 24, 3)


def test_the_frames_of_a_sequence_are_kept_and_built_from_again(build_faces, build, tmp_path, framed_once, monkeypatch):
    monkeypatch.setattr("processing.face_frame_mvfer.FaceFrame.is_face", True)  # the made-up bulge is none
    sequences = {"kind": "4d", "num_frames": 3, "random_per_subject": 0, "expressions": ("happiness",)}
    build_faces(tmp_path / "kept", subjects=(1, 1, 1), keep_geometry=True, **sequences)
    row = read(tmp_path / "kept")["test"][0]
    assert len(row["meshes"]) == len(row["views"]) == 3
    moved = np.abs(row["meshes"][0].vertices - row["meshes"][1].vertices).max()
    assert (
        moved > 0 and json.loads((tmp_path / "kept" / schema.INFO_FILE).read_text())["build"]["keep_geometry"] is True
    )
    again = rows_of(build("folder", tmp_path / "kept", "--geometry_only", out="again"))
    for row in again.values():
        assert len(row["views"]) == 3 and row["frame_times_s"] == pytest.approx([0, 0.1, 0.2])
        assert row["captions"] and row["caption_source"] == "captions"


def test_earlier_builds_go_on_as_what_is_not_kept_is_not_told(build_faces, tmp_path):
    info = build_faces(tmp_path / "set", subjects=(0, 0, 1), random_per_subject=0, expressions=("happiness",))
    assert "keep_geometry" not in info["build"]


def a_set_of_meshes(folder: Path) -> datasets.Dataset:
    """As somebody else makes it: a column of PLY files, one of which is damaged, and columns in their own words."""
    rows = []
    for number, person in enumerate(PEOPLE):
        for label in ("happiness", "sadness"):
            mesh = schema.encode_mesh(*faces(number, label), f"{person}.ply")
            rows.append({"scan": mesh, "person": person, "emotion": int(label == "sadness"), "note": "x"})
    rows.append({"scan": {"bytes": b"ply\nbroken", "path": "broken.ply"}, "person": "anna", "emotion": 0, "note": "x"})
    labels = datasets.ClassLabel(names=["happiness", "sadness"])
    text = datasets.Value("string")
    features = {"scan": datasets.Mesh(), "person": text, "emotion": labels, "note": text}
    return datasets.Dataset.from_list(rows, features=datasets.Features(features))


@pytest.mark.parametrize("how", ["save_to_disk", "parquet"])
def test_a_set_of_meshes_is_built_from_whoever_made_it(build, tmp_path, how, framed_once):
    theirs = a_set_of_meshes(tmp_path)
    if how == "parquet":
        (tmp_path / "theirs" / "data").mkdir(parents=True)
        theirs.to_parquet(tmp_path / "theirs" / "data" / "train-00000-of-00001.parquet")
    else:
        theirs.save_to_disk(tmp_path / "theirs")
    out = build("folder", tmp_path / "theirs", "--mapping", tmp_path / "map.csv")
    rows = rows_of(out)
    assert len(rows) == 6 and len({row["subject"] for row in rows.values()}) == 3
    names = read(out)["train"].features["expression"].names
    assert {names[expression] for _, expression in rows} == {"happiness", "sadness"}
    assert "train-000006.ply" in (tmp_path / "map.csv").read_text(), "the damaged one is named by its row"
    (line,) = schema.read_rejected_file(out)
    assert "train-000006" not in line["reason"]
    assert b"anna" not in b"".join(path.read_bytes() for path in out.iterdir() if path.is_file())


def test_a_set_of_pictures_is_built_from(build, tmp_path):
    rows = []
    for number in range(3):
        buffer = io.BytesIO()
        Image.linear_gradient("L").rotate(40 * number).convert("RGB").save(buffer, format="JPEG")
        rows.append({"image": {"bytes": buffer.getvalue(), "path": None}, "label": number % 2})
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["happiness", "neutral"])}
    datasets.Dataset.from_list(rows, features=datasets.Features(features)).save_to_disk(tmp_path / "theirs")
    out = build("folder", tmp_path / "theirs")
    found = read(out)
    assert sum(len(split) for split in found.values()) == 3
    assert found["train"][0]["view_angles_deg"] == [[0.0, 0.0]]


@pytest.mark.parametrize("where", ["an address", "beside the set", "out of the set"])
def test_what_the_readme_of_a_set_calls_its_files_is_not_opened(tmp_path, where):
    """`datasets` would; a set is what lies in its folder."""
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 0, 0)).save(buffer, format="PNG")
    rows = {"image": [{"bytes": buffer.getvalue(), "path": None}], "label": ["sadness"]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "secret.parquet")
    rows["label"] = ["happiness"]
    (tmp_path / "theirs" / "data").mkdir(parents=True)
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "theirs" / "data" / "train.parquet")
    with web_server() as (address, asked), watched() as seen:
        files = {"an address": f"{address}/x.parquet", "beside the set": str(tmp_path / "secret.parquet")}
        (tmp_path / "theirs" / "README.md").write_text(
            f"---\nconfigs:\n- config_name: default\n  data_files: {files.get(where, '../secret.parquet')}\n---\n"
        )
        with opened(str(tmp_path / "theirs")) as place:
            (line,) = (place / "metadata.jsonl").read_text().splitlines()
        assert json.loads(line)["label"] == "happiness" and asked == [] and seen == []


@pytest.mark.parametrize("kind", ["picture", "mesh"])
@pytest.mark.parametrize("where", ["beside the set", "the system's", "an address", "out of the set"])
def test_a_row_that_names_a_file_of_this_computer_or_an_address_opens_nothing(build, tmp_path, capsys, where, kind):
    suffix = {"picture": ".png", "mesh": ".ply"}[kind]
    secret, set_folder = tmp_path / f"secret{suffix}", tmp_path / "theirs" / "data"
    Image.new("RGB", (32, 32), (200, 0, 0)).save(secret, format="PNG")
    set_folder.mkdir(parents=True)
    with web_server() as (address, asked), watched() as seen:
        paths = {"beside the set": str(secret), "the system's": "/etc/passwd", "an address": f"{address}/x{suffix}"}
        path = paths.get(where, f"{set_folder}/../../{secret.name}")
        feature = {"picture": datasets.Image(), "mesh": datasets.Mesh()}[kind]
        stored = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        table = pa.table({"scan": pa.array([{"bytes": None, "path": path}], stored), "label": ["happiness"]})
        features = datasets.Features({"scan": feature, "label": datasets.Value("string")})
        pq.write_table(table.replace_schema_metadata(features.arrow_schema.metadata), set_folder / "train.parquet")
        build("folder", tmp_path / "theirs", status=1)
        assert asked == [] and seen == []
    said = capsys.readouterr().err
    assert "train row 0 names the file" in said and "no part of the set" in said and "put the bytes in" in said


def test_a_meshfolder_with_a_table_in_every_split_is_built_from(build, tmp_path, framed_once):
    for number, (split, person) in enumerate(zip(schema.SPLITS, PEOPLE, strict=True)):
        place = tmp_path / "theirs" / split
        place.mkdir(parents=True)
        (place / "0.ply").write_bytes(schema.encode_mesh(*faces(number, "neutral"), "")["bytes"])
        line = {"file_name": "0.ply", "subject": person, "caption": "jaw dropped"}
        (place / "metadata.jsonl").write_text(json.dumps(line) + "\n")
    rows = rows_of(build("folder", tmp_path / "theirs"))
    assert {split for split, _ in rows} == set(schema.SPLITS)
    assert all(row["captions"] == ["jaw dropped"] for row in rows.values())


def test_what_is_no_set_and_no_folder_is_refused_with_what_there_is(build, tmp_path, capsys):
    datasets.Dataset.from_dict({"text": ["a"], "number": [1]}).save_to_disk(tmp_path / "theirs")
    build("folder", tmp_path / "theirs", status=1)
    assert "no column of meshes or pictures; it has text, number" in capsys.readouterr().err
    build("folder", tmp_path / "nowhere", status=1)
    assert "no folder, and no repository on the Hub" in capsys.readouterr().err
    build("folder", "somebody/faces-of-nobody", status=1)
    said = "somebody/faces-of-nobody: no folder of this name, and not readable as a data set"
    assert said in capsys.readouterr().err


def test_nothing_of_a_set_is_left_behind(tmp_path):
    a_set_of_meshes(tmp_path).save_to_disk(tmp_path / "theirs")
    with opened(str(tmp_path / "theirs")) as place:
        assert len(load_mesh(place / "train-000000.ply").faces) == 2048 and len(list(place.iterdir())) == 8
    assert not place.parent.exists()
