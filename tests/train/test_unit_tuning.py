"""`train.py --stage finetune --target units`: a head that tells several action units at once."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageClassification, pipeline

import train
from modeling_mvfer import Classifier, MVFERForFaceClassification
from modeling_mvfer.actions_mvfer import ActionReader
from mvfer.cli.main import main
from mvfer.data.schema import load_splits
from mvfer.evaluation.classifiers import single_label
from mvfer.evaluation.unit_head import best_threshold, evaluate_units, validation_auc
from mvfer.hub.load import load_run
from mvfer.training.config import TrainConfig
from mvfer.training.labels import balanced_positives, unit_rows
from mvfer.training.unit_tuning import build_unit_classifier

from .test_finetune import arguments

UNITS = ["1", "2", "6", "12", "15", "27"]  # of the toy data


@pytest.fixture(scope="module")
def tuned(small_run, toy_data, tmp_path_factory):
    """The folder of a probe that learnt the toy data's units."""
    folder = tmp_path_factory.mktemp("units") / "run"
    flags = ("--target", "units", "--method", "probe", "--steps", 60, "--learning_rate", 0.02)
    assert train.main(arguments(small_run, toy_data, folder, *flags)) == 0
    return folder


def test_a_probe_learns_units_and_says_how_well_each_is_told(tuned):
    results = json.loads((tuned / "results.json").read_text())
    assert results["kind"] == "units" and set(results["actions"]["test"]["per_unit"]) == set(UNITS)
    assert results["test"]["auc"]["mean"] > 0.9 and results["test"]["f1"]["mean"] > 0.7
    assert results["actions"]["test"]["per_unit"]["12"].keys() >= {"auc", "f1", "balanced_accuracy", "count"}
    assert set(results["by_view"]) == {"front", "left_30", "right_30"} and results["leakage"]["found"] == []
    assert results["training"]["labelled_scans"] == 24 and results["training"]["left_out"] == 0
    card = (tuned / "README.md").read_text()
    assert "| 12 lip corners pulled up | 3 |" in card and "learnt from 24 coded scans (method: probe)" in card


def test_the_exported_model_loads_as_transformers_multi_label_classifier(tuned, toy_data, face_obj):
    model = AutoModelForImageClassification.from_pretrained(tuned).eval()
    assert isinstance(model, MVFERForFaceClassification)
    assert model.config.problem_type == "multi_label_classification"
    assert list(model.config.id2label.values()) == UNITS
    _, processor = load_run(tuned)
    score = validation_auc(model, processor, load_splits(toy_data)["validation"])
    assert score == pytest.approx(json.loads((tuned / "results.json").read_text())["training"]["validation_auc"])
    classify = pipeline("mesh-classification", model=str(tuned), trust_remote_code=True, device="cpu")
    with torch.no_grad():
        logits = model(**processor(meshes=[face_obj], return_tensors="pt")).logits[0]
    scores = {row["label"]: row["score"] for row in classify(face_obj)}
    assert scores == pytest.approx(dict(zip(UNITS, logits.sigmoid().tolist(), strict=True)), abs=1e-4)


def test_the_commands_take_it(tuned, toy_data, face_obj, tmp_path, capsys):
    assert main(["predict", face_obj, "--model", str(tuned), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    scores = {item["label"]: item["score"] for item in row["scores"]}
    assert set(scores) == set(UNITS) and set(row["seen"]) == {unit for unit, score in scores.items() if score >= 0.5}
    assert main(["predict", face_obj, "--model", str(tuned)]) == 0
    line = capsys.readouterr().out.split("\t")[1]
    assert line.count(".") == len(row["seen"]) if row["seen"] else line.strip() == "nothing"
    assert main(["evaluate", "--model", str(tuned), "--dataset", toy_data, "--out", str(tmp_path)]) == 0
    assert "12 lip corners pulled up" in capsys.readouterr().out
    assert "Mean AUC over units" in (tmp_path / "index.html").read_text()
    assert main(["evaluate", "--model", str(tuned), "--dataset", toy_data, "--out", str(tmp_path), "--robustness"]) == 2
    assert "--robustness" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["full", "lora"])
def test_other_methods_train_it_too(small_run, toy_data, tmp_path, method):
    flags = ("--target", "units", "--method", method, "--steps", 2, "--class_weights", "balanced")
    assert train.main(arguments(small_run, toy_data, tmp_path / "run", *flags)) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["class_weights"] == [2.0] * 6  # each unit is in a third of the rows
    assert config["problem_type"] == "multi_label_classification"


def test_units_alone_train_a_model_from_scratch(toy_data, tmp_path):
    assert train.main(arguments("small", toy_data, tmp_path / "run", "--target", "units", "--steps", 1)) == 0


@torch.no_grad()
def test_the_head_starts_as_the_reader_of_actions(small_run, toy_data):
    config = TrainConfig(stage="finetune", target="units", model=str(small_run), dataset=[toy_data])
    model, processor = load_run(small_run)
    infos = [{"render_settings": {"view_angles_deg": [[-30, 0], [0, 0], [30, 0]]}}]
    classifier = build_unit_classifier(config, processor, infos, UNITS)
    reader = ActionReader.build(model, processor)
    embeds = torch.nn.functional.normalize(torch.randn(5, model.config.projection_dim), dim=-1)
    told = reader.evidence(embeds, torch.stack([embeds, embeds], 1)).logits
    torch.testing.assert_close(classifier.head(embeds), told[:, [reader.units.index(unit) for unit in UNITS]])


def test_rows_that_nobody_coded_are_left_out_and_counted(toy_data, small_run, tmp_path):
    split = load_splits(toy_data)["train"]
    uncoded = split.map(
        lambda row, index: row | {"action_units": [] if index < 5 else row["action_units"]}, with_indices=True
    )
    chosen, units, targets = unit_rows([uncoded], UNITS + ["9"])
    assert chosen[0]["id"] == split["id"][5:] and units == UNITS and targets.shape == (19, 6)
    shown = [{one["name"] for one in row} for row in chosen[0]["action_units"]]
    assert targets.tolist() == [[int(unit in row) for unit in UNITS] for row in shown]
    with pytest.raises(ValueError, match="metadata.csv"):
        unit_rows([split.map(lambda row: row | {"action_units": []})], UNITS)


def test_units_that_a_data_set_never_shows_are_unknown_there(toy_data):
    split = load_splits(toy_data)["train"]
    happy = split.filter(lambda row: any(one["name"] == "12" for one in row["action_units"]))
    others = split.filter(lambda row: not any(one["name"] == "12" for one in row["action_units"]))
    _, units, targets = unit_rows([split, others], UNITS)
    assert (targets[24:, units.index("12")] == -1).all() and (targets[:24] >= 0).all()
    with pytest.raises(ValueError, match="none can be learnt"):
        unit_rows([happy], ["12"])


def test_balanced_positives_let_both_answers_weigh_alike():
    targets = np.array([[1, 0], [0, 0], [0, 1], [0, -1]])
    weights = balanced_positives(targets)
    assert weights == [3.0, 2.0]


def test_a_threshold_is_where_f1_is_largest_and_between_scans():
    logits, seen = np.array([-3.0, -2.0, 0.5, 1.0, 4.0]), np.array([False, True, False, True, True])
    assert best_threshold(logits, seen) == -2.5  # 3 of 3 found, one false: 6 / 7
    assert best_threshold(logits, np.array([False, False, False, True, True])) == 0.75
    assert best_threshold(logits, np.ones(5, bool)) == -4.0


@pytest.mark.parametrize("flags", [("--wise_ft",), ("--labels_per_class", 2), ("--stage", "pretrain")])
def test_recipes_without_meaning_are_refused(small_run, toy_data, tmp_path, flags):
    with pytest.raises(ValueError, match="--target units"):
        train.main(arguments(small_run, toy_data, tmp_path, "--target", "units", *flags))


def test_data_without_units_is_refused_before_anything_is_computed(tuned, toy_data):
    model, processor = load_run(tuned)
    rows = load_splits(toy_data)["validation"].map(lambda row: row | {"action_units": []})
    with pytest.raises(ValueError, match="give them units"):
        validation_auc(model, processor, rows)
    with pytest.raises(ValueError, match="multi-label"):
        single_label(Classifier.from_head(model))


def test_a_test_on_another_data_set_is_told_beside(tuned, toy_data, tmp_path):
    model, processor = load_run(tuned)
    results = evaluate_units(model, processor, toy_data, also={"again": toy_data}, progress=False)
    assert results["actions"]["again"]["per_unit"] == results["actions"]["test"]["per_unit"]
