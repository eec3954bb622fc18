"""Make the mean face that framing compares scans with: `python -m dataset_scripts.synthetic.face_template`.

In: heads of Anny (CC0), drawn as `build_anny` draws them, framed as clean frontal heads are. Out: the file
`processing/face_template_mvfer.py`: depths of the mean face on a grid of framed coordinates, and how faces differ from it.
"""

import argparse
import base64
import inspect
import sys
import zlib
from pathlib import Path

import numpy as np
import torch

from dataset_scripts.build_anny import load_head
from dataset_scripts.synthetic.recipes import sample_combination, shape_weights
from processing.depth_maps_mvfer import DepthMap, sample
from processing.face_template_mvfer import _unpack
from processing.framing_mvfer import frame_upright

TARGET = Path(__file__).parents[2] / "processing" / "face_template_mvfer.py"
REACH, CELLS = 0.96, 25  # the grid spans [-0.96, 0.96] in x and y
SEEN_SHARE = 0.98  # of the heads that show a cell which counts
DEEPEST = -0.55  # framed z below which a cell lies on the turning side of the face
MODES = 48
PEOPLE, FACES_EACH = 700, 3

FILE = '''"""The mean face of Anny's heads (CC0), and the directions in which faces differ. Made by a script; not to be edited.

    python -m dataset_scripts.synthetic.face_template

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


def depth_grids(people: int, faces_each: int, seed: int = 0) -> np.ndarray:
    """Framed depths `(n, S, S)` of heads with and without expressions, NaN where nothing is seen."""
    model = load_head()
    column = {name: i for i, name in enumerate(model.shape_names)}
    faces = torch.as_tensor(model.faces)
    steps = np.linspace(-REACH, REACH, CELLS)
    grids = []
    for person in range(people):
        rng = np.random.default_rng([seed, person])
        identity = model.identities([rng])[0][0]
        for number in range(faces_each):
            vertices = identity.clone()
            for shape, weight in shape_weights(sample_combination(rng) if number else {}).items():
                vertices += weight * model.shapes[column[shape]]
            framed = torch.as_tensor(frame_upright(vertices, model.faces).apply(vertices))
            view = DepthMap.look(framed, faces, (0.0, 0.0, 0.0), 2.6, (-4.0, 2.0))
            half = len(view.depth) / 2
            columns, rows = half + steps / view.pixel, half + steps / view.pixel
            depths = sample(view.depth, *np.meshgrid(columns, rows))
            grids.append(depths * view.pixel + view.middle[2])
    return np.stack(grids)


def main(argv: list[str] | None = None) -> int:
    flags = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    flags.add_argument("--out", type=Path, default=TARGET)
    args = flags.parse_args(argv)
    grids = depth_grids(PEOPLE, FACES_EACH)
    grids = np.concatenate([grids, grids[:, :, ::-1]])  # nothing tells left from right
    seen = np.isfinite(grids)
    valid = (seen.mean(0) > SEEN_SHARE) & (np.median(np.where(seen, grids, -9.0), 0) > DEEPEST)
    mean = np.where(seen, grids, 0).sum(0) / seen.sum(0).clip(1)
    changes = np.where(seen, grids - mean, 0)[:, valid]  # (n, P)
    _, strength, directions = np.linalg.svd(changes, full_matrices=False)
    modes = directions[:MODES] * strength[:MODES, None] / np.sqrt(len(changes))  # (K, P)
    print(
        f"{valid.sum()} cells; spread {changes.std():.4f}, left {(np.square(strength[MODES:]).sum() / changes.size) ** 0.5:.4f}"
    )
    mean_step, mode_step = 1 / 8192, float(np.abs(modes).max() / 127)
    data = np.where(valid, (mean / mean_step).round(), -32768).astype("<i2").tobytes()
    data += (modes / mode_step).round().astype("<i1").tobytes()
    text = base64.b85encode(zlib.compress(data, 9)).decode()
    lines = "\n".join(f"    {text[i : i + 110]!r}" for i in range(0, len(text), 110)).replace("'", '"')
    numbers = {"reach": REACH, "cells": CELLS, "modes": MODES, "mean_step": mean_step, "mode_step": mode_step}
    args.out.write_text(FILE.format(**numbers, lines=lines, unpack=inspect.getsource(_unpack)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
