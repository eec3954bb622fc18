"""Geometry that building and testing share. In: a mesh, or angles. Out: clusters or parts of its vertices, or a rotation."""

import math

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, dijkstra
from torch import Tensor


def merge_neighbors(vertices: np.ndarray, faces: np.ndarray, spacing: float, rng: np.random.Generator) -> np.ndarray:
    """Cluster vertices along the surface: a coarser mesh that keeps lips and lids apart, though they touch.

    One seed per cell of a randomly placed grid and direction of the surface; every vertex joins the seed that is nearest
    along the edges.

    Returns:
        `(N,)` int64: vertex -> cluster.
    """
    a, b, c = vertices[faces].transpose(1, 0, 2)
    normals = np.zeros_like(vertices)
    np.add.at(normals, faces.reshape(-1), np.cross(b - a, c - a).repeat(3, 0))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)
    cells = np.concatenate([np.floor(vertices / spacing + rng.random(3)), np.round(0.8 * normals)], 1).astype(np.int64)
    _, seeds = np.unique(cells, axis=0, return_index=True)
    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0)
    lengths = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1).clip(1e-9)
    graph = coo_array((lengths, (edges[:, 0], edges[:, 1])), shape=(len(vertices), len(vertices))).tocsr()
    _, _, nearest = dijkstra(graph, directed=False, indices=seeds, min_only=True, return_predecessors=True)
    _, cluster = np.unique(np.where(nearest < 0, np.arange(len(vertices)), nearest), return_inverse=True)
    return cluster.reshape(-1).astype(np.int64)


def parts_of(faces: np.ndarray, count: int) -> np.ndarray:
    """Which connected part of the mesh each of `count` vertices belongs to, `(N,)`."""
    i, j = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]]).T
    return connected_components(coo_array((np.ones(len(i)), (i, j)), shape=(count, count)), directed=False)[1]


def rotation(yaw_deg: float, pitch_deg: float, roll_deg: float) -> Tensor:
    """Rotation matrix `(3, 3)`: roll about z, then pitch about x, then yaw about y."""
    (cy, sy), (cx, sx), (cz, sz) = (
        (math.cos(math.radians(angle)), math.sin(math.radians(angle))) for angle in (yaw_deg, pitch_deg, roll_deg)
    )
    yaw = torch.tensor([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = torch.tensor([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    roll = torch.tensor([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return yaw @ pitch @ roll
