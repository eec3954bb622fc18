import json
import shutil

import numpy as np
import pytest
import torch

from modeling_mvfer import MVFERForFaceClassification
from modeling_mvfer.classifier_mvfer import Classifier
from mvfer.cli import main as cli
from mvfer.cli.evaluate import main
from mvfer.data.schema import dataset_info, load_splits
from mvfer.evaluation.audits.leakage import subject_keys
from mvfer.evaluation.classifiers import single_label, validation_accuracy
from mvfer.evaluation.evaluate import evaluate
from mvfer.evaluation.results import accuracies, table
from mvfer.hub.load import load_run
from mvfer.hub.run_folder import save_run
from tests.train.toy import write_toy_data

LABELS = ["happiness", "sadness", "surprise"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture(scope="module")
def classifier(small_model, small_processor):
    return MVFERForFaceClassification.from_zero_shot(
        small_model, Classifier.from_prompts(small_model, small_processor, LABELS).class_embeds
    )


@pytest.fixture(scope="module")
def results(classifier, small_processor, toy):
    return evaluate(classifier, small_processor, toy, also={"other": toy}, seed=3, progress=False)


def test_before_training_it_scores_as_zero_shot_does(classifier, small_model, small_processor, toy):
    split = load_splits(toy)["validation"]
    assert validation_accuracy(classifier, small_processor, split) == validation_accuracy(
        small_model, small_processor, split
    )


def test_every_score_of_the_report_has_an_interval(results):
    found = accuracies(json.loads(json.dumps(results)))
    assert list(found) == [
        "fine-tuned",
        "fine-tuned, half of each view covered",
        "fine-tuned, the same half of all covered",
        "fine-tuned, right_30 view only",
        "fine-tuned, front view only",
        "fine-tuned, left_30 view only",
        "fine-tuned on other",
    ]
    assert all(0 <= value["low"] <= value["mean"] <= value["high"] <= 1 for value in found.values())
    assert found["fine-tuned on other"] == found["fine-tuned"]  # it is the same data set under another name
    assert table(results).splitlines()[-1].split() == ["chance", "0.333"]


def test_a_class_that_the_model_does_not_know_counts_as_missed(small_model, small_processor, toy):
    embeds = Classifier.from_prompts(small_model, small_processor, LABELS[:2]).class_embeds
    two = MVFERForFaceClassification.from_zero_shot(small_model, embeds)
    results = evaluate(two, small_processor, toy, progress=False)
    assert results["test"]["per_class"]["surprise"]["recall"] == 0
    assert np.sum(results["confusion_matrix"]["counts"]) == 9


def test_a_multi_label_model_is_not_scored_as_if_one_label_were_true(small_model, small_processor, toy):
    fields = {"problem_type": "multi_label_classification"}
    several = MVFERForFaceClassification.from_model(small_model, LABELS, **fields)
    with pytest.raises(ValueError, match="multi-label"):
        evaluate(several, small_processor, toy, progress=False)
    with pytest.raises(ValueError, match="multi-label"):
        single_label(Classifier.of(several, small_processor, LABELS))


@pytest.fixture(scope="module")
def run(classifier, small_processor, tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("runs") / "tuned", classifier, small_processor)


def test_the_commands_take_a_classifier(run, toy, face_obj, classifier, small_processor, tmp_path, capsys):
    assert main(["--model", str(run), "--dataset", str(toy), "--out", str(tmp_path)]) == 0
    assert "fine-tuned, front view only" in capsys.readouterr().out
    assert (tmp_path / "examples.png").exists()
    assert cli.main(["predict", face_obj, "--model", str(run), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    with torch.no_grad():
        expected = classifier(**small_processor(meshes=[face_obj], return_tensors="pt")).logits.softmax(-1).max()
    assert row["score"] == pytest.approx(expected.item(), abs=1e-5)
    assert cli.main(["predict", face_obj, "--model", str(run), "--labels", "joy"]) == 2
    assert "leave out --labels" in capsys.readouterr().err


def test_its_results_say_what_lets_them_be_trusted(results):
    assert {"schema_version", "calibration", "fairness", "leakage", "drift_baseline"} <= results.keys()
    assert {"top_2", "auroc"} <= results["test"].keys()
    assert "subjects in two splits" in results["leakage"]["checked"] and results["leakage"]["found"] == []
    assert {"temperature", "abstain_below", "conformal"} <= results["calibration"].keys()


def test_people_whom_it_was_trained_on_are_found(classifier, small_processor, toy):
    info, split = dataset_info(toy), load_splits(toy)["test"]
    seen = {"trained_on": sorted(subject_keys(info, split["subject"])), "chosen_on": []}
    found = evaluate(classifier, small_processor, toy, seen=seen, also={"other": toy}, progress=False)
    assert [line.split(":")[0] for line in found["leakage"]["found"]] == [
        "the model was trained on 3 tested subjects",
        "other",
    ]


def test_classes_that_it_does_not_know_leave_its_temperature_alone(small_model, small_processor, toy):
    embeds = Classifier.from_prompts(small_model, small_processor, LABELS[:2]).class_embeds
    two = MVFERForFaceClassification.from_zero_shot(small_model, embeds)
    results = evaluate(two, small_processor, toy, progress=False)
    assert results["calibration"]["fitted_on"]["num_scans"] == 6
    assert results["calibration"]["calibrated"]["log_loss"] < 10
    other = MVFERForFaceClassification.from_model(small_model, ["fear", "anger"])
    with pytest.raises(ValueError, match="none of the expressions that the model knows"):
        evaluate(other, small_processor, toy, progress=False)


def test_calibration_is_stored_and_used(run, toy, face_obj, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    flags = ["--model", str(folder), "--dataset", str(toy), "--out", str(tmp_path / "report")]
    assert main([*flags, "--calibrate", "--target_accuracy", "0.01"]) == 0
    capsys.readouterr()
    assert cli.main(["predict", face_obj, "--model", str(folder), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["calibrated"] is True and row["abstain"] is not None
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    assert load_run(folder)[0].config.calibration.temperature == results["calibration"]["temperature"]
    assert cli.main(["study", "adaptive_views", *flags[:-1], str(tmp_path)]) == 0
    staged = json.loads((tmp_path / "adaptive_views.json").read_text())
    assert staged["temperature"] == results["calibration"]["temperature"]
    assert "temperature=" not in capsys.readouterr().out


def test_robustness_is_tested_on_request(classifier, small_processor, toy):
    found = evaluate(classifier, small_processor, toy, audits=["robustness"], progress=False)
    assert found["robustness"]["num_scans"] == 9 and found["robustness"]["corruptions"]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--protocol", "bosphorus-10fold"], "--protocol"),
        (["--prompts", "names", "--prompt_audit"], "--prompts --prompt_audit"),
        (["--language", "ja"], "--language"),
    ],
)
def test_flags_about_prompts_are_refused(run, toy, tmp_path, flags, named):
    with pytest.raises(ValueError, match=f"fine-tuned classifier.*leave out {named}$"):
        main(["--model", str(run), "--dataset", str(toy), "--out", str(tmp_path), *flags])


@pytest.mark.parametrize(
    "command",
    [
        ["watch", "FACE"],
        ["explain", "FACE", "--out", "OUT/e.ply"],
        ["poc", "--dataset", "TOY", "--out", "OUT", "--cost_per_error", "40", "--cost_per_review", "2"],
    ],
)
def test_commands_that_compare_texts_refuse_a_classifier(run, toy, face_obj, tmp_path, command, capsys):
    places = {"FACE": face_obj, "TOY": str(toy), "OUT": str(tmp_path)}
    words = [places.get(word, word.replace("OUT", str(tmp_path))) for word in command]
    assert cli.main([*words, "--model", str(run)]) == 2
    assert "a fine-tuned classifier, which compares no texts" in capsys.readouterr().err


def test_drift_of_a_classifier_is_checked_against_its_own_test(run, small_run, tmp_path, capsys):
    data = write_toy_data(tmp_path / "data", subjects=(8, 3, 8))
    report = ["--dataset", str(data), "--out", str(tmp_path / "report")]
    assert main(["--model", str(run), *report]) == 0
    check = ["check", "--baseline", str(tmp_path / "report" / "results.json"), "--dataset", str(data)]
    assert cli.main([*check, "--model", str(run)]) == 0
    assert "no drift" in capsys.readouterr().out
    assert cli.main([*check, "--model", str(small_run)]) == 2
    assert "the test of another model" in capsys.readouterr().err
