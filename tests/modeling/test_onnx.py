"""A model without torch: the exported graphs, on data that the exporter never saw."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import mvfer
from modeling_mvfer import Classifier, MVFERForFaceClassification
from mvfer.cli.main import main
from mvfer.hub.load import load_run
from mvfer.hub.run_folder import save_run

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.slow
LABELS = ["happiness", "sadness", "surprise"]
EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_predict.py"


def run(path, inputs: dict) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {one.name: np.asarray(inputs[one.name]) for one in session.get_inputs()})[0]


@torch.no_grad()
def test_graphs_give_zero_shot_probabilities_without_torch(
    small_model, small_processor, small_run, face_obj, tmp_path, capsys
):
    assert main(["export", str(small_run), "--format", "onnx", "--out", str(tmp_path)]) == 0
    assert "views.onnx\tlargest difference from torch" in capsys.readouterr().out
    facts = json.loads((tmp_path / "export.json").read_text())
    assert max(facts["difference_from_torch"].values()) <= 1e-4 and not list(tmp_path.glob("*.py"))
    for written in tmp_path.iterdir():
        for place in (Path(torch.__file__).parents[1], Path(mvfer.__file__).parents[1], tmp_path):
            assert str(place).encode() not in written.read_bytes(), f"{written.name} names a folder of this computer"
    faces = small_processor(meshes=[face_obj] * 4, return_tensors="np")
    known = {"kinds": facts["prompt_kinds"], "wordings": facts["prompt_wordings"]}
    prompts = small_processor.prompts_for(LABELS, **known)
    rows = []
    for texts in prompts.values():
        embeds = run(tmp_path / "texts.onnx", small_processor(text=texts, return_tensors="np"))
        likelihood = np.exp(facts["scale"] * run(tmp_path / "views.onnx", faces) @ embeds.T)
        rows.append(likelihood.mean(axis=-1))
    found = np.stack(rows, axis=-1)
    inputs = small_processor(meshes=[face_obj] * 4, return_tensors="pt")
    expected = Classifier.from_prompts(small_model, small_processor, LABELS)(inputs).probabilities
    np.testing.assert_allclose(found / found.sum(-1, keepdims=True), expected.numpy(), atol=1e-4)


@torch.no_grad()
def test_the_example_says_what_the_classifier_says_and_int8_nearly(small_run, face_obj, tmp_path, capsys, monkeypatch):
    graphs, views = tmp_path / "graphs", tmp_path / "views"
    model, processor = load_run(small_run)
    processor.image_processor.supersampling = 2  # as `mvfer render` draws
    model.config.calibration = load_run(mvfer.model())[0].config.calibration  # of all parts; of other prompts
    save_run(tmp_path / "run", model, processor)
    assert main(["export", str(tmp_path / "run"), "--out", str(graphs), "--labels", *LABELS, "--int8"]) == 0
    assert json.loads((graphs / "export.json").read_text())["calibration"]["actions"]
    settings = processor.image_processor.render_settings
    drawn = ["--size_px", str(settings.size_px), "--channels", *settings.channels, "--aim_y", str(settings.aim_y)]
    flags = ["--out", str(tmp_path / "all.png"), "--each", str(views), *drawn]
    assert main(["render", face_obj, *flags]) == 0
    paths = sorted(map(str, views.iterdir()))
    assert [Path(path).name for path in paths] == ["0_right_30.png", "1_front.png", "2_left_30.png"]
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["onnx_predict.py", str(graphs), *paths])
    runpy.run_path(str(EXAMPLE))
    found = {line.split()[0]: float(line.split()[1]) for line in capsys.readouterr().out.splitlines()}
    inputs = processor(meshes=[face_obj], return_tensors="pt")
    expected = Classifier.from_prompts(model, processor, LABELS)(inputs).probabilities[0]
    assert found == pytest.approx(dict(zip(LABELS, expected.tolist(), strict=True)), abs=1e-3)
    faces = processor(meshes=[face_obj] * 2, return_tensors="np")
    exact, small = (run(graphs / f"views{bits}.onnx", faces) for bits in ("", ".int8"))
    assert (exact * small).sum(-1).min() > 0.99 and (exact != small).any()
    assert (graphs / "views.int8.onnx").stat().st_size < (graphs / "views.onnx").stat().st_size


def test_the_example_imports_neither_torch_nor_our_package():
    lines = [line for line in EXAMPLE.read_text().splitlines() if line.startswith(("import ", "from "))]
    imported = {line.split()[1].partition(".")[0] for line in lines}
    assert imported <= {"json", "sys", "pathlib", "numpy", "onnxruntime", "PIL", "tokenizers"}


@torch.no_grad()
def test_a_classifier_is_one_graph(small_model, small_processor, face_obj, tmp_path):
    model = MVFERForFaceClassification.from_model(small_model, LABELS)
    save_run(tmp_path / "tuned", model, small_processor)
    assert main(["export", str(tmp_path / "tuned"), "--out", str(tmp_path / "graphs")]) == 0
    assert json.loads((tmp_path / "graphs" / "export.json").read_text())["labels"] == LABELS
    inputs = small_processor(meshes=[face_obj], return_tensors="pt")
    found = run(tmp_path / "graphs" / "classifier.onnx", inputs)
    np.testing.assert_allclose(found, model(**inputs).logits.numpy(), atol=1e-4)
