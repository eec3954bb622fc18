"""A large contrast in the memory of a small one: `python -m benchmarks.large_batches [--large 8192]`.

One training step of a small CLIP on random pixels, each in a process of its own: 512 pairs at once, the same 512 in parts
(`--tower_batch`), and a large batch in parts. Out: peak memory that the step takes beyond its inputs and weights, CPU seconds,
and how far the gradients in parts are from those at once. Written to `--out` as JSON too.
"""

import argparse
import json
import multiprocessing
import os
import resource
import time
from pathlib import Path

import torch

from modeling_mvfer import MVFERConfig, MVFERModel

# glibc then gives freed memory back, and the peak is what is needed, not what lay about
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
SIZE_PX, LENGTH, VOCABULARY = 64, 24, 2000
TOWER = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}


def step(batch: int, tower_batch: int, seed: int = 0) -> dict:
    """One step: MiB beyond inputs and weights at its peak, CPU seconds, loss and gradients."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    text = {**TOWER, "vocab_size": VOCABULARY, "max_position_embeddings": LENGTH, "eos_token_id": 1, "pad_token_id": 0}
    vision = {**TOWER, "image_size": SIZE_PX, "patch_size": 8}
    config = MVFERConfig(
        text_config=text,
        vision_config=vision,
        projection_dim=128,
        objective={"phrase_weight": 0.0, "cross_view_weight": 0.0},
    )
    model = MVFERModel(config).train()
    model.tower_batch = tower_batch
    pixels = torch.randn(batch, 1, 3, SIZE_PX, SIZE_PX)
    ids = torch.randint(2, VOCABULARY, (batch, LENGTH))
    ids[:, -1] = 1
    before = _now_mib()
    began = time.process_time()
    loss = model(pixel_values=pixels, input_ids=ids, return_loss=True).loss
    loss.backward()
    gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return {
        "batch": batch,
        "tower_batch": tower_batch,
        "mib": round(_peak_mib() - before),
        "cpu_s": round(time.process_time() - began, 1),
        "loss": loss.item(),
        "gradients": gradients if batch == 512 else None,
    }


def _now_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(argv: list[str] | None = None) -> int:
    flags = argparse.ArgumentParser(
        prog="python -m benchmarks.large_batches", description=(__doc__ or "").partition("\n")[0]
    )
    flags.add_argument("--large", type=int, default=8192)
    flags.add_argument("--tower_batch", type=int, default=64)
    flags.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    args = flags.parse_args(argv)
    os.environ |= GIVE_BACK
    found = []
    for batch, tower_batch in ((512, 0), (512, args.tower_batch), (args.large, args.tower_batch)):
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # a fresh process: its peak is the step's
            found.append(pool.apply(step, (batch, tower_batch)))
    whole, parts = (found[i].pop("gradients") for i in (0, 1))
    found[-1].pop("gradients", None)
    results = {"steps": found, "largest_difference": float((whole - parts).norm() / whole.norm())}
    print("| batch | tower_batch | MiB of the step | CPU s | loss |", "|---|---|---|---|---|", sep="\n")
    for row in found:
        print(f"| {row['batch']} | {row['tower_batch']} | {row['mib']} | {row['cpu_s']} | {row['loss']:.4f} |")
    print(f"gradients of 512 in parts differ from those at once by {results['largest_difference']:.1e} of their norm")
    if args.out:
        args.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
