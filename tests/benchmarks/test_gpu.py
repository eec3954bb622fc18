import json
import subprocess
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPModel

from benchmarks import gpu
from benchmarks.gpu_bench import TEXT_LENGTH, Bench, batch_of, step_flops
from modeling_mvfer import MVFERConfig
from tests.train.toy import write_toy_data

ON_CPU = ["--device", "cpu", "--tiny", "--seconds", "600"]


def leaves(found, name=""):
    """Every value in a report, with its path."""
    if isinstance(found, dict):
        return [leaf for key, value in found.items() for leaf in leaves(value, f"{name}/{key}")]
    return [(name, found)]


@pytest.mark.slow
def test_every_part_runs_small_on_a_cpu_and_finds_what_must_hold_anywhere(tmp_path):
    out = tmp_path / "gpu.json"
    report = gpu.main([*ON_CPU, "--out", str(out)])
    assert report == json.loads(out.read_text()) and [*report["seconds"]] == [part.__name__ for part in gpu.PARTS]
    parts = report["parts"]
    assert [name for name, _ in leaves(parts) if name.endswith(("/error", "/skipped"))] == ["/recipe/demo/skipped"]
    same = parts["renderer"]["600 triangles, 32 px"]["pixels_that_differ_from_the_cpu"]
    assert all(share == 0 for name, share in leaves(same["device, 3 meshes"]) if "share" in name)
    step = parts["vit"]["3 views, eager"]
    assert step["images"] == 15 and min(step["steps_per_second"].values()) > 0 and step["time_over_clip"] > 0
    for case in ("small, start", "ViT-B/16, hard"):
        found = parts["overflow"][case]
        assert found["bf16"]["gradients_are_finite"] and found["bf16"]["relative_to_float32"] < 0.02
    losses = parts["ddp"]["one process"]["loss"]
    assert losses["ddp"] == losses["alone"] and parts["ddp"]["one process"]["largest_difference_of_a_gradient"] == 0


@pytest.mark.slow
def test_the_recipe_trains_and_tests(tmp_path):
    data = write_toy_data(tmp_path / "toy")
    flags = ["--dataset", str(data), "--steps", "2", "--workers", "0", "--parts", "recipe"]
    found = gpu.main([*ON_CPU, *flags, "--out", str(tmp_path / "gpu.json")])["parts"]["recipe"]["demo"]
    assert found["code"] == 0, found["log"]
    assert 0 <= found["zero_shot"]["accuracy"]["mean"] <= 1 and 0 < found["seconds_until_results"] <= found["seconds"]


def test_a_part_that_fails_leaves_its_error_and_the_next_one_runs(tmp_path, monkeypatch):
    def broken(bench):
        bench.note("first", {"kept": 1})
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(gpu, "PARTS", {broken: 60, gpu.contrast: 60})
    parts = gpu.main([*ON_CPU, "--out", str(tmp_path / "gpu.json")])["parts"]
    assert parts["broken"]["first"] == {"kept": 1} and "no such kernel" in parts["broken"]["part"]["error"]
    assert parts["contrast"]["32 scans"]["contrast"]["ms"] > 0


def test_a_process_that_hangs_or_dies_is_noted_and_the_next_part_runs(tmp_path, monkeypatch):
    asked = []

    def run(command, *, timeout, **options):
        asked.append(command[command.index("--worker") + 1])
        if asked[-1] == "machine":
            raise subprocess.TimeoutExpired(command, timeout)
        return SimpleNamespace(returncode=-6)

    monkeypatch.setattr(subprocess, "run", run)
    flags = ["--isolated", "--parts", "machine", "contrast", "--out", str(tmp_path / "gpu.json")]
    parts = gpu.main([*ON_CPU, *flags])["parts"]
    assert asked == ["machine", "contrast"]
    assert "out of time" in parts["machine"]["part"]["error"] and "-6" in parts["contrast"]["part"]["error"]


def test_what_does_not_fit_into_the_time_is_left_out(tmp_path):
    out = tmp_path / "gpu.json"
    out.write_text('{"parts": {}}')
    bench = Bench(SimpleNamespace(device="cpu", tiny=True, out=out), "vit", seconds=3)
    bench.measure("long", lambda bench: pytest.fail("was run"), needs=10)
    bench.measure("short", lambda bench: {"value": 7}, needs=1)
    found = json.loads(out.read_text())["parts"]["vit"]
    assert "10 needed" in found["long"]["skipped"] and found["short"]["value"] == 7


def test_the_flops_are_those_that_torch_counts_in_the_forward_pass_three_times(tmp_path):
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "projection_dim": 32}
    vision = sizes | {"intermediate_size": 256, "image_size": 64, "patch_size": 16}
    text = sizes | {"intermediate_size": 128, "vocab_size": 99, "bos_token_id": 97, "eos_token_id": 98}
    config = MVFERConfig(vision_config=vision, text_config=text, projection_dim=32)
    bench = Bench(SimpleNamespace(device="cpu", tiny=True, out=tmp_path), "vit", seconds=60)
    batch, plain = batch_of(bench, config, 6, 2), CLIPModel(config)
    plain.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        plain(input_ids=batch["input_ids"], pixel_values=batch["pixel_values"].flatten(0, 1))
    products_of_embeddings = 2 * 12 * 6 * 32
    assert 3 * (counter.get_total_flops() - products_of_embeddings) == step_flops(config, 6, 2)
    assert batch["input_ids"].shape == (6, TEXT_LENGTH)
