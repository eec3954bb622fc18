"""What the parts of `benchmarks.gpu` share: a device with a clock and a report, random batches, and training steps.

In: the run's arguments and how long a part may take. Out: findings, each written into the report as soon as it is there.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
import traceback
from pathlib import Path

import torch

from modeling_mvfer import MVFERConfig

TEXT_LENGTH, PHRASES, PHRASE_LENGTH = 32, 40, 8  # tokens of a caption; phrases of a batch, and their tokens
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Bench:
    """One part of the run: its device, the time it has left, and its place in the report."""

    def __init__(self, args: argparse.Namespace, part: str, seconds: float):
        self.args, self.part, self.end = args, part, time.monotonic() + seconds
        self.device, self.tiny = torch.device(args.device), args.tiny
        self.on_cuda = self.device.type == "cuda"

    def pick(self, full, tiny):
        """The size of a real run, or of a test."""
        return tiny if self.tiny else full

    def left(self) -> float:
        return self.end - time.monotonic()

    def note(self, name: str, found) -> None:
        """Write one finding into the report."""
        report = json.loads(self.args.out.read_text(encoding="utf-8"))
        report["parts"].setdefault(self.part, {})[name] = found
        write(report, self.args.out)
        print(f"{self.part}: {name}: {json.dumps(found)[:600]}", flush=True)

    def measure(self, name: str, run, *arguments, needs: float = 5.0) -> None:
        """Note what `run(self, *arguments)` returns, or its error; leave it out if fewer than `needs` seconds are left."""
        if self.left() < needs:
            return self.note(name, {"skipped": f"{self.left():.0f} s left, {needs:.0f} needed"})
        start = time.monotonic()
        try:
            found = run(self, *arguments)
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}"[:2000], "where": traceback.format_exc()[-1500:]}
        self.free()
        self.note(name, {**found, "took_s": round(time.monotonic() - start, 1)})

    def free(self) -> None:
        """Forget what the last measurement left on the device."""
        if self.on_cuda:
            gc.collect()
            torch.compiler.reset()
            torch.cuda.empty_cache()

    def wait(self) -> None:
        if self.on_cuda:
            torch.cuda.synchronize()

    def seconds(self, run, times: int = 1) -> float:
        """Wall time of one call, over `times` calls in a row."""
        self.wait()
        start = time.perf_counter()
        for _ in range(times):
            run()
        self.wait()
        return (time.perf_counter() - start) / times

    def median(self, run, times: int = 1) -> float:
        """The same, after a call that does not count: the median of five rounds."""
        run()
        return statistics.median(self.seconds(run, times) for _ in range(self.pick(5, 1)))

    def memory(self, run) -> float | None:
        """Largest memory on the device during a call, in MiB above what was there before."""
        if not self.on_cuda:
            run()
            return None
        self.wait()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        self.wait()
        return round((torch.cuda.max_memory_allocated() - before) / 2**20, 1)

    def model(self, kind, config: MVFERConfig) -> torch.nn.Module:
        """A model with random weights, made on the device."""
        with self.device:
            return kind(config)

    def autocast(self, precision: str):
        return torch.autocast(self.device.type, DTYPES[precision], enabled=precision != "float32")

    def compile_layers(self, *models) -> None:
        """Compile the layers of both towers, one by one: all of a tower share one compilation."""
        torch._dynamo.config.recompile_limit = 64
        for model in models:
            for layer in [*model.vision_model.encoder.layers, *model.text_model.encoder.layers]:
                layer.compile(dynamic=False, backend="inductor" if self.on_cuda else "eager")


def interleaved(bench: Bench, steps: dict) -> list[dict[str, float]]:
    """Seconds of every step in each of some rounds; the steps take turns, and the first round does not count."""
    times = bench.pick(5, 1)
    return [{name: bench.seconds(step, times) for name, step in steps.items()} for _ in range(bench.pick(4, 2))][1:]


def clip_config(bench: Bench) -> MVFERConfig:
    """CLIP ViT-B/16; for tests a much smaller one."""
    if not bench.tiny:
        return MVFERConfig(vision_config={"patch_size": 16})
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "projection_dim": 16,
    }
    vision, text = {"image_size": 32, "patch_size": 16}, {"vocab_size": 99, "eos_token_id": 98, "bos_token_id": 97}
    return MVFERConfig(vision_config=sizes | vision, text_config=sizes | text, projection_dim=16, projector_size=16)


def batch_of(bench: Bench, config: MVFERConfig, scans: int, views: int) -> dict[str, torch.Tensor]:
    """Random views, a caption of its own for every scan, and phrases."""
    size, vocabulary, device = config.vision_config.image_size, config.text_config.vocab_size, bench.device
    length = min(TEXT_LENGTH, config.text_config.max_position_embeddings)
    captions = torch.randint(10, vocabulary - 10, (scans, length), device=device)
    phrases = torch.randint(10, vocabulary - 10, (PHRASES, PHRASE_LENGTH), device=device)
    captions[:, -1] = phrases[:, -1] = config.text_config.eos_token_id
    return {
        "pixel_values": torch.randn(scans, views, 3, size, size, device=device),
        "input_ids": captions,
        "phrase_input_ids": phrases,
        "phrase_targets": torch.rand(scans, PHRASES, device=device) < 0.2,
    }


def step_of(bench: Bench, model: torch.nn.Module, loss, precision: str, optimizers=None):
    """A training step: forward, backward, AdamW (or the optimizers given), gradients away."""
    optimizers = optimizers or [torch.optim.AdamW(model.parameters(), lr=1e-5, fused=bench.on_cuda)]
    model.train()

    def step() -> None:
        with bench.autocast(precision):
            value = loss()
        value.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    return step


def step_flops(config: MVFERConfig, scans: int, views: int, *, phrases: bool = False) -> float:
    """FLOPs of a training step of CLIP's towers: three times those of the forward pass.

    A layer of width d and inner width f has n (8 d^2 + 4 d f + 4 n d) over n tokens, a projection to D 2 d D, and the embedding
    of n patches of p x p pixels 6 n p^2 d. Fusion, objectives and optimizer are left out as small.
    """

    def tower(settings, tokens: int) -> float:
        d, f = settings.hidden_size, settings.intermediate_size
        layers = settings.num_hidden_layers * tokens * (8 * d * d + 4 * d * f + 4 * tokens * d)
        return layers + 2 * d * config.projection_dim

    vision = config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    image = tower(vision, patches + 1) + patches * 6 * vision.patch_size**2 * vision.hidden_size
    text = scans * tower(config.text_config, min(TEXT_LENGTH, config.text_config.max_position_embeddings))
    text += phrases * PHRASES * tower(config.text_config, PHRASE_LENGTH)
    return 3.0 * (scans * views * image + text)


def profile(bench: Bench, step) -> dict:
    """Where a step's time goes on the device, and how often it launches and waits."""
    steps = bench.pick(3, 1)
    step()
    with torch.profiler.profile() as recorded:
        for _ in range(steps):
            step()
        bench.wait()
    time_of = (lambda e: e.self_device_time_total) if bench.on_cuda else (lambda e: e.self_cpu_time_total)
    rows = [e for e in recorded.key_averages() if not getattr(e, "is_user_annotation", False)]
    rows = [e for e in rows if not bench.on_cuda or "CUDA" in str(e.device_type)]  # kernels
    rows.sort(key=time_of, reverse=True)
    counted = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cudaStreamSynchronize", "cudaMemcpyAsync")
    counted += ("aten::nonzero", "aten::item")
    return {
        "busy_ms_per_step": round(sum(map(time_of, rows)) / 1e3 / steps, 3),
        "largest": [[e.key[:90], round(time_of(e) / 1e3 / steps, 3), e.count // steps] for e in rows[:14]],
        "calls_per_step": {e.key: e.count / steps for e in recorded.key_averages() if e.key in counted},
    }


def write(report: dict, path: Path) -> None:
    """Replace the report on disk at once, so that a kill leaves the old or the new one."""
    half = path.with_suffix(".part")
    half.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    half.replace(path)
