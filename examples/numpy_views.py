"""A scan to drawn views without torch, for `onnx_predict.py`: `python examples/numpy_views.py GRAPHS face.ply VIEWS`.

GRAPHS is what `mvfer export` wrote; its processor_config.json says what views look like. The scan is upright, looks towards +z,
its nose is foremost, and it is in metres: `mvfer render` finds a face however it lies. Needs numpy, pillow and trimesh.
"""

import json
import sys
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

SCALE, NOSE = 11.7, (0, 0.16, 0.577)  # framed units per metre, and where the tip of the nose comes to lie
DISTANCE = 1 / np.tan(np.radians(13))  # of the camera, and its focal length


def views_of(vertices: np.ndarray, faces: np.ndarray, settings: dict) -> list[np.ndarray]:
    """A view `(H, W, 3)`, uint8, for every camera; the vertices are framed."""
    crosses = np.cross(*(vertices[faces[:, k]] - vertices[faces[:, 0]] for k in (1, 2)))
    normals = np.zeros_like(vertices)
    np.add.at(normals, faces, crosses[:, None])
    views = []
    for yaw, pitch in np.radians(settings["view_angles_deg"]):
        sy, cy, sp, cp = np.sin(yaw), np.cos(yaw), np.sin(pitch), np.cos(pitch)
        turn = np.array([[cy, 0, -sy], [-sy * sp, cp, -cy * sp], [sy * cp, sp, cy * cp]])
        seen = (vertices - [0, settings["aim_y"], 0]) @ turn.T - [0, 0, DISTANCE]
        buffer = draw(seen, unit(normals) @ turn.T, faces, settings["crop_size"]["height"], settings["supersampling"])
        views.append(paint(*buffer, settings["channels"]))
    return views


def draw(points: np.ndarray, normals: np.ndarray, faces: np.ndarray, size: int, finer: int):
    """Normals `(H, W, 3)`, depth and coverage `(H, W)` of what is nearest at each pixel, triangle after triangle."""
    grid, near = size * finer, -1 / points[:, 2]
    columns, rows = (sign * points[:, k] * near * DISTANCE * grid / 2 + grid / 2 for k, sign in ((0, 1), (1, -1)))
    nearest, found = np.zeros((grid, grid)), np.zeros((grid, grid, 5))
    for face in faces:
        x, y = columns[face], rows[face]
        (left, right), (top, bottom) = (
            np.clip(np.ceil([v.min() - 0.5, v.max() + 0.5]), 0, grid).astype(int) for v in (x, y)
        )
        area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
        if left >= right or top >= bottom or area == 0:
            continue
        dx, dy = np.arange(left, right) + 0.5 - x[0], np.arange(top, bottom)[:, None] + 0.5 - y[0]
        b = (dx * (y[2] - y[0]) - dy * (x[2] - x[0])) / area
        c = (dy * (x[1] - x[0]) - dx * (y[1] - y[0])) / area
        weights = np.stack([1 - b - c, b, c], -1) * near[face]  # on the surface, once divided by their sum
        nearness, box = weights.sum(-1), (slice(top, bottom), slice(left, right))
        wins = (weights >= -1e-5).all(-1) & (nearness > nearest[box])
        share = weights[wins] / nearness[wins, None]
        nearest[box][wins] = nearness[wins]
        found[box][wins] = np.column_stack([unit(share @ normals[face]), 1 / nearness[wins], np.ones(len(share))])
    found = found.reshape(size, finer, size, finer, 5).mean((1, 3))
    coverage = found[..., 4].copy()
    found /= np.maximum(coverage, 1e-6)[..., None]
    return unit(found[..., :3]), found[..., 3], coverage


def paint(normal: np.ndarray, depth: np.ndarray, coverage: np.ndarray, channels: list[str]) -> np.ndarray:
    """Clay under a light from the upper left, curvature and depth, as `channels_mvfer.py` defines them."""
    yaw, pitch = np.radians([-30, 40])
    light = [np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)]
    pixel = 2 / len(depth)  # framed units
    offsets = np.arange(-np.ceil(2.5 * 0.03 / pixel), np.ceil(2.5 * 0.03 / pixel) + 1)
    blur = np.exp(-0.5 * (offsets * pixel / 0.03) ** 2)
    smooth = normal * coverage[..., None]
    for axis in (1, 0):
        smooth = np.apply_along_axis(np.convolve, axis, smooth, blur / blur.sum(), mode="same")
    smooth = unit(smooth)
    padded = np.pad(smooth, ((1, 1), (1, 1), (0, 0)), mode="edge")
    spread = padded[1:-1, 2:, 0] - padded[1:-1, :-2, 0] + padded[:-2, 1:-1, 1] - padded[2:, 1:-1, 1]
    known = {
        "clay": 0.05 + 0.65 * np.maximum(normal @ light, 0) + 0.25 * np.maximum(normal[..., 2], 0),
        "curvature": 0.5 + 0.5 * np.tanh(0.1 * spread / (2 * pixel) * np.maximum(smooth[..., 2], 0)),
        "depth": 0.5 + 0.5 * (DISTANCE - depth),
    }
    hidden = coverage * (normal[..., 2] > -0.3)  # the inside of a head, seen through a hole, is not shown
    view = np.stack([known[name] for name in channels], -1).clip(0, 1) * hidden[..., None]
    return np.uint8(np.round(255 * view))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.sqrt(np.maximum((vectors**2).sum(-1, keepdims=True), 1e-30))


if __name__ == "__main__":
    graphs, scan, folder = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    settings = json.loads((graphs / "processor_config.json").read_text(encoding="utf-8"))["image_processor"]
    mesh = trimesh.load_mesh(scan, process=False)
    points = np.asarray(mesh.vertices, dtype=np.float64)
    framed = (points - points[points[:, 2].argmax()]) * SCALE + NOSE
    folder.mkdir(parents=True, exist_ok=True)
    for number, view in enumerate(views_of(framed, np.asarray(mesh.faces), settings)):
        Image.fromarray(view).save(folder / f"{number}.png")
