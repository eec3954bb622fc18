"""What users may point framing at that is no face, made by rule: `FRESH_NO_FACES`, by name. In: a framed head and a generator.

Nothing of framing was chosen with these: they were made after the threshold of face-likeness, and measured once.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dataset_scripts.synthetic.scan_disturbances import Head, ball, oriented, sheet, with_part
from mvfer.data.geometry import rotation

Part = tuple[tuple[float, float, float], tuple[float, float, float]]  # middle and radii


def _of(head: Head, vertices: np.ndarray, faces: np.ndarray) -> Head:
    return replace(head, vertices=vertices, faces=faces)


def _of_balls(head: Head, rng: np.random.Generator, parts: list[Part]) -> Head:
    """Ellipsoids, each a little smaller or larger than said."""
    whole = _of(head, np.zeros((3, 3)), np.array([[0, 1, 2]]))
    for middle, radii in parts:
        whole = with_part(whole, *ball(middle, np.array(radii) * rng.uniform(0.85, 1.15, 3), rng, up=(-1, 1)))
    return whole


def dog_head(head: Head, rng: np.random.Generator) -> Head:
    """A skull with a long muzzle, a nose, eyes and hanging or pointed ears."""
    muzzle, ears = rng.uniform(0.3, 0.8), rng.choice([-0.2, 0.9])
    parts: list[Part] = [((0, 0, 0), (0.75, 0.75, 0.85)), ((0, -0.25, 0.8), (0.35, 0.3, muzzle))]
    parts += [((0, -0.1, 0.8 + muzzle), (0.12, 0.1, 0.08))]
    for side in (-1.0, 1.0):
        parts += [((side * 0.28, 0.25, 0.72), (0.1, 0.1, 0.08)), ((side * 0.65, ears, -0.1), (0.15, 0.5, 0.3))]
    return oriented(_of_balls(head, rng, parts), rng)


def ear(head: Head, rng: np.random.Generator) -> Head:
    """One side of a head, with its ear."""
    middles = head.vertices[head.faces].mean(1)
    return oriented(
        replace(head, faces=head.faces[(middles[:, 0] > 0.55) & (middles[:, 2] < rng.uniform(-0.6, -0.3))]), rng
    )


def shoe(head: Head, rng: np.random.Generator) -> Head:
    parts: list[Part] = [
        ((0, 0, 0.5), (0.4, 0.35, 0.8)),
        ((0, 0.2, -0.4), (0.38, 0.6, 0.5)),
        ((0, -0.3, 0.1), (0.42, 0.1, 1.2)),
    ]
    return oriented(_of_balls(head, rng, parts), rng)


def torso(head: Head, rng: np.random.Generator) -> Head:
    """A chest with breasts, arms and a navel, without a head."""
    parts: list[Part] = [((0, 0, 0), (1.0, 1.5, 0.6)), ((0, -1.6, 0), (0.9, 0.7, 0.6)), ((0, 1.6, 0), (0.3, 0.4, 0.3))]
    parts += [((0, -0.9, 0.6), (0.06, 0.06, 0.04))]
    for side in (-1.0, 1.0):
        parts += [
            ((side * 0.45, 0.5, 0.5), (0.3, 0.3, rng.uniform(0.1, 0.35))),
            ((side * 1.2, 0.2, 0), (0.25, 1.3, 0.25)),
        ]
    return oriented(_of_balls(head, rng, parts), rng)


def pumpkin(head: Head, rng: np.random.Generator) -> Head:
    """A ribbed ball with a stalk."""
    vertices, faces = ball((0, 0, 0), (1, rng.uniform(0.6, 1.2), 1), rng, up=(-1, 1), steps=60)
    around = np.arctan2(vertices[:, 0], vertices[:, 2])
    vertices *= (1 + rng.uniform(0.02, 0.1) * np.cos(int(rng.integers(5, 14)) * around))[:, None]
    return oriented(with_part(_of(head, vertices, faces), *ball((0, 0.9, 0), (0.1, 0.4, 0.1), rng, up=(-1, 1))), rng)


def mug(head: Head, rng: np.random.Generator) -> Head:
    """A cylinder with a handle."""
    height, around = np.meshgrid(np.linspace(-1, 1, 40), np.linspace(0, 2 * np.pi, 70), indexing="ij")
    wide = rng.uniform(0.6, 0.9)
    whole = _of(head, *sheet(np.stack([wide * np.sin(around), height, wide * np.cos(around)], -1)))
    bend, tube = np.meshgrid(np.linspace(-1.6, 1.6, 40), np.linspace(0, 2 * np.pi, 20), indexing="ij")
    reach = 0.5 + 0.1 * np.cos(tube)
    points = np.stack([0.1 * np.sin(tube), reach * np.sin(bend), wide + reach * np.cos(bend)], -1)
    return oriented(with_part(whole, *sheet(points)), rng)


def chair(head: Head, rng: np.random.Generator) -> Head:
    parts: list[Part] = [((0, 0, 0), (0.9, 0.1, 0.9)), ((0, 0.9, -0.85), (0.9, 0.9, 0.1))]
    parts += [((x, -0.8, z), (0.1, 0.8, 0.1)) for x in (-0.75, 0.75) for z in (-0.75, 0.75)]
    return oriented(_of_balls(head, rng, parts), rng)


def wall(head: Head, rng: np.random.Generator) -> Head:
    """A wall with a window, a sill, and a picture or a lamp on it."""
    x, y = np.meshgrid(np.linspace(-1.5, 1.5, 90), np.linspace(-1.5, 1.5, 90))
    depth = 0.01 * rng.normal(size=x.shape)
    for _ in range(int(rng.integers(2, 6))):
        place, half, out = rng.uniform(-1, 1, 2), rng.uniform(0.1, 0.6, 2), rng.uniform(-0.4, 0.4)
        depth += out * ((np.abs(x - place[0]) < half[0]) & (np.abs(y - place[1]) < half[1]))
    return oriented(_of(head, *sheet(np.stack([x, y, depth], -1))), rng)


def mould(head: Head, rng: np.random.Generator) -> Head:
    """The inside of a mask: where a face stands out, this goes in, in a block that hides the other side."""
    middles = head.vertices[head.faces].mean(1)
    kept = head.faces[(middles[:, 2] > -0.4) & (np.abs(middles[:, 0]) < 0.9) & (np.abs(middles[:, 1] - 0.2) < 1.0)]
    inside = replace(head, vertices=head.vertices * [1, 1, -1], faces=kept)
    x, y = np.meshgrid(np.linspace(-1.4, 1.4, 20), np.linspace(-1.3, 1.7, 20))
    return oriented(with_part(inside, *sheet(np.stack([x, y, -0.9 - 0.1 * np.cos(x)], -1))), rng)


def helmet(head: Head, rng: np.random.Generator) -> Head:
    """A shell that is open where the face would be."""
    vertices, faces = ball((0, 0, 0), (1, 1.15, 1.15), rng, up=(rng.uniform(-0.8, -0.4), 1), steps=60)
    x, y, z = vertices.T
    open_ = (z > 0.3) & (np.abs(x) < 0.75) & (y < rng.uniform(0.3, 0.6)) & (y > rng.uniform(-1.2, -0.3))
    return oriented(_of(head, vertices, faces[~open_[faces].any(1)]), rng)


def tree(head: Head, rng: np.random.Generator) -> Head:
    """A trunk and a crown of many clumps."""
    parts: list[Part] = [((0, -1, 0), (0.2, 1.2, 0.2))]
    for x, y, z in rng.normal(0, 0.45, (25, 3)):
        parts.append(((x, 0.7 + y, z), (0.3, 0.3, 0.3)))
    return _of_balls(head, rng, parts)


def knee(head: Head, rng: np.random.Generator) -> Head:
    """Two long muscles, a joint and a kneecap, bent or not."""
    whole = _of_balls(
        head, rng, [((0, 0.9, 0), (0.45, 1.1, 0.45)), ((0, 0, 0.05), (0.4, 0.4, 0.4)), ((0, 0, 0.4), (0.2, 0.25, 0.12))]
    )
    vertices, faces = ball((0, -1.0, 0), (0.35, 1.1, 0.38), rng, up=(-1, 1))
    return oriented(with_part(whole, vertices @ rotation(0, rng.uniform(-80, 0), 0).numpy().T, faces), rng)


def pillow(head: Head, rng: np.random.Generator) -> Head:
    """A cushion with folds."""
    x, y = np.meshgrid(np.linspace(-1, 1, 70), np.linspace(-1, 1, 70))
    thick = 0.5 * np.clip((1 - x**4) * (1 - y**4), 0, None) ** 0.5
    for _ in range(8):
        along, across = rng.normal(0, 5, 2)
        thick += rng.uniform(0, 0.03) * np.sin(along * x + across * y + rng.uniform(0, 6))
    front = np.stack([x, y, thick], -1)
    return oriented(with_part(_of(head, *sheet(front)), *sheet(front * [1, 1, -1])), rng)


FRESH_NO_FACES: dict[str, Callable[[Head, np.random.Generator], Head]] = {
    one.__name__: one
    for one in (dog_head, ear, shoe, torso, pumpkin, mug, chair, wall, mould, helmet, tree, knee, pillow)
}
