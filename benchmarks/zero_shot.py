"""One zero-shot answer from three views, beside three calls of CLIP's own pipeline: `python -m benchmarks.zero_shot`.

The same towers, the same photos, the same labels with one prompt each. CLIP's pipeline reads the labels anew in every call; ours
keeps them for the next one, so that is measured as well without (the labels change from call to call). Both take turns and are
judged by CPU time.
"""

import argparse
import json
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPModel, pipeline

import mvfer
from benchmarks.render import interleaved
from modeling_mvfer import MVFERModel
from modeling_mvfer.pipeline_mvfer import ZeroShotMeshClassificationPipeline
from mvfer.cli.predict import open_model
from processing.prompts_mvfer import EXPRESSIONS

VIEWS = 3


def main(argv: list[str] | None = None) -> dict:
    """Print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description="One answer from three views, beside three calls of CLIP's pipeline.")
    parser.add_argument("--model", default=mvfer.bundled(), metavar="DIR", help="default: the small model")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    model, processor = open_model(options.model)
    ours = ZeroShotMeshClassificationPipeline(model=model, processor=processor)
    stock = pipeline("zero-shot-image-classification", model=plain_clip(model), tokenizer=processor.tokenizer,
        image_processor=plain_processor(processor.image_processor))  # fmt: skip
    size = processor.image_processor.size_px
    random = np.random.default_rng(0)
    photos = [Image.fromarray(random.integers(0, 256, (size, size, 3), dtype=np.uint8)) for _ in range(VIEWS)]
    labels, template, number = list(EXPRESSIONS), "a face with {}", count()
    prompts = {label: [template.format(label)] for label in labels}

    def one_by_one():
        return [stock(photo, candidate_labels=labels, hypothesis_template=template) for photo in photos]

    def together():
        return ours({"images": photos}, candidate_labels=labels, prompts=prompts)

    def together_anew():
        anew = prompts | {labels[0]: [f"a face with {labels[0]} {next(number)}"]}
        return ours({"images": photos}, candidate_labels=labels, prompts=anew)

    runs = {"stock, 3 calls": one_by_one, "ours": together, "ours, labels anew": together_anew}
    times = interleaved(runs, options.repeats)
    report: dict = {"labels": len(labels), "ms": {name: round(value, 2) for name, value in times.items()}}
    report["times_faster"] = {
        name: round(times["stock, 3 calls"] / times[name], 2) for name in ("ours", "ours, labels anew")
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    for name, value in report["ms"].items():
        print(f"{name:20}{value:8.2f} ms {report['times_faster'].get(name, ''):>6}")
    return report


def plain_clip(model: MVFERModel) -> CLIPModel:
    """A CLIP with these towers."""
    plain = CLIPModel(model.config).eval()
    plain.vision_model, plain.text_model = model.vision_model, model.text_model
    return plain


def plain_processor(ours) -> CLIPImageProcessor:
    return CLIPImageProcessor(size=dict(ours.size), crop_size=dict(ours.crop_size))


if __name__ == "__main__":
    main()
