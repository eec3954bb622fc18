"""Push and pull over the loopback where something goes wrong: cut connections, wrong tokens, refusals."""

import os
import shutil

import pytest
from huggingface_hub import constants, hf_hub_download, snapshot_download
from huggingface_hub.utils import close_session

from dataset_scripts.push import main as push_dataset
from mvfer.cli.main import main
from mvfer.data import schema
from mvfer.hub.push import REMEDIES
from tests.modeling.loopback_hub import LoopbackHub
from tests.train.toy import write_toy_data

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


def test_push_to_hub_puts_there_what_save_pretrained_writes(online, small_model, small_processor, tmp_path):
    small_model.save_pretrained(tmp_path / "saved")
    small_processor.save_pretrained(tmp_path / "saved")
    hub = online(token=TOKEN)
    small_model.push_to_hub("someone/model", private=True)
    small_processor.push_to_hub("someone/model")
    saved = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    assert hub.private and {name: hub.files[name] for name in saved} == saved
    assert set(hub.files) - set(saved) <= {"README.md"}


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


def test_the_hub_validates_the_card_and_what_it_says_is_one_line(online, run, capsys):
    hub = online(token=TOKEN)
    assert push(run) == 0 and set(hub.validated) == {(run / "README.md").read_text(encoding="utf-8")}
    hub = online(token=TOKEN, yaml_errors=['"license" must be one of these', "so must language"])
    assert push(run) == 2 and "model.safetensors" not in hub.files
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mvfer: ")]
    assert len(said) == 1 and "must be one of these" in said[0] and "so must language" in said[0]


@pytest.fixture
def data(tmp_path):
    return write_toy_data(tmp_path / "set", may_share=True)


def test_a_data_set_arrives_whole_though_upload_and_download_are_cut(online, data, tmp_path, monkeypatch):
    hub = online(token=TOKEN, cut_uploads=1, cut_downloads=1)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)  # what came before the cut is kept by chunks
    assert push_dataset([str(data), "--repo_id", "someone/faces"]) == 0 and hub.cut_uploads == 0
    options = {
        "repo_type": "dataset",
        "local_dir": tmp_path / "pulled",
        "cache_dir": tmp_path / "cache",
        "max_workers": 1,
    }
    snapshot_download("someone/faces", **options)
    assert hub.cut_downloads == 0 and any(not part.startswith("bytes=0-") for part in hub.ranges)
    pulled = schema.load_splits(tmp_path / "pulled")
    for split, rows in schema.load_splits(data).items():
        assert list(pulled[split]) == list(rows)
    assert schema.dataset_info(tmp_path / "pulled") == schema.dataset_info(data)


@pytest.mark.parametrize(
    "faults", [{"token": "hf_another"}, {"refuse": ("/preupload/", 403)}, {"refuse": ("/commit/", 409)}]
)
def test_a_refused_data_set_is_one_line_with_the_remedy(online, data, faults, capsys):
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    hub = online(**faults)
    assert push_dataset([str(data), "--repo_id", "someone/faces"]) == 1
    status = faults.get("refuse", ("", 401))[1]
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and said[0].startswith(f"error: someone/faces: the Hub refuses with {status}")
    assert REMEDIES[status] in said[0]
    assert hub.files == {} and before == {path.name: path.read_bytes() for path in data.iterdir()}


@pytest.mark.parametrize("faults", [{"token": "hf_another"}, {"refuse": ("/resolve/", 403)}, {}])
def test_a_model_that_cannot_be_pulled_is_one_line_that_names_it(online, faults, face_obj, capsys):
    online(**faults)
    assert main(["predict", face_obj, "--model", "someone/model-of-nobody"]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mvfer: ")]
    assert len(said) == 1 and "someone/model-of-nobody" in said[0]
