"""What scans of other people's scanners look like: a clean head, disturbed. In: a framed head and a generator. Out: a scan.

Everything is in framed units (one is about a face's radius), so that the same table disturbs heads of any source. A rigid
move, a unit or a mirror moves the landmarks with the head; nothing else does.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import permutations, product

import numpy as np

from mvfer.data.geometry import merge_neighbors, rotation


@dataclass(frozen=True)
class Head:
    """A framed head: vertices `(N, 3)`, faces `(M, 3)`, and landmarks `(4, 3)`: eyes, then corners of the mouth."""

    vertices: np.ndarray
    faces: np.ndarray
    landmarks: np.ndarray
    is_mirrored: bool = False


def moved(head: Head, matrix: np.ndarray, offset=0.0) -> Head:
    return replace(
        head,
        vertices=head.vertices @ matrix.T + offset,
        landmarks=head.landmarks @ matrix.T + offset,
        is_mirrored=head.is_mirrored != (np.linalg.det(matrix) < 0),
    )


def with_part(head: Head, vertices: np.ndarray, faces: np.ndarray) -> Head:
    joined = np.concatenate([head.faces, np.asarray(faces) + len(head.vertices)])
    return replace(head, vertices=np.concatenate([head.vertices, vertices]), faces=joined)


def without(head: Head, gone: np.ndarray) -> Head:
    """Without these vertices `(N,)`, unless nothing would be left."""
    kept = head.faces[~gone[head.faces].any(1)]
    return replace(head, faces=kept) if len(kept) > 50 else head


def sheet(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two triangles per cell of `(R, C, 3)` points."""
    rows, columns = points.shape[:2]
    a = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1)
    faces = np.stack([a, a + 1, a + columns, a + 1, a + columns + 1, a + columns], 1).reshape(-1, 3)
    return points.reshape(-1, 3), faces


def ball(middle, radii, rng, *, rough: float = 0.0, up=(0.0, 1.0), steps: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """An ellipsoid, or its zone between two heights of -1 to 1, with a rough surface."""
    height = np.linspace(up[0], up[1], steps)[:, None]
    around = np.linspace(0, 2 * np.pi, 2 * steps)[None]
    wide = np.sqrt(np.clip(1 - height**2, 0, None))
    points = np.stack([wide * np.sin(around), height + 0 * around, wide * np.cos(around)], -1)
    points *= 1 + rough * rng.normal(size=points.shape[:2])[..., None]
    return sheet(points * np.asarray(radii) + np.asarray(middle))


def fragments(head: Head, rng: np.random.Generator) -> Head:
    """One to 40 loose pieces around the head, also before it."""
    for _ in range(int(rng.integers(1, 41))):
        middle = rng.uniform((-2, -2, -2), (2, 2.2, 1.6))
        size = 10 ** rng.uniform(-1.6, -0.6)
        grid = np.stack([*np.meshgrid(np.linspace(-1, 1, 3), np.linspace(-1, 1, 3)), np.zeros((3, 3))], -1) * size
        turn = rotation(*rng.uniform(-180, 180, 3)).numpy()
        part = sheet(grid @ turn.T + middle)
        near = np.linalg.norm((middle - [0, 0, -0.3]) / [1.0, 1.2, 1.2]) < 1.1  # inside the head, or on its face
        head = head if near else with_part(head, *part)
    return head


def floater(head: Head, rng: np.random.Generator) -> Head:
    """Two triangles, 4 mm wide, before or above the nose."""
    middle = np.array([rng.uniform(-0.3, 0.3), rng.uniform(0.2, 1.8), rng.uniform(0.7, 1.2)])
    corners = np.array([[[0, 0, 0], [0.05, 0, 0]], [[0, 0.05, 0.01], [0.05, 0.05, 0.01]]])
    return with_part(head, *sheet(middle + corners))


def holes(head: Head, rng: np.random.Generator) -> Head:
    """One to six holes of 0.06 to 0.2 in the face, wherever: nose, eyes and mouth too."""
    gone = np.zeros(len(head.vertices), bool)
    for _ in range(int(rng.integers(1, 7))):
        place = rng.uniform((-0.7, -0.7), (0.7, 0.8))
        gone |= np.hypot(*(head.vertices[:, :2] - place).T) < rng.uniform(0.06, 0.2)
    return without(head, gone)


def hole_beside_nose(head: Head, rng: np.random.Generator) -> Head:
    """One hole of 0.06 to 0.18 beside the tip of the nose."""
    place = np.array([rng.choice([-1, 1]) * rng.uniform(0.16, 0.32), 0.18 + rng.uniform(-0.1, 0.2)])
    middles = head.vertices[head.faces].mean(1)
    return replace(head, faces=head.faces[np.hypot(*(middles[:, :2] - place).T) > rng.uniform(0.06, 0.18)])


def holes_at_eyes(head: Head, rng: np.random.Generator) -> Head:
    """Both eyes, or the tip of the nose, are missing."""
    places = head.landmarks[:2, :2] if rng.random() < 0.6 else np.array([[0.0, 0.18]])
    gone = np.zeros(len(head.vertices), bool)
    for place in places:
        gone |= np.hypot(*(head.vertices[:, :2] - place).T) < rng.uniform(0.1, 0.2)
    return without(head, gone)


def crop(head: Head, rng: np.random.Generator) -> Head:
    """A part of the head only: cut above the brows, under the chin, at the cheeks, and behind."""
    x, y, z = head.vertices.T
    left, right = rng.uniform(0.65, 1.2, 2)
    gone = (y > rng.uniform(0.85, 1.4)) | (y < -rng.uniform(0.75, 1.3)) | (z < rng.uniform(-1.5, -0.2))
    return without(head, gone | (x < -left) | (x > right))


def hat(head: Head, rng: np.random.Generator) -> Head:
    """A cap with a brim, down to above the brows."""
    x, y, z = head.vertices.T
    low = rng.uniform(0.85, 1.1)
    middle = (0.0, low, -0.5)
    head = with_part(head, *ball(middle, (1.05, 0.8, 1.15), rng))
    angle = np.linspace(-1.2, 1.2, 30)[None]
    reach = np.linspace(1.0, rng.uniform(1.2, 1.6), 8)[:, None]
    brim = np.stack([reach * 1.05 * np.sin(angle), low + 0 * angle * reach, -0.5 + reach * 1.15 * np.cos(angle)], -1)
    return with_part(head, *sheet(brim))


def hair(head: Head, rng: np.random.Generator) -> Head:
    """Rough hair over crown, sides and back, with a fringe and down to the shoulders or not."""
    low = rng.uniform(-1.6, 0.3)
    size = rng.uniform(1.05, 1.3)
    vertices, faces = ball((0, 0.25, -0.65), (size, 1.35, 1.15), rng, rough=0.04, up=(-1, 1), steps=60)
    x, y, z = vertices.T
    fringe = rng.uniform(0.8, 1.0)
    face = (np.hypot(x / 0.8, (y - 0.1) / (fringe - 0.1)) < 1) | ((np.abs(x) < 0.75) & (y < 0.1))
    kept = ~((face & (z > -0.3)) | (y < low))
    return with_part(head, vertices, faces[kept[faces].all(1)])


def shoulders(head: Head, rng: np.random.Generator) -> Head:
    """Neck and shoulders, or a chest with arms, or a whole body."""
    head = with_part(head, *ball((0, -1.9, -0.7), (0.65, 1.2, 0.65), rng, up=(-1, 1)))
    wide = rng.uniform(1.8, 2.8)
    head = with_part(head, *ball((0, -3.2, -0.8), (wide, 1.3, rng.uniform(0.7, 1.2)), rng, up=(-1, 1)))
    if rng.random() < 0.4:
        head = with_part(head, *ball((0, -7, -0.8), (wide * 0.8, 5.0, 1.3), rng, up=(-1, 1)))
    return head


def clothing(head: Head, rng: np.random.Generator) -> Head:
    """A scarf or collar that stands before the chin, and a chest that is nearer than the nose."""
    head = with_part(head, *ball((0, -1.35, -0.5), (1.0, 0.45, rng.uniform(0.9, 1.3)), rng, rough=0.02, up=(-1, 1)))
    return with_part(head, *ball((0, -3.0, -0.4), (2.0, 1.4, rng.uniform(0.9, 1.5)), rng, rough=0.01, up=(-1, 1)))


def spikes(head: Head, rng: np.random.Generator) -> Head:
    """Five to 60 vertices thrown off the surface, up to a face's radius."""
    chosen = rng.choice(len(head.vertices), int(rng.integers(5, 61)), replace=False)
    vertices = head.vertices.copy()
    vertices[chosen] += rng.normal(size=(len(chosen), 3)) * rng.uniform(0.05, 0.6, (len(chosen), 1))
    return replace(head, vertices=vertices)


def strips(head: Head, rng: np.random.Generator) -> Head:
    """Strips of background: a wall behind, or bands that the scanner saw beside the head."""
    if rng.random() < 0.5:
        x, y = np.meshgrid(np.linspace(-2.5, 2.5, 30), np.linspace(-2.5, 2.5, 30))
        return with_part(head, *sheet(np.stack([x, y, -rng.uniform(1.8, 2.6) + 0.01 * rng.normal(size=x.shape)], -1)))
    for _ in range(int(rng.integers(1, 4))):
        side, depth = rng.choice([-1, 1]), rng.uniform(-2, 0.5)
        x, y = np.meshgrid(side * np.linspace(1.4, 1.4 + rng.uniform(0.1, 1), 4), np.linspace(-2, 2, 40))
        head = with_part(head, *sheet(np.stack([x, y, depth + 0.02 * rng.normal(size=x.shape)], -1)))
    return head


def shattered(head: Head, rng: np.random.Generator) -> Head:
    """A surface in many pieces, with gaps, a little off each other."""
    seeds = rng.choice(len(head.vertices), 60, replace=False)
    middles = head.vertices[head.faces].mean(1)
    piece = np.stack([((middles - head.vertices[s]) ** 2).sum(1) for s in seeds], 1).argmin(1)
    offsets = rng.normal(0, 0.012, (len(seeds), 3))
    keep = rng.random(len(head.faces)) > rng.uniform(0, 0.25)
    vertices = (head.vertices[head.faces] + offsets[piece][:, None])[keep].reshape(-1, 3)
    return replace(head, vertices=vertices, faces=np.arange(len(vertices)).reshape(-1, 3))


def noise(head: Head, rng: np.random.Generator) -> Head:
    """Sensor noise of 0.005 to 0.02 (0.5 to 2 mm)."""
    return replace(head, vertices=head.vertices + rng.normal(0, rng.uniform(0.005, 0.02), head.vertices.shape))


def decimation(head: Head, rng: np.random.Generator) -> Head:
    """A coarse mesh of about 800 triangles, or somewhat more."""
    wanted = 800 if rng.random() < 0.5 else int(rng.uniform(800, 4000))
    low, high = 0.02, 0.6
    vertices, faces = head.vertices.astype(np.float32), head.faces
    for _ in range(7):
        spacing = (low * high) ** 0.5
        cluster = merge_neighbors(vertices, faces, spacing, np.random.default_rng(0))
        coarse = cluster[faces]
        a, b, c = coarse.T
        coarse = np.unique(coarse[(a != b) & (b != c) & (c != a)], axis=0)
        low, high = (spacing, high) if len(coarse) > wanted else (low, spacing)
    count = np.bincount(cluster)[:, None]
    merged = np.stack([np.bincount(cluster, vertices[:, axis]) for axis in range(3)], 1) / count
    return replace(head, vertices=merged, faces=coarse)


def turned(head: Head, rng: np.random.Generator) -> Head:
    """Yaw within 45 degrees, pitch and roll within 30; from the front, so that the far side is not scanned half of the time."""
    turn = rotation(rng.uniform(-45, 45), rng.uniform(-30, 30), rng.uniform(-30, 30)).numpy()
    return moved(head, turn)


def oriented(head: Head, rng: np.random.Generator) -> Head:
    """One of the 24 orientations in which scanners write."""
    return moved(head, ORIENTATIONS[int(rng.integers(24))])


def mirrored(head: Head, rng: np.random.Generator) -> Head:
    """Left-handed coordinates: one axis counts the other way."""
    signs = np.ones(3)
    signs[int(rng.integers(3))] = -1
    return moved(head, np.diag(signs))


def units(head: Head, rng: np.random.Generator) -> Head:
    """Other units, 1e-3 to 1e3, and another origin."""
    return moved(head, np.eye(3) * 10 ** rng.uniform(-3, 3) / 10, rng.uniform(-3, 3, 3))


def one_camera(head: Head, rng: np.random.Generator) -> Head:
    """Only what a camera within 50 degrees of the front sees, and that not too aslant. No benchmark disturbs by this."""
    yaw, pitch = np.radians([rng.uniform(-50, 50), rng.uniform(-25, 25)])
    towards = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    a, b, c = head.vertices[head.faces].transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=1), 1e-12)[:, None]
    kept = head.faces[normals @ towards > rng.uniform(0.05, 0.3)]
    return replace(head, faces=kept) if len(kept) > 50 else head


ORIENTATIONS = [
    np.array([[s * (i == p) for i in range(3)] for p, s in zip(order, signs, strict=True)], float)
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]
ORIENTATIONS = [matrix for matrix in ORIENTATIONS if np.linalg.det(matrix) > 0]

DISTURBANCES: dict[str, Callable[[Head, np.random.Generator], Head]] = {
    one.__name__: one
    for one in (
        fragments, floater, holes, hole_beside_nose, holes_at_eyes, crop, hat, hair, shoulders, clothing, spikes, strips,
        shattered, noise, decimation, turned, oriented, mirrored, units,
    )
}  # fmt: skip
_MOVES = (turned, oriented, mirrored, units)


def pair(head: Head, rng: np.random.Generator) -> Head:
    """Two of them on one scan: the surface first, then how it lies."""
    others = [one for one in DISTURBANCES.values() if one is not pair]
    first, second = (others[i] for i in rng.choice(len(others), 2, replace=False))
    if first in _MOVES:
        first, second = second, first
    return second(first(head, rng), rng)


DISTURBANCES["pair"] = pair


def subdivided(head: Head, triangles: int) -> Head:
    """With at least so many triangles: each is cut into four, as often as needed, and only some of them the last time."""
    while len(head.faces) < triangles:
        cut = min(len(head.faces), -(-(triangles - len(head.faces)) // 3))
        a, b, c = head.faces[:cut].T
        count = len(head.vertices)
        v = head.vertices
        ab, bc, ca = (count + np.arange(cut) + cut * i for i in range(3))
        vertices = np.concatenate([v, (v[a] + v[b]) / 2, (v[b] + v[c]) / 2, (v[c] + v[a]) / 2])
        corners = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        faces = np.concatenate([*(np.stack(corner, 1) for corner in corners), head.faces[cut:]])
        head = replace(head, vertices=vertices, faces=faces)
    return head


def back(head: Head, rng: np.random.Generator) -> Head:
    return replace(head, faces=head.faces[head.vertices[head.faces].mean(1)[:, 2] < -0.7])


def crown(head: Head, rng: np.random.Generator) -> Head:
    return replace(head, faces=head.faces[head.vertices[head.faces].mean(1)[:, 1] > 1.0])


def body(head: Head, rng: np.random.Generator) -> Head:
    """Neck, shoulders and perhaps more, without a head."""
    return shoulders(replace(head, vertices=np.zeros((3, 3)) - [0, 2, 0.7], faces=np.array([[0, 1, 2]])), rng)


def teapot(head: Head, rng: np.random.Generator) -> Head:
    """A belly with a knob, a spout and a handle, however it lies."""
    pot = replace(head, vertices=np.zeros((3, 3)), faces=np.array([[0, 1, 2]]))
    for middle, radii in (
        ((0, 0, 0), (1, 0.7, 1)),
        ((0, 0.75, 0), (0.15, 0.15, 0.15)),
        ((0, 0.1, 1.1), (0.12, 0.12, 0.5)),
        ((0, 0.1, -1.1), (0.08, 0.4, 0.4)),
    ):
        pot = with_part(pot, *ball(middle, radii, rng, up=(-1, 1)))
    return oriented(pot, rng)


def stone(head: Head, rng: np.random.Generator) -> Head:
    vertices, faces = ball((0, 0, 0), rng.uniform(0.6, 1.2, 3), rng, rough=rng.uniform(0, 0.05), up=(-1, 1))
    return replace(head, vertices=vertices, faces=faces)


def hand(head: Head, rng: np.random.Generator) -> Head:
    """A palm and five fingers, spread, however it lies."""
    whole = replace(head, vertices=np.zeros((3, 3)), faces=np.array([[0, 1, 2]]))
    whole = with_part(whole, *ball((0, 0, 0), (0.8, 0.9, 0.3), rng, up=(-1, 1)))
    for number in range(5):
        angle = np.radians(-50 + 25 * number + rng.uniform(-8, 8))
        vertices, faces = ball((0, 0, 0), (0.17, rng.uniform(0.6, 0.9), 0.17), rng, up=(-1, 1))
        turn = rotation(0, rng.uniform(-30, 30), 0).numpy() @ rotation(0, 0, -np.degrees(angle)).numpy()
        whole = with_part(whole, vertices @ turn.T + [1.3 * np.sin(angle), 1.3 * np.cos(angle), 0], faces)
    return oriented(whole, rng)


def furniture(head: Head, rng: np.random.Generator) -> Head:
    """Four to nine boxes, however they lie."""
    whole = replace(head, vertices=np.zeros((3, 3)), faces=np.array([[0, 1, 2]]))
    corners = np.array(list(product((-1, 1), repeat=3)), float)
    sides = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    faces = np.concatenate([sides[:, [0, 1, 2]], sides[:, [0, 2, 3]]])
    for _ in range(int(rng.integers(4, 10))):
        whole = with_part(whole, corners * rng.uniform(0.1, 0.8, 3) + rng.uniform(-1, 1, 3), faces)
    return oriented(whole, rng)


NO_FACES: dict[str, Callable[[Head, np.random.Generator], Head]] = {
    one.__name__: one for one in (back, crown, body, teapot, stone, hand, furniture)
}


def relief(head: Head, rng: np.random.Generator) -> Head:
    """A landscape of hills and valleys of every size, as high as a nose or not."""
    x, y = np.meshgrid(np.linspace(-1.5, 1.5, 70), np.linspace(-1.5, 1.5, 70))
    height = np.zeros_like(x)
    for waves in (1, 2, 4, 8):
        for _ in range(4):
            along, across = rng.normal(0, waves, 2)
            height += np.sin(along * x + across * y + rng.uniform(0, 2 * np.pi)) / waves**1.2
    height *= rng.uniform(0.05, 0.4) / height.std()
    vertices, faces = sheet(np.stack([x, y, height], -1))
    return oriented(replace(head, vertices=vertices, faces=faces), rng)


def crumpled(head: Head, rng: np.random.Generator) -> Head:
    """A ball of paper."""
    vertices, faces = ball((0, 0, 0), rng.uniform(0.7, 1.2, 3), rng, up=(-1, 1))
    for _ in range(25):
        normal = rng.normal(size=3)
        beyond = vertices @ (normal / np.linalg.norm(normal)) - rng.uniform(0.5, 0.95)
        vertices = vertices - np.clip(beyond, 0, None)[:, None] * normal / np.linalg.norm(normal)
    return replace(head, vertices=vertices, faces=faces)


def vase(head: Head, rng: np.random.Generator) -> Head:
    """A body of revolution with belly, neck and foot, however it lies."""
    height, around = np.linspace(-1.2, 1.2, 50)[:, None], np.linspace(0, 2 * np.pi, 70)[None]
    radius = rng.uniform(0.3, 0.6) + sum(
        rng.uniform(-0.2, 0.2) * np.sin(k * (height + rng.uniform(0, 3))) for k in (1, 2, 3, 5)
    )
    radius = np.clip(radius, 0.1, None)
    points = np.stack([radius * np.sin(around), height + 0 * around, radius * np.cos(around)], -1)
    vertices, faces = sheet(points)
    return oriented(replace(head, vertices=vertices, faces=faces), rng)


def ring(head: Head, rng: np.random.Generator) -> Head:
    around, tube = np.meshgrid(np.linspace(0, 2 * np.pi, 70), np.linspace(0, 2 * np.pi, 40))
    thick = rng.uniform(0.15, 0.5)
    wide = 1 + thick * np.cos(tube)
    vertices, faces = sheet(np.stack([wide * np.cos(around), wide * np.sin(around), thick * np.sin(tube)], -1))
    return oriented(replace(head, vertices=vertices, faces=faces), rng)


def animal(head: Head, rng: np.random.Generator) -> Head:
    """A rump, four legs, a neck and a skull with a muzzle, seen from any side."""
    whole = replace(head, vertices=np.zeros((3, 3)), faces=np.array([[0, 1, 2]]))
    parts: list[tuple] = [
        ((0, 0, 0), (0.5, 0.5, 1.1)),
        ((0, 0.7, 1.1), (0.2, 0.6, 0.2)),
        ((0, 1.2, 1.4), (0.28, 0.28, 0.3)),
    ]
    parts += [((0, 1.1, 1.8), (0.14, 0.14, rng.uniform(0.2, 0.4)))]
    parts += [((x, -0.8, z), (0.13, 0.7, 0.13)) for x in (-0.3, 0.3) for z in (-0.8, 0.8)]
    for middle, radii in parts:
        whole = with_part(whole, *ball(middle, np.array(radii) * rng.uniform(0.8, 1.2, 3), rng, up=(-1, 1)))
    return oriented(whole, rng)


# Set aside: the threshold of face-likeness was chosen without them.
OTHER_NO_FACES: dict[str, Callable[[Head, np.random.Generator], Head]] = {
    one.__name__: one for one in (relief, crumpled, vase, ring, animal)
}
