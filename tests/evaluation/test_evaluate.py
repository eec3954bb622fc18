import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from modeling_mvfer import MVFERModel
from modeling_mvfer.classifier_mvfer import Classifier
from mvfer.cli.evaluate import main
from mvfer.data.schema import load_splits, shard_path
from mvfer.evaluation.evaluate import evaluate
from mvfer.evaluation.results import accuracies, table
from mvfer.reports import pictures
from mvfer.reports.examples import example_rows, predictions
from mvfer.reports.findings import findings
from mvfer.training.presets import small_config
from tests.train.toy import write_toy_data


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture(scope="module")
def results(small_model, small_processor, toy):
    return evaluate(small_model, small_processor, toy, also={"other": toy}, seed=3, command="made so", progress=False)


def test_every_score_of_the_report_has_an_interval(results):
    names = [
        "zero-shot",
        "nearest neighbours",
        "linear probe",
        "zero-shot, half of each view covered",
        "zero-shot, the same half of all covered",
        "zero-shot, right_30 view only",
        "zero-shot, front view only",
        "zero-shot, left_30 view only",
        "zero-shot on other",
        "zero-shot, normalised on other",
        "linear probe on other",
    ]
    found = accuracies(results)
    assert list(found) == names
    assert all(0 <= value["low"] <= value["mean"] <= value["high"] <= 1 for value in found.values())


def test_the_linear_probe_reads_the_toy_faces(results):
    assert results["linear_probe"]["accuracy"]["mean"] > 0.9
    other = results["transfer"]["other"]["linear_probe"]
    assert other["accuracy"] == results["linear_probe"]["accuracy"]  # it is the same data set under another name
    assert set(other["per_class"]) == {"happiness", "sadness", "surprise"} and np.sum(other["confusion_matrix"]) == 9


def test_the_results_say_how_they_were_made_and_fit_into_json(results):
    again = json.loads(json.dumps(results))
    assert again["seed"] == 3 and again["command"] == "made so" and again["supervision"] == ["captions"]
    assert again["data"] == {"name": "toy", "rows": {"train": 24, "validation": 9, "test": 9}}
    assert set(again["prompts"]) == {"happiness", "sadness", "surprise"} and again["chance"] == pytest.approx(1 / 3)
    assert {"python", "torch", "transformers", "device"} <= set(again["environment"])
    matrix = again["confusion_matrix"]
    assert matrix["labels"] == ["happiness", "sadness", "surprise"] and np.sum(matrix["counts"]) == 9


def test_equal_seeds_give_equal_results(small_model, small_processor, toy, results):
    again = evaluate(small_model, small_processor, toy, also={"other": toy}, seed=3, command="made so", progress=False)
    assert json.dumps(again) == json.dumps(results)


def test_the_table_lists_every_score(results):
    lines = table(results).splitlines()
    assert len(lines) == 2 + len(accuracies(results)) and lines[-1].startswith("chance")


def test_the_command_writes_results_and_a_picture(small_run, toy, tmp_path, capsys):
    out = tmp_path / "report"
    assert main(["--model", str(small_run), "--dataset", str(toy), "--out", str(out)]) == 0
    assert json.loads((out / "results.json").read_text())["command"].startswith("mvfer evaluate --model")
    assert Image.open(out / "confusion_matrix.png").size[0] > 200
    assert Image.open(out / "examples.png").size[1] > 900  # one row per class
    assert "linear probe" in capsys.readouterr().out


def test_a_missing_split_is_named(small_model, small_processor, toy):
    with pytest.raises(ValueError, match="split 'all'"):
        evaluate(small_model, small_processor, toy, split="all")


def test_views_with_other_channels_than_the_model_s_are_refused(small_model, small_processor, toy, tmp_path):
    other = Path(shutil.copytree(toy, tmp_path / "other"))
    info = json.loads((other / "dataset_info.json").read_text())
    info["render_settings"]["channels"] = ["red", "green", "blue"]
    (other / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(ValueError, match="its views show .*red"):
        evaluate(small_model, small_processor, other)


def rewrite(toy, folder, split, change):
    """A copy of the data with the rows of one split changed."""
    copy = Path(shutil.copytree(toy, folder))
    path = shard_path(copy, split, 0, 1)
    table = pq.read_table(path)
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema), path)
    return copy


@pytest.mark.parametrize(
    ("split", "change", "message"),
    [
        ("train", lambda rows: [], "split 'train' is empty"),
        ("test", lambda rows: [], "split 'test' is empty"),
        ("test", lambda rows: [row | {"expression": 4} for row in rows], "split 'test' shows one expression only"),
        ("test", lambda rows: [row | {"expression": -1} for row in rows], "split 'test' has no labelled rows"),
    ],
)
def test_a_split_that_cannot_be_tested_is_named(small_model, small_processor, toy, tmp_path, split, change, message):
    with pytest.raises(ValueError, match=message):
        evaluate(small_model, small_processor, rewrite(toy, tmp_path / "bad", split, change), progress=False)


def test_unlabelled_rows_are_embedded_and_not_scored(small_model, small_processor, toy, tmp_path):
    unknown = rewrite(toy, tmp_path / "some", "test", lambda rows: [rows[0] | {"expression": -1}, *rows[1:]])
    results = evaluate(small_model, small_processor, unknown, progress=False)
    assert results["test"]["num_scans"] == 8 and results["knn"]["num_scans"] == 8


def test_without_labels_to_fit_there_is_no_probe_and_no_temperature(small_model, small_processor, toy, tmp_path):
    unknown = rewrite(toy, tmp_path / "v", "validation", lambda rows: [row | {"expression": -1} for row in rows])
    results = evaluate(small_model, small_processor, unknown, progress=False)
    assert results["knn"] is None and results["linear_probe"] is None
    assert "labelled validation scans" in results["calibration"]["not_calibrated"]
    assert any("calibration: none" in line for line in findings(results))


def test_views_from_other_angles_are_tested_all_the_same(small_model, small_processor, toy, tmp_path):
    """The model takes any number of views: one per scan, from an angle it does not render itself."""

    def one_view(rows):
        return [row | {"views": [[row["views"][0][0]]], "view_angles_deg": [[45.0, 0.0]]} for row in rows]

    other = toy
    for split in ("train", "validation", "test"):
        other = rewrite(other, tmp_path / split, split, one_view)
    results = evaluate(small_model, small_processor, other, audits=["robustness"], progress=False)
    assert list(results["by_view"]) == ["left_45"] and results["robustness"]["view_subsets"] == {}
    assert results["by_view"]["left_45"]["accuracy"] == results["test"]["accuracy"]


def test_new_scores_are_beside_the_old_ones(results):
    assert results["schema_version"] == 4 and {"top_2", "auroc"} <= set(results["test"])
    assert results["knn"]["k"] >= 1 and "top_2" in results["by_view"]["front"]
    assert {"temperature", "abstain_below", "conformal", "risk_coverage", "prompts_key"} <= set(results["calibration"])
    assert results["calibration"]["fitted_on"] == {"num_scans": 9, "num_subjects": 3}
    assert set(results["fairness"]) == {"sex", "age_group", "ancestry"}
    assert results["leakage"]["found"] == []


def test_examples_show_one_scan_per_class_with_its_true_label(small_model, small_processor, toy):
    split = load_splits(toy)["test"]
    classifier = Classifier.of(small_model, small_processor, ["happiness", "sadness", "surprise"])
    shown = predictions(small_processor, split.select(example_rows(split)), classifier)
    assert [row.true_label for row in shown] == ["happiness", "sadness", "surprise"]
    assert all(sum(row.probabilities.values()) == pytest.approx(1) for row in shown)
    assert shown[0].views.shape == (3, 32, 32, 3) and sum(shown[0].view_weights) == pytest.approx(1)


def test_pictures_show_calibrated_scores_where_the_model_is_calibrated(small_model, small_processor, toy, tmp_path):
    from modeling_mvfer.zeroshot_mvfer import prompts_key
    from mvfer.hub.run_folder import save_run

    results = evaluate(small_model, small_processor, toy, progress=False)
    model = copy.deepcopy(small_model)
    model.config.calibration = {"temperature": 0.01, "prompts_key": prompts_key(results["prompts"])}
    split = load_splits(toy)["test"]
    chosen = split.select(example_rows(split))
    shown = []
    for one in (small_model, model):
        classifier = Classifier.of(one, small_processor, list(results["prompts"]))
        shown.append([list(row.probabilities.values()) for row in predictions(small_processor, chosen, classifier)])
    plain, calibrated = np.array(shown)
    powers = plain.astype(float) ** 100  # softmax(logits / 0.01)
    np.testing.assert_allclose(calibrated, powers / powers.sum(1, keepdims=True), rtol=1e-2, atol=1e-6)
    drawn = []
    folder, out = save_run(tmp_path / "run", model, small_processor), str(tmp_path / "report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mvfer.cli.evaluate.predictions_picture", lambda rows, path: drawn.extend(rows))
        assert main(["--model", str(folder), "--dataset", str(toy), "--out", out]) == 0
    np.testing.assert_allclose([list(row.probabilities.values()) for row in drawn[:3]], calibrated, atol=1e-4)


def test_predictions_are_drawn_one_row_per_scan(tmp_path):
    views = np.full((3, 16, 16, 3), 90, np.uint8)
    scan = pictures.PredictedScan(
        "a", views, ["right_30", "front", "left_30"], {"x": 0.7, "y": 0.3}, [0.2, 0.5, 0.3], true_label="y"
    )
    pictures.predictions_picture([scan], tmp_path / "one.png")
    pictures.predictions_picture([scan, scan], tmp_path / "two.png")
    one, two = Image.open(tmp_path / "one.png"), Image.open(tmp_path / "two.png")
    assert two.size == (one.size[0], 2 * one.size[1])
    with pytest.raises(ValueError, match="at least one"):
        pictures.predictions_picture([], tmp_path / "none.png")


def test_clay_is_shown_in_grey_and_colours_as_they_are():
    views = np.random.default_rng(0).integers(255, size=(1, 4, 4, 3), dtype=np.uint8)
    shown = pictures.displayable(views, ("depth", "clay", "curvature"))
    np.testing.assert_array_equal(shown, np.repeat(views[..., 1:2], 3, axis=-1))
    assert pictures.displayable(views, ("red", "green", "blue")) is views


def test_scores_beside_own_scans(small_processor, toy):
    """A model of which all people's scans are moved alike by their baseline, and the words for what was scored."""
    tokenizer = small_processor.tokenizer
    special = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    torch.manual_seed(0)
    model = MVFERModel(small_config(vocab_size=len(tokenizer), image_size=32, baseline=True, **special)).eval()
    found = evaluate(model, small_processor, toy, baselines=["0", "all"], progress=False)
    relative = found["by_baseline"][Path(toy).name]
    assert list(relative) == ["0", "all"]
    assert relative["0"]["accuracy"] == found["test"]["accuracy"] and relative["0"]["num_relative"] == 0
    assert relative["all"]["num_relative"] == relative["all"]["num_scans"]
    assert relative["all"]["accuracy"] != relative["0"]["accuracy"]
    assert f"zero-shot on {Path(toy).name}, beside all own scans" in accuracies(found)
