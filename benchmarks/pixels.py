"""From a mesh file to `pixel_values`, beside trimesh, embreex and numpy: `python -m benchmarks.pixels [--json out.json]`.

All that a new scan costs: reading an OBJ file, framing, three views, shading (clay, curvature, depth), normalisation. The peer
reads with trimesh, casts rays with embreex and shades in numpy, to the same pictures; it frames as we do, without compiled loops.
The candidates take turns and each is judged by its median of CPU time, so that a busy machine disturbs little: read the ratios.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
import trimesh

from benchmarks.render import as_obj, embree, interleaved, with_loops
from processing.cameras_mvfer import CAMERA_DISTANCE, DEFAULT_VIEW_ANGLES_DEG
from processing.channels_mvfer import CURVATURE_GAIN, DEFAULT_LIGHT_DEG, INSIDE_BELOW, SMOOTHING
from processing.framing_mvfer import frame_face
from processing.image_processing_mvfer import MVFERImageProcessor
from processing.meshes_mvfer import load_mesh

TRIANGLES = (9_000, 50_000)
HEAD = Path(__file__).parents[1] / "examples/happiness.ply"
SIZES = ((224, 1), (112, 1), (64, 2))  # pixels, samples per pixel along each axis
PEER_PX = 224
MOST_OFF = 3  # of 256 levels, in 99 of 100 pixels: so far may the peer's pictures be from ours


def write_head(path: Path, triangles: int) -> None:
    """An example head as OBJ, its triangles cut into four, as many as are needed; a whole face, so that it is found at once."""
    head = load_mesh(HEAD, geometry_only=True)
    vertices, faces = head.vertices.astype(np.float64), head.faces
    while (missing := (triangles - len(faces)) // 3) > len(faces) // 10:
        cut = np.arange(min(missing, len(faces)))
        vertices, faces = trimesh.remesh.subdivide(vertices, faces, face_index=cut)
    path.write_text(as_obj(vertices, faces))


def processor_of(backend: str, size_px: int, supersampling: int = 1) -> MVFERImageProcessor:
    return MVFERImageProcessor(
        size={"shortest_edge": size_px},
        crop_size={"height": size_px, "width": size_px},
        supersampling=supersampling,
        render_backend=backend,
    )


def ours(backend: str, size_px: int, supersampling: int = 1):
    processor = processor_of(backend, size_px, supersampling)

    def run(path: Path) -> np.ndarray:
        with_loops(backend == "numba")
        return processor(meshes=[path], return_tensors="np")["pixel_values"][0]

    return run


def peer(size_px: int):
    """trimesh, embreex and numpy."""
    mean, std = (
        np.array(values, np.float32) for values in (MVFERImageProcessor.image_mean, MVFERImageProcessor.image_std)
    )

    def run(path: Path) -> np.ndarray:
        with_loops(False)
        mesh = trimesh.load_mesh(path, process=False)
        vertices, faces = np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces)
        frame = frame_face(vertices, faces, orientation="auto")
        (views,) = embree([frame.apply(vertices)], faces, size_px)
        pictures = np.stack([shaded(view) for view in views])  # (V, 3, H, W) uint8
        return (pictures / np.float32(255) - mean[:, None, None]) / std[:, None, None]

    return run


def shaded(view: np.ndarray) -> np.ndarray:
    """Normals and depth `(4, H, W)` as clay, curvature and depth `(3, H, W)` uint8."""
    normal, depth = view[:3], view[3]
    mask = (depth > 0) & (normal[2] > INSIDE_BELOW)
    yaw, pitch = np.radians(DEFAULT_LIGHT_DEG)
    light = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)], np.float32)
    clay = 0.05 + 0.65 * np.clip(np.tensordot(light, normal, 1), 0, None) + 0.25 * np.clip(normal[2], 0, None)
    pixel = 2 / len(depth)
    smooth = blurred(normal * mask, SMOOTHING / pixel)
    smooth /= np.sqrt(np.clip(np.square(smooth).sum(0), 1e-12, None))
    x, y = np.pad(smooth[:2], ((0, 0), (1, 1), (1, 1)), mode="edge")
    divergence = (x[1:-1, 2:] - x[1:-1, :-2] + y[:-2, 1:-1] - y[2:, 1:-1]) / (2 * pixel) * np.clip(smooth[2], 0, None)
    channels = np.stack([clay, 0.5 + 0.5 * np.tanh(CURVATURE_GAIN * divergence), 0.5 + 0.5 * (CAMERA_DISTANCE - depth)])
    return np.rint(255 * np.clip(channels, 0, 1) * mask).astype(np.uint8)


def blurred(images: np.ndarray, sigma_px: float) -> np.ndarray:
    radius = max(1, int(np.ceil(2.5 * sigma_px)))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_px) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    for axis in (2, 1):
        size = images.shape[axis]
        padded = np.pad(images, [(radius, radius) if a == axis else (0, 0) for a in range(3)])
        images = np.zeros_like(images)
        for shift, weight in enumerate(weights):
            images += weight * padded.take(range(shift, shift + size), axis)
    return images


def check(path: Path) -> float:
    """The share of pixels in which the peer's pictures are those of ours, or an error if it is another task."""
    processor = processor_of("torch", PEER_PX)
    a, b = (processor.denormalize_views(torch.from_numpy(run(path))) for run in (ours("torch", PEER_PX), peer(PEER_PX)))
    off = np.abs(a.astype(int) - b.astype(int))
    if np.quantile(off, 0.99) > MOST_OFF:
        raise ValueError(f"the peer draws something else: {np.quantile(off, 0.99)} levels off")
    return round(float((off <= 1).mean()), 4)


def main(argv: list[str] | None = None) -> dict:
    """Print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description="From a mesh file to pixel_values, beside trimesh, embreex and numpy.")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    report: dict = {"views": len(DEFAULT_VIEW_ANGLES_DEG), "tasks": {}}
    with tempfile.TemporaryDirectory() as folder:
        for triangles in TRIANGLES:
            path = Path(folder) / f"{triangles}.obj"
            write_head(path, triangles)
            report["same_pixels"] = check(path)
            for size_px, supersampling in SIZES:
                runs = {backend: ours(backend, size_px, supersampling) for backend in ("torch", "numba")}
                runs |= {"peer": peer(size_px)} if size_px == PEER_PX else {}
                times = interleaved(runs, options.repeats, path)
                row = {"ms": {name: round(value, 2) for name, value in times.items()}}
                if "peer" in times:
                    row["times_faster"] = {name: round(times["peer"] / times[name], 2) for name in ("torch", "numba")}
                report["tasks"][f"{triangles // 1000}k triangles, {size_px} px, {supersampling}x{supersampling}"] = row
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    print(as_table(report))
    return report


def as_table(report: dict) -> str:
    """The report in lines."""
    lines = [
        f"{'3 views from an OBJ file':30}{'torch ms':>10}{'numba ms':>10}{'peer ms':>10}{'x torch':>9}{'x numba':>9}"
    ]
    for task, row in report["tasks"].items():
        faster = row.get("times_faster", {})
        cells = [*(row["ms"].get(name, "") for name in ("torch", "numba", "peer"))]
        lines.append(
            f"{task:30}"
            + "".join(f"{c:>10}" for c in cells)
            + "".join(f"{faster.get(n, ''):>9}" for n in ("torch", "numba"))
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
