"""A run's folder is one run's, and a checkpoint knows the data that it was made with."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import train
from mvfer.data.folder_lock import folder_lock
from mvfer.data.schema import dataset_info, load_splits, shard_path, write_shard
from mvfer.evaluation.audits.leakage import seen_subjects
from mvfer.training.checkpoints import complete_checkpoints, drop_later

from .test_train import arguments, log_of
from .toy import write_toy_data


@pytest.fixture(scope="module")
def half_way(toy_data, tmp_path_factory) -> Path:
    """A run that was stopped after two of four steps: what is left is its checkpoint."""
    folder = tmp_path_factory.mktemp("runs") / "half"
    assert train.main(arguments(toy_data, folder, "--steps", 2, "--checkpoint_every", 1)) == 0
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    return folder


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def with_another_split(toy_data, folder) -> str:
    """The same rows, but tested are some that were trained on, and the other way round."""
    shutil.copytree(toy_data, folder)
    for split, other in (("train", "test"), ("test", "train")):
        table = pq.read_table(shard_path(toy_data, other, 0, 1))
        pq.write_table(table, shard_path(folder, split, 0, 1))
    return str(folder)


def test_a_new_run_finds_no_other_one_in_its_folder(toy_data, half_way, tmp_path):
    folder = shutil.copytree(half_way, tmp_path / "run")
    before = contents(folder)
    with pytest.raises(
        ValueError, match=r"holds checkpoints, the last of them step-0000002; go on with it by --resume last"
    ):
        train.main(arguments(toy_data, folder, "--steps", 3, "--seed", 5))
    assert contents(folder) == before
    (folder / "mine.txt").write_text("kept")
    argv = arguments(toy_data, folder, "--steps", 1, "--seed", 5, "--overwrite")
    assert train.main(argv) == 0
    assert [path.name for path in complete_checkpoints(folder / "checkpoints")] == ["step-0000001"]
    assert (folder / "mine.txt").exists() and {line["step"] for line in log_of(folder)} == {1}
    assert "overwrite" not in json.loads((folder / "train_config.json").read_text())
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(ValueError, match="holds a finished run; choose another --output_dir"):
        train.main(arguments(toy_data, folder, "--steps", 1))


def test_a_run_does_not_go_on_with_other_data_unless_it_is_told_to(toy_data, half_way, tmp_path):
    folder, other = shutil.copytree(half_way, tmp_path / "run"), with_another_split(toy_data, tmp_path / "other")
    argv = arguments(other, folder, "--steps", 3, "--resume", "last")
    before = contents(folder)
    with pytest.raises(ValueError, match="was made with other data: .* or say --resume_on_other_data"):
        train.main(argv)
    assert contents(folder) == before
    assert train.main([*argv, "--resume_on_other_data"]) == 0
    results = json.loads((folder / "results.json").read_text())
    assert results["training"]["other_data_from_step"] == [2]
    found = results["leakage"]["found"]
    assert any("the model was trained on" in sentence and "toy-000" in sentence for sentence in found)
    seen = json.loads((folder / "subjects_seen.json").read_text())
    assert seen_subjects(dataset_info(toy_data), load_splits(toy_data)["test"]["subject"], seen)


def test_the_same_data_may_lie_elsewhere(toy_data, half_way, tmp_path):
    folder = shutil.copytree(half_way, tmp_path / "run")
    moved = shutil.copytree(toy_data, tmp_path / "moved")
    assert train.main(arguments(str(moved), folder, "--steps", 3, "--resume", "last")) == 0
    assert "other_data_from_step" not in json.loads((folder / "results.json").read_text())["training"]


def test_other_labels_are_other_data(half_way, tmp_path):
    folder = shutil.copytree(half_way, tmp_path / "run")
    data = write_toy_data(tmp_path / "data")
    path = shard_path(data, "train", 0, 1)
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[0]["captions"] = ["a wink"]
    pq.write_table(type(table).from_pylist(rows, schema=table.schema), path)
    with pytest.raises(ValueError, match="other rows, labels, splits or pictures"):
        train.main(arguments(str(data), folder, "--steps", 3, "--resume", "last"))


def test_a_run_that_goes_back_leaves_no_later_checkpoint_that_could_be_taken_for_its_own(toy_data, half_way, tmp_path):
    folder = shutil.copytree(half_way, tmp_path / "run")
    data, saved = str(write_toy_data(tmp_path / "data")), folder / "checkpoints"
    table = pq.read_table(shard_path(data, "train", 0, 1)).to_pylist()
    table[0]["views"][0][0]["bytes"] = b"no picture"  # the run ends before it has made a checkpoint
    write_shard(shard_path(data, "train", 0, 1), table)
    argv = arguments(data, folder, "--steps", 2, "--resume", "step-0000001", "--resume_on_other_data")
    with pytest.raises(ValueError, match="cannot be read"):
        train.main(argv)
    assert [path.name for path in complete_checkpoints(saved)] == ["step-0000001", "step-0000002"]  # nothing was begun
    drop_later(saved, saved / "step-0000001")
    assert [path.name for path in complete_checkpoints(saved)] == ["step-0000001"]


def test_another_runs_checkpoint_needs_a_folder_of_its_own(toy_data, half_way, tmp_path):
    folder, start = shutil.copytree(half_way, tmp_path / "run"), half_way / "checkpoints" / "step-0000002"
    with pytest.raises(ValueError, match="holds checkpoints"):
        train.main(arguments(toy_data, folder, "--steps", 3, "--resume", start))
    assert train.main(arguments(toy_data, tmp_path / "new", "--steps", 3, "--resume", start)) == 0


def test_two_runs_in_one_folder_are_refused(toy_data, tmp_path):
    with folder_lock(tmp_path / "run", "a run"), pytest.raises(ValueError, match="a run is going on in it"):
        train.main(arguments(toy_data, tmp_path / "run", "--steps", 1))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_deleting_and_going_on_at_once_is_no_wish(toy_data, tmp_path):
    with pytest.raises(ValueError, match="leave one out"):
        train.main(arguments(toy_data, tmp_path / "run", "--steps", 1, "--resume", "last", "--overwrite"))
