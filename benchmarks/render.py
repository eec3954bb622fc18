"""Time our renderer next to embreex, in one interleaved run: `python -m benchmarks.render [--json]`.

Three views of 224 x 224, normals and depth, everything included that a new mesh costs (normals, and for embreex its tree).
The candidates take turns and each is judged by its median, so that a busy machine slows all of them alike: read the
ratios, not the milliseconds. `pip install embreex numba` for the peers; what is missing is left out.
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch

from processing.cameras_mvfer import DEFAULT_VIEW_ANGLES_DEG, FOCAL_LENGTH, world_to_camera
from processing.compiled_mvfer import LOOPS
from processing.framing_mvfer import frame_face
from processing.numba_mvfer import numba_is_installed
from processing.rendering_mvfer import render_views, vertex_normals

try:
    from processing.loops_numba_mvfer import load_loops
except ImportError:
    pass  # and then nobody asks for them

try:
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene
except ImportError:
    EmbreeScene = None

SIZE_PX = 224


def synthetic_head(triangles: int) -> tuple[np.ndarray, np.ndarray]:
    """An ellipsoid with a nose, of about that many triangles."""
    rows = round((triangles / 3) ** 0.5)
    columns = round(1.5 * rows)
    down = np.linspace(0.02, np.pi - 0.02, rows)[:, None]
    around = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    x, z = 0.75 * np.sin(down) * np.sin(around), 0.9 * np.sin(down) * np.cos(around)
    y = 1.1 * np.cos(down) * np.ones_like(around)
    z = z + (z > 0) * 0.25 * np.exp(-((x / 0.12) ** 2) - ((y + 0.05) / 0.2) ** 2)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns)).reshape(-1)
    right = (np.arange(rows - 1)[:, None] * columns + (np.arange(columns) + 1) % columns).reshape(-1)
    faces = [np.stack([corner, corner + columns, right], 1), np.stack([right, corner + columns, right + columns], 1)]
    vertices = np.stack([x, y, z], -1).reshape(-1, 3)
    faces = np.concatenate(faces)
    return frame_face(vertices, faces).apply(vertices), faces


def ours(backend: str):
    def render(sequence, faces):
        with_loops(backend == "numba")
        return render_views(
            torch.as_tensor(sequence),
            torch.as_tensor(faces),
            view_angles_deg=DEFAULT_VIEW_ANGLES_DEG,
            size_px=SIZE_PX,
            backend=backend,
        )

    return render


def with_loops(used: bool) -> None:
    """Whether compiled loops are used, as where numba is installed, or is not."""
    LOOPS.clear()
    if used:
        load_loops()


def embree(sequence, faces, size_px: int = SIZE_PX) -> list[np.ndarray]:
    """The same with embreex: rays from every camera; per frame normals, interpolated, and depth along the axis `(V, 4, H, W)`."""
    with_loops(False)
    x, y = np.meshgrid((2 * np.arange(size_px) + 1) / size_px - 1, 1 - (2 * np.arange(size_px) + 1) / size_px)
    rays = np.stack([x, y, np.full_like(x, -FOCAL_LENGTH)], -1).reshape(-1, 3).astype(np.float32)
    cameras = world_to_camera(DEFAULT_VIEW_ANGLES_DEG).numpy()
    faces, frames = faces.astype(np.int32), []
    for vertices in sequence:
        normals = vertex_normals(torch.as_tensor(vertices)[None], torch.as_tensor(faces, dtype=torch.int64))[0].numpy()
        scene = EmbreeScene()
        TriangleMesh(scene, vertices, faces)
        views = np.zeros((len(cameras), 4, len(rays)), np.float32)
        for camera, image in zip(cameras, views, strict=True):
            rotation, translation = camera[:3, :3], camera[:3, 3]
            origins = np.broadcast_to(-translation @ rotation, rays.shape).astype(np.float32)
            hits = scene.run(origins, np.ascontiguousarray(rays @ rotation), output=True)
            hit = hits["primID"] >= 0
            u, v = hits["u"][hit, None], hits["v"][hit, None]
            a, b, c = normals[faces[hits["primID"][hit]]].transpose(1, 0, 2)
            normal = ((1 - u - v) * a + u * b + v * c) @ rotation.T
            image[:3, hit] = (normal / np.linalg.norm(normal, axis=1, keepdims=True)).T
            image[3, hit] = hits["tfar"][hit] * FOCAL_LENGTH
        frames.append(views.reshape(-1, 4, size_px, size_px))
    return frames


def as_obj(vertices, faces) -> str:
    lines = ["v {:.6f} {:.6f} {:.6f}".format(*vertex) for vertex in vertices]
    return "\n".join(lines + ["f {} {} {}".format(*face) for face in faces + 1]) + "\n"


def interleaved(candidates: dict, repeats: int, *arguments, clock=time.process_time) -> dict[str, float]:
    """Median milliseconds of every candidate; they take turns, and the first turn does not count."""
    times = {name: [] for name in candidates}
    for _ in range(repeats + 1):
        for name, run in candidates.items():
            start = clock()
            run(*arguments)
            times[name].append(1e3 * (clock() - start))
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def main(argv=None) -> dict:
    parser = argparse.ArgumentParser(description="Time the renderer next to embreex; read the ratios.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--frames", type=int, default=30, help="length of the sequence")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    backends = ["torch"] + ["numba"] * numba_is_installed()
    renderers = {backend: ours(backend) for backend in backends}
    if EmbreeScene is not None:
        renderers["embreex"] = embree
    results = {}
    for triangles in (10_000, 50_000):
        vertices, faces = synthetic_head(triangles)
        name = f"{triangles // 1000}k triangles"
        results[f"{name}, 3 views"] = interleaved(renderers, options.repeats, vertices[None], faces)
    sequence = np.stack([vertices * (1 + 0.001 * i) for i in range(options.frames)])
    results[f"50k triangles, {options.frames} frames x 3 views"] = interleaved(renderers, 3, sequence, faces)
    report = {
        task: {
            "milliseconds": {name: round(value, 1) for name, value in times.items()},
            "times_faster_than_embreex": {
                name: round(times["embreex"] / value, 2) for name, value in times.items() if "embreex" in times
            },
        }
        for task, times in results.items()
    }
    print(json.dumps(report, indent=2) if options.json else as_table(report))
    return report


def as_table(report: dict) -> str:
    lines = [f"{'task':38}{'candidate':12}{'ms':>9}{'x embreex':>11}"]
    for task, row in report.items():
        for name, value in row["milliseconds"].items():
            ratio = row["times_faster_than_embreex"].get(name, "")
            lines.append(f"{task:38}{name:12}{value:9.1f}{ratio:>11}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
