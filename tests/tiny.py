"""Small things that several rooms' tests share: a face-like mesh, a model with its processor, and their saved run."""

from pathlib import Path

import numpy as np
import pytest
import torch

from modeling_mvfer import MVFERModel
from mvfer.data.tokenizer import build_tokenizer
from mvfer.hub.run_folder import save_run
from mvfer.training.presets import small_config
from processing import MVFERImageProcessor, MVFERProcessor, prompts_for
from processing.meshes_mvfer import load_mesh


def bumpy_face(size: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """A half ellipsoid with a nose, y up, face towards +z: vertices `(size ** 2, 3)` in metres, and faces."""
    x, y = np.meshgrid(np.linspace(-0.95, 0.95, size), np.linspace(-0.95, 0.95, size))
    z = np.sqrt(1.9 - x**2 - y**2) * 0.6 + 0.25 * np.exp(-30 * x**2 - 12 * y**2)
    vertices = np.stack([0.07 * x, 0.09 * y, 0.08 * z], -1).reshape(-1, 3)
    index = np.arange(size * size).reshape(size, size)
    a, b, c, d = (part.reshape(-1) for part in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
    return vertices.astype(np.float32), np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])


def write_obj(path: Path, vertices: np.ndarray, faces: np.ndarray) -> str:
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices]
    lines += [f"f {a} {b} {c}" for a, b, c in faces + 1]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def face_obj(tmp_path_factory) -> str:
    """The path of a mesh file of a face that framing takes for one."""
    mesh = load_mesh(Path(__file__).parents[1] / "examples" / "neutral.ply", geometry_only=True)
    return write_obj(tmp_path_factory.mktemp("mesh") / "face.obj", mesh.vertices, mesh.faces)


@pytest.fixture(scope="session")
def small_processor() -> MVFERProcessor:
    """32-pixel views, and a tokenizer learnt from the prompts of three expressions."""
    texts = [text for prompts in prompts_for(["happiness", "sadness", "surprise"]).values() for text in prompts]
    image_processor = MVFERImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return MVFERProcessor(image_processor=image_processor, tokenizer=build_tokenizer(texts, vocab_size=700))


@pytest.fixture(scope="session")
def small_model(small_processor) -> MVFERModel:
    """An untrained model that fits `small_processor`."""
    tokenizer = small_processor.tokenizer
    special = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    torch.manual_seed(0)
    return MVFERModel(small_config(vocab_size=len(tokenizer), image_size=32, **special)).eval()


@pytest.fixture(scope="session")
def small_run(small_model, small_processor, tmp_path_factory) -> Path:
    """The folder of a saved run."""
    return save_run(tmp_path_factory.mktemp("runs") / "small", small_model, small_processor)
