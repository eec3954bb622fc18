"""Scores of action units against slow twins, their calibration on planted evidence, and where they are reported."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from modeling_mvfer.actions_mvfer import ActionEvidence, ActionReader
from modeling_mvfer.configuration_mvfer import ActionCalibration, MVFERConfig
from mvfer.cli.evaluate import main
from mvfer.evaluation import actions
from mvfer.evaluation.action_calibration import fit_actions
from mvfer.evaluation.actions import BOTH, LEFT, NO_SIDE, RIGHT, UnitTargets, icc, unit_targets, won_pairs
from mvfer.evaluation.evaluate import evaluate
from mvfer.hub.run_folder import set_calibration
from mvfer.reports.findings import findings
from mvfer.reports.report import report_page
from tests.train.toy import write_toy_data

UNITS = ["1", "12", "26"]


def rows_of(*coded, captions=None) -> dict:
    """Columns of rows with these units (name to intensity) each."""
    listed = [[{"name": name, "intensity": value} for name, value in units.items()] for units in coded]
    return {
        "action_units": listed,
        "captions": captions or [["x"]] * len(coded),
        "subject": [f"p{row // 2}" for row in range(len(coded))],
    }


def test_rows_that_nobody_coded_and_units_that_a_set_never_shows_are_unknown():
    rows = rows_of({"12L": 0.8}, {"12": 0.5, "1": 0.05}, {}, {}, captions=[["x"], ["x"], ["a face at rest"], []])
    found = unit_targets(rows, UNITS)
    assert found.seen.tolist() == [[False, True, False], [False, True, False], [False] * 3, [False] * 3]
    assert found.known.tolist() == [[False, True, False]] * 3 + [
        [False] * 3
    ]  # "1" is too faint to be seen, "26" absent
    np.testing.assert_allclose(found.intensities[:3, 1], [0.8, 0.5, 0.0])


def test_sides_are_those_of_one_sided_units():
    rows = rows_of({"12L": 0.5}, {"12R": 0.5}, {"12": 0.5}, {"12L": 0.5, "12R": 0.4}, {"26": 1.0})
    assert unit_targets(rows, UNITS).sides[:, 1].tolist() == [LEFT, RIGHT, BOTH, BOTH, NO_SIDE]


def test_the_area_of_drawn_people_is_that_of_their_scans_listed_as_often():
    rng = np.random.default_rng(0)
    scores, positive, owner = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.4, rng.integers(0, 5, 60)
    won = won_pairs(scores, positive, owner, 5)
    for times in (np.ones(5, dtype=int), np.array([2, 0, 1, 3, 1])):
        listed = np.repeat(np.arange(60), times[owner])
        pairs = (times[owner] * positive).sum() * (times[owner] * ~positive).sum()
        expected = roc_auc_score(positive[listed], scores[listed])
        assert times @ won @ times / pairs == pytest.approx(expected)


def test_icc_is_the_ratio_of_mean_squares():
    rng = np.random.default_rng(1)
    x = rng.random(30)
    y = 0.5 * x + 0.2 * rng.random(30)
    table = np.stack([x, y], 1)
    rows, columns = table.mean(1, keepdims=True), table.mean(0, keepdims=True)
    between = 2 * ((rows - table.mean()) ** 2).sum() / 29
    error = ((table - rows - columns + table.mean()) ** 2).sum() / 29
    assert icc(x, y) == pytest.approx((between - error) / (between + error))
    assert icc(x, x + 3) == pytest.approx(1) and np.isnan(icc(np.ones(4), np.ones(4)))


@pytest.fixture
def planted(small_model, small_processor):
    """A reader, evidence of 600 scans of which every unit's logit, doubled, is the logit of the truth, and the truth."""
    reader, rng = ActionReader.build(small_model, small_processor), np.random.default_rng(2)
    shape = (600, len(reader.units))
    logits = rng.normal(size=shape)
    seen = rng.random(shape) < 1 / (1 + np.exp(1 - 2 * logits))
    sides = np.where(seen, rng.integers(0, 3, shape), NO_SIDE)
    view_lean = np.select([sides == LEFT, sides == RIGHT], [1.0, -1.0], 0.0) + 0.3 * rng.normal(size=shape)
    intensities = np.where(seen, np.clip(0.5 + 0.2 * logits, 0.2, 1), 0.0)
    evidence = ActionEvidence(*map(torch.from_numpy, (logits, rng.normal(size=shape), view_lean)))
    return reader, evidence, UnitTargets(reader.units, [f"p{row % 20}" for row in range(600)], intensities, sides)


def test_calibration_finds_planted_curves_and_believes_the_views_that_tell_sides(planted):
    reader, evidence, targets = planted
    numbers = np.array([row for row in fit_actions(reader, evidence, targets)["units"].values() if len(row) == 8])
    np.testing.assert_allclose(numbers[:, :2].mean(0), [2.0, -1.0], atol=0.15)
    assert (numbers[:, 2] > 0).all() and (numbers[:, 6] > 5 * numbers[:, 5]).all()


def test_a_unit_that_few_people_show_is_fitted_on_all_together(planted):
    reader, evidence, targets = planted
    targets.intensities[:, 0] = 0.0
    targets.intensities[:4, 0] = 1.0
    units = fit_actions(reader, evidence, targets)["units"]
    np.testing.assert_allclose(units[reader.units[0]][:2], [2.0, -1.0], atol=0.15)
    targets.intensities[:] = np.nan
    assert fit_actions(reader, evidence, targets) is None


def test_scores_count_what_is_known_and_tell_the_side(planted, monkeypatch):
    reader, evidence, targets = planted
    monkeypatch.setattr(actions, "evidence_of", lambda *_: ActionEvidence(*(values.float() for values in evidence)))
    targets.intensities[:300, 0] = np.nan
    targets.intensities[:, 1] = np.nan
    found = actions.score_actions(reader, None, targets, seed=0)
    assert found["not_judged"] == [reader.units[1]] and found["num_subjects"] == 20
    first = found["per_unit"][reader.units[0]]
    expected = roc_auc_score(targets.seen[300:, 0], evidence.logits[300:, 0])
    assert first["auc"]["mean"] == pytest.approx(expected) and first["count"] == targets.seen[300:, 0].sum()
    assert first["auc"]["low"] < expected < first["auc"]["high"] and 0.5 < found["side_right"]["mean"] <= 1
    again = actions.score_actions(
        reader, None, dataclasses.replace(targets, sides=np.full_like(targets.sides, BOTH)), seed=0
    )
    assert again["side_right"] is None and not again["sides"]


@pytest.fixture(scope="module")
def results(small_model, small_processor, tmp_path_factory):
    toy = write_toy_data(tmp_path_factory.mktemp("data") / "toy", subjects=(8, 12, 4))
    return evaluate(small_model, small_processor, toy, also={"other": toy}, actions=True, progress=False)


def test_an_evaluation_scores_units_of_all_sets_and_its_report_draws_them(results):
    assert results["actions"].keys() == {"test", "other"}
    assert set(results["actions"]["test"]["per_unit"]) == {"1", "2", "6", "12", "15", "27"}
    assert results["actions"]["test"]["mean"]["icc"] is None  # the toy's intensities are all 1
    assert any(line.startswith("actions, test: mean AUC over 6 units") for line in findings(results))
    page = report_page(json.loads(json.dumps(results)))
    assert "<h2>Facial actions</h2>" in page and "12 lip corners pulled up" in page and "<h2>Known and" in page


def test_the_calibration_of_units_goes_into_the_configuration(results):
    config = MVFERConfig()
    set_calibration(config, results["calibration"])
    assert isinstance(config.calibration.actions, ActionCalibration) and len(config.calibration.actions.units) == 26
    assert results["actions"]["test"]["calibrated"] and config.calibration.familiarity is None  # 24 scans are too few


def test_flags_of_actions_are_refused_in_folds(tmp_path):
    with pytest.raises(ValueError, match="leave out --actions"):
        main(["--dataset", "d", "--out", str(tmp_path), "--protocol", "paper", "--actions"])
