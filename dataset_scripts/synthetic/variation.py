"""Vary a scan's geometry as scanners and topologies do, without touching its label.

In: framed vertices of one scan or sequence. Out: other vertices and faces: another resolution, smoother or noisier,
cropped, with holes, without teeth; each of these only sometimes. Everything that depends on the faces alone is prepared
once. Apart from that, other proportions, which all scans of a person share.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from trimesh.creation import icosphere

from mvfer.data.geometry import merge_neighbors, parts_of, rotation

SPACINGS = (0.025, 0.035, 0.05)  # between the vertices of coarser meshes, framed units (1 is half a face's height)
GRIDS = 3  # different meshes per spacing


@dataclass(frozen=True)
class _Level:
    """One resolution: vertex -> cluster, cluster sizes, faces between clusters, edges for smoothing."""

    cluster: Tensor | None  # (N,) int64
    count: Tensor | None  # (N', 1) float
    faces: Tensor  # (M', 3) int64
    edges: Tensor  # (E, 2) int64, both directions
    degree: Tensor  # (N', 1) float

    @classmethod
    def build(cls, cluster: np.ndarray | None, faces: np.ndarray, num_vertices: int) -> "_Level":
        count = None
        if cluster is not None:
            num_vertices = int(cluster.max()) + 1
            count = torch.from_numpy(np.bincount(cluster, minlength=num_vertices).astype(np.float32))[:, None]
            faces = cluster[faces]
            distinct = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
            faces = faces[distinct]
            _, first = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
            faces = faces[np.sort(first)]
            cluster = torch.from_numpy(cluster)
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        edges = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
        degree = np.bincount(edges[:, 0], minlength=num_vertices).clip(1).astype(np.float32)
        return cls(cluster, count, torch.from_numpy(faces), torch.from_numpy(edges), torch.from_numpy(degree)[:, None])

    def merge(self, vertices: Tensor) -> Tensor:
        """`(T, N, D)` -> `(T, N', D)`: means of the clusters."""
        if self.cluster is None or self.count is None:
            return vertices
        merged = vertices.new_zeros(len(vertices), len(self.count), vertices.shape[-1])
        return merged.index_add_(1, self.cluster, vertices).div_(self.count)

    def smooth(self, vertices: Tensor, steps: int, amount: float = 0.5) -> Tensor:
        """Laplacian smoothing: every vertex moves towards the mean of its neighbours."""
        for _ in range(steps):
            near = torch.zeros_like(vertices).index_add_(
                1, self.edges[:, 0], vertices.index_select(1, self.edges[:, 1])
            )
            vertices = torch.lerp(vertices, near / self.degree, amount)
        return vertices


class GeometryVariation:
    """Label-free variation of all scans that share one topology.

    Args:
        vertices (`(N, 3)`): a typical face in framed coordinates; resolutions are cut on it.
        faces (`(M, 3)` integers).
        seed: of the grids.
    """

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, *, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.levels = [_Level.build(None, faces, len(vertices))]
        for spacing in SPACINGS:
            for _ in range(GRIDS):
                cluster = merge_neighbors(vertices, faces, spacing, rng)
                self.levels.append(_Level.build(cluster, faces, len(vertices)))
        inside = torch.from_numpy(np.stack(_mouth(vertices, faces), axis=1).astype(np.float32))
        self.mouths = [(level.merge(inside[None])[0] > 0.5).unbind(1) for level in self.levels]

    def __call__(self, vertices: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw one variation and apply it to all frames of a sequence alike.

        Args:
            vertices (`(T, N, 3)` float32): framed.
        Returns:
            vertices (`(T, N', 3)`), faces (`(M', 3)` int64).
        """
        number = 0 if rng.random() < 0.35 else int(rng.integers(len(self.levels)))
        level, (teeth, hidden) = self.levels[number], self.mouths[number]
        vertices, faces = level.merge(vertices), level.faces
        if rng.random() < 0.4:
            vertices = level.smooth(vertices, int(rng.integers(1, 5)))
        if rng.random() < 0.5:
            vertices = _noise(vertices, faces, rng)
        if rng.random() < 0.4:
            faces = _crop(vertices[0], faces, rng)
        if rng.random() < 0.3:
            faces = _holes(vertices[0], faces, rng)
        seen = rng.choice(("all", "no teeth", "nothing", "filled"), p=(0.4, 0.2, 0.15, 0.25))  # between the lips
        if seen != "all":
            faces = faces[~(teeth | hidden if seen == "nothing" else teeth)[faces].all(1)]
        if seen == "filled" and hidden.any():
            vertices, faces = _fill_mouth(vertices, faces, hidden, rng)
        return vertices, faces


def _mouth(points: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What lies behind the lips of a typical framed face with its mouth shut.

    Args:
        points (`(N, 3)`), faces (`(M, 3)`).
    Returns:
        two of `(N,)` bool: of teeth and tongue, which are parts of their own; and of the skin inside of the mouth.
    """
    part = parts_of(faces, len(points))
    near = (np.abs(points[:, 0]) < 0.45) & (points[:, 1] < -0.05) & (points[:, 1] > -0.7)
    size = np.bincount(part)
    inner = np.bincount(part, near) / size > 0.6
    inner[size.argmax()] = False
    column, row = np.clip(np.floor(points[:, :2] / 0.04).astype(np.int64) + 100, 0, 199).T
    cell = 200 * column + row
    front = np.full(200 * 200, -np.inf)
    np.maximum.at(front, cell, points[:, 2])
    behind = front[cell] - points[:, 2]
    return inner[part], near & (part == size.argmax()) & (behind > 0.12) & (behind < 0.8)


def _fill_mouth(vertices: Tensor, faces: Tensor, hidden: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A smooth lump behind the lips of `(T, N, 3)`: a tongue, or what a scanner makes of an open mouth."""
    middle = vertices[:, hidden].mean((0, 1))
    first = vertices[0]
    lips = first[((first - middle)[:, :2].abs() < 0.12).all(1), 2]
    lump = icosphere(subdivisions=3)
    size = first.new_tensor(rng.uniform((0.22, 0.12, 0.15), (0.32, 0.22, 0.25)))
    middle[2] = lips.max() - float(rng.uniform(0.04, 0.2)) - size[2]
    added = middle + size * torch.from_numpy(np.asarray(lump.vertices)).to(first)
    faces = torch.cat([faces, torch.from_numpy(np.asarray(lump.faces, dtype=np.int64)) + len(first)])
    return torch.cat([vertices, added.expand(len(vertices), -1, -1)], dim=1), faces


def reframe(vertices: Tensor, rng: np.random.Generator) -> Tensor:
    """Framing errors of `(T, N, 3)` framed vertices: turned by up to 6 degrees or so, 5 % larger, 0.06 aside."""
    turned = vertices @ rotation(*rng.normal(0, (3.0, 3.0, 2.0)).clip(-8, 8)).T
    shift = torch.tensor(rng.normal(0, 0.03, 3).clip(-0.08, 0.08), dtype=vertices.dtype)
    return turned * float(np.clip(rng.normal(1, 0.04), 0.9, 1.12)) + shift


def _waves(points: Tensor, rng: np.random.Generator, *, count: int, longest: float, shortest: float) -> Tensor:
    """A smooth random field with values around 1, `(N, count)` waves summed: `(N,)`."""
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = np.exp(rng.uniform(math.log(shortest), math.log(longest), (count, 1)))
    waves = torch.tensor(2 * math.pi * directions / lengths, dtype=points.dtype)
    phases = torch.tensor(rng.uniform(0, 2 * math.pi, count), dtype=points.dtype)
    return torch.sin(points @ waves.T + phases).sum(1) * math.sqrt(2 / count)


def draw_proportions(points: Tensor, rng: np.random.Generator) -> Tensor:
    """Another person: what to add to the framed vertices `(N, 3)` of a head at rest, and to those of all its expressions.

    A stretch per axis and a smooth displacement, mostly the same on both sides: long waves change the face's form, short and
    lower ones where its brows, lids and lips lie. So a model cannot learn one family's faces at rest by heart. What lies behind
    each other moves alike: no teeth come out between the lips.
    """
    flat = points * torch.tensor([1.0, 1.0, 0.0], dtype=points.dtype)
    stretch = torch.tensor(rng.normal(1, 0.05, 3).clip(0.88, 1.12), dtype=points.dtype)
    offset = points * (stretch - 1)
    mirror = torch.tensor([-1.0, 1.0, 1.0], dtype=points.dtype)
    for longest, shortest, most in ((3.0, 0.8, 0.04), (0.8, 0.25, 0.015)):
        seeds, share = rng.integers(2**63, size=3), float(rng.uniform(0.8, 1.0)) / 2  # of the other side
        amount = float(rng.uniform(0, most))
        here, there = (_field(p, seeds, longest=longest, shortest=shortest) for p in (flat, flat * mirror))
        offset = offset + amount * ((1 - share) * here + share * there * mirror)
    return offset


def _field(points: Tensor, seeds: np.ndarray, *, longest: float, shortest: float) -> Tensor:
    """A smooth random displacement `(N, 3)`, one seed per axis."""
    waves = [_waves(points, np.random.default_rng(s), count=6, longest=longest, shortest=shortest) for s in seeds]
    return torch.stack(waves, dim=1)


def _noise(vertices: Tensor, faces: Tensor, rng: np.random.Generator) -> Tensor:
    """Sensor noise along the normals: white noise, new in every frame, and ripples, the same in all frames."""
    first = vertices[0]
    a, b, c = first[faces].unbind(1)
    normals = torch.zeros_like(first).index_add_(
        0, faces.reshape(-1), torch.linalg.cross(b - a, c - a).repeat_interleave(3, 0)
    )
    normals = normals / normals.norm(dim=1, keepdim=True).clamp_min(1e-12)
    white, ripple = rng.uniform(0, 0.004), rng.uniform(0, 0.004)
    heights = torch.from_numpy(rng.standard_normal(vertices.shape[:2], dtype=np.float32)) * float(white)
    heights = heights + float(ripple) * _waves(first, rng, count=8, longest=0.5, shortest=0.08)
    return vertices + heights[..., None] * normals


def _crop(points: Tensor, faces: Tensor, rng: np.random.Generator) -> Tensor:
    """Keep the face, as face scanners do: no ears, no back of the head, no neck."""
    x, y, z = points.unbind(1)
    width, top, bottom, back = (float(rng.uniform(*r)) for r in ((0.75, 1.0), (0.8, 1.4), (-1.5, -1.05), (-1.0, -0.3)))
    keep = (x.abs() < width) & (y < top) & (y > bottom) & (z > back)
    kept = faces[keep[faces].all(1)]
    return kept if len(kept) > 0.15 * len(faces) else faces


def _holes(points: Tensor, faces: Tensor, rng: np.random.Generator) -> Tensor:
    """Holes of random size at random places of the face."""
    centers = points[faces[torch.from_numpy(rng.integers(len(faces), size=int(rng.integers(1, 5))))][:, 0]]
    radii = torch.tensor(rng.uniform(0.02, 0.1, len(centers)), dtype=points.dtype)
    near = (torch.cdist(points, centers) < radii).any(1)
    kept = faces[~near[faces].any(1)]
    return kept if len(kept) else faces
