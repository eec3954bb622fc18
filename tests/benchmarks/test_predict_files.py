"""The benchmark of many files, with few."""

import json

from benchmarks import predict_files
from mvfer.cli.scan_files import find_items
from tests.tiny import small_model, small_processor, small_run

__all__ = ["small_model", "small_processor", "small_run"]  # fixtures


def test_it_writes_different_heads_and_compares_both_ways(small_run, tmp_path):
    predict_files.write_heads(tmp_path, 3)
    items = find_items([str(tmp_path)])
    assert len({open(item.name, "rb").read() for item in items}) == 3
    found = predict_files.measure(items, str(small_run), 2, actions=False)
    assert set(found["milliseconds"]) == {"one by one", "batched", "of that, reading"}
    assert found["times_faster"] > 0 and all(value > 0 for value in found["milliseconds"].values())
    assert 50 < predict_files._peak_mib() < 100_000
    report = json.loads(json.dumps(found | {"files": 3, "batch_size": 2, "peak_mib": {"3 files": 1.0}}))
    assert "peak memory, 3 files: 1.0 MiB" in predict_files.as_table(report)
