"""Measured seconds, and where the joules come from."""

import time

import pytest

from mvfer.studies import poc


def write_counters(folder, *microjoules):
    for index, value in enumerate(microjoules):
        (folder / f"intel-rapl:{index}").mkdir(exist_ok=True)
        (folder / f"intel-rapl:{index}" / "energy_uj").write_text(f"{value}\n")
        (folder / f"intel-rapl:{index}:0").mkdir(exist_ok=True)  # a part of the package, counted in it
        (folder / f"intel-rapl:{index}:0" / "energy_uj").write_text("999\n")


def test_without_a_counter_energy_is_power_times_time(monkeypatch, tmp_path):
    monkeypatch.setattr(poc, "COUNTERS", tmp_path)
    result, cost = poc.measure(lambda: time.sleep(0.05) or "done", watts=20)
    assert result == "done" and 0.05 <= cost.seconds < 5
    assert cost.joules == pytest.approx(20 * cost.seconds) and "20 W" in cost.energy_source
    assert cost.scaled(3).joules == pytest.approx(3 * cost.joules) and cost.scaled(3).memory_mib == cost.memory_mib


def test_the_processors_counter_is_used_where_it_can_be_read(monkeypatch, tmp_path):
    monkeypatch.setattr(poc, "COUNTERS", tmp_path)
    write_counters(tmp_path, 1_000_000, 2_000_000)
    _, cost = poc.measure(lambda: write_counters(tmp_path, 4_000_000, 2_500_000), watts=20)
    assert cost.joules == pytest.approx(3.5) and "RAPL" in cost.energy_source
    _, overran = poc.measure(lambda: write_counters(tmp_path, 0, 0), watts=20)
    assert "W times" in overran.energy_source
