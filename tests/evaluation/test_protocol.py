import json

import numpy as np
import pytest

from mvfer.cli.evaluate import main
from mvfer.data.protocols import PROTOCOLS, Protocol
from mvfer.data.schema import dataset_info, load_splits
from mvfer.evaluation.audits.leakage import subjects_seen
from mvfer.evaluation.protocols.protocol import evaluate_protocol
from mvfer.reports.protocol_report import protocol_text
from tests.train.toy import ACTIONS, write_toy_data


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture
def protocol(monkeypatch):
    """`protocol(folds)`: the name of a protocol for the toy data."""

    def register(folds=4, **options):
        made = Protocol("toy", folds, source="us", reading="as it says", expressions=tuple(ACTIONS), **options)
        monkeypatch.setitem(PROTOCOLS, "toy", made)
        return "toy"

    return register


def test_every_subject_is_tested_once_and_folds_are_summed_up(small_model, small_processor, toy, protocol):
    options = {"repetitions": 2, "progress": False}
    results = evaluate_protocol(small_model, small_processor, toy, protocol(4), **options)
    assert results["zero_shot"]["num_scans"] == 42 and results["zero_shot"]["num_subjects"] == 14  # of all splits
    assert len(results["folds"]) == 8 and sum(fold["subjects"] for fold in results["folds"]) == 28
    assert results["linear_probe"]["accuracy"]["mean"] > 0.9
    per_fold = [fold["accuracy"]["linear_probe"] for fold in results["folds"]]
    over = results["linear_probe"]["over_folds"]["accuracy"]
    assert over["mean"] == pytest.approx(np.mean(per_fold)) and over["low"] <= over["mean"] <= over["high"]
    assert all("ece_calibrated" in fold for fold in results["folds"])
    assert np.sum(results["confusion_matrix"]["counts"]) == 42
    assert "4 folds x 2; us" in protocol_text(results)


def test_a_second_set_is_tested_without_training_on_it(small_model, small_processor, toy, protocol):
    results = evaluate_protocol(small_model, small_processor, toy, protocol(1), progress=False)
    assert results["knn"] is None and results["linear_probe"] is None and results["zero_shot"]["num_subjects"] == 14
    assert results["zero_shot"]["over_folds"]["accuracy"]["low"] is None


def test_folds_that_hold_the_model_s_own_people_are_caught(small_model, small_processor, toy, protocol):
    seen = subjects_seen([dataset_info(toy)], [load_splits(toy)])
    found = evaluate_protocol(small_model, small_processor, toy, protocol(), seen=seen, progress=False)["leakage"][
        "found"
    ]
    assert len(found) == 2 and found[0].startswith("the model was trained on 8 tested subjects")


def test_the_command_runs_a_protocol(small_run, toy, protocol, tmp_path, capsys):
    argv = ["--dataset", str(toy), "--out", str(tmp_path / "out"), "--protocol", protocol(2)]
    assert main(["--model", str(small_run), str(small_run), *argv]) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["protocol"]["name"] == "toy" and results["over_runs"]["models"] == ["small", "small"]
    runs = results["over_runs"]["accuracy"]["toy: zero shot"]
    assert runs["low"] == runs["mean"] == pytest.approx(results["zero_shot"]["accuracy"]["mean"])
    assert "pooled, subjects resampled" in capsys.readouterr().out


def test_bad_protocols_are_named(small_model, small_processor, toy, protocol, tmp_path):
    with pytest.raises(ValueError, match="unknown protocol 'paper'"):
        evaluate_protocol(small_model, small_processor, toy, "paper")
    with pytest.raises(ValueError, match="bosphorus-10fold tests mvfer-bosphorus, this is toy"):
        evaluate_protocol(small_model, small_processor, toy, "bosphorus-10fold")
    with pytest.raises(ValueError, match="needs 20 subjects"):
        evaluate_protocol(small_model, small_processor, toy, protocol(20), progress=False)
    with pytest.raises(ValueError, match="no labelled row"):
        evaluate_protocol(small_model, small_processor, toy, protocol(2, min_intensity=2.0), progress=False)


def test_flags_that_do_not_go_together_are_refused_at_once(toy, tmp_path):
    base = ["--model", "a", "--dataset", str(toy), "--out", str(tmp_path)]
    with pytest.raises(ValueError, match="leave out --robustness"):
        main([*base, "--protocol", "fourdme-loso", "--robustness"])
    with pytest.raises(ValueError, match="one model folder"):
        main([*base, "--calibrate"])
