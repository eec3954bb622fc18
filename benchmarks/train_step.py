"""What a training step on several views costs beside plain CLIP with the same towers on the same number of images.

    python benchmarks/train_step.py [--tower base] [--precision bf16] [--device cuda] [--json out.json]

Three steps take turns, so that a busy machine slows all alike: ours (all views of a batch, the default objectives), one
CLIP step on all those images (each sample's text encoded once), and one CLIP step per view. A step is zero the
gradients, forward, backward, AdamW. Reported are medians, and the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import CLIPModel

sys.path.insert(0, str(Path(__file__).parents[1]))
from modeling_mvfer import MVFERConfig, MVFERModel
from mvfer.training.presets import small_config


def main(argv: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tower", choices=("small", "base"), default="small", help="base: the size of CLIP ViT-B/32")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--views", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--attention", choices=("eager", "sdpa"), default="eager")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    config = small_config() if args.tower == "small" else MVFERConfig()
    ours = MVFERModel(config).to(args.device)
    plain = CLIPModel(config)
    plain.vision_model = MVFERModel(config).vision_model  # the same tower, stem included
    plain = plain.to(args.device)
    for model in (ours, plain):
        model.set_attn_implementation(args.attention)
    size = config.vision_config.image_size
    views = torch.randn(args.batch, args.views, 3, size, size, device=args.device)
    texts = torch.randint(10, config.text_config.vocab_size - 10, (args.batch, 16), device=args.device)
    texts[:, -1] = config.text_config.eos_token_id
    own = torch.arange(args.batch, device=args.device)

    def many_views():
        return ours(input_ids=texts, pixel_values=views, return_loss=True).loss

    def all_images():
        logits = plain(input_ids=texts, pixel_values=views.flatten(0, 1)).logits_per_image
        return F.cross_entropy(logits.float(), own.repeat_interleave(args.views))

    def single_view(view: int):
        return plain(input_ids=texts, pixel_values=views[:, view], return_loss=True).loss

    def per_view():
        for view in range(args.views):
            yield lambda view=view: single_view(view)

    steps = {
        "mvfer": lambda: timed([many_views], ours, optimizers[0], args),
        "clip_all_images": lambda: timed([all_images], plain, optimizers[1], args),
        "clip_per_view": lambda: timed(list(per_view()), plain, optimizers[1], args),
    }
    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-5) for model in (ours, plain)]
    rounds = [{name: step() for name, step in steps.items()} for _ in range(args.rounds + 1)][1:]  # the first warms up

    result = {key: getattr(args, key) for key in ("tower", "batch", "views", "threads", "precision", "attention")}
    result |= {"device": args.device, "torch": torch.__version__, "rounds": args.rounds}
    result |= {f"{name}_ms": round(statistics.median(r[name] for r in rounds), 1) for name in steps}
    for name in ("clip_all_images", "clip_per_view"):
        result[f"ratio_to_{name}"] = round(statistics.median(r["mvfer"] / r[name] for r in rounds), 3)
    for name, value in result.items():
        print(f"{name:26s}{value}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    return result


def timed(losses, model, optimizer, args) -> float:
    """Milliseconds of one optimiser step per loss: processor time on a CPU, which other programs disturb least."""
    synchronize = torch.cuda.synchronize if args.device.startswith("cuda") else lambda: None
    clock = time.perf_counter if args.device.startswith("cuda") else time.process_time
    synchronize()
    start = clock()
    for loss in losses:
        optimizer.zero_grad()
        with torch.autocast(args.device.split(":")[0], torch.bfloat16, enabled=args.precision == "bf16"):
            value = loss()
        value.backward()
        optimizer.step()
    synchronize()
    return (clock() - start) * 1e3


if __name__ == "__main__":
    main()
