"""Built sets, recorded and synthetic, are read as any data set of the Hub is, and tell nothing of where they were made."""

import json
import re

import pytest
from datasets import load_dataset
from datasets.distributed import split_dataset_by_node

from dataset_scripts.recorded import scan_sets
from dataset_scripts.synthetic import synthesis
from dataset_scripts.validate import validate
from mvfer.data import schema

from .layouts import bu3dfe, rows_of

SETS = ("recorded", "recorded in shards", "synthetic in shards")


@pytest.fixture(params=SETS)
def built(request, build, build_faces, tmp_path, monkeypatch):
    """The folder of a valid set."""
    if request.param.endswith("in shards"):
        monkeypatch.setattr(scan_sets, "FRAMES_PER_SHARD", 5)
        monkeypatch.setattr(synthesis, "SUBJECTS_PER_SHARD", 1)
    if request.param.startswith("synthetic"):
        build_faces(tmp_path / "out")
        return tmp_path / "out"
    source = bu3dfe(tmp_path / "BU_3DFE")
    (source / "F0001" / "F0001_SU01WH_F3D.wrl").write_text("")
    (source / "F0001" / "F0001_XX01WH_F3D.wrl").write_text("")
    return build("bu3dfe", source, "--label_prompts", "--geometry_only")


def test_a_built_set_is_valid_and_is_read_whole_as_a_map_and_as_a_stream(built):
    assert validate(built).failures == []
    expected = [row["id"] for row in rows_of(built)]
    whole = load_dataset("parquet", data_dir=str(built))
    assert [row["id"] for split in whole.values() for row in split] == expected
    streamed = load_dataset("parquet", data_dir=str(built), streaming=True)
    assert [row["id"] for split in streamed.values() for row in split] == expected
    row = next(iter(streamed["train"]))
    assert (
        row["views"][0][0].size == (24, 24)
        and row["views"][0][0].tobytes() == whole["train"][0]["views"][0][0].tobytes()
    )


@pytest.mark.parametrize("streaming", [False, True], ids=["map", "stream"])
def test_two_ranks_share_a_split_without_loss_or_repetition(built, streaming):
    split = load_dataset("parquet", data_dir=str(built), split="train", streaming=streaming)
    parts = [[row["id"] for row in split_dataset_by_node(split, rank, 2)] for rank in range(2)]
    expected = [row["id"] for row in schema.load_splits(built)["train"]]
    assert sorted(parts[0] + parts[1]) == sorted(expected) and parts[0] and parts[1]
    assert len(set(expected)) == len(expected)


def test_nothing_written_names_a_person_a_file_or_a_folder(built, tmp_path):
    """Neither in the files' bytes, nor in what they hold once unpacked."""
    texts = {path.name: path.read_bytes().decode("latin-1") for path in built.iterdir()}
    for row in rows_of(built):
        names = [view.pop("path") for frame in row["views"] for view in frame]
        assert all(re.fullmatch(r"[\w-]+\.png", name) for name in names)
        texts[row["id"]] = json.dumps({k: v for k, v in row.items() if k != "views"})
    for name, text in texts.items():
        assert not re.search(r"[FM]00\d\d", text) and str(tmp_path) not in text, name
    assert not (tmp_path / "key").exists() or (tmp_path / "key").stat().st_mode & 0o077 == 0
