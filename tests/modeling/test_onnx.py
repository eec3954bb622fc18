"""A model without torch: the exported graphs, on data that the exporter never saw."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mvfer
from modeling_mvfer import Classifier, MVFERForFaceClassification
from mvfer.cli.main import main
from mvfer.hub.load import load_run
from mvfer.hub.run_folder import save_run
from processing import MVFERImageProcessor, MVFERProcessor

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
from mvfer.hub.onnx_export import EXPORTERS, TOLERANCE, export_onnx  # noqa: E402

pytestmark = pytest.mark.slow
LABELS = ["happiness", "sadness", "surprise"]
EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE, RENDERER = EXAMPLES / "onnx_predict.py", EXAMPLES / "numpy_views.py"


def run(path, inputs: dict) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {one.name: np.asarray(inputs[one.name]) for one in session.get_inputs()})[0]


@torch.no_grad()
@pytest.mark.parametrize("exporter", EXPORTERS)
def test_graphs_give_zero_shot_probabilities_without_torch(
    small_model, small_processor, small_run, face_obj, tmp_path, capsys, exporter
):
    assert main(["export", str(small_run), "--format", "onnx", "--out", str(tmp_path), "--exporter", exporter]) == 0
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
    monkeypatch.setattr(sys, "argv", ["numpy_views.py", str(graphs), face_obj, str(tmp_path / "drawn")])
    runpy.run_path(str(RENDERER), run_name="__main__")
    for number, path in enumerate(paths):
        drawn = Image.open(tmp_path / "drawn" / f"{number}.png")
        ours, theirs = (np.asarray(one, dtype=float) for one in (Image.open(path), drawn))
        assert ours.shape == theirs.shape and np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9, "as it is framed"
    faces = processor(meshes=[face_obj] * 2, return_tensors="np")
    exact, small = (run(graphs / f"views{bits}.onnx", faces) for bits in ("", ".int8"))
    assert (exact * small).sum(-1).min() > 0.99 and (exact != small).any()
    assert (graphs / "views.int8.onnx").stat().st_size < (graphs / "views.onnx").stat().st_size


@pytest.mark.parametrize("example", [EXAMPLE, RENDERER], ids=lambda path: path.stem)
def test_the_examples_import_neither_torch_nor_our_package(example):
    lines = [line for line in example.read_text().splitlines() if line.startswith(("import ", "from "))]
    imported = {line.split()[1].partition(".")[0] for line in lines}
    assert imported <= {"json", "sys", "pathlib", "numpy", "onnxruntime", "PIL", "tokenizers", "trimesh"}


@torch.no_grad()
@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("fields", [{}, {"fusion": "max", "baseline": True}])
def test_any_number_of_samples_and_views_gives_what_torch_gives(
    tiny_model, small_processor, tmp_path, exporter, fields
):
    model, size = tiny_model(trained=True, **fields), {"height": 16, "width": 16}
    images = MVFERImageProcessor(size={"shortest_edge": 16}, crop_size=size)
    processor = MVFERProcessor(image_processor=images, tokenizer=small_processor.tokenizer)
    assert max(export_onnx(model, processor, tmp_path, exporter=exporter).values()) <= TOLERANCE
    for samples, views in ((1, 1), (5, 2), (2, 7)):
        mask = torch.ones(samples, views, dtype=torch.bool)
        mask[:, 1:2] = False
        inputs = {"pixel_values": torch.randn(samples, views, 3, 16, 16), "view_mask": mask}
        inputs["view_angles_deg"] = 60 * torch.rand(samples, views, 2) - 30
        expected = torch.nn.functional.normalize(model.get_image_features(**inputs).pooler_output, dim=-1)
        np.testing.assert_allclose(run(tmp_path / "views.onnx", inputs), expected.numpy(), atol=1e-4)


@torch.no_grad()
def test_a_classifier_is_one_graph(small_model, small_processor, face_obj, tmp_path):
    model = MVFERForFaceClassification.from_model(small_model, LABELS)
    save_run(tmp_path / "tuned", model, small_processor)
    assert main(["export", str(tmp_path / "tuned"), "--out", str(tmp_path / "graphs")]) == 0
    assert json.loads((tmp_path / "graphs" / "export.json").read_text())["labels"] == LABELS
    inputs = small_processor(meshes=[face_obj], return_tensors="pt")
    found = run(tmp_path / "graphs" / "classifier.onnx", inputs)
    np.testing.assert_allclose(found, model(**inputs).logits.numpy(), atol=1e-4)
