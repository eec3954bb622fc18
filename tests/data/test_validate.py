"""validate finds what was planted, and nothing in a good data set."""

import re

import pyarrow.parquet as pq
import pytest
from PIL import Image

from dataset_scripts.validate import main, validate
from mvfer.data import schema


@pytest.fixture(scope="module")
def good(face_folder, tmp_path_factory):
    import functools

    from dataset_scripts import build_ict_facekit
    from dataset_scripts.synthetic.synthesis import BuildSettings, build_heads
    from processing.rendering_mvfer import RenderSettings

    folder = tmp_path_factory.mktemp("good")
    settings = BuildSettings(subjects=(2, 1, 1), random_per_subject=1, render=RenderSettings(size_px=24))
    load = functools.partial(build_ict_facekit.load_head, str(face_folder))
    build_heads(load, build_ict_facekit.source(face_folder), settings, folder)
    return folder


def spoil(good, folder, change, split="test"):
    """A copy of the good set with the rows of one split changed."""
    folder.mkdir()
    for path in good.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    path = schema.shard_path(folder, split, 0, 1)
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        change(row)
    schema.write_shard(path, rows)
    return folder


def test_a_good_set_passes_and_gets_a_contact_sheet(good, capsys):
    assert main([str(good)]) == 0
    text = capsys.readouterr().out
    assert "happiness" in text and text.strip().endswith("ok")
    assert Image.open(good / "contact_sheet.png").size == (8 * 24, 24)


def test_a_subject_in_two_splits_is_found(good, tmp_path):
    report = validate(spoil(good, tmp_path / "x", lambda row: row.update(subject="ict-00000")))
    assert any("subjects in more than one split: 1 (ict-00000" in text for text in report.failures)


def test_an_unreadable_picture_is_found_and_named(good, tmp_path, capsys):
    def damage(row):
        if row["id"].endswith("fear-0"):
            row["views"][0][1]["bytes"] = row["views"][0][1]["bytes"][:60]

    folder = spoil(good, tmp_path / "x", damage)
    assert main([str(folder)]) == 1
    assert "test: unreadable views: 1 (row 'ict-00003-fear-0'" in capsys.readouterr().out


def test_one_class_missing_captions_and_named_emotions_are_all_listed_at_once(good, tmp_path):
    def change(row):
        row.update(expression=4, captions=["a happy face"] if row["id"].endswith("-1") else [])

    failures = "\n".join(validate(spoil(good, tmp_path / "x", change)).failures)
    assert "test: only one class, happiness" in failures
    assert "rows without a caption" in failures and "'happy'" in failures


def test_a_split_without_any_text_is_a_warning_and_one_with_empty_promises_a_failure(good, tmp_path):
    report = validate(spoil(good, tmp_path / "x", lambda row: row.update(captions=[], caption_source="none")))
    assert report.failures == [] and "test: no row has a text" in report.warnings[0]
    report = validate(spoil(good, tmp_path / "y", lambda row: row.update(captions=[])))
    assert "test: no row has a caption; a vision-language model needs texts" in report.failures


def test_emotion_words_are_allowed_where_they_are_declared(good, tmp_path):
    change = lambda row: row.update(captions=["a happy face"], caption_source="label_prompts")  # noqa: E731
    assert validate(spoil(good, tmp_path / "x", change)).failures == []


def test_views_that_do_not_fit_the_angles_and_empty_views_are_found(good, tmp_path):
    import numpy as np

    black = schema.encode_views(np.zeros((1, 3, 24, 24, 3), np.uint8), "black")
    assert "show nothing" in "".join(
        validate(spoil(good, tmp_path / "x", lambda row: row.update(views=black))).failures
    )
    fewer = validate(spoil(good, tmp_path / "y", lambda row: row.update(view_angles_deg=[[0.0, 0.0]])))
    assert "wrong number or size" in "".join(fewer.failures)


def test_a_missing_folder_is_one_clear_failure(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 1
    assert "run a build script" in capsys.readouterr().out


@pytest.mark.parametrize("second", [0.0, -0.5, float("nan")])
def test_times_that_do_not_go_forward_are_found_with_their_row(good, tmp_path, second):
    def stop_the_clock(row):
        if row["id"].endswith("fear-0"):
            row["frame_times_s"], row["views"] = [0.0, second], row["views"] * 2

    report = validate(spoil(good, tmp_path / "x", stop_the_clock))
    assert any(
        re.fullmatch(r"test: frame times that do not go forward: 1 \(row \d: ict-00003-fear-0\)", one)
        for one in report.failures
    )


def test_scans_of_another_set_are_found_under_other_names_and_its_key_is_told(good, tmp_path):
    def renamed(row):
        row.update(subject="s" + row["subject"], id="s" + row["id"])

    other = spoil(good, tmp_path / "other", renamed, split="train")
    info = schema.dataset_info(other)
    schema.write_json(other / schema.INFO_FILE, info | {"build": info["build"] | {"options": {"key_id": "aaaa"}}})
    report = validate(good, against=[other])
    assert any(f"scans that are in train and in train of {other}" in text for text in report.failures)
    assert any("another key" in text for text in report.warnings)
    schema.write_json(
        other / schema.INFO_FILE, info | {"render_settings": info["render_settings"] | {"channels": ["a"]}}
    )
    assert any("other channels" in text for text in validate(good, against=[other]).failures)
