"""A model as ONNX graphs, for where there is no torch.

In: a model, its processor. Out: a folder with `views.onnx` and `texts.onnx`, which give embeddings of unit length, or with
`classifier.onnx`, which gives logits; `export.json`, what turns them into probabilities; the processor's files. Every graph has
been run and compared with torch.
"""

import contextlib
import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import onnxscript  # noqa: F401  (torch's exporter needs it)
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn
from torch.nn.functional import normalize

from modeling_mvfer.classifier_mvfer import Classifier, is_fine_tuned
from mvfer.data.schema import write_json

TOLERANCE = 1e-4
VIEW_INPUTS = ("pixel_values", "view_mask", "view_angles_deg")
TEXT_INPUTS = ("input_ids", "attention_mask")
QUANTIZED = ["MatMul", "Gemm"]  # convolutions of 8 bits are slower on a CPU, and there are few


class Views(nn.Module):
    """Views `(B, V, C, H, W)` to embeddings `(B, D)` of unit length, or a classifier's logits `(B, K)`."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor, view_mask: Tensor, view_angles_deg: Tensor) -> Tensor:
        inputs = {"pixel_values": pixel_values, "view_mask": view_mask, "view_angles_deg": view_angles_deg}
        if is_fine_tuned(self.model):
            return self.model(**inputs).logits
        return normalize(self.model.get_image_features(**inputs).pooler_output, dim=-1)


class Texts(nn.Module):
    """Token ids `(K, L)` to embeddings `(K, D)` of unit length."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return normalize(self.model.get_text_features(input_ids, attention_mask=attention_mask).pooler_output, dim=-1)


def export_onnx(
    model, processor, folder: str | Path, *, labels: Sequence[str] = (), int8: bool = False
) -> dict[str, float]:
    """Write the graphs of a model, for any number of samples, views and texts, and compare them with torch.

    Args:
        model (`MVFERModel` or `MVFERForFaceClassification`): in 32 bits. processor (`MVFERProcessor`): saved beside the graphs.
        folder: made if it does not exist.
        labels: of which `export.json` tells the prompts; a classifier has its own.
        int8: also write each graph with the weights of its matrix products in 8 bits (`views.int8.onnx`).
    Returns:
        `dict`: of each graph, the largest difference from torch, on noise.
    Raises:
        ValueError: if a graph of 32 bits differs from torch by more than 1e-4; its file is then removed.
    """
    folder, model = Path(folder), model.eval()
    folder.mkdir(parents=True, exist_ok=True)
    processor.save_pretrained(folder)
    for code in folder.glob("*_mvfer.py"):
        code.unlink()
    size = processor.image_processor.size_px
    faces = "classifier" if is_fine_tuned(model) else "views"
    parts: dict[str, tuple] = {faces: (Views(model).eval(), VIEW_INPUTS, lambda n: _views(n, size))}
    if not is_fine_tuned(model):
        parts["texts"] = (Texts(model).eval(), TEXT_INPUTS, lambda n: _texts(n, model.config))
    found = {}
    with _quiet():
        for name, part in parts.items():
            path = folder / f"{name}.onnx"
            found[name] = _export(path, *part)
            if int8:
                small = path.with_suffix(".int8.onnx")
                quantize_dynamic(path, small, weight_type=QuantType.QInt8, op_types_to_quantize=QUANTIZED)
                found[small.stem] = _difference(small, *part)
    classifier = Classifier.of(model, processor, labels) if labels or is_fine_tuned(model) else None
    calibration = model.config.calibration
    facts = {
        "difference_from_torch": found,
        "scale": None if is_fine_tuned(model) else float(model.logit_scale.detach().exp()),
        "labels": classifier and classifier.labels,
        "prompts": classifier and classifier.prompts,
        "temperature": classifier.calibration.temperature if classifier and classifier.calibration else 1.0,
        "problem_type": model.config.problem_type,
        "calibration": asdict(calibration) if calibration else None,
        "prompt_kinds": list(model.config.prompt_kinds),
        "prompt_wordings": model.config.prompt_wordings,
    }
    write_json(folder / "export.json", facts)
    return found


@contextlib.contextmanager
def _quiet():
    """Nothing of what the exporters say of themselves; what matters is compared afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


@torch.no_grad()
def _export(path: Path, module: nn.Module, names: tuple[str, ...], example) -> float:
    """Write one graph; its largest difference from torch."""
    inputs = example(2)
    size = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    example_inputs = tuple(inputs[name] for name in names)
    options = {"input_names": list(names), "output_names": ["output"], "dynamic_shapes": {name: size for name in names}}
    program: Any = torch.onnx.export(module, example_inputs, dynamo=True, verbose=False, **options)
    for node in program.model.graph.all_nodes():  # the exporter notes lines of code, with the folders of this computer
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    program.save(path, external_data=False)
    difference = _difference(path, module, names, example)
    if not difference <= TOLERANCE:
        path.unlink()
        raise ValueError(f"{path}: differs from torch by {difference:.1e}, more than {TOLERANCE:.0e}; keep to torch")
    return difference


@torch.no_grad()
def _difference(path: Path, module: nn.Module, names: tuple[str, ...], example) -> float:
    """Of a graph's output from that of torch, on one and on three samples."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    difference = 0.0
    for number in (1, 3):
        inputs = example(number)
        (found,) = session.run(None, {name: inputs[name].numpy() for name in names})
        difference = max(difference, float(np.abs(found - module(**inputs).numpy()).max()))
    return difference


def _views(samples: int, size: int) -> dict[str, Tensor]:
    """Views of as many samples, one view more each than samples, the last of the first sample absent."""
    generator = torch.Generator().manual_seed(samples)
    mask = torch.ones(samples, samples + 1, dtype=torch.bool)
    mask[0, -1] = False
    angles = 60 * torch.rand(samples, samples + 1, 2, generator=generator) - 30
    return {
        "pixel_values": torch.randn(samples, samples + 1, 3, size, size, generator=generator),
        "view_mask": mask,
        "view_angles_deg": angles,
    }


def _texts(texts: int, config) -> dict[str, Tensor]:
    """As many texts of four tokens and more; the first one has padding."""
    text, length = config.text_config, 4 + texts
    generator = torch.Generator().manual_seed(texts)
    ids = torch.randint(1, text.vocab_size - 3, (texts, length), generator=generator)
    ids[:, -1] = text.eos_token_id
    ids[0, -2:] = torch.tensor([text.eos_token_id, text.pad_token_id])
    mask = torch.ones_like(ids)
    mask[0, -1] = 0
    return {"input_ids": ids, "attention_mask": mask}
