# ruff: noqa: F811  (fixtures are imported, then named as arguments)
import json

import pytest

pytest.importorskip("opacus")
pytest.importorskip("flwr")

from benchmarks.private_learning import main  # noqa: E402  # needs both
from tests.tiny import small_model, small_processor, small_run  # noqa: E402, F401
from tests.train.toy import write_toy_data  # noqa: E402


def test_every_arm_is_measured_with_every_seed_and_sites_hold_different_people(small_run, tmp_path, capsys):
    data = write_toy_data(tmp_path / "toy", subjects=(12, 3, 3))
    flags = [
        "--steps",
        "10",
        "--local_steps",
        "5",
        "--batch_size",
        "18",
        "--epsilons",
        "8",
        "inf",
        "--sites",
        "2",
        "--seeds",
        "0",
        "1",
    ]
    flags += ["--head", "random", "--dataset", str(data), "--model", str(small_run), "--out", str(tmp_path / "out")]
    assert main(flags) == 0
    found = json.loads((tmp_path / "out" / "private_learning.json").read_text())
    counts = {arm: len(runs) for arm, runs in found["runs"].items()}
    assert counts == {
        "start": 2,
        "plain": 2,
        "epsilon 8": 2,
        "epsilon inf": 2,
        "2 sites together": 2,
        "a site alone": 4,
    }
    assert found["settings"]["people"] == {"train": 12, "validation": 3, "test": 3}
    runs = found["runs"]
    assert all(0 <= run["test"] <= 1 for arm in runs.values() for run in arm)
    assert max(run["validation"] for run in runs["plain"]) >= max(run["validation"] for run in runs["start"])
    assert "| plain |" in (tmp_path / "out" / "private_learning.md").read_text()
