"""False alarms are rare, planted shifts are found, and what cannot be told is not claimed."""

import json

import numpy as np
import pytest

from mvfer.cli import main as cli
from mvfer.evaluation.audits.drift import FEWEST_SUBJECTS, compare, describe
from tests.train.toy import write_toy_data

D = 16


def people(rng, count: int, *, shift: float = 0.0, confidence: float = 0.0, accuracy: float = 0.9, scans: int = 5):
    """Scans of so many people; everybody has an own place, confidence and difficulty."""
    subjects = np.repeat([f"p{i}" for i in range(count)], scans)
    own = rng.normal(0, 1, (count, D)).repeat(scans, 0)
    sure = 1 / (1 + np.exp(-(rng.normal(1.5 + confidence, 0.5, count).repeat(scans) + rng.normal(0, 1, count * scans))))
    skill = rng.beta(20 * accuracy, 20 * (1 - accuracy), count).repeat(scans)
    return {
        "embeds": own + rng.normal(0, 0.5, (count * scans, D)) + shift,
        "confidence": sure,
        "right": (rng.random(count * scans) < skill).astype(float),
        "subjects": subjects.tolist(),
    }


def alarms(trials: int, recent_people: int, **planted) -> dict[str, float]:
    counts = {}
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        found = compare(describe(**people(rng, 60)), **people(rng, recent_people, **planted))
        for name, test in found["tests"].items():
            counts[name] = counts.get(name, 0) + test["drifted"]
    return {name: count / trials for name, count in counts.items()}


@pytest.mark.parametrize("recent_people", [15, 60])
def test_people_like_those_before_rarely_raise_an_alarm(recent_people):
    assert max(alarms(40, recent_people).values()) <= 0.1  # nominally 0.01


@pytest.mark.parametrize(
    "planted, statistic",
    [
        ({"shift": 0.8}, "embedding_shift"),
        ({"confidence": -1.5}, "confidence_shift"),
        ({"accuracy": 0.6}, "accuracy_drop"),
    ],
)
def test_a_planted_change_is_found_by_its_own_statistic(planted, statistic):
    found = alarms(20, 40, **planted)
    assert found[statistic] >= 0.9
    assert all(rate <= 0.15 for name, rate in found.items() if name != statistic)


def test_without_labels_accuracy_is_not_told():
    rng = np.random.default_rng(0)
    recent = people(rng, 20) | {"right": np.full(100, np.nan)}
    test = compare(describe(**people(rng, 30)), **recent)["tests"]["accuracy_drop"]
    assert test["value"] is None and test["drifted"] is None


def test_another_model_and_too_few_people_are_refused():
    rng = np.random.default_rng(0)
    baseline = describe(**people(rng, 30))
    narrow = people(rng, 10)
    with pytest.raises(ValueError, match="another model"):
        compare(baseline, **narrow | {"embeds": narrow["embeds"][:, :4]})
    with pytest.raises(ValueError, match="two subjects"):
        compare(baseline, **people(rng, 1))
    assert describe(**people(rng, FEWEST_SUBJECTS - 1)) is None


def test_the_command_knows_the_tested_data_again_and_sees_other_cameras(small_run, tmp_path, capsys):
    data = write_toy_data(tmp_path / "data", subjects=(8, 3, 12))
    assert (
        cli.main(["evaluate", "--model", str(small_run), "--dataset", str(data), "--out", str(tmp_path / "report")])
        == 0
    )
    capsys.readouterr()
    check = [
        "check",
        "--baseline",
        str(tmp_path / "report" / "results.json"),
        "--model",
        str(small_run),
        "--json",
        "--dataset",
    ]
    assert cli.main([*check, str(data)]) == 0
    assert json.loads(capsys.readouterr().out)["tests"]["embedding_shift"]["value"] == pytest.approx(0, abs=1e-9)
    moved = write_toy_data(tmp_path / "moved", subjects=(8, 3, 12), background=(90, 140))
    assert cli.main([*check, str(moved)]) == 1
    assert json.loads(capsys.readouterr().out)["tests"]["embedding_shift"]["drifted"]
    assert cli.main(["check", "--baseline", str(data), "--model", str(small_run), "--dataset", str(data)]) == 2
    assert "give the results.json" in capsys.readouterr().err
