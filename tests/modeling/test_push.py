"""Push and pull over the loopback where something goes wrong: cut connections, wrong tokens, refusals."""

import os
import shutil

import pytest
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.utils import close_session

from dataset_scripts.push import main as push_dataset
from mvfer.cli.main import main
from mvfer.data import schema
from tests.modeling.loopback_hub import LoopbackHub

TOKEN = "hf_right"


@pytest.fixture
def online(monkeypatch, tmp_path):
    """`online(**faults)`: a Hub of this process's own, until the test is over."""
    opened = []

    def open_hub(**faults) -> LoopbackHub:
        hub = LoopbackHub(**faults).__enter__()
        opened.append(hub)
        settings = {
            "ENDPOINT": hub.url,
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "DOWNLOAD_CHUNK_SIZE": 100_000,
        }
        for name, value in settings.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
        close_session()
        return hub

    yield open_hub
    close_session()
    for hub in opened:
        hub.__exit__()


@pytest.fixture
def run(small_run, tmp_path):
    return shutil.copytree(small_run, tmp_path / "run")


def push(run) -> int:
    return main(["push", str(run), "--repo_id", "someone/model"])


def test_an_interrupted_upload_is_tried_again_and_arrives_whole(online, run):
    hub = online(token=TOKEN, cut_uploads=2)
    assert push(run) == 0 and hub.cut_uploads == 0
    assert hub.files["model.safetensors"] == (run / "model.safetensors").read_bytes()


def test_an_interrupted_download_goes_on_where_it_stopped(online, run, tmp_path):
    hub = online(token=TOKEN, cut_downloads=1)
    assert push(run) == 0
    path = hf_hub_download("someone/model", "model.safetensors", cache_dir=tmp_path / "cache")
    size = os.path.getsize(run / "model.safetensors")
    assert hub.cut_downloads == 0 and 0 < int(hub.ranges[-1].removeprefix("bytes=").partition("-")[0]) < size
    with open(path, "rb") as pulled:
        assert pulled.read() == (run / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("faults", "remedy"),
    [
        ({"token": "hf_another"}, "401 (refused with 401); log in with: hf auth login"),
        ({"refuse": ("/preupload/", 403)}, "403 (refused with 403); this token may not write there"),
        (
            {"refuse": ("/commit/", 409)},
            "409 (refused with 409); somebody else changed the repository meanwhile: push again",
        ),
    ],
)
def test_a_refusal_is_one_line_with_the_remedy_and_the_run_stays_as_it_was(online, run, faults, remedy, capsys):
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    hub = online(**faults)
    assert push(run) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mvfer: ")]
    assert len(said) == 1 and said[0].startswith("mvfer: someone/model: the Hub refuses with") and remedy in said[0]
    assert hub.files == {} and before == {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}


def test_a_data_set_survives_a_cut_upload_and_a_refusal_is_one_line(online, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train-00000-of-00001.parquet").write_bytes(os.urandom(60_000))
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n", encoding="utf-8")
    schema.write_json(folder / schema.INFO_FILE, {"may_share": True})
    monkeypatch.setattr("dataset_scripts.push.dataset_info", lambda _: {"may_share": True})
    flags = [str(folder), "--repo_id", "someone/faces"]
    hub = online(token=TOKEN, cut_uploads=1)
    assert push_dataset(flags) == 0
    name = "train-00000-of-00001.parquet"
    assert hub.cut_uploads == 0 and hub.files[name] == (folder / name).read_bytes()
    online(refuse=("/preupload/", 403))
    assert push_dataset(flags) == 1
    assert "error: someone/faces: the Hub refuses with 403" in capsys.readouterr().err
