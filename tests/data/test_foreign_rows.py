"""Rows that others made: only the bytes of their pictures are read, and only as pictures."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import EpsImagePlugin, Image

from dataset_scripts.validate import validate
from mvfer.data import schema
from mvfer.data.batching import ViewDataset
from tests.bombs import png
from tests.train.toy import write_toy_data
from tests.witnesses import EPS, FakeGhostscript, watched, web_server


def hostile(folder, **picture):
    """A toy set; all pictures of the first row of its test split are as given."""
    write_toy_data(folder)
    path = schema.shard_path(folder, "test", 0, 1)
    table = pq.read_table(path)
    rows = table.to_pylist()
    for frame in rows[0]["views"]:
        for view in frame:
            view.update(picture)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    return folder


def what_is_said(folder) -> list[str]:
    """Of all that reads rows: training and evaluation, pictures of reports, `validate`."""
    split = schema.load_splits(folder)["test"]
    with pytest.raises(ValueError) as trained:
        ViewDataset(split)
    with pytest.raises(ValueError) as drawn:
        schema.view_arrays(split[0])
    failures = validate(folder).failures
    assert failures and "unreadable views: 1" in failures[0]
    return [str(trained.value), str(drawn.value), failures[0]]


def test_a_path_in_place_of_bytes_is_neither_opened_nor_fetched(tmp_path):
    Image.new("RGB", (32, 32), (200, 0, 0)).save(tmp_path / "secret.png")
    with web_server() as (address, asked):
        for number, path in enumerate((f"{address}/x.png", str(tmp_path / "secret.png"), "/etc/passwd")):
            folder = hostile(tmp_path / str(number), bytes=None, path=path)
            with watched() as seen:
                said = what_is_said(folder)
            assert seen == [] and asked == []
            assert all(f"only the path '{path}'" in sentence for sentence in said)
            trained = said[0]
            assert "test-00000-of-00001.parquet" in trained and "test row 0" in trained and "build it again" in trained


def test_a_program_that_is_called_a_picture_is_not_started(tmp_path, monkeypatch):
    ghostscript = FakeGhostscript(tmp_path / "bin")
    monkeypatch.setenv("PATH", ghostscript.path)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    with watched() as seen:
        said = what_is_said(hostile(tmp_path / "set", bytes=EPS, path="a.png"))
    assert seen == [] and not ghostscript.was_run
    assert all("no picture of a known kind" in sentence for sentence in said)


def test_pictures_of_absurd_size_and_rows_without_any_are_refused(tmp_path):
    cases = {"9000 x 9000 pixels": png(9000, 9000), "holds nothing where the bytes": None, "picture": b"\x89PNG\r\n"}
    for number, (reason, data) in enumerate(cases.items()):
        said = what_is_said(hostile(tmp_path / str(number), bytes=data, path=None))
        assert all(reason in sentence for sentence in said)


MALFORMED = {
    "no views": {"views": []},
    "null views": {"views": None},
    "angles that are no numbers": {"view_angles_deg": [[float("nan"), 0.0]] * 3},
    "no subject": {"subject": None},
    "an expression beyond the list": {"expression": 99},
    "no id": {"id": None},
    "a time that is no number": {"frame_times_s": [float("nan")]},
    "no captions": {"captions": [None]},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_row_is_found_by_validate_and_no_reader_fails_in_other_ways_than_by_a_value_error(name, tmp_path):
    folder = hostile(tmp_path / "set")
    path = schema.shard_path(folder, "test", 0, 1)
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[0].update(MALFORMED[name])
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    assert validate(folder).failures
    try:
        views = ViewDataset(schema.load_splits(folder)["test"])
        [views[row] for row in range(len(views))]
    except ValueError as error:
        assert str(folder) in str(error) or "row 0" in str(error) or "expected" in str(error)
