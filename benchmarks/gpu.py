"""What the package does on a CUDA device, in one run of a few minutes: `python -m benchmarks.gpu --out gpu.json`.

Parts, in order: the device's own speed, the renderer beside one CPU core, ViT-B/16 on several views beside plain CLIP, the
small model, overflow in 16 bits, memory of the objectives, one process of DDP and, with `--dataset`, the demo's recipe.
The report grows on disk with every figure, so a run that is cut short keeps what it had. On CUDA every part is a process of
its own, so that neither a crash nor a hang takes the others along. `--device cpu --tiny` runs everything small.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.gpu_bench import Bench, write
from benchmarks.gpu_parts import contrast, ddp, overflow, renderer, small, vit

ROOT = Path(__file__).resolve().parents[1]
TRAIN = [sys.executable, str(ROOT / "train.py")]


def machine(bench: Bench) -> None:
    """What the device does at best: a large product of matrices, and a large copy."""
    bench.measure("ceilings", _ceilings)


def _ceilings(bench: Bench) -> dict:
    n = bench.pick(8192, 256)
    a, b = (torch.randn(n, n, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    source = torch.randn(bench.pick(2**30, 2**20), device=bench.device)
    goal = torch.empty_like(source)
    found = {"device": torch.cuda.get_device_name() if bench.on_cuda else "cpu", "torch": torch.__version__}
    found["bf16_product_tflop_per_s"] = 2 * n**3 / bench.median(lambda: a @ b, times=10) / 1e12
    found["copy_gb_per_s"] = 2 * 4 * source.numel() / bench.median(lambda: goal.copy_(source)) / 1e9
    return found


def recipe(bench: Bench) -> None:
    """The demo's training with one process on the device, on the data set given: seconds, and what its test says."""
    if bench.args.dataset:
        bench.measure("demo", _recipe, needs=bench.pick(45.0, 5.0))
    else:
        bench.note("demo", {"skipped": "no --dataset"})


def _recipe(bench: Bench) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        run, log = Path(folder) / "run", Path(folder) / "log.txt"
        flags = {
            "steps": bench.args.steps,
            "batch_size": bench.pick(256, 8),
            "view_dropout": 0.6,
            "num_workers": bench.args.workers,
        }
        command = [*TRAIN, "--dataset", str(bench.args.dataset), "--output_dir", str(run)]
        command += [text for name, value in flags.items() for text in (f"--{name}", str(value))]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        if not bench.on_cuda:
            environment["ACCELERATE_USE_CPU"] = "true"
        start = time.time()
        with log.open("w") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, env=environment)
            try:
                code = process.wait(timeout=bench.left() - 4)
            except subprocess.TimeoutExpired:
                process.kill()
                code = "out of time"
        found = {"code": code, "seconds": round(time.time() - start, 1), **flags}
        for name in ("train_config.json", "checkpoints/best.safetensors", "results.json"):
            if (run / name).exists():
                found[f"seconds_until_{Path(name).stem}"] = round((run / name).stat().st_mtime - start, 1)
        if (run / "metrics.jsonl").exists():
            found["last_metrics"] = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-3:]
        if (run / "results.json").exists():
            scores = json.loads((run / "results.json").read_text(encoding="utf-8"))["test"]
            found["zero_shot"] = {k: v for k, v in scores.items() if isinstance(v, dict) and "mean" in v}
        else:
            found["log"] = log.read_text(encoding="utf-8", errors="replace")[-3000:]
        return found


PARTS = {  # with the most seconds that each may take, imports aside
    machine: 20,
    renderer: 45,
    vit: 130,
    small: 45,
    overflow: 40,
    contrast: 20,
    ddp: 30,
    recipe: 400,
}
IMPORTS_S = 40.0  # at most, on a cold disk


def main(argv: list[str] | None = None) -> dict:
    """Run the parts and return the report; a part that fails leaves its error in it."""
    names = {part.__name__: part for part in PARTS}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="the report, JSON")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes of a test")
    parser.add_argument("--seconds", type=float, default=300.0, help="for everything; what does not fit is left out")
    parser.add_argument("--parts", nargs="+", choices=names, default=[*names])
    parser.add_argument("--dataset", type=Path, help="folder of a data set, for the recipe")
    parser.add_argument("--steps", type=int, default=550, help="of the recipe")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2), help="loaders of the recipe")
    parser.add_argument("--isolated", action=argparse.BooleanOptionalAction, help="a process per part; default on CUDA")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)  # of a worker, seconds since 1970
    args = parser.parse_args(argv)
    args.out = args.out.resolve()
    if args.worker:
        names[args.worker](Bench(args, args.worker, min(PARTS[names[args.worker]], args.until - time.time())))
        return {}
    end, isolated = time.monotonic() + args.seconds, args.device != "cpu" if args.isolated is None else args.isolated
    settings = {key: str(value) for key, value in vars(args).items() if key not in ("worker", "until")}
    write({"settings": settings, "seconds": {}, "parts": {}}, args.out)
    for name in args.parts:
        start = time.monotonic()
        most = math.inf if args.tiny else PARTS[names[name]] + IMPORTS_S * isolated  # a busy CPU may take its time
        bench = Bench(args, name, min(most, end - start))
        if bench.left() < 2:
            bench.note("part", {"skipped": "no time left"})
        elif isolated:
            _run_apart(bench, sys.argv[1:] if argv is None else argv)
        else:
            bench.measure("part", lambda bench, part=names[name]: part(bench) or {}, needs=0)
        report = json.loads(args.out.read_text(encoding="utf-8"))
        report["seconds"][name] = round(time.monotonic() - start, 1)
        write(report, args.out)
    return report


def _run_apart(bench: Bench, argv: list[str]) -> None:
    """Run a part in a process of its own, and note if that dies or outlasts its time."""
    ours = ["--worker", bench.part, "--until", str(time.time() + bench.left() - 1), "--out", str(bench.args.out)]
    command = [sys.executable, "-m", "benchmarks.gpu", *argv, *ours]
    try:
        code = subprocess.run(command, cwd=ROOT, timeout=bench.left()).returncode
    except subprocess.TimeoutExpired:
        code = "out of time"
    if code:
        bench.note("part", {"error": f"the part's process ended: {code}"})


if __name__ == "__main__":
    main()
