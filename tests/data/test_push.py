"""A data set reaches the Hub whole, and one that may not be shared does not reach it in public."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dataset_scripts.push import push
from mvfer.data import schema

from ..modeling.loopback_hub import LoopbackHub


@pytest.fixture
def folder(build_faces, tmp_path):
    build_faces(tmp_path / "set")
    (tmp_path / "set" / "contact_sheet.png").write_bytes(b"a picture of faces")
    return tmp_path / "set"


def restrict(folder):
    info = schema.dataset_info(folder) | {
        "may_share": False,
        "sharing": "Neither scans nor renderings may be passed on.",
    }
    schema.write_json(folder / schema.INFO_FILE, info)


def push_to(hub, folder, *flags):
    """The command line, in a process that may reach the stand-in."""
    return _online(hub, "-m", "dataset_scripts.push", str(folder), "--repo_id", "someone/faces", *flags)


def _online(hub, *command, **variables):
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": "made-up", "HF_HUB_DISABLE_XET": "1", **variables}
    root = Path(__file__).parents[2]
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, cwd=root)


@pytest.mark.slow
def test_a_free_set_is_pushed_with_its_card_and_without_what_else_lies_there(folder):
    with LoopbackHub() as hub:
        done = push_to(hub, folder)
        assert done.returncode == 0, done.stderr
        assert hub.files == {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix != ".png"}
        assert hub.files["README.md"].startswith(b"---") and not hub.private


LOADED = """
import json, sys
import numpy as np
from datasets import load_dataset

def told(row):
    return [row["id"], row["subject"], row["expression"], row["captions"], int(np.asarray(row["views"][0][0]).sum())]

whole = load_dataset("someone/faces")
rows = {split: [told(row) for row in some] for split, some in whole.items()}
streamed = [told(row) for row in load_dataset("someone/faces", streaming=True)["train"]]
print(json.dumps({"rows": rows, "streamed": streamed, "names": whole["train"].features["expression"].names}))
"""


@pytest.mark.slow
def test_a_pushed_set_is_loaded_by_its_name_whole_and_in_a_stream_though_the_line_is_cut(folder, tmp_path):
    with LoopbackHub(token="made-up", cut_downloads=1) as hub:
        assert push_to(hub, folder).returncode == 0
        done = _online(hub, "-c", LOADED, HF_HOME=str(tmp_path / "home"))
        assert done.returncode == 0, done.stderr[-2000:]
        assert hub.ranges and not hub.ranges[-1].startswith("bytes=0-"), "a stream reads parts of a file"
    found, own = json.loads(done.stdout.splitlines()[-1]), schema.load_splits(folder)
    assert set(found["rows"]) == set(own) and found["names"] == own["train"].features["expression"].names
    for split, rows in own.items():
        expected = [[row[name] for name in ("id", "subject", "expression", "captions")] for row in rows]
        assert [row[:4] for row in found["rows"][split]] == expected
        views = [Image.open(io.BytesIO(row["views"][0][0]["bytes"])) for row in rows]
        assert [row[4] for row in found["rows"][split]] == [int(np.asarray(view).sum()) for view in views]
    assert found["streamed"] == found["rows"]["train"]


@pytest.mark.slow
def test_a_pushed_set_is_not_loaded_with_a_wrong_token(folder, tmp_path):
    with LoopbackHub(token="made-up") as hub:
        assert push_to(hub, folder).returncode == 0
        done = _online(hub, "-c", LOADED, HF_HOME=str(tmp_path / "home"), HF_TOKEN="another")
    assert done.returncode == 1 and "401" in done.stderr and "someone/faces" in done.stderr and done.stdout == ""


@pytest.mark.slow
def test_a_restricted_set_needs_a_private_repository_and_the_users_word(folder):
    restrict(folder)
    with pytest.raises(ValueError, match="Neither scans nor renderings may be passed on"):
        push(folder, "someone/faces", private=True)
    with LoopbackHub() as hub:
        done = push_to(hub, folder, "--my_licence_allows_this")
        assert done.returncode == 1 and "may be passed on" in done.stderr and hub.files == {}
        done = push_to(hub, folder, "--my_licence_allows_this", "--private")
        assert done.returncode == 0, done.stderr
        assert hub.private and "train-00000-of-00001.parquet" in hub.files


def test_a_restricted_set_is_not_pushed_to_a_repository_that_is_public_already(folder):
    restrict(folder)
    api = SimpleNamespace(
        create_repo=lambda *a, **k: "there",
        repo_info=lambda *a, **k: SimpleNamespace(private=False),
        upload_folder=lambda **k: pytest.fail("it was uploaded"),
    )
    with pytest.raises(ValueError, match="exists and is public"):
        push(folder, "someone/faces", private=True, licence_allows=True, api=api)


def test_an_incomplete_set_is_not_pushed(folder):
    info = schema.dataset_info(folder)
    schema.write_json(folder / schema.INFO_FILE, info | {"complete": False})
    with pytest.raises(ValueError, match="was not finished"):
        push(folder, "someone/faces")
