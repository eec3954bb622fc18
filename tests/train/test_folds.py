"""`mvfer evaluate --protocol NAME --finetune`: every fold learns on its own people, and the start is left alone."""

import json

import numpy as np
import pytest

from mvfer.cli import main as cli
from mvfer.data.protocols import PROTOCOLS, Protocol
from mvfer.data.schema import dataset_info, load_splits
from mvfer.evaluation.audits.leakage import subjects_seen
from mvfer.training.folds import FoldTuner

from .toy import ACTIONS


@pytest.fixture
def evaluate(small_run, toy_data, tmp_path, monkeypatch):
    """`evaluate(*flags, folds=2)`: exit status and results of the command on toy data."""

    def run(*flags, folds=2):
        made = Protocol("toy", folds, source="us", reading="as it says", expressions=tuple(ACTIONS))
        monkeypatch.setitem(PROTOCOLS, "toy", made)
        fixed = [
            "evaluate",
            "--model",
            small_run,
            "--dataset",
            toy_data,
            "--protocol",
            "toy",
            "--out",
            tmp_path / "out",
        ]
        status = cli.main([str(flag) for flag in [*fixed, *flags]])
        path = tmp_path / "out" / "results.json"
        return status, json.loads(path.read_text()) if path.is_file() else None

    return run


def test_folds_are_fine_tuned_and_scored_as_the_other_tests_and_the_start_stays(evaluate, small_run, capsys):
    before = {path.name: path.read_bytes() for path in small_run.iterdir() if path.is_file()}
    status, results = evaluate("--finetune", "probe", "--steps", 40, "--learning_rate", 0.02, "--update_card")
    tuned, probe = results["fine_tuned"], results["linear_probe"]
    assert status == 0 and set(tuned) == set(probe) and tuned["num_scans"] == 42 and tuned["num_subjects"] == 14
    assert tuned["accuracy"]["mean"] > max(0.7, results["zero_shot"]["accuracy"]["mean"])
    per_fold = [fold["accuracy"]["fine_tuned"] for fold in results["folds"]]
    assert tuned["over_folds"]["accuracy"]["mean"] == pytest.approx(np.mean(per_fold)) and len(per_fold) == 2
    assert all(fold["fine_tuned"]["best_step"] in range(4, 41, 4) for fold in results["folds"])
    assert results["fine_tuning"] == {"method": "probe", "steps": 40, "learning_rate": 0.02, "seed": 0}
    after = {path.name: path.read_bytes() for path in small_run.iterdir() if path.is_file()}
    card = after.pop("README.md").decode()
    before.pop("README.md")
    assert after == before and "name: macro-F1, fine tuned" in card and "config: toy" in card
    assert "fine tuned, macro-F1" in capsys.readouterr().out


@pytest.mark.parametrize("method", ["lora", "full"])
def test_other_methods_are_seeded_and_one_fold_does_not_depend_on_another(small_run, toy_data, method):
    options = {"method": method, "steps": 3, "learning_rate": 0.01, "progress": False}
    splits = load_splits(toy_data)
    other = {"train": splits["test"], "validation": splits["validation"], "test": splits["train"].select(range(6))}
    one, again = FoldTuner(str(small_run), toy_data, **options)([other, dict(splits)])
    alone = FoldTuner(str(small_run), toy_data, **options)([dict(splits)])[0]
    assert alone == again and len(again["predicted"]) == 9 and len(one["predicted"]) == 6
    assert set(again["predicted"]) <= set(ACTIONS)


def test_a_subject_on_two_sides_of_a_fold_is_caught_and_so_are_people_of_pretraining(
    small_run, toy_data, evaluate, capsys
):
    splits = load_splits(toy_data)
    tuner = FoldTuner(str(small_run), toy_data, method="probe", steps=1, progress=False)
    with pytest.raises(ValueError, match="subjects must not cross splits"):
        tuner([{"train": splits["train"], "validation": splits["validation"], "test": splits["train"]}])
    seen = small_run / "subjects_seen.json"
    seen.write_text(json.dumps(subjects_seen([dataset_info(toy_data)], [splits])))
    card = (small_run / "README.md").read_bytes()
    try:
        status, results = evaluate("--finetune", "probe", "--steps", 1, "--update_card")
    finally:
        seen.unlink()
    assert status == 1 and "the model was trained on 8 tested subjects" in results["leakage"]["found"][0]
    assert (small_run / "README.md").read_bytes() == card and "the card stays as it is" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "folds", "message"),
    [
        (("--finetune", "probe"), 1, "trains on no subject of this set"),
        (("--finetune", "probe", "--steps", 0), 2, "steps must be at least 1"),
        (("--steps", 3), 2, "--steps is for --finetune"),
    ],
)
def test_what_cannot_be_fine_tuned_is_refused(evaluate, capsys, flags, folds, message):
    assert evaluate(*flags, folds=folds)[0] == 2
    assert message in capsys.readouterr().err


def test_flags_that_need_another_are_refused(small_run, toy_data, tmp_path, capsys):
    base = ["evaluate", "--dataset", toy_data, "--out", str(tmp_path)]
    assert cli.main([*base, "--model", str(small_run), "--finetune", "lora"]) == 2
    assert "train.py --stage finetune" in capsys.readouterr().err
    assert cli.main([*base, "--model", "somebody/model", "--update_card"]) == 2
    assert "folders on this computer" in capsys.readouterr().err
