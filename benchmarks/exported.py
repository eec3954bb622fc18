"""What a model loses and gains outside of torch, with weights of 32 and of 8 bits.

    python -m benchmarks.exported --model mvfer/models/small --dataset data/anny --out graphs

In: a model and a data set of single scans. Out: its graphs in `--out`, and a table on the labelled test scans: accuracy, how many
answers differ from torch's, the largest difference of a probability, size of the graphs, and CPU time per scan, one by one, on
one thread; texts are embedded once and not counted.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from modeling_mvfer.classifier_mvfer import Classifier, embeds_of, features_of, is_fine_tuned
from modeling_mvfer.zeroshot_mvfer import class_logits
from mvfer.data.split_reader import SplitReader
from mvfer.evaluation.classifiers import present_classes, single_label
from mvfer.evaluation.evaluate import open_splits
from mvfer.hub.load import load_run

BITS = {"onnx": "", "onnx int8": ".int8"}  # name: what the graphs' names have before their suffix


def main(argv: list[str] | None = None) -> int:
    """Print one line per way of running the model."""
    args = parser().parse_args(argv)
    from mvfer.hub.onnx_export import export_onnx

    torch.set_num_threads(1)
    model, processor = load_run(args.model)
    split = open_splits(args.dataset, "test", processor)["test"]
    labels = np.array(split["expression"])
    split = split.select(np.flatnonzero(labels >= 0)[: args.scans or None])
    classifier = single_label(Classifier.of(model, processor, present_classes(split)))
    if not (Path(args.out) / "export.json").exists():
        export_onnx(model, processor, args.out, labels=classifier.labels, int8=True)
    ways = {"torch": lambda inputs: classifier.logits(embeds_of(features_of(model, inputs)))}
    ways |= {name: graphs(classifier, processor, Path(args.out), bits) for name, bits in BITS.items()}
    known = split.features["expression"].names
    truth = [known[label] for label in split["expression"]]
    found = {name: measure(way, classifier, processor, split) for name, way in ways.items()}
    for name, (probabilities, seconds) in found.items():
        told = [classifier.labels[best] for best in probabilities.argmax(1)]
        right = np.mean([one == other for one, other in zip(told, truth, strict=True)])
        expected = found["torch"][0]
        changed, off = np.mean(probabilities.argmax(1) != expected.argmax(1)), np.abs(probabilities - expected).max()
        size = sum(path.stat().st_size for path in _files(args, name)) / 1e6
        print(
            f"{name:<10} accuracy {right:.3f}, other answers {changed:.2%}, largest difference {off:.4f}, {size:.1f} MB, "
            f"{1e3 * seconds:.2f} ms of CPU per scan"
        )
    return 0


def graphs(classifier: Classifier, processor, folder: Path, bits: str) -> Callable:
    """What the exported graphs make of a scan: logits `(1, K)`."""
    from mvfer.hub.onnx_export import TEXT_INPUTS, VIEW_INPUTS

    faces = _session(folder / f"{'views' if classifier.prompts else 'classifier'}{bits}.onnx")

    def run(session, inputs: dict, names: tuple[str, ...]) -> torch.Tensor:
        return torch.from_numpy(session.run(None, {name: np.asarray(inputs[name]) for name in names})[0])

    if is_fine_tuned(classifier.model):
        return lambda inputs: run(faces, _complete(inputs), VIEW_INPUTS)
    texts = _session(folder / f"texts{bits}.onnx")
    embeds = {
        label: run(texts, processor(text=prompts, return_tensors="np"), TEXT_INPUTS)
        for label, prompts in (classifier.prompts or {}).items()
    }
    tell = partial(class_logits, class_embeds=embeds, scale=float(classifier.model.logit_scale.detach().exp()))
    return lambda inputs: tell(run(faces, _complete(inputs), VIEW_INPUTS))


@torch.no_grad()
def measure(way: Callable, classifier: Classifier, processor, split) -> tuple[np.ndarray, float]:
    """Probabilities `(n, K)`, and CPU seconds per scan."""
    rows, seconds = [], 0.0
    for batch in SplitReader(classifier.model, processor.image_processor, split, batch_size=1):
        before = time.process_time()
        logits = way(batch.inputs)
        seconds += time.process_time() - before
        rows.append(logits / (classifier.calibration.temperature if classifier.calibration else 1))
    return torch.cat(rows).softmax(-1).numpy(), seconds / len(rows)


def _complete(inputs: dict) -> dict:
    """With the mask that a whole scan can do without."""
    pixels = inputs["pixel_values"]
    if pixels.ndim != 5:
        raise ValueError(f"the graphs read single scans, got sequences {tuple(pixels.shape)}; take another --dataset")
    return {"view_mask": torch.ones(pixels.shape[:2], dtype=torch.bool), **inputs}


def _session(path: Path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _files(args: argparse.Namespace, name: str) -> list[Path]:
    if name in BITS:
        paths = [Path(args.out) / f"{part}{BITS[name]}.onnx" for part in ("views", "texts", "classifier")]
        return [path for path in paths if path.exists()]
    return list(Path(args.model).glob("*.safetensors"))


def parser() -> argparse.ArgumentParser:
    """The flags of the benchmark."""
    flags = argparse.ArgumentParser(prog="python -m benchmarks.exported", description=__doc__.splitlines()[0])
    flags.add_argument("--model", required=True, metavar="DIR", help="folder of a run")
    flags.add_argument("--dataset", required=True, metavar="DIR", help="folder of single scans")
    flags.add_argument(
        "--out", required=True, metavar="DIR", help="where the graphs go; those that are there are taken"
    )
    flags.add_argument("--scans", type=int, default=0, help="only the first so many (default: all)")
    return flags


if __name__ == "__main__":
    sys.exit(main())
