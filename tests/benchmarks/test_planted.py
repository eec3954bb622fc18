"""Planted sets differ from their source in the fault alone, and what the audits say of them is put together rightly."""

# ruff: noqa: F811  (fixtures are imported, then named as arguments)
import json
from argparse import Namespace
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from benchmarks import planted
from benchmarks.planted_sets import Studio
from dataset_scripts import build_ict_facekit
from dataset_scripts.synthetic.synthesis import BuildSettings, build_heads
from mvfer.data.schema import dataset_info, load_splits, view_arrays
from processing.rendering_mvfer import RenderSettings
from tests.data.conftest import face_folder  # noqa: F401
from tests.tiny import small_model, small_processor, small_run  # noqa: F401

TOLD = [[-30.0, 0.0], [0.0, 0.0], [30.0, 0.0]]


@pytest.fixture(scope="module")
def studio(face_folder, tmp_path_factory):
    """A built set of 2, 3 and 4 made-up people, and what renders them again."""
    folder, load = tmp_path_factory.mktemp("faces") / "set", partial(build_ict_facekit.load_head, face_folder)
    settings = BuildSettings(subjects=(2, 3, 4), random_per_subject=1, render=RenderSettings(size_px=32))
    build_heads(load, build_ict_facekit.source(face_folder), settings, folder)
    return Studio(folder, load(), build_ict_facekit.source(face_folder))


def views_of(rows) -> dict[str, np.ndarray]:
    return {row["id"]: view_arrays(row).astype(int) for row in rows}


def test_only_the_group_moves_less_and_all_else_of_the_rows_stays(studio):
    people = {studio.tested[0]["subject"]}
    before, after = studio.tested, studio.damped(people, 0.5)
    assert [{k: v for k, v in row.items() if k != "views"} for row in after] == [
        {k: v for k, v in row.items() if k != "views"} for row in before
    ]
    old, new = views_of(before), views_of(after)
    changed = {row["id"] for row in before if (old[row["id"]] != new[row["id"]]).any()}
    assert changed == {row["id"] for row in before if row["subject"] in people and row["action_units"]}
    same = views_of(studio.damped(people, 0.0))
    assert all((old[name] == same[name]).all() for name in old)


def test_turned_cameras_are_not_told_and_others_are_other_people(studio):
    plain, turned = studio.others(0), studio.others(0, turned_deg=30.0)
    people = {row["subject"] for row in plain}
    assert len(people) == 4 and not people & {
        row["subject"] for split in load_splits(studio.folder).values() for row in split
    }
    assert not people & {row["subject"] for row in studio.others(1)}
    first, moved = view_arrays(plain[0]), view_arrays(turned[0])
    np.testing.assert_array_equal(moved[:, :2], first[:, 1:])  # what was seen from 0 and 30 is now seen at -30 and 0
    assert plain[0]["view_angles_deg"] == turned[0]["view_angles_deg"] == TOLD


def test_a_written_set_is_a_data_set_with_the_validation_people_of_its_source(studio, tmp_path):
    folder = studio.write(tmp_path / "planted", lambda: studio.others(0))
    splits, source = load_splits(folder), load_splits(studio.folder)
    assert splits["validation"]["id"] == source["validation"]["id"] and len(splits["train"]) > 0
    assert dataset_info(folder)["render_settings"] == dataset_info(studio.folder)["render_settings"]


def test_another_head_is_refused(studio, face_folder):
    head = replace(studio.head, shapes=studio.head.shapes * 1.5)
    with pytest.raises(ValueError, match="it is of another head"):
        Studio(studio.folder, head, studio.source)


def test_a_bias_is_planted_in_the_best_group_and_found_if_it_is_flagged(monkeypatch, tmp_path):
    interval = {"mean": 0.9, "low": 0.8, "high": 1.0}

    def audit(*flagged):
        groups = {name: {"accuracy": interval, "gap": interval, "p_value": 0.5} for name in ("female", "male")}
        return {"fairness": {"sex": {"groups": groups, "best": "male", "flagged": list(flagged)}}}

    class Fake:
        tested = [{"subject": "a", "sex": "male"}, {"subject": "b", "sex": "female"}, {"subject": "c", "sex": "male"}]
        asked = []

        def damped(self, people, damping):
            self.asked.append((people, damping))

        def write(self, folder, make_rows):
            make_rows()
            return folder

    predictions = iter([audit(), audit("male"), audit("male", "female")])
    monkeypatch.setattr(planted, "run_evaluate", lambda args, folder, name: next(predictions))
    rows = planted.bias(Namespace(attribute="sex", out=tmp_path), Fake(), audit())
    assert Fake.asked == [({"a", "c"}, damping) for damping in planted.DAMPING]
    assert [row["found"] for row in rows] == [False, False, True, True]
    assert rows[3]["others"] == ["sex: female"] and rows[0]["size"] == "none"
    assert planted.bias(Namespace(attribute="sex", out=tmp_path), Fake(), {"fairness": {}}) == []


@pytest.mark.slow
def test_the_benchmark_runs_the_commands_and_goes_on_with_finished_runs(
    studio, small_run, face_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(planted, "TURNS_DEG", (60.0,))
    monkeypatch.setattr(planted, "GROUPS_OF_OTHERS", 1)
    monkeypatch.setattr("mvfer.evaluation.audits.drift.FEWEST_SUBJECTS", 4)
    out = tmp_path / "planted"
    command = [
        "--model",
        str(small_run),
        "--dataset",
        str(studio.folder),
        "--source",
        str(face_folder),
        "--out",
        str(out),
    ]
    assert planted.main(command) == 0
    rows = json.loads((out / "planted.json").read_text())["faults"]
    assert [row["fault"] for row in rows] == ["prompt"] * 5 + ["camera"] * 2  # these faces know no groups
    asked = json.loads((out / "runs" / "prompt-one" / "results.json").read_text())["prompts"]
    assert asked["sadness"][0] == asked["happiness"][0] and not set(asked["sadness"][1:]) & set(asked["happiness"])
    nonsense = json.loads((out / "runs" / "prompt-nonsense" / "results.json").read_text())["prompts"]
    assert nonsense["sadness"] == list(planted.NONSENSE)
    monkeypatch.setattr(planted, "evaluate", None)  # would fail if anything ran again
    text = (out / "planted.md").read_text()
    assert planted.main(command) == 0 and (out / "planted.md").read_text() == text
