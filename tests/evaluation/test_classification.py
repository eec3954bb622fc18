import json

import numpy as np
import pytest
import torch

from dataset_scripts.schema import load_splits
from evaluation.classification import classifier_score, evaluate_classifier
from evaluation.classifiers import classifier_of
from evaluation.command import main
from evaluation.evaluate import accuracies, table
from evaluation.zero_shot import embed_classes, zero_shot_score
from modeling_mvfer import MVFERForFaceClassification, cli
from modeling_mvfer.hub import save_run
from tests.train.toy import write_toy_data

LABELS = ["happiness", "sadness", "surprise"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture(scope="module")
def classifier(small_model, small_processor):
    return MVFERForFaceClassification.from_zero_shot(
        small_model, embed_classes(small_model, small_processor.tokenizer, LABELS)
    )


@pytest.fixture(scope="module")
def results(classifier, small_processor, toy):
    return evaluate_classifier(classifier, small_processor, toy, also={"other": toy}, seed=3, progress=False)


def test_before_training_it_scores_as_zero_shot_does(classifier, small_model, small_processor, toy):
    split = load_splits(toy)["validation"]
    assert classifier_score(classifier, small_processor, split) == zero_shot_score(small_model, small_processor, split)


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
    embeds = embed_classes(small_model, small_processor.tokenizer, LABELS[:2])
    two = MVFERForFaceClassification.from_zero_shot(small_model, embeds)
    results = evaluate_classifier(two, small_processor, toy, progress=False)
    assert results["classification"]["per_class"]["surprise"]["recall"] == 0
    assert np.sum(results["confusion_matrix"]["counts"]) == 9


def test_a_multi_label_model_is_not_scored_as_if_one_label_were_true(small_model, small_processor, toy):
    fields = {"problem_type": "multi_label_classification"}
    several = MVFERForFaceClassification.from_model(small_model, LABELS, **fields)
    with pytest.raises(ValueError, match="multi-label"):
        evaluate_classifier(several, small_processor, toy, progress=False)
    with pytest.raises(ValueError, match="multi-label"):
        classifier_of(several, small_processor.tokenizer, LABELS)


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
