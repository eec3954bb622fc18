"""Where the time from a mesh file to `pixel_values` goes, step by step: `python -m benchmarks.steps [--json out.json]`.

An OBJ file of a head, three views. Each step alone, with compiled loops (numba) and without (torch and numpy); medians of
CPU milliseconds. What is left of the whole is checks, copies and calls.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.pixels import processor_of, write_head
from benchmarks.render import interleaved, with_loops
from processing.channels_mvfer import compose_channels
from processing.depth_maps_mvfer import DepthMap
from processing.face_fit_mvfer import settle
from processing.face_search_mvfer import fit_at
from processing.framing_mvfer import frame_whole_face
from processing.meshes_mvfer import load_mesh
from processing.nose_and_rim_mvfer import measure
from processing.rendering_mvfer import frame_mesh, render_views, vertex_normals


def steps(path: Path, size_px: int, supersampling: int, backend: str) -> dict[str, Callable]:
    """What is done, in order; each with what those before it gave."""
    processor, mesh = processor_of(backend, size_px, supersampling), load_mesh(path, geometry_only=True)
    settings, points, faces = processor.render_settings, torch.as_tensor(mesh.vertices), torch.as_tensor(mesh.faces)
    first, view = frame_whole_face(points, faces)
    low, high = points.amin(0), points.amax(0)
    look = ((low + high) / 2, float((high - low)[:2].max()), (float(low[2]), float(high[2])))
    framed = torch.as_tensor(frame_mesh(mesh).apply(mesh.vertices))[None]
    options = {
        "view_angles_deg": settings.view_angles_deg,
        "size_px": size_px,
        "supersampling": supersampling,
        "backend": backend,
    }
    buffers = render_views(framed, faces, **options)
    views = compose_channels(buffers, settings.channels)[0].permute(0, 2, 3, 1)
    return {
        "all": lambda: processor(meshes=[path], return_tensors="np"),
        "read": lambda: load_mesh(path, geometry_only=True),
        "frame": lambda: frame_mesh(mesh, orientation="auto"),
        "  depth map": lambda: DepthMap.look(points, faces, *look),
        "  nose and rim": lambda: measure(view),
        "  fit": lambda: settle(view, fit_at(view, first)),
        "draw": lambda: render_views(framed, faces, **options),
        "  vertex normals": lambda: vertex_normals(framed, faces),
        "shade": lambda: compose_channels(buffers, settings.channels),
        "normalise": lambda: processor.normalize_views(views),
    }


def main(argv: list[str] | None = None) -> dict:
    """Print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description="Where the time from a mesh file to pixel_values goes.")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--triangles", type=int, default=9_000)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    report: dict = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "head.obj"
        write_head(path, options.triangles)
        for size_px, supersampling in ((64, 2), (224, 1)):
            found = report[f"{size_px} px, {supersampling}x{supersampling} samples"] = {}
            for backend in ("torch", "numba"):
                with_loops(backend == "numba")
                times = interleaved(steps(path, size_px, supersampling, backend), options.repeats)
                found[backend] = {name: round(value, 2) for name, value in times.items()}
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    for task, row in report.items():
        print(f"{task:24}{'torch ms':>10}{'numba ms':>10}")
        for name in row["torch"]:
            print(f"  {name:22}{row['torch'][name]:10.2f}{row['numba'][name]:10.2f}")
    return report


if __name__ == "__main__":
    main()
