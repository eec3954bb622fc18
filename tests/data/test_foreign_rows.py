"""Rows that others made: only the bytes of their pictures are read, and only as pictures."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import EpsImagePlugin, Image

from dataset_scripts.validate import validate
from mvfer.data import schema
from mvfer.data.batching import ViewDataset
from mvfer.data.row_faults import row_faults
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


COLUMNS_AT_FAULT = {
    "rows without a subject": {"subject": None},
    "rows without an id": {"id": ""},
    "expressions beyond the list": {"expression": 99},
    "captions that are no texts": {"captions": ["a smile", None]},
    "action units without a name or an intensity": {"action_units": [{"name": None, "intensity": 1.0}]},
    "angles that are no numbers": {"view_angles_deg": [[float("nan"), 0.0]] * 3},
    "frame times that do not go forward": {"frame_times_s": [float("nan")]},
}


def change_a_row(folder, number: int, **columns):
    """The toy set with one row of its test split changed."""
    write_toy_data(folder)
    path = schema.shard_path(folder, "test", 0, 1)
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[number].update(columns)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path, row_group_size=2)
    return folder


@pytest.mark.parametrize("what", COLUMNS_AT_FAULT)
def test_a_set_with_a_row_at_fault_is_refused_whoever_opens_it_and_validate_names_the_row(what, tmp_path):
    folder = change_a_row(tmp_path / "set", 5, **COLUMNS_AT_FAULT[what])
    with pytest.raises(ValueError, match=rf"test-00000-of-00001\.parquet: {what}: 1, first test row 5, .*validate"):
        schema.load_splits(folder)
    failures = validate(folder).failures
    assert any(failure.startswith(f"test: {what}: 1 (row 5: ") for failure in failures)


def test_units_may_lack_an_intensity_or_be_null_without_validate_giving_up(tmp_path):
    for number, unit in enumerate(({"name": "12", "intensity": None}, {"name": "12", "intensity": float("nan")}, None)):
        failures = validate(change_a_row(tmp_path / str(number), 0, action_units=[unit])).failures
        assert any("action units without a name or an intensity: 1 (row 0: " in failure for failure in failures)


def test_all_rows_at_fault_are_found_whichever_group_they_lie_in():
    count = 7
    columns = {
        "id": [f"{row}" for row in range(count)],
        "subject": ["a", None, "b", "c", "", "d", "e"],
        "expression": [0, -1, None, -2, 6, 99, 1],
        "captions": [[], None, ["x"], ["x", None], [], [None], []],
        "action_units": [[]] * count,
        "view_angles_deg": [[[0.0, 0.0]]] * count,
        "frame_times_s": [None, [], [0.0], [0.0, 0.0], [1.0, 0.5], [3.0, 4.0], [0.0, None]],
    }
    fields = schema.features().arrow_schema
    table = pa.table({name: pa.array(values, fields.field(name).type) for name, values in columns.items()})
    expected = {
        "rows without a subject": [1, 4],
        "expressions beyond the list": [3, 5],
        "captions that are no texts": [3, 5],
        "frame times that do not go forward": [3, 4, 6],
    }
    for rows in (1, 3, count):
        pieces = pa.Table.from_batches(table.to_batches(max_chunksize=rows))
        assert row_faults(pieces) == expected


@pytest.mark.parametrize("views", [[], None])
def test_a_row_without_views_is_refused_by_validate_and_by_its_reader(views, tmp_path):
    folder = change_a_row(tmp_path / "set", 3, views=views)
    assert validate(folder).failures
    with pytest.raises(ValueError, match="test row 3: the views cannot be read"):
        ViewDataset(schema.load_splits(folder)["test"])
