"""Rows written are rows read; folders that are not as they should be are refused with a reason."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Image, List, load_dataset
from PIL import Image as PilImage

from mvfer.data import schema
from mvfer.data.splits import check_disjoint, split_subjects


def make_row(name="a", subject="s0", split="train", **columns):
    views = np.random.default_rng(len(name)).integers(0, 256, (2, 3, 8, 8, 3), dtype=np.uint8)
    return {
        "id": name,
        "subject": subject,
        "expression": 4,
        "captions": ["lip corners pulled up"],
        "caption_source": "captions",
        "action_units": schema.as_list({"12": 0.5, "6": 0.25}),
        "intensity": 0.5,
        "views": schema.encode_views(views, name),
        "view_angles_deg": [[-30.0, 0.0], [0.0, 0.0], [30.0, 0.0]],
        "frame_times_s": [0.0, 0.04],
        "split": split,
    } | columns


def test_views_of_other_peoples_sets_are_decoded_as_photos_are():
    gray = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    lying = PilImage.fromarray(np.rot90(gray).copy())
    exif = lying.getexif()
    exif[0x0112] = 6  # orientation: turn clockwise to look at it
    encoded = []
    for picture, options in ((PilImage.fromarray(gray.astype(np.uint16) * 257), {}), (lying, {"exif": exif})):
        picture.save(stream := io.BytesIO(), "PNG", **options)
        encoded.append({"bytes": stream.getvalue(), "path": "a.png"})
    expected = np.repeat(gray[..., None], 3, -1)
    for view in schema.view_arrays({"id": "a", "views": [encoded]})[0]:
        np.testing.assert_array_equal(view, expected)


def test_a_row_survives_the_round_trip_to_the_bit(tmp_path):
    schema.write_shard(schema.shard_path(tmp_path, "train", 0, 1), [make_row()])
    splits = schema.load_splits(tmp_path)
    row = splits["train"][0]
    plain = schema.features() | {"views": List(List(Image(decode=False)))}
    assert splits["train"].features == plain  # what `datasets` decodes may be any file
    assert splits["train"].features["expression"].int2str(row["expression"]) == "happiness"
    assert schema.as_dict(row["action_units"]) == {"12": 0.5, "6": 0.25}
    assert row["sex"] is None and row["frame_times_s"] == pytest.approx([0.0, 0.04])
    expected = np.random.default_rng(1).integers(0, 256, (2, 3, 8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(schema.view_arrays(row), expected)


def test_plain_load_dataset_reads_the_folder_and_finds_the_splits(tmp_path):
    schema.write_shard(schema.shard_path(tmp_path, "train", 0, 1), [make_row()])
    schema.write_shard(schema.shard_path(tmp_path, "test", 0, 1), [make_row("b", "s1", "test")])
    splits = load_dataset("parquet", data_dir=str(tmp_path))
    assert set(splits) == {"train", "test"} and splits["train"].features == schema.features()


def test_pictures_carry_base_names_only(tmp_path):
    schema.write_shard(schema.shard_path(tmp_path, "train", 0, 1), [make_row()])
    assert schema.load_splits(tmp_path)["train"][0]["views"][1][2]["path"] == "a_001_2.png"


def test_an_unreadable_view_is_reported_with_its_row():
    row = make_row("broken")
    row["views"][0][1]["bytes"] = b"no picture"
    with pytest.raises(ValueError, match="row 'broken'.*cannot be read"):
        schema.view_arrays(row)


def test_unknown_columns_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown columns \\['colour'\\]"):
        schema.write_shard(schema.shard_path(tmp_path, "train", 0, 1), [make_row(colour="red")])


def test_missing_folders_shards_and_columns_are_told_apart(tmp_path):
    with pytest.raises(ValueError, match="is no folder"):
        schema.load_splits(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no shards"):
        schema.load_splits(tmp_path)
    with pytest.raises(ValueError, match="dataset_info.json is missing"):
        schema.dataset_info(tmp_path)
    schema.write_shard(schema.shard_path(tmp_path, "train", 0, 2), [make_row()])
    with pytest.raises(ValueError, match="1 shards of train found.*00002"):
        schema.load_splits(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "train-00000-of-00001.parquet").write_bytes(b"not parquet")
    with pytest.raises(ValueError, match="train-00000-of-00001.parquet cannot be read"):
        schema.load_splits(other)


def test_a_shard_of_another_kind_names_the_columns(tmp_path):
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "train-00000-of-00001.parquet")
    with pytest.raises(ValueError, match="expected the columns.*got \\['text'\\]"):
        schema.load_splits(tmp_path)


def test_a_set_of_before_a_column_was_added_still_opens_with_nothing_in_it(tmp_path):
    path = schema.shard_path(tmp_path, "train", 0, 1)
    schema.write_shard(path, [make_row(apex_time_s=0.5)])
    assert schema.load_splits(tmp_path)["train"]["apex_time_s"][0] == 0.5
    older = tmp_path / "older"
    older.mkdir()
    pq.write_table(pq.read_table(path).drop_columns(["apex_time_s"]), older / path.name)
    row = schema.load_splits(older)["train"][0]
    assert row["apex_time_s"] is None and row["id"] == "a"


def test_a_set_of_before_0_2_with_geometry_opens_without_it(tmp_path):
    path, kept = schema.shard_path(tmp_path / "plain", "train", 0, 1), tmp_path / "kept"
    path.parent.mkdir()
    kept.mkdir()
    schema.write_shard(path, [make_row(), make_row("bc")])
    mesh = pa.struct([("vertices", pa.binary()), ("faces", pa.binary())])
    geometry = pa.array([[{"vertices": b"v", "faces": b"f"}]] * 2, pa.list_(mesh))
    light = pa.array([[40.0, 20.0], None], pa.list_(pa.float32()))
    table = pq.read_table(path).append_column("geometry", geometry).append_column("light_deg", light)
    pq.write_table(table, kept / path.name)
    opened, plain = (schema.load_splits(folder)["train"] for folder in (kept, path.parent))
    assert opened.features == plain.features and opened.to_list() == plain.to_list()
    pq.write_table(table.append_column("colour", pa.array(["red", "blue"])), kept / path.name)
    with pytest.raises(ValueError, match="expected the columns.*'colour'"):
        schema.load_splits(kept)


def test_splits_are_disjoint_complete_and_do_not_depend_on_the_order():
    names = [f"s{i}" for i in range(50)]
    splits = split_subjects(names, fractions=(0.7, 0.1, 0.2), seed=3)
    assert splits == split_subjects(reversed(names), fractions=(0.7, 0.1, 0.2), seed=3)
    assert sorted(splits) == sorted(names)
    assert [list(splits.values()).count(s) for s in schema.SPLITS] == [35, 5, 10]
    assert splits != split_subjects(names, fractions=(0.7, 0.1, 0.2), seed=4)


def test_bad_fractions_and_a_subject_in_two_splits_are_refused():
    with pytest.raises(ValueError, match="sum to 1"):
        split_subjects(["a", "b", "c"], fractions=(0.5, 0.1, 0.1))
    with pytest.raises(ValueError, match="at least 3 subjects"):
        split_subjects(["a", "b"])
    with pytest.raises(ValueError, match="'b' is in train and in test"):
        check_disjoint({"train": ["a", "b"], "test": ["b"]})
