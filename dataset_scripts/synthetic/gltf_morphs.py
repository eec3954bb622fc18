"""The morph targets of a glTF file by their names: what an avatar can show.

In: a `.glb` or `.gltf` file. Out: its drawn meshes, each at rest (all weights 0) with the displacement of every target, in
the scene's coordinates, skins applied. Vertices that differ in their texture coordinates alone are one.

Source: Khronos Group, "glTF 2.0 Specification", 2021, section 3.7.2; names are in `extras.targetNames`, by convention.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from processing.gltf_file_mvfer import DAMAGED, GltfFile
from processing.gltf_mvfer import Scene
from processing.obj_mvfer import MeshFileError

MAX_BYTES = 512 * 2**20


@dataclass
class MorphPart:
    """A drawn mesh: vertices `(N, 3)` float64 at rest, faces `(M, 3)` int64, displacements `(N, 3)` by target name."""

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    shapes: dict[str, np.ndarray]


def read_morph_parts(path: Path, wanted: Callable[[str], bool] = bool) -> list[MorphPart]:
    """The drawn meshes of a file, with the targets whose names are wanted.

    Raises:
        ValueError: if the file is missing, damaged, compressed, or has no triangles.
    """
    try:
        scene = Scene(GltfFile(path, path.read_bytes(), max_bytes=MAX_BYTES), geometry_only=True)
        meshes = scene.file.entries("meshes")
        parts = [
            _part(scene, meshes[node["mesh"]], primitive, number, node, wanted)
            for number, node in scene.drawn()
            if "mesh" in node
            for primitive in meshes[node["mesh"]]["primitives"]
        ]
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); check the path") from None
    except MeshFileError as error:
        raise ValueError(f"{path}: {error}") from None
    except DAMAGED as error:
        raise ValueError(f"{path}: the file is damaged ({type(error).__name__}: {error}); export it again") from error
    found = [part for part in parts if part is not None]
    if not found:
        raise ValueError(f"{path}: no triangles found in it; check that the scene shows the head")
    return found


def join_parts(
    parts: Sequence[MorphPart], names: Sequence[str], name_of: Callable[[str], str]
) -> tuple[Tensor, np.ndarray, Tensor]:
    """One mesh of several.

    Args:
        names: the A shapes that are wanted; `name_of`: from a target's name to a shape's.
    Returns:
        vertices (`(N, 3)` float32), faces (`(M, 3)` int64), shapes (`(A, N, 3)` float32), 0 for parts without the target.
    """
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    moves = np.zeros((len(names), starts[-1], 3), np.float32)
    for start, part in zip(starts, parts, strict=False):
        for target, moved in part.shapes.items():
            if (shape := name_of(target)) in names:
                moves[list(names).index(shape), start : start + len(moved)] = moved
    vertices = np.concatenate([part.vertices for part in parts]).astype(np.float32)
    faces = np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)])
    return torch.from_numpy(vertices), faces, torch.from_numpy(moves)


def _part(scene: Scene, mesh: dict, primitive: dict, number: int, node: dict, wanted) -> MorphPart | None:
    base = scene.positions(primitive, np.zeros(0)).astype(np.float64)
    faces = scene.faces(primitive, len(base))
    if faces is None or not len(faces):
        return None
    attributes, matrix = primitive["attributes"], scene.to_world[number]
    rest, faces = scene.placed(base, faces, attributes, matrix, node)
    # placing is affine for every vertex, so three more placings tell how it turns displacements
    turns = np.stack([scene.placed(base + axis, faces, attributes, matrix, node)[0] - rest for axis in np.eye(3)], 1)
    targets = primitive.get("targets", [])
    names = mesh.get("extras", {}).get("targetNames") or primitive.get("extras", {}).get("targetNames") or []
    shapes = {
        str(name): np.einsum("ni,nij->nj", scene.file.array(target["POSITION"]).astype(np.float64), turns)
        for name, target in zip(names, targets, strict=False)
        if "POSITION" in target and wanted(str(name))
    }
    return _merge_seams(MorphPart(mesh.get("name") or node.get("name") or "", rest, faces, shapes))


def _merge_seams(part: MorphPart) -> MorphPart:
    """Join vertices that lie and move alike; lips that only touch at rest move apart, so they stay two."""
    moves = np.stack([part.vertices, *part.shapes.values()], 1).reshape(len(part.vertices), -1)
    step = 1e-6 * max(float(np.ptp(part.vertices, axis=0).max()), 1e-12)
    codes = np.random.default_rng(0).uniform(0.5, 1.0, (moves.shape[1], 2))  # two sums in place of hundreds of columns
    keys = np.column_stack([np.rint(part.vertices / step), np.rint(np.rint(moves / step) @ codes)])
    _, first, index = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    faces = index.reshape(-1)[part.faces]
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    return MorphPart(
        part.name, part.vertices[first], faces, {name: moved[first] for name, moved in part.shapes.items()}
    )
