"""Peak memory, each in a process of its own: `python -m benchmarks.memory [--json out.json]`.

Rendering, beyond what imports take; embedding few and many scans, which should need the same; a training step beside CLIP's on as
many images with the same towers. Linux alone tells (`VmHWM`).
"""

import argparse
import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from transformers import CLIPModel

import mvfer
from benchmarks.predict_files import _peak_mib
from benchmarks.render import synthetic_head
from modeling_mvfer import MVFERModel
from mvfer.cli.predict import open_model
from mvfer.training.presets import small_config
from processing.meshes_mvfer import Mesh
from processing.rendering_mvfer import RenderSettings, render_mesh

BATCH, VIEWS = 64, 3


def rendering(triangles: int, backend: str) -> float:
    """A scan, three views of 224 pixels with 2 x 2 samples; framed as well."""
    before = _peak_mib()
    vertices, faces = synthetic_head(triangles)
    render_mesh(Mesh(vertices, faces), RenderSettings(supersampling=2, backend=backend))
    return _peak_mib() - before


@torch.no_grad()
def embedding(scans: int) -> float:
    """Peak of a process that embeds so many scans in batches, as evaluation does; what is kept is a vector each."""
    model, processor = open_model(mvfer.bundled())
    size, kept = processor.image_processor.size_px, []
    for _ in range(0, scans, BATCH):
        views = torch.from_numpy(
            np.random.default_rng(0).integers(0, 256, (BATCH, VIEWS, size, size, 3), dtype=np.uint8)
        )
        kept.append(
            model.get_mesh_features(pixel_values=processor.image_processor.normalize_views(views)).pooler_output
        )
    return _peak_mib()


def training(kind: str) -> float:
    """Two steps of AdamW, beyond imports, on the same images."""
    torch.manual_seed(0)
    config, before = small_config(), _peak_mib()
    model = MVFERModel(config) if kind == "mvfer" else CLIPModel(config)
    if kind == "clip":
        model.vision_model = MVFERModel(config).vision_model  # the same tower, stem included
    optimizer, size = torch.optim.AdamW(model.parameters()), config.vision_config.image_size
    views = torch.randn(BATCH, VIEWS, 3, size, size)
    texts = torch.randint(10, config.text_config.vocab_size - 10, (BATCH, 16))
    texts[:, -1] = config.text_config.eos_token_id
    for _ in range(2):
        if kind == "mvfer":
            loss = model(input_ids=texts, pixel_values=views, return_loss=True).loss
        else:
            logits = model(input_ids=texts, pixel_values=views.flatten(0, 1)).logits_per_image
            loss = F.cross_entropy(logits, torch.arange(BATCH).repeat_interleave(VIEWS))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return _peak_mib() - before


def alone(function: Callable[..., float], *arguments) -> float:
    """What it says in a process of its own, on one thread."""
    with multiprocessing.get_context("spawn").Pool(1, torch.set_num_threads, (1,)) as pool:
        return round(pool.apply(function, arguments), 1)


def main(argv: list[str] | None = None) -> dict:
    """Print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description="Peak memory of rendering, embedding and training, in MiB.")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args(argv)
    tasks: list[tuple[str, Callable[..., float], tuple]] = [
        *((f"rendering 50k triangles, {backend}", rendering, (50_000, backend)) for backend in ("torch", "numba")),
        *((f"training step, {kind}", training, (kind,)) for kind in ("mvfer", "clip")),
        *((f"embedding {scans} scans", embedding, (scans,)) for scans in (256, 1280)),
    ]
    report = {}
    for name, function, arguments in tasks:
        report[name] = alone(function, *arguments)
        print(f"{name:36}{report[name]:8.1f} MiB", flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return report


if __name__ == "__main__":
    main()
