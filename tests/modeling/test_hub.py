import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from modeling_mvfer.modeling_mvfer import MVFERModel
from mvfer.hub import card
from mvfer.hub import run_folder as hub
from mvfer.hub.load import load_run
from mvfer.hub.push import push_run
from tests.modeling.loopback_hub import LoopbackHub
from tests.modeling.stranger import as_a_stranger

ROOT = Path(__file__).parents[2]
TEXTS = ["lip corners pulled up", "jaw dropped"]
STRANGER = """
from transformers import AutoConfig, AutoModel, AutoModelForZeroShotImageClassification

model = AutoModel.from_pretrained(folder, **options).eval()
processor = AutoProcessor.from_pretrained(folder, **options)
with torch.no_grad():
    output = model(**processor(meshes=[mesh, mesh], text=TEXTS, return_tensors="pt"), return_loss=True)
found["logits"], found["terms"] = output.logits_per_image[:1].tolist(), sorted(output.losses)
model.config.save_pretrained("again")
config = AutoConfig.from_pretrained("again", **options)
found["objective"], found["calibration"] = vars(config.objective), config.calibration and vars(config.calibration)
if photo:
    classify = pipeline("zero-shot-mesh-classification", model=folder, **options)
    found["mesh"] = classify(mesh, candidate_labels=["happiness", "surprise"])
    try:
        pipeline(model=folder, **options)
    except RuntimeError as error:  # there are several tasks
        found["tasks"] = str(error)
    photos = pipeline("zero-shot-image-classification", model=folder, **options)
    photo = Image.open(photo)
    found["photo"] = photos(photo, candidate_labels=TEXTS)
    found["photos"] = photos([photo, photo], candidate_labels=TEXTS, batch_size=2)
"""


def use_folder(folder, mesh, *, photo=None, env=None, cache):
    values = {"folder": str(folder), "mesh": mesh, "photo": photo and str(photo), "TEXTS": TEXTS}
    return as_a_stranger(STRANGER, values, cache=cache, env=env)


def push(folder, env, cache):
    """`mvfer push` in a process of its own, which is not told to stay offline."""
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"} | env | {"HF_HOME": str(cache)}
    command = [sys.executable, "-m", "mvfer", "push", str(folder), "--repo_id", "someone/model"]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)


@torch.no_grad()
def logits_at_home(model, processor, mesh):
    return model(**processor(meshes=[mesh], text=TEXTS, return_tensors="pt")).logits_per_image


@pytest.mark.slow
def test_a_saved_run_works_where_our_packages_are_missing(small_run, small_model, small_processor, face_obj, tmp_path):
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(photo)
    run, calibration = tmp_path / "run", {"temperature": 2.0, "abstain_below": 0.5, "prompts_key": "0123456789abcdef"}
    shutil.copytree(small_run, run)
    hub.store_calibration(run, calibration, chosen_on=[])
    found = use_folder(run, face_obj, photo=photo, cache=tmp_path)
    torch.testing.assert_close(
        torch.tensor(found["logits"]), logits_at_home(small_model, small_processor, face_obj), rtol=0, atol=1e-5
    )
    assert found["terms"] == ["contrastive", "cross_view", "phrase", "view_contrastive"]
    assert (found["objective"], found["calibration"]) == (
        vars(small_model.config.objective),
        calibration | {"actions": None, "familiarity": None},
    )
    assert {row["label"] for row in found["mesh"]} == {"happiness", "surprise"}
    assert "zero-shot-image-classification, zero-shot-mesh-classification" in found["tasks"]
    assert sum(row["score"] for row in found["photo"]) == pytest.approx(1)
    assert [row["label"] for row in found["photos"][1]] == [row["label"] for row in found["photo"]]


def test_a_saved_run_loads_at_home_with_equal_logits(small_run, small_model, small_processor, face_obj):
    model, processor = load_run(small_run)
    assert type(model) is MVFERModel and not model.training
    expected = logits_at_home(small_model, small_processor, face_obj)
    torch.testing.assert_close(logits_at_home(model, processor, face_obj), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_pushed_run_can_be_pulled_by_a_stranger(small_run, small_model, small_processor, face_obj, tmp_path):
    (small_run / "checkpoints" / "step_1").mkdir(parents=True)
    for name in (
        "checkpoints/step_1/model.safetensors",
        "checkpoints/last.json",
        "events.out.tfevents",
        ".hidden.json",
    ):
        (small_run / name).write_text("{}")
    with LoopbackHub() as stand_in:
        env = {"HF_ENDPOINT": stand_in.url, "HF_TOKEN": "hf_fake", "HF_HUB_DISABLE_XET": "1"}
        done = push(small_run, env, tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.startswith(stand_in.url) and stand_in.private is True
        written = {path.name for path in small_run.iterdir() if path.is_file()}
        assert set(stand_in.files) == written - {"events.out.tfevents", ".hidden.json"}
        found = use_folder("someone/model", face_obj, env=env, cache=tmp_path)
    expected = logits_at_home(small_model, small_processor, face_obj)
    torch.testing.assert_close(torch.tensor(found["logits"]), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_one_line(small_run, tmp_path):
    done = push(small_run, {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_fake"}, tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("mvfer: http://127.0.0.1:9: the Hub cannot be reached")


def test_a_full_disk_while_saving_leaves_the_earlier_files_as_they_were(
    tmp_path, small_model, small_processor, monkeypatch
):
    run = hub.save_run(tmp_path / "run", small_model, small_processor)
    (run / "metrics.jsonl").write_text("kept\n")
    before = {path.name: path.read_bytes() for path in run.iterdir()}

    def full(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match=r"run: could not save the model \(No space left on device\)") as caught:
        hub.save_run(run, small_model, small_processor, results=None)
    assert caught.value.errno == errno.ENOSPC
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_saving_again_replaces_the_files_and_keeps_others(tmp_path, small_model, small_processor):
    run = hub.save_run(tmp_path / "run", small_model, small_processor)
    (run / "checkpoints").mkdir()
    (run / "config.json").write_text("{}")
    hub.save_run(run, small_model, small_processor, train_config={"steps": 3})
    assert json.loads((run / "config.json").read_text())["model_type"] == "mvfer"
    assert json.loads((run / "train_config.json").read_text()) == {"steps": 3}
    assert (run / "checkpoints").is_dir() and not list(run.glob(".saving-*"))


def test_saving_does_not_change_the_model_in_memory(tmp_path, small_model, small_processor):
    before = small_model.config.to_dict()
    hub.save_run(tmp_path / "run", small_model, small_processor)
    hub.save_run(tmp_path / "run", small_model, small_processor)
    after = {key: value for key, value in small_model.config.to_dict().items() if key != "auto_map"}
    assert after == {key: value for key, value in before.items() if key != "auto_map"}


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json there"):
        load_run(tmp_path)
    with pytest.raises(ValueError, match=r"no config\.json there"):
        push_run(tmp_path, "someone/model")


def results():
    accuracy = {"accuracy": {"mean": 0.91, "low": 0.87, "high": 0.95}, "num_scans": 40, "num_subjects": 8}
    accuracy |= {name: {"mean": 0.9, "low": 0.8, "high": 0.94} for name in ("balanced_accuracy", "macro_f1")}
    return {
        "kind": "zero_shot",
        "test": accuracy,
        "linear_probe": None,
        "half_occluded": accuracy,
        "same_half_occluded": accuracy,
        "by_view": {"front": accuracy},
        "transfer": {"ict": {"zero_shot": accuracy, "linear_probe": None}},
        "split": "test",
        "seed": 3,
        "chance": 0.125,
        "data": {"name": "anny"},
        "supervision": ["captions"],
        "prompt_kinds": ["actions"],
        "language": "en",
        "training": {"seed": 5, "best_step": 250},
        "command": "mvfer evaluate --model runs/first --dataset data/anny --out report",
    }


def test_the_card_tells_results_supervision_limits_and_the_law(small_model, small_processor):
    info = {"name": "anny", "source": "Anny 0.6.2", "license": "CC0-1.0"}
    text = card.model_card(small_model, small_processor, results=results(), datasets=[info])
    assert "| zero-shot, front view only | 0.910 | 0.870 to 0.950 | 0.900 | 0.900 |" in text
    assert (
        "mvfer evaluate --model runs/first" in text
        and "evaluation seed 3, training seed 5" in text
        and "8 subjects" in text
    )
    assert "never name an emotion" in text and "chosen by zero-shot accuracy on the labelled validation" in text
    assert "(EU) 2024/1689" in text and "Art. 5(1)(f)" in text
    metadata = yaml.safe_load(text.split("---")[1])
    assert metadata["license"] == "apache-2.0" and metadata["library_name"] == "transformers"
    (index,) = metadata["model-index"]
    assert {r["dataset"]["name"] for r in index["results"]} == {"anny", "ict"}
    assert index["results"][0]["metrics"][0]["value"] == 0.91


def test_weights_are_not_declared_free_when_the_data_is_not(small_model, small_processor):
    info = {"name": "bu3dfe", "source": "scans", "license": "research only"}
    text = card.model_card(small_model, small_processor, datasets=[info])
    assert yaml.safe_load(text.split("---")[1])["license"] == "other"
    assert "This model was not evaluated." in text


def test_an_unknown_variable_in_the_card_is_an_error(small_model, small_processor, tmp_path, monkeypatch):
    template = tmp_path / "model_card.md"
    template.write_text("---\n{{ card_data }}\n---\n{{ accuracy_of_last_year }}\n")
    monkeypatch.setattr(card, "TEMPLATE", template)
    with pytest.raises(ValueError, match="accuracy_of_last_year"):
        card.model_card(small_model, small_processor)


def test_a_bundled_run_predicts_as_the_run_does_and_brings_no_code(small_run, face_obj, tmp_path):
    from mvfer.hub.bundle import bundle

    run = shutil.copytree(small_run, tmp_path / "run")
    (run / "results.json").write_text("{}")
    folder = bundle(run, tmp_path / "bundled")
    assert not list(folder.glob("*.py")) and "auto_map" not in (folder / "config.json").read_text()
    assert (folder / "model.safetensors").stat().st_size < 0.6 * (run / "model.safetensors").stat().st_size
    embeds = []
    for source in (run, folder):
        model, processor = load_run(source)
        assert model.dtype == torch.float32
        embeds.append(model.get_image_features(**processor(meshes=[face_obj], return_tensors="pt")).pooler_output)
    torch.testing.assert_close(*embeds, rtol=0.02, atol=0.02)


def test_the_model_that_comes_with_the_package_knows_what_its_examples_show(capsys):
    import mvfer
    from mvfer.cli.main import main

    names = ["neutral", "happiness", "surprise"]
    assert main(["predict", *(str(ROOT / "examples" / f"{name}.ply") for name in names), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["label"] for row in rows] == names and all(row["calibrated"] for row in rows)
    with pytest.raises(ValueError, match="no such model comes with the package; there are small"):
        mvfer.model("large")
