"""Disturb a head in several ways at once, spoil its numbers, and see what framing makes of it.

In: a count and a seed. Out: a report. Fragments, holes, hair, crops, noise, orientations and mirrors (`scan_disturbances`) are
put on top of each other, and then vertices and triangles are repeated, flattened, thrown far away or cut to a few. Each must
give a finite `FaceFrame` and views, or one ValueError, within twenty seconds of work. How many faces are framed far off
without a word is told, and is no finding: `benchmarks.framing` measures that.

    python -m tests.fuzz_framing --count 500 --seed 0
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.framing import error_of
from dataset_scripts.synthetic.framed_heads import WITHIN
from dataset_scripts.synthetic.scan_disturbances import DISTURBANCES, Head, moved
from processing.framing_mvfer import frame_face, frame_upright
from processing.meshes_mvfer import load_mesh
from processing.rendering_mvfer import RenderSettings, render_scan

HEADS = sorted((Path(__file__).parents[1] / "examples").glob("*.ply"))
MAX_SECONDS = 20.0
VIEWS = RenderSettings(size_px=16, backend="torch")


def far_triangle(head: Head, rng: np.random.Generator) -> Head:
    far = 10 ** rng.uniform(1, 6) * rng.normal(size=(1, 3)) + rng.normal(size=(3, 3))
    vertices = np.concatenate([head.vertices, far])
    return replace(
        head, vertices=vertices, faces=np.concatenate([head.faces, [[len(vertices) - i for i in (3, 2, 1)]]])
    )


def few_triangles(head: Head, rng: np.random.Generator) -> Head:
    return replace(head, faces=head.faces[rng.choice(len(head.faces), int(rng.integers(1, 60)))])


def repeated(head: Head, rng: np.random.Generator) -> Head:
    """Every triangle several times, also backwards, and some that are only a line or a point."""
    odd = head.faces[rng.integers(len(head.faces), size=200)].copy()
    odd[:100, 1] = odd[:100, 0]
    odd[:50, 2] = odd[:50, 0]
    return replace(head, faces=np.concatenate([head.faces, head.faces[:, ::-1], head.faces, odd]))


def flattened(head: Head, rng: np.random.Generator) -> Head:
    scale = np.ones(3)
    scale[int(rng.integers(3))] = rng.choice([0.0, 1e-9, 1e-3, 0.1])
    return replace(head, vertices=head.vertices * scale)


def extreme_units(head: Head, rng: np.random.Generator) -> Head:
    return moved(head, np.eye(3) * 10 ** rng.uniform(-18, 18))


def unused_vertices(head: Head, rng: np.random.Generator) -> Head:
    return replace(head, vertices=np.concatenate([head.vertices, 1e3 * rng.normal(size=(500, 3))]))


SPOILED: tuple[Callable[[Head, np.random.Generator], Head], ...] = (
    far_triangle, few_triangles, repeated, flattened, extreme_units, unused_vertices,
)  # fmt: skip


def heads() -> list[Head]:
    """The example heads, framed; their landmarks are four of their vertices, near eyes and mouth."""
    found = []
    for path in HEADS:
        mesh = load_mesh(path, geometry_only=True)
        vertices = frame_upright(mesh.vertices, mesh.faces).apply(mesh.vertices).astype(float)
        places = np.array([[-0.35, 0.55, 0.2], [0.35, 0.55, 0.2], [-0.28, -0.2, 0.3], [0.28, -0.2, 0.3]])
        marks = [int(np.linalg.norm(vertices - place, axis=1).argmin()) for place in places]
        found.append(Head(vertices, mesh.faces, vertices[marks]))
    return found


def cases(count: int, seed: int) -> Iterator[tuple[str, Head, Head]]:
    """So many: what was done, the disturbed head and the clean one."""
    clean = heads()
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        head = clean[number % len(clean)]
        chosen = list(rng.choice(list(DISTURBANCES.values()), int(rng.integers(1, 5)), replace=False))
        chosen += list(rng.choice(SPOILED, int(rng.integers(0, 3)), replace=False))
        scan = head
        for disturb in chosen:
            scan = disturb(scan, rng)
        yield f"seed [{seed}, {number}]: {', '.join(one.__name__ for one in chosen)}", scan, head


def complaint_about(scan: Head, orientation: str) -> tuple[str | None, object]:
    """Why the frame of a scan is none, if it is none; and the frame, or `None` where the scan is refused."""
    began = time.process_time()
    with np.errstate(over="ignore"):
        vertices = scan.vertices.astype(np.float32)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # of numpy, as where it divides by zero
            frame = frame_face(vertices, scan.faces, orientation=orientation)
            views = render_scan(vertices, scan.faces, VIEWS, frame=frame)
    except ValueError as error:
        return (None if str(error) else "an empty reason"), None
    except (
        ArithmeticError,
        IndexError,
        KeyError,
        RuntimeError,
        RuntimeWarning,
        TypeError,
        np.linalg.LinAlgError,
    ) as error:
        return f"{type(error).__name__}: {error}", None
    numbers = [*frame.center, frame.scale, *np.ravel(frame.turn or 0), frame.face_likeness]
    if not np.isfinite(numbers).all() or not 0 <= frame.face_likeness <= 1 or frame.scale <= 0:
        return f"no frame: {frame}", None
    if views.shape != (1, 3, 16, 16, 3):
        return f"views {views.shape}", None
    if (seconds := time.process_time() - began) > MAX_SECONDS:
        return f"{seconds:.1f} s", None
    return None, frame


def fuzz(count: int, seed: int) -> tuple[list[str], dict[str, int]]:
    """Findings, and how many were framed, refused, called no face, and are far off without a word."""
    findings, told = [], dict.fromkeys(("framed", "refused", "no face", "far off, silently"), 0)
    for number, (name, scan, head) in enumerate(cases(count, seed)):
        complaint, frame = complaint_about(scan, ("y", "auto")[number % 2])
        if complaint:
            findings.append(f"{name}: {complaint}")
        elif frame is None:
            told["refused"] += 1
        else:
            told["framed"] += 1
            told["no face"] += not frame.is_face
            told["far off, silently"] += frame.is_face and error_of(frame, scan, head) > 4 * WITHIN
    return findings, told


def main(argv: list[str] | None = None) -> int:
    flags = argparse.ArgumentParser(prog="python -m tests.fuzz_framing", description=(__doc__ or "").partition("\n")[0])
    flags.add_argument("--count", type=int, default=500)
    flags.add_argument("--seed", type=int, default=0)
    args = flags.parse_args(argv)
    torch.set_num_threads(1)
    findings, told = fuzz(args.count, args.seed)
    print(*findings, f"{args.count} heads: {told}; {len(findings)} findings", sep="\n")
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main())
