"""How cost grows with size: fitted exponents, and a picture: `python -m benchmarks.growth --out docs/growth.png`.

Views and triangles of a scan that is drawn, scans of a batch and frames of a sequence that the small model embeds, prompts
that it reads. CPU milliseconds, medians; the sizes take turns. The exponent is the slope of a straight line through the
logarithms: 1 is proportional, less is cheaper together.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import mvfer
from benchmarks.render import interleaved, ours, synthetic_head
from mvfer.cli.predict import open_model
from processing.rendering_mvfer import render_views, resolve_backend

SIZES = {
    "views": (1, 2, 4, 8, 16),
    "triangles": (5_000, 10_000, 20_000, 40_000, 80_000),
    "batch": (1, 2, 4, 8, 16, 32),
    "frames": (1, 2, 4, 8, 16),
    "prompts": (1, 2, 4, 8, 16, 32),
}


def tasks(model, processor) -> dict[str, dict[int, Callable]]:
    """What is grown -> size -> what is run."""
    backend, size = resolve_backend("auto"), processor.image_processor.size_px
    heads = {count: synthetic_head(count) for count in (7_000, *SIZES["triangles"])}
    head, faces = (torch.as_tensor(array) for array in heads[7_000])

    def views(count: int):
        angles = [(yaw, 0.0) for yaw in np.linspace(-60, 60, count)]
        return lambda: render_views(head[None], faces, view_angles_deg=angles, size_px=224, backend=backend)

    def scans(*shape: int):
        pixels = torch.randn(*shape, len(processor.image_processor.view_angles_deg), 3, size, size)
        return lambda: model.get_mesh_features(pixel_values=pixels)

    def prompts(count: int):
        tokens = processor.tokenizer(["a face with raised cheeks"] * count, return_tensors="pt", padding=True)
        return lambda: model.get_text_features(**tokens)

    make: dict[str, Callable[[int], Callable]] = {
        "views": views,
        "triangles": lambda count: lambda: ours(backend)(heads[count][0][None], heads[count][1]),
        "batch": lambda count: scans(count),
        "frames": lambda count: scans(1, count),
        "prompts": prompts,
    }
    return {name: {count: make[name](count) for count in counts} for name, counts in SIZES.items()}


def exponent(costs: dict[int, float]) -> float:
    """The slope of the logarithm of cost over that of size."""
    return float(np.polyfit(np.log(list(costs)), np.log(list(costs.values())), 1)[0])


def draw(report: dict, path: Path) -> None:
    """One line per kind of growth, cost of the smallest size as 1."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, row in report.items():
        sizes = [int(size) for size in row["ms"]]
        costs = list(row["ms"].values())
        axes.plot(
            [size / sizes[0] for size in sizes],
            [cost / costs[0] for cost in costs],
            marker="o",
            label=f"{name}, from {sizes[0]}: exponent {row['exponent']}",
        )
    axes.plot([1, 32], [1, 32], color="gray", linestyle=":", label="proportional")
    axes.set(xscale="log", yscale="log", xlabel="times as many", ylabel="times the CPU time")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def main(argv: list[str] | None = None) -> dict:
    """Print a table, draw a picture, and write JSON if asked."""
    parser = argparse.ArgumentParser(description="How cost grows with views, triangles, batch, frames, prompts.")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="the picture")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    model, processor = open_model(mvfer.bundled())
    report = {}
    with torch.no_grad():
        for name, runs in tasks(model, processor).items():
            costs = interleaved(runs, options.repeats)
            ms = {str(size): round(cost, 3) for size, cost in costs.items()}
            report[name] = {"ms": ms, "exponent": round(exponent(costs), 2)}
            print(f"{name:12}{report[name]['exponent']:6.2f}   " + "  ".join(f"{k}: {v}" for k, v in ms.items()))
    draw(report, options.out)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return report


if __name__ == "__main__":
    main()
