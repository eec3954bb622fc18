import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mvfer.cli.evaluate import main
from mvfer.data.schema import dataset_info, load_splits, shard_path, write_json
from mvfer.evaluation.audits.leakage import duplicated_scans, scans_seen, seen_subjects, subject_keys, subjects_seen
from mvfer.evaluation.evaluate import evaluate
from mvfer.hub.load import load_run
from mvfer.hub.run_folder import save_run
from tests.train.toy import write_toy_data


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("data") / "toy")


def replant(toy, folder, change, split="test") -> Path:
    """A copy of the data with the rows of one split changed: `change` takes all splits' rows and returns that split's."""
    copy = Path(shutil.copytree(toy, folder))
    tables = {name: pq.read_table(shard_path(copy, name, 0, 1)) for name in ("train", "validation", "test")}
    rows = change({name: table.to_pylist() for name, table in tables.items()})
    pq.write_table(type(tables[split]).from_pylist(rows, schema=tables[split].schema), shard_path(copy, split, 0, 1))
    return copy


def found(model, processor, folder, **options):
    return evaluate(model, processor, folder, progress=False, **options)["leakage"]


def test_clean_data_has_no_leak_and_says_what_was_checked(small_model, small_processor, toy):
    seen = subjects_seen([dataset_info(toy)], [load_splits(toy)]) | scans_seen([load_splits(toy)])
    report = found(small_model, small_processor, toy, seen=seen)
    assert report["found"] == [] and len(report["checked"]) == 4 and report["not_checked"] == []
    assert "no subjects_seen.json" in found(small_model, small_processor, toy)["not_checked"][0]


def test_a_subject_planted_in_training_and_test_is_caught(small_model, small_processor, toy, tmp_path):
    def plant(rows):
        return [row | {"subject": "toy-000"} for row in rows["test"][:3]] + rows["test"][3:]

    report = found(small_model, small_processor, replant(toy, tmp_path / "leaky", plant))
    assert report["found"] == ["1 subject of test also in train: toy-000"]


def test_scans_copied_under_other_names_are_caught(small_model, small_processor, toy, tmp_path):
    def plant(rows):
        return rows["test"] + [row | {"id": f"new-{i}", "subject": "new"} for i, row in enumerate(rows["train"][:2])]

    (sentence,) = found(small_model, small_processor, replant(toy, tmp_path / "copied", plant))["found"]
    assert sentence.startswith("2 scans of test also in train under other names: new-0 and toy-000-happiness")


def test_a_temperature_fitted_on_the_test_is_refused_and_loud(small_model, small_processor, toy, tmp_path):
    leaky = replant(toy, tmp_path / "leaky", lambda rows: rows["test"], split="validation")  # validation is the test
    results = evaluate(small_model, small_processor, leaky, progress=False)
    assert "must not be fitted on tested subjects" in results["calibration"]["not_calibrated"]
    assert any("3 subjects of test also in validation" in one for one in results["leakage"]["found"])
    assert "validation: weights" in found(small_model, small_processor, toy, split="validation")["found"][0]


def test_people_that_the_model_was_trained_on_are_known_again(small_model, small_processor, toy, tmp_path, capsys):
    """A model folder remembers its people; another split of the same data tests some of them."""
    seen = subjects_seen([dataset_info(toy)], [load_splits(toy)])
    run = save_run(tmp_path / "run", small_model, small_processor, subjects_seen=seen)
    other = replant(toy, tmp_path / "other", lambda rows: rows["train"][:9])
    pq.write_table(pq.read_table(shard_path(toy, "test", 0, 1)), shard_path(other, "train", 0, 1))
    assert main(["--model", str(run), "--dataset", str(other), "--out", str(tmp_path / "report")]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith(
        "LEAK, the numbers below cannot be trusted: the model was trained on 3 tested subjects: toy-000"
    )
    assert "toy-000" not in json.dumps(seen)  # keys, not names


def renamed(toy, folder, key_id) -> Path:
    """The same scans under the pseudonyms of another key, with those that were trained on as tested ones."""

    def plant(rows):
        return [row | {"subject": f"s{row['subject']}", "id": f"s{row['id']}"} for row in rows["train"][:6]]

    copy = replant(toy, folder, plant)
    pq.write_table(pq.read_table(shard_path(toy, "test", 0, 1)), shard_path(copy, "train", 0, 1))
    write_json(copy / "dataset_info.json", dataset_info(copy) | {"build": {"options": {"key_id": key_id}}})
    return copy


def test_people_under_another_key_are_found_by_the_looks_of_their_scans(small_model, small_processor, toy, tmp_path):
    info = dataset_info(toy) | {"build": {"options": {"key_id": "aaaa"}}}
    seen = subjects_seen([info], [load_splits(toy)]) | scans_seen([load_splits(toy)])
    other = renamed(toy, tmp_path / "other", "bbbb")
    report = found(small_model, small_processor, other, seen=seen)
    assert report["found"] == [
        "the model was trained on 6 tested scans of 2 tested subjects, by the looks of the scans: stoy-000, stoy-001"
    ]
    (sentence,) = report["not_checked"]
    assert "another key (bbbb) than those that the model was trained on (aaaa)" in sentence
    transfer = evaluate(small_model, small_processor, toy, also={"other": other}, seen=seen, progress=False)["leakage"]
    assert transfer["found"] == [f"other: {sentence}" for sentence in report["found"]]
    keyless = found(small_model, small_processor, other, seen={"trained_on": [], "chosen_on": []})
    assert any("no hashes of scans" in sentence for sentence in keyless["not_checked"])


def test_what_a_model_folder_keeps_of_scans_is_salted_and_fits_no_other_scan(toy):
    one, two = (scans_seen([load_splits(toy)])["scans"][0] for _ in range(2))
    assert (
        set(one["trained_on"]).isdisjoint(two["trained_on"]) and len(one["trained_on"]) == len(two["trained_on"]) > 24
    )
    assert set(one["trained_on"]).isdisjoint(one["chosen_on"])
    assert all(len(digest) == 12 for digest in one["trained_on"])


def test_keys_are_those_of_the_source_and_of_synthetic_people_those_of_the_seed():
    info = {"source": "BU", "seed": 0, "synthetic": False}
    assert subject_keys(info, ["a"]) == subject_keys(info | {"seed": 5, "name": "built again"}, ["a"])
    assert subject_keys(info, ["a"]) != subject_keys(info | {"source": "other"}, ["a"])
    made = info | {"synthetic": True}
    assert subject_keys(made, ["a"]) != subject_keys(made | {"seed": 5}, ["a"])
    assert seen_subjects(info, ["a", "b"], {"chosen_on": list(subject_keys(info, ["b"]))}) == [
        "the model's weights or its temperature were chosen on 1 tested subject: b"
    ]


def test_coarse_thumbnails_miss_no_copy():
    rng = np.random.default_rng(0)
    scans = {f"a{i}": rng.integers(0, 255, 2 * 32 * 32 * 3, dtype=np.uint8) for i in range(20)}
    noisy = {
        f"b{i}": (one + rng.normal(0, 4, one.shape)).clip(0, 255).astype(np.uint8)
        for i, one in enumerate(scans.values())
    }
    (sentence,) = duplicated_scans({"test": scans, "train": noisy}, "test")
    assert sentence.startswith("20 scans of test")
    assert duplicated_scans({"test": scans, "train": {"b": 255 - scans["a0"]}}, "test") == []


def test_a_stored_calibration_changes_what_the_model_says(small_model, small_processor, toy, tmp_path, capsys):
    run = save_run(tmp_path / "run", small_model, small_processor)
    assert main(["--model", str(run), "--dataset", str(toy), "--out", str(tmp_path / "out"), "--calibrate"]) == 0
    assert "stored temperature" in capsys.readouterr().out
    calibration = json.loads((tmp_path / "out" / "results.json").read_text())["calibration"]
    model, _ = load_run(run)
    assert model.config.calibration.temperature == pytest.approx(calibration["temperature"])
    assert model.config.calibration.prompts_key == calibration["prompts_key"]
    again = ["--model", str(run), "--dataset", str(toy), "--out", str(tmp_path / "again"), "--split", "validation"]
    assert main(again) == 1 and "temperature were chosen on 3 tested subjects" in capsys.readouterr().out
