"""A model without torch: the exported graphs, on data that the exporter never saw."""

import json

import numpy as np
import pytest
import torch

from modeling_mvfer import Classifier, MVFERForFaceClassification
from mvfer.cli.main import main
from mvfer.hub.run_folder import save_run

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.slow
LABELS = ["happiness", "sadness", "surprise"]


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
def test_a_classifier_is_one_graph(small_model, small_processor, face_obj, tmp_path):
    model = MVFERForFaceClassification.from_model(small_model, LABELS)
    save_run(tmp_path / "tuned", model, small_processor)
    assert main(["export", str(tmp_path / "tuned"), "--out", str(tmp_path / "graphs")]) == 0
    assert json.loads((tmp_path / "graphs" / "export.json").read_text())["labels"] == LABELS
    inputs = small_processor(meshes=[face_obj], return_tensors="pt")
    found = run(tmp_path / "graphs" / "classifier.onnx", inputs)
    np.testing.assert_allclose(found, model(**inputs).logits.numpy(), atol=1e-4)
