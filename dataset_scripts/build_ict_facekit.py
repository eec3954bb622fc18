"""Build labelled 3D or 4D faces from ICT-FaceKit: `python -m dataset_scripts.build_ict_facekit --source DIR --out DIR`.

ICT-FaceKit (USC, MIT) is a morphable model of scanned faces: https://github.com/ICT-VGL/ICT-FaceKit. Clone it and pass
its `FaceXModel` folder: `generic_neutral_mesh.obj`, `identity000.obj` and so on (one standard deviation each), and one
OBJ per expression shape (`mouthSmile_L.obj`). An identity shape that cannot be read is reported and left out.
"""

import functools
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dataset_scripts.synthetic import head_sets
from dataset_scripts.synthetic.recipes import SHAPES
from dataset_scripts.synthetic.synthesis import HeadModel, Source

# Polygon ranges of the README that a camera outside can see: face, head and neck, mouth socket; teeth; eyeballs. Left
# out: eye sockets, gums and tongue, and the thin shells around the eyes (lacrimal fluid, blend, occlusion, eyelashes).
VISIBLE = ((0, 13226), (17006, 21496), (21496, 24692))
LARGEST_COEFFICIENT = 2.0


def read_polygons(path: Path) -> tuple[np.ndarray, list[list[int]]]:
    """Vertices `(N, 3)` float32 and polygons (lists of vertex numbers from 0) of an OBJ file.

    Raises:
        ValueError: if the file is missing, has no vertices, or a polygon names a vertex that is not there.
    """
    vertices = read_vertices(path)
    polygons = []
    for line in path.read_bytes().splitlines():
        if line.startswith(b"f "):
            polygons.append([int(corner.split(b"/")[0]) - 1 for corner in line.split()[1:]])
    if not polygons or any(len(p) < 3 or min(p) < 0 or max(p) >= len(vertices) for p in polygons):
        raise ValueError(f"{path}: expected polygons between its {len(vertices)} vertices; is the file complete?")
    return vertices, polygons


def read_vertices(path: Path) -> np.ndarray:
    """Vertices `(N, 3)` float32 of an OBJ file, quickly.

    Raises:
        ValueError: if the file is missing or its vertices cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}); clone ICT-FaceKit and pass its FaceXModel folder"
        ) from None
    lines = [line[2:] for line in data.splitlines() if line.startswith(b"v ")]
    try:
        values = np.array(b" ".join(lines).split(), dtype=np.float32)
    except ValueError as error:
        raise ValueError(f"{path}: a vertex is no number ({error}); is the file damaged?") from error
    if not len(lines) or values.size != 3 * len(lines) or not np.isfinite(values).all():
        raise ValueError(
            f"{path}: expected vertices of three finite numbers, got {len(lines)} lines with {values.size} numbers"
        )
    return values.reshape(-1, 3)


def triangulate(polygons: Sequence[Sequence[int]]) -> np.ndarray:
    """Fans of triangles, `(M, 3)` int64."""
    return np.array([(p[0], p[i], p[i + 1]) for p in polygons for i in range(1, len(p) - 1)], dtype=np.int64)


def shape_files(shape: str) -> list[str]:
    """ICT's files of an ARKit-named shape: "mouthSmileLeft" -> mouthSmile_L; unsided names may be two files."""
    for word, ending in (("Left", "_L"), ("Right", "_R")):
        if shape.endswith(word) and not shape.startswith("jaw"):
            return [shape.removesuffix(word) + ending]
    return [shape + "_L", shape + "_R"] if shape in ("browInnerUp", "cheekPuff") else [shape]


def load_head(folder: str) -> HeadModel:
    """The morphable model, y up, with the parts that can be seen.

    Raises:
        ValueError: if the neutral mesh, an expression shape or every identity shape is missing or damaged.
    """
    root = Path(folder)
    neutral, polygons = read_polygons(root / "generic_neutral_mesh.obj")
    faces = triangulate([p for first, end in VISIBLE for p in polygons[first:end]])
    used, faces = np.unique(faces, return_inverse=True)
    faces = faces.reshape(-1, 3).astype(np.int64)

    def displacement(name: str) -> np.ndarray:
        vertices = read_vertices(root / f"{name}.obj")
        if vertices.shape != neutral.shape:
            raise ValueError(
                f"{root / name}.obj: expected {len(neutral)} vertices as in the neutral mesh, got {len(vertices)}"
            )
        return (vertices - neutral)[used]

    shapes = np.stack([sum(displacement(name) for name in shape_files(shape)) for shape in SHAPES])
    directions, rejected = [], []
    for path in sorted(root.glob("identity*.obj")):
        try:
            directions.append(displacement(path.stem))
        except ValueError as error:
            rejected.append({"id": path.name, "reason": str(error).replace(str(root), root.name)})
    if not directions:
        raise ValueError(f"{root}: expected identity000.obj and so on, found none that can be read")
    mean = torch.from_numpy(neutral[used])
    basis = torch.from_numpy(np.stack(directions)).flatten(1)  # (P, 3 N)

    def identities(streams):
        drawn = [rng.standard_normal(len(basis)).clip(-LARGEST_COEFFICIENT, LARGEST_COEFFICIENT) for rng in streams]
        people = [mean + (torch.tensor(c, dtype=torch.float32) @ basis).view(-1, 3) for c in drawn]
        return torch.stack(people), [{} for _ in streams]

    return HeadModel(faces, list(SHAPES), torch.from_numpy(shapes.astype(np.float32)), identities, rejected)


def source(folder: str) -> Source:
    """The version is a hash of all meshes, since the folder carries none."""
    root = Path(folder)
    if not (root / "generic_neutral_mesh.obj").is_file():
        raise ValueError(
            f"{folder}: no generic_neutral_mesh.obj here; clone https://github.com/ICT-VGL/ICT-FaceKit and pass its "
            "FaceXModel folder"
        )
    digest = hashlib.sha256()
    for path in sorted(root.glob("*.obj")):
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return Source(
        name="ict",
        title="ICT-FaceKit, a morphable face model (USC Institute for Creative Technologies)",
        url="https://github.com/ICT-VGL/ICT-FaceKit",
        license="mit",
        version=digest.hexdigest()[:12],
        citation="Li et al., Learning Formation of Physically-Based Face Attributes, CVPR 2020.",
    )


def main(argv: Sequence[str] | None = None) -> int:
    flags = head_sets.arguments(__doc__.splitlines()[0], (700, 50, 100))
    flags.add_argument("--source", required=True, help="ICT-FaceKit's FaceXModel folder")
    flags = flags.parse_args(argv)
    return head_sets.main(flags, functools.partial(load_head, flags.source), functools.partial(source, flags.source))


if __name__ == "__main__":
    sys.exit(main())
