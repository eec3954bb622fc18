"""Expressions of one family of heads on the neutral faces of others: any mesh, whatever its topology.

In: a `HeadModel` that has shapes, and neutral scans (closed mouth, open eyes). Out: a `Head` for each scan, with its own
vertices and the family's shapes. Three steps: the family is fitted to the scan (a person of it, by principal components,
then what is left, smoothly); every vertex of the scan moves as the nearest place of the fitted head does, turned as the
surface there was turned; the scan is cut along the line between the lips, so that no triangle bridges an open mouth.

Source: displacement transfer over a dense correspondence, as a simpler form of Sumner & Popovic, "Deformation Transfer for
Triangle Meshes", SIGGRAPH 2004; the smooth fit follows Amberg, Romdhani & Vetter, "Optimal Step Nonrigid ICP Algorithms for
Surface Registration", CVPR 2007, after point-to-plane steps (Chen & Medioni 1992), which slide where point-to-point ones
stick. Differs: displacements with a smoothness term take the place of affine maps; no landmarks.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from dataset_scripts.synthetic.heads import Head, HeadModel
from mvfer.data.geometry import parts_of
from processing.framing_mvfer import frame_upright

_PEOPLE, _MODES = 120, 40  # that span the family
_PRIORS = (30.0, 10.0) + 2 * (3.0,) + 3 * (1.0,) + 3 * (0.3,) + 5 * (0.1,)  # on the modes, from strict to loose
_ALONG = 0.1  # how much a step along the surface counts beside one across it
_STIFFNESS = (30.0, 10.0, 3.0, 1.0)  # of the smooth fit, from stiff to soft
_NORMAL = (
    0.15  # framed units: how far apart two places count whose normals are at right angles, times the square root of two
)
_REACH = 0.12  # framed units (1 is half a face's height): farther from the fitted head, nothing moves
_OPENING = ("jawOpen", "mouthLowerDown", "mouthUpperUp")  # shapes that part the lips


@dataclass
class _Template:
    """A family in framed units: mean `(N, 3)`, modes `(K, 3 N)` of one standard deviation, shapes `(A, N, 3)`."""

    mean: np.ndarray
    modes: np.ndarray
    faces: np.ndarray
    shape_names: list[str]
    shapes: np.ndarray


class Transfer:
    """Prepared once for a family; called for every neutral scan.

    Args:
        model: the family.
        seed: of the people who span it.
    """

    def __init__(self, model: HeadModel, *, seed: int = 0):
        self.table = model.table
        streams = [np.random.default_rng([seed, number]) for number in range(_PEOPLE)]
        people = model.identities(streams)[0].numpy()
        frames = [frame_upright(person, model.faces) for person in people]
        framed = np.stack([frame.apply(person) for frame, person in zip(frames, people, strict=True)])
        zero = np.zeros((1, 3), np.float32)
        unit = np.mean([frame.apply(zero + [[1, 0, 0]]) - frame.apply(zero) for frame in frames], axis=0)
        size = float(np.linalg.norm(unit))  # framed units per unit of the model
        kept, faces = _outside(model, people[0])
        mean = framed.mean(0)
        _, strength, directions = np.linalg.svd((framed - mean)[:, kept].reshape(_PEOPLE, -1), full_matrices=False)
        modes = directions[:_MODES] * strength[:_MODES, None] / np.sqrt(_PEOPLE)
        shapes = model.shapes.numpy()[:, kept] * size
        self.template = _Template(mean[kept], modes, faces, list(model.shape_names), shapes)

    def __call__(self, vertices: np.ndarray, faces: np.ndarray) -> Head:
        """A neutral scan with the family's shapes.

        Args:
            vertices (`(N, 3)`): y up, face towards +z, any unit; mouth closed, eyes open.
            faces (`(M, 3)` integers).
        Raises:
            ValueError: if no face is found in it.
        """
        frame = frame_upright(vertices, faces)
        framed = np.asarray(frame.apply(vertices), np.float64)
        fitted = self.fit(framed, faces)
        moves = self._moves(fitted, framed, faces)  # (A, N, 3)
        framed, faces, moves = _cut_lips(framed, faces, moves, self.template.shape_names)
        return Head(
            torch.from_numpy(framed.astype(np.float32)),
            faces,
            self.template.shape_names,
            torch.from_numpy(moves.astype(np.float32)),
            self.table,
        )

    def fit(self, points: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """The family's head `(N', 3)` that lies on a framed scan."""
        template = self.template
        tree, normals = cKDTree(points), _normals(points, faces)
        weights, fitted = np.zeros(len(template.modes)), template.mean
        basis = template.modes.reshape(len(template.modes), -1, 3)
        for prior in _PRIORS:  # a person of the family
            index, trust = _nearest(fitted, template.faces, tree, points, normals)
            near = trust > 0
            trust, across = trust[near], normals[index[near]]
            moves, wanted = basis[:, near], (points[index] - template.mean)[near]
            a = np.einsum("knc,nc->nk", moves, across) * trust[:, None]  # onto the surface, wherever on it
            b = (wanted * across).sum(1) * trust
            # and a little to the nearest point
            near_a = _ALONG * moves.reshape(len(basis), -1).T * np.repeat(trust, 3)[:, None]
            near_b = _ALONG * (wanted * trust[:, None]).reshape(-1)
            spread = 0.03**2 * prior * near.sum() / 50  # framed units, of what no person of the family explains
            held = a.T @ a + near_a.T @ near_a + spread * np.eye(len(basis))
            weights = np.linalg.solve(held, a.T @ b + near_a.T @ near_b)
            fitted = template.mean + np.tensordot(weights, basis, 1)
        laplacian = _laplacian(template.faces, len(fitted))
        for stiffness in _STIFFNESS:  # what is left, smoothly
            index, trust = _nearest(fitted, template.faces, tree, points, normals)
            across = ((points[index] - fitted) * normals[index]).sum(1, keepdims=True)
            target = 0.7 * (fitted + across * normals[index]) + 0.3 * points[index]
            solve = splu((diags(trust) + stiffness * laplacian + 1e-4 * diags(np.ones(len(trust)))).tocsc())
            fitted = fitted + solve.solve(trust[:, None] * (target - fitted))
        return fitted

    def _moves(self, fitted: np.ndarray, points: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Displacements `(A, N, 3)` of the scan's vertices."""
        template = self.template
        turns = _turns(template.mean, fitted, template.faces)
        shapes = np.einsum("nij,anj->ani", turns, template.shapes)
        corners = template.faces  # places on the fitted head: its vertices, and the middles of its triangles
        places = np.concatenate([fitted, fitted[corners].mean(1)])
        at_places = np.concatenate([shapes, shapes[:, corners].mean(2)], axis=1)
        facing = _normals(fitted, corners)
        facing = np.concatenate([facing, facing[corners].mean(1)])
        on_skin = _on_skin(corners, len(fitted))  # an eyeball, close behind a lid, does not hold it back
        on_skin = np.concatenate([on_skin, on_skin[corners[:, 0]]])
        places, facing, at_places = places[on_skin], facing[on_skin], at_places[:, on_skin]
        tree = cKDTree(np.concatenate([places, _NORMAL * facing], axis=1))
        distance, index = tree.query(np.concatenate([points, _NORMAL * _normals(points, faces)], axis=1), k=4)
        share = 1 / (distance + 1e-3) ** 2
        share /= share.sum(1, keepdims=True)
        first = at_places[:, index[:, 0]]
        opening = [i for i, name in enumerate(template.shape_names) if name.startswith(_OPENING)]
        apart = np.linalg.norm(at_places[opening][:, index] - first[opening][:, :, None], axis=-1).max(0)  # (N, 4)
        share = np.where(apart < 0.05, share, 0)  # the other lip does not count
        share /= share.sum(1, keepdims=True)
        moves = np.einsum("nk,ankc->anc", share, at_places[:, index])
        fade = np.clip(2 - distance[:, 0] / _REACH, 0, 1)
        fade[~_on_skin(faces, len(points))] = 0
        return _smooth(moves * fade[None, :, None], points, faces, template.shape_names)


def _outside(model: HeadModel, person: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the parts that a scanner sees, and faces between them: no teeth and no tongue, which the jaw moves whole."""
    part = parts_of(model.faces, len(person))
    used = np.bincount(part[model.faces[:, 0]], minlength=part.max() + 1)
    jaw = model.shapes[model.shape_names.index("jawOpen")].norm(dim=1).numpy()
    moved = np.bincount(part, jaw) / np.bincount(part).clip(1)
    inner = (moved > 0.2 * jaw.max()) & (np.arange(len(moved)) != used.argmax())
    faces = model.faces[~inner[part[model.faces[:, 0]]]]
    kept, faces = np.unique(faces, return_inverse=True)
    return kept, faces.reshape(-1, 3)


def _on_skin(faces: np.ndarray, count: int) -> np.ndarray:
    """`(N,)` bool: not on small parts of their own, such as eyeballs: these stay where they are."""
    part = parts_of(faces, count)
    size = np.bincount(part)
    return size[part] > 0.2 * size.max()


def _across_lips(moves: np.ndarray, points: np.ndarray, names: list[str], i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Which edges from vertices i to j, of any shape, go from one lip to the other.

    The jaw takes one end along and not the other, and opening the mouth would stretch the edge to twice its length.
    """
    jaw = np.linalg.norm(moves[names.index("jawOpen")], axis=1)
    lower = jaw > 0.4 * jaw.max()
    opening = moves[[k for k, name in enumerate(names) if name.startswith(_OPENING)]]
    apart = np.linalg.norm(opening[:, i] - opening[:, j], axis=-1).max(0)
    return (lower[i] != lower[j]) & (apart > np.maximum(np.linalg.norm(points[i] - points[j], axis=-1), 0.04))


def _smooth(moves: np.ndarray, points: np.ndarray, faces: np.ndarray, names: list[str], steps: int = 2) -> np.ndarray:
    """Neighbours move alike, except lips."""
    i, j = _edges(faces).T
    kept = ~_across_lips(moves, points, names, i, j)
    i, j = np.r_[i[kept], j[kept], np.arange(len(points))], np.r_[j[kept], i[kept], np.arange(len(points))]
    mean = coo_matrix((np.ones(len(i)), (i, j)), shape=(len(points),) * 2).tocsr()
    mean = diags(1 / np.asarray(mean.sum(1)).reshape(-1)) @ mean
    flat = moves.transpose(1, 0, 2).reshape(len(points), -1)
    for _ in range(steps):
        flat = mean @ flat
    return flat.reshape(len(points), *moves.shape[::2]).transpose(1, 0, 2)


def _nearest(fitted, faces, tree, points, normals) -> tuple[np.ndarray, np.ndarray]:
    """For every vertex of the fitted head the number of the scan's nearest point, and how far to trust it."""
    _, index = tree.query(fitted)
    distance = np.linalg.norm(points[index] - fitted, axis=1)
    alike = (_normals(fitted, faces) * normals[index]).sum(1)
    front = np.clip(1.5 - np.abs(fitted[:, 1]), 0, 1) * (fitted[:, 2] > -1.0)
    return index, np.clip(alike, 0, 1) ** 2 * (distance < 0.15) * front


def _normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = points[faces[:, 0]], points[faces[:, 1]], points[faces[:, 2]]
    normal, out = np.cross(b - a, c - a), np.zeros_like(points, dtype=np.float64)
    for corner in faces.T:
        for axis in range(3):
            out[:, axis] += np.bincount(corner, normal[:, axis], minlength=len(points))
    return out / np.linalg.norm(out, axis=1, keepdims=True).clip(1e-12)


def _edges(faces: np.ndarray) -> np.ndarray:
    """`(E, 2)`, each edge once, smaller number first."""
    return np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0)


def _laplacian(faces: np.ndarray, count: int):
    i, j = _edges(faces).T
    weight = coo_matrix((np.ones(2 * len(i)), (np.r_[i, j], np.r_[j, i])), shape=(count, count)).tocsr()
    return diags(np.asarray(weight.sum(1)).reshape(-1)) - weight


def _turns(before: np.ndarray, after: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """`(N, 3, 3)`: how the surface around each vertex was turned, the best rotation of the edges there, smoothed."""
    i, j = _edges(faces).T
    outer = (after[j] - after[i])[:, :, None] * (before[j] - before[i])[:, None, :]
    total = np.zeros((len(before), 3, 3))
    np.add.at(total, i, outer)
    np.add.at(total, j, outer)
    ring = total.copy()
    np.add.at(ring, i, total[j])
    np.add.at(ring, j, total[i])
    u, _, vt = np.linalg.svd(ring + 1e-9 * np.eye(3))
    sign = np.ones((len(u), 3))
    sign[:, 2] = np.sign(np.linalg.det(u @ vt))
    return (u * sign[:, None, :]) @ vt


def _cut_lips(points, faces, moves, names):
    """Cut triangles in two where one lip ends and the other begins; the new vertices lie on each other while the mouth is shut.

    At the corners of the mouth the cut ends, and triangles stretch.
    """
    crosses = _across_lips(moves, points, names, faces, np.roll(faces, -1, axis=1))  # (M, 3): corner k to k + 1
    cut = crosses.sum(1) == 2
    whole = [faces[~cut]]
    lone = np.argmax(~crosses[cut], axis=1)  # the edge that does not cross is opposite to the corner that is alone
    order = (lone[:, None] + [2, 0, 1]) % 3
    a, b, c = np.take_along_axis(faces[cut], order, 1).T  # a alone; a-b and c-a cross
    made: dict[tuple[int, int], int] = {}
    halves: list[tuple[int, int]] = []

    def middle(of: int, towards: int) -> int:
        """A vertex half way to the other lip that moves as its own lip does."""
        if (of, towards) not in made:
            made[of, towards] = len(points) + len(halves)
            halves.append((of, towards))
        return made[of, towards]

    new = []
    for i, j, k in zip(a.tolist(), b.tolist(), c.tolist(), strict=True):
        new.append((i, middle(i, j), middle(i, k)))
        new += [(middle(j, i), j, k), (middle(j, i), k, middle(k, i))]
    if not new:
        return points, faces, moves
    of, towards = np.array(halves).T
    points = np.concatenate([points, (points[of] + points[towards]) / 2])
    return points, np.concatenate([*whole, np.array(new)]), np.concatenate([moves, moves[:, of]], axis=1)
