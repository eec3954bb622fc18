"""Views per second of CPU that a data set is built with, and what PNGs cost: `python -m benchmarks.build_speed`.

Rows of synthetic heads (Anny; needs the extra `demo`), three views each, as `dataset_scripts.build_anny` makes them on one core:
moved, framed, drawn, stored. To load the heads, once per process, does not count. What is stored is read again and compressed
alone, as runs and as earlier versions did, in turn.
"""

import argparse
import io
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from benchmarks.render import interleaved
from dataset_scripts.build_anny import load_head, source
from dataset_scripts.common.building import Shard
from dataset_scripts.synthetic.synthesis import BuildSettings, Synthesizer
from mvfer.data import schema
from processing.cameras_mvfer import DEFAULT_AIM_Y
from processing.rendering_mvfer import RenderSettings, resolve_backend

TASKS = ((224, 2), (224, 1), (64, 2))  # pixels, samples per pixel along each axis; the first is the builders' default
LEVEL_BEFORE = 3


def measure(heads, size_px: int, supersampling: int, subjects: int) -> dict:
    """Views per second of CPU, and milliseconds per view."""
    backend = resolve_backend("auto")
    render = RenderSettings(size_px=size_px, supersampling=supersampling, backend=backend, aim_y=DEFAULT_AIM_Y)
    worker = Synthesizer(heads, source(), BuildSettings(subjects=(subjects, 0, 0), render=render))
    with tempfile.TemporaryDirectory() as folder:
        path, seconds = Path(folder) / "shard.parquet", []
        for number in range(subjects + 1):
            began = time.process_time()
            rows = schema.write_shard(path, worker.shard_rows(Shard("train", 0, 1, [number]), []))
            seconds.append((time.process_time() - began) / rows / len(render.view_angles_deg))
        stored = schema.read_columns(path, ["views"])["views"].to_pylist()
    views = [schema.decode_view(view) for frames in stored for frame in frames for view in frame]
    png = interleaved({"now": encode_all, "before": encode_before}, 3, views)
    per_view = statistics.median(seconds[1:])  # the first one warms up
    return {
        "views_per_second": round(1 / per_view),
        "ms_per_view": round(1e3 * per_view, 2),
        "png_ms": round(png["now"] / len(views), 2),
        "png_before_ms": round(png["before"] / len(views), 2),
        "png_bytes": round(encode_all(views) / len(views)),
        "png_before_bytes": round(encode_before(views) / len(views)),
    }


def encode_all(views) -> int:
    return sum(len(schema.encode_view(view, "")["bytes"]) for view in views)


def encode_before(views) -> int:
    total = 0
    for view in views:
        buffer = io.BytesIO()
        Image.fromarray(view).save(buffer, format="PNG", compress_level=LEVEL_BEFORE)
        total += len(buffer.getvalue())
    return total


def main(argv: list[str] | None = None) -> dict:
    """Print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description="Views per second of CPU when a data set is built.")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--subjects", type=int, default=5, help="people, 14 rows each (default: 5)")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    heads = load_head()
    tasks = {f"{size} px, {n}x{n} samples": measure(heads, size, n, options.subjects) for size, n in TASKS}
    report = {"backend": resolve_backend("auto"), "tasks": tasks}
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    for task, row in tasks.items():
        print(task)
        for name, value in row.items():
            print(f"  {name:24}{value:>9}")
    return report


if __name__ == "__main__":
    main()
