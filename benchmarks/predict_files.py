"""Many files one by one beside batches of them, in one run: `python -m benchmarks.predict_files [--json]`.

The files are made from the example heads, each a little different. Both ways take turns on the same files, a batch each, and are
judged by their CPU time, so that a busy machine slows both alike: read the ratio, not the milliseconds. Beside it the share of
reading (file to views), which batches cannot make cheaper, and the peak memory of two processes that write a table of few and of
many files: it should hardly differ.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import mvfer
from modeling_mvfer.actions_mvfer import ActionReader
from modeling_mvfer.classifier_mvfer import Classifier
from mvfer.cli.main import main as command
from mvfer.cli.predict import labels_of, open_model
from mvfer.cli.predicted_rows import RowMaker
from mvfer.cli.scan_batches import BATCH_SIZE, ItemReader
from mvfer.cli.scan_files import Item, find_items
from processing.meshes_mvfer import load_mesh

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.ply"))


def write_heads(folder: Path, count: int) -> None:
    """So many PLY files of example heads, each of its own proportions."""
    import trimesh

    heads = [load_mesh(path, geometry_only=True) for path in EXAMPLES]
    generator = np.random.default_rng(0)
    for number in range(count):
        head = heads[number % len(heads)]
        vertices = head.vertices * generator.uniform(0.95, 1.05, 3)
        trimesh.Trimesh(vertices, head.faces, process=False).export(folder / f"head{number}.ply")


def measure(items: list[Item], model: str, batch_size: int, *, actions: bool) -> dict:
    """CPU milliseconds per scan of both ways and of reading, as medians over batches, and the ratio of the sums."""
    loaded, processor = open_model(model)
    classifier = Classifier.of(loaded, processor, labels_of(model, None))
    reader = ActionReader.build(loaded, processor) if actions else None
    make, read = RowMaker(processor, classifier, reader, lambda item: None), ItemReader(processor.image_processor)
    ways: dict[str, Callable] = {
        "one by one": lambda part: [make([(item, read(item))]) for item in part],
        "batched": lambda part: make([(item, read(item)) for item in part]),
        "of that, reading": lambda part: [read(item) for item in part],
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for start in range(0, len(items), batch_size):
        part = items[start : start + batch_size]
        for name, way in ways.items():
            began = time.process_time()
            way(part)
            times[name].append(1e3 * (time.process_time() - began) / len(part))
    kept = {name: values[1:] or values for name, values in times.items()}  # the first one warms up
    asking = {name: sum(kept[name]) - sum(kept["of that, reading"]) for name in ("one by one", "batched")}
    return {
        "milliseconds": {name: round(statistics.median(values), 2) for name, values in kept.items()},
        "times_faster": round(sum(kept["one by one"]) / sum(kept["batched"]), 2),
        "times_faster_without_reading": round(asking["one by one"] / max(asking["batched"], 1e-9), 2),
    }


def peak_mib(scans: list[str], model: str, batch_size: int) -> float:
    """Peak memory of a process of its own that writes a table of these."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_write_a_table, (scans, model, batch_size))


def _write_a_table(scans: list[str], model: str, batch_size: int) -> float:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        out = ["--out", str(Path(folder) / "faces.csv"), "--quiet"]
        if command(["predict", *scans, "--model", model, "--batch_size", str(batch_size), *out]):
            raise ValueError("a file could not be read")
    return _peak_mib()


def _peak_mib() -> float:
    """Of this program alone, where the system tells; `ru_maxrss` begins with what the process was that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        kib = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return round(int(kib) / 1024, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 if sys.platform != "darwin" else 2**20), 1)


def main(argv: list[str] | None = None) -> dict:
    """Print a table, or JSON."""
    args = parser().parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_heads(folder, args.count)
        items = find_items([str(folder)])
        report: dict = {"files": len(items), "batch_size": args.batch_size}
        report |= measure(items, args.model, args.batch_size, actions=not args.no_actions)
        few = [item.name for item in items[: max(args.count // 5, 1)]]
        report["peak_mib"] = {
            f"{len(few)} files": peak_mib(few, args.model, args.batch_size),
            f"{len(items)} files": peak_mib([item.name for item in items], args.model, args.batch_size),
        }
    print(json.dumps(report, indent=2) if args.json else as_table(report))
    return report


def as_table(report: dict) -> str:
    """The report in lines."""
    lines = [f"{report['files']} files, batches of {report['batch_size']}"]
    lines += [f"  {name:<18}{value:9.2f} ms of CPU per scan" for name, value in report["milliseconds"].items()]
    lines.append(
        f"  batched is {report['times_faster']} times as fast, {report['times_faster_without_reading']} without reading"
    )
    lines += [f"  peak memory, {name}: {value} MiB" for name, value in report["peak_mib"].items()]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The flags of the benchmark."""
    flags = argparse.ArgumentParser(
        prog="python -m benchmarks.predict_files", description=(__doc__ or "").splitlines()[0]
    )
    flags.add_argument("--count", type=int, default=200, help="files (default: 200)")
    flags.add_argument("--batch_size", type=int, default=BATCH_SIZE, help=f"(default: {BATCH_SIZE})")
    flags.add_argument(
        "--model", default=mvfer.bundled(), metavar="DIR", help="folder of a run (default: the small model)"
    )
    flags.add_argument("--no_actions", action="store_true", help="read no facial actions")
    flags.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return flags


if __name__ == "__main__":
    main()
