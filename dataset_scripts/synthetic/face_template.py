"""Make the mean face that framing compares scans with, and the directions in which faces differ.

    python -m dataset_scripts.synthetic.face_template --ict FaceXModel --valid valid_heads.npz

In: heads of Anny and, where their paths are given, of ICT-FaceKit and VALID, at rest and moving, framed as clean frontal heads
are; every family has the same weight. Out: the file `processing/face_template_mvfer.py`: depths on a grid of framed coordinates.
"""

import argparse
import base64
import inspect
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dataset_scripts import build_anny, build_ict_facekit, build_valid
from dataset_scripts.synthetic.heads import HeadModel, HeadSet
from dataset_scripts.synthetic.recipes import sample_combination
from processing.depth_maps_mvfer import DepthMap, sample
from processing.face_template_mvfer import _unpack
from processing.framing_mvfer import frame_upright

TARGET = Path(__file__).parents[2] / "processing" / "face_template_mvfer.py"
REACH, CELLS = 0.96, 25  # the grid spans [-0.96, 0.96] in x and y
SEEN_SHARE = 0.98  # of the heads of every family that show a cell which counts
DEEPEST = -0.55  # framed z below which a cell lies on the turning side of the face
MODES = 64
PEOPLE, FACES_EACH = 500, 2  # of a family without end
PEOPLE_OF_VALID, FACES_EACH_OF_VALID = 42, 8

FILE = '''"""The mean face of {families}, and the directions in which faces differ.

Made by a script; not to be edited: {command}

A `({cells}, {cells})` grid over x and y in [-{reach}, {reach}] of framed coordinates, rows from top to bottom. `MEAN` are
depths z, `MODES` standard deviations of them along each principal direction, both in framed units, 0 where `VALID` is false.
"""

import base64
import zlib

import numpy as np

REACH = {reach}
CELLS, COUNT = {cells}, {modes}
_MEAN_STEP, _MODE_STEP = {mean_step!r}, {mode_step!r}
_DATA = (
{lines}
)


{unpack}

MEAN, MODES, VALID = _unpack()
'''


def depth_grids(heads: HeadModel | HeadSet, people: int, faces_each: int, seed: int = 0) -> np.ndarray:
    """Framed depths `(n, S, S)` of heads, the first of each person at rest, NaN where nothing is seen."""
    numbers, grids = range(people), []
    makers: list[Callable] = list(heads.heads(numbers, [np.random.default_rng([seed, person]) for person in numbers]))
    for person, make in zip(numbers, makers, strict=True):
        head, rng = make(), np.random.default_rng([seed, 1, person])
        column = {name: i for i, name in enumerate(head.shape_names)}
        for number in range(faces_each):
            units = sample_combination(rng, head.table) if number else {}
            vertices = head.vertices.clone()
            for shape, weight in head.table.weights(units).items():
                vertices += weight * head.shapes[column[shape]]
            grids.append(depth_grid(vertices, head.faces))
    return np.stack(grids)


def depth_grid(vertices: torch.Tensor, faces: np.ndarray) -> np.ndarray:
    """Framed depths `(S, S)` of a head, NaN where nothing is seen."""
    framed = torch.as_tensor(frame_upright(vertices, faces).apply(vertices))
    view = DepthMap.look(framed, torch.as_tensor(faces), (0.0, 0.0, 0.0), 2.6, (-4.0, 2.0))
    places = len(view.depth) / 2 + np.linspace(-REACH, REACH, CELLS) / view.pixel
    return sample(view.depth, *np.meshgrid(places, places)) * view.pixel + view.middle[2]


def principal_directions(families: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean `(S, S)`, the directions `(K, P)`, each one standard deviation long, and which P cells count `(S, S)`.

    Args:
        families: depths `(n, S, S)` of each, NaN where nothing is seen.
    """
    families = [np.concatenate([grids, grids[:, :, ::-1]]) for grids in families]  # nothing tells left from right
    weight = np.concatenate([np.full(len(grids), 1 / len(grids) / len(families)) for grids in families])
    share = np.min([np.isfinite(grids).mean(0) for grids in families], 0)
    middle = np.mean([np.median(np.nan_to_num(grids, nan=-9.0), 0) for grids in families], 0)
    valid = (share > SEEN_SHARE) & (middle > DEEPEST)
    grids = np.concatenate(families)
    seen = np.isfinite(grids)
    mean = np.einsum("n,nij->ij", weight, np.where(seen, grids, 0)) / np.einsum("n,nij->ij", weight, seen).clip(1e-9)
    changes = np.where(seen, grids - mean, 0)[:, valid] * np.sqrt(weight)[:, None]  # (n, P)
    _, strength, directions = np.linalg.svd(changes, full_matrices=False)
    spread, left = (np.sqrt(np.square(part).sum() / valid.sum()) for part in (strength, strength[MODES:]))
    print(f"{valid.sum()} cells; spread {spread:.4f}, left {left:.4f}")
    return mean, directions[:MODES] * strength[:MODES, None], valid


def main(argv: list[str] | None = None) -> int:
    flags = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    flags.add_argument("--ict", type=Path, help="also heads of ICT-FaceKit, the FaceXModel folder")
    flags.add_argument("--valid", type=Path, help="also those of VALID: a clone, or one .npz")
    flags.add_argument("--out", type=Path, default=TARGET)
    args = flags.parse_args(argv)
    torch.set_num_threads(1)
    families, names, command = [depth_grids(build_anny.load_head(), PEOPLE, FACES_EACH)], ["Anny (CC0)"], ""
    if args.ict:
        families.append(depth_grids(build_ict_facekit.load_head(str(args.ict)), PEOPLE, FACES_EACH))
        names, command = [*names, "ICT-FaceKit (MIT)"], " --ict FaceXModel"
    if args.valid:
        families.append(depth_grids(build_valid.load_heads(str(args.valid)), PEOPLE_OF_VALID, FACES_EACH_OF_VALID))
        names, command = [*names, "VALID (MIT)"], command + " --valid valid_heads.npz"
    mean, modes, valid = principal_directions(families)
    mean_step, mode_step = 1 / 8192, float(np.abs(modes).max() / 127)
    data = np.where(valid, (mean / mean_step).round(), -32768).astype("<i2").tobytes()
    data += (modes / mode_step).round().astype("<i1").tobytes()
    text = base64.b85encode(zlib.compress(data, 9)).decode()
    lines = "\n".join(f"    {text[i : i + 110]!r}" for i in range(0, len(text), 110)).replace("'", '"')
    numbers = {"reach": REACH, "cells": CELLS, "modes": MODES, "mean_step": mean_step, "mode_step": mode_step}
    told = {"families": ", ".join(names), "command": f"python -m dataset_scripts.synthetic.face_template{command}"}
    args.out.write_text(FILE.format(**numbers, **told, lines=lines, unpack=inspect.getsource(_unpack)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
