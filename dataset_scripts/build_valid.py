"""Build labelled 3D or 4D faces from the VALID avatars: `python -m dataset_scripts.build_valid --source DIR --out DIR`.

VALID (Do, Zelenty, Gonzalez-Franco & McMahan, 2023; MIT) are 42 avatars with 65 facial shapes each. `--source` is a clone of
their glTF files, https://github.com/c-frame/valid-avatars-glb, or one NPZ file that holds all heads. The files of the clone
are compressed with EXT_meshopt_compression; unpack one outfit of every avatar first, keeping the names:

    npx @gltf-transform/cli copy avatars/Asian_F_1/Asian_F_1_Busi.glb heads/Asian_F_1_Busi.glb

The NPZ: `ids (P,)`, `faces (M, 3)`, `neutral (P, N, 3)` in metres, `names (A,)` of the shapes, of which shape s moves the
vertices `delta_index[delta_start[s]:delta_start[s + 1]]` of person p by `delta_offset[p, ...]` of the same range.
"""

import functools
import hashlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dataset_scripts.synthetic import head_sets
from dataset_scripts.synthetic.gltf_morphs import MorphPart, join_parts, read_morph_parts
from dataset_scripts.synthetic.heads import Head, HeadSet, Source
from dataset_scripts.synthetic.unit_tables import VALID

SHAPES = VALID.shapes
GROUPS = {
    "AIAN": "american indian or alaska native",
    "Asian": "asian",
    "Black": "black",
    "Hispanic": "hispanic",
    "MENA": "middle eastern or north african",
    "NHPI": "native hawaiian or pacific islander",
    "White": "white",
}
_NAME = re.compile(rf"(?:X_)?({'|'.join(GROUPS)})_([FM])_\d+")
# Faces that are closer to each other than 1.6 mm rms (aligned with scale, front of the face), and what that joins: some
# of the 42 were made of one another. They count as one where people are split.
TWINS = (
    ("Asian_F_1", "Asian_F_2", "Asian_F_3"),
    ("Black_F_1", "Black_F_2", "Black_F_3"),
    ("White_F_1", "White_F_2", "White_F_3"),
    ("AIAN_F_1", "AIAN_F_2", "X_AIAN_F_1", "Hispanic_F_3"),
    ("MENA_F_1", "MENA_F_2", "X_MENA_F_1"),
    ("X_NHPI_F_1", "X_NHPI_F_2", "X_NHPI_F_3"),
    ("AIAN_M_1", "AIAN_M_2", "X_AIAN_M_1"),
    ("MENA_M_1", "MENA_M_2"),
    ("Black_M_2", "Black_M_3"),
)
# What can be seen of the files' meshes; others are clothes, hair and the eyes' corners.
_BODY, _MESHES = "H_DDS_HighRes", ("h_L_eye", "h_R_eye", "h_L_gland", "h_R_gland", "h_TeethUp", "h_TeethDown")
_NECK_M = 0.145  # below the eyes; there the head ends
_ARRAYS = ("ids", "faces", "neutral", "names", "delta_start", "delta_index", "delta_offset")


def find_people(source: str) -> dict[str, Path]:
    """Names of the people, in order, and the file of each: of a clone the first outfit, or the NPZ itself.

    Raises:
        ValueError: if there is none.
    """
    root = Path(source)
    if root.is_file():
        with _open_npz(root) as heads:
            names = {str(name): root for name in heads["ids"]}
    else:
        names = {}
        for path in sorted(root.rglob("*.gl[bt]*")):
            if (match := _NAME.match(path.name)) and path.suffix in (".glb", ".gltf"):
                names.setdefault(match[0], path)
    if not names or not all(map(_NAME.fullmatch, names)):
        raise ValueError(
            f"{source}: expected files such as Asian_F_1_Busi.glb, or an NPZ of these people, found none; clone "
            "https://github.com/c-frame/valid-avatars-glb and pass its folder"
        )
    return dict(sorted(names.items()))


def families(names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Numbers of the people, near-twins together."""
    twins = [tuple(i for i, name in enumerate(names) if name in family) for family in TWINS]
    known = {number for family in twins for number in family}
    return tuple(family for family in twins if family) + tuple((i,) for i in range(len(names)) if i not in known)


def columns_of(name: str) -> dict[str, str]:
    group, sex = _NAME.fullmatch(name).groups()  # type: ignore[union-attr]  # `find_people` has matched it
    return {"sex": {"F": "female", "M": "male"}[sex], "ancestry": GROUPS[group]}


def load_heads(source: str) -> HeadSet:
    """All people; a file is read when its person is asked for.

    Raises:
        ValueError: if there is none, or a file is damaged or compressed.
    """
    people = list(find_people(source).items())
    if Path(source).is_file():
        with _open_npz(Path(source)) as arrays:
            heads = {name: arrays[name] for name in _ARRAYS}
        faces = heads["faces"].astype(np.int64)
        return HeadSet(lambda number: _head_of_npz(heads, faces, people[number][0]))
    return HeadSet(lambda number: read_avatar(people[number][1], people[number][0]))


def read_avatar(path: Path, name: str) -> Head:
    """The head of a glTF file: skin down to the neck, eyes and teeth, metres, the origin between the eyes.

    Raises:
        ValueError: if the file is damaged or compressed, or lacks a mesh or a shape.
    """
    parts = {part.name: part for part in read_morph_parts(path, lambda target: _shape_name(target) in SHAPES)}
    if missing := sorted({_BODY, *_MESHES} - set(parts)):
        raise ValueError(f"{path}: no meshes {', '.join(missing)}; expected a file of valid-avatars-glb, names kept")
    middle = (parts["h_L_eye"].vertices.mean(0) + parts["h_R_eye"].vertices.mean(0)) / 2
    chosen = [_cut(parts[_BODY], middle[1] - _NECK_M), *(parts[mesh] for mesh in _MESHES)]
    vertices, faces, shapes = join_parts(chosen, SHAPES, _shape_name)
    if missing := [shape for shape in SHAPES if shape not in map(_shape_name, chosen[0].shapes)]:
        raise ValueError(f"{path}: no shapes {', '.join(missing)}; expected a file of valid-avatars-glb, names kept")
    return Head(vertices - torch.tensor(middle, dtype=torch.float32), faces, SHAPES, shapes, VALID, columns_of(name))


def _shape_name(target: str) -> str:
    """ "h_expressions.MouthOpen_h" and "h_teeth.t_MouthOpen_h" -> "MouthOpen"."""
    return target.removeprefix("h_expressions.").removeprefix("h_teeth.t_").removesuffix("_h")


def _cut(body: MorphPart, lowest: float) -> MorphPart:
    """What lies above a height."""
    kept = body.faces[(body.vertices[body.faces][..., 1] > lowest).all(1)]
    used, faces = np.unique(kept, return_inverse=True)
    shapes = {name: moved[used] for name, moved in body.shapes.items()}
    return MorphPart(body.name, body.vertices[used], faces.reshape(-1, 3), shapes)


def _open_npz(path: Path):
    try:
        arrays = np.load(path, allow_pickle=False)
        missing = [name for name in _ARRAYS if name not in arrays.files]
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read as NPZ ({error}); pass a folder of glTF files or an NPZ") from error
    if missing:
        raise ValueError(f"{path}: no arrays {', '.join(missing)}; `build_valid`'s first lines say what it should hold")
    return arrays


def _head_of_npz(heads: dict[str, np.ndarray], faces: np.ndarray, name: str) -> Head:
    person = list(map(str, heads["ids"])).index(name)
    names, start = list(map(str, heads["names"])), heads["delta_start"]
    if missing := sorted(set(SHAPES) - set(names)):
        raise ValueError(f"the NPZ has no shapes {', '.join(missing)}; it should have those of the avatars")
    vertices = torch.from_numpy(heads["neutral"][person].astype(np.float32))
    shapes = torch.zeros(len(SHAPES), *vertices.shape)
    for number, shape in enumerate(SHAPES):
        here = slice(*start[names.index(shape) : names.index(shape) + 2])
        moved = torch.from_numpy(heads["delta_offset"][person, here].astype(np.float32))
        shapes[number, torch.from_numpy(heads["delta_index"][here].astype(np.int64))] = moved
    return Head(vertices, faces, SHAPES, shapes, VALID, columns_of(name))


def source(folder: str) -> Source:
    """The version is a hash of the files that are read."""
    people = find_people(folder)
    digest = hashlib.sha256()
    for path in sorted(set(people.values())):
        digest.update(path.name.encode() + path.read_bytes())
    return Source(
        name="valid",
        title="VALID, the Virtual Avatar Library for Inclusion and Diversity",
        url="https://github.com/c-frame/valid-avatars-glb",
        license="mit",
        version=digest.hexdigest()[:12],
        citation="Do, Zelenty, Gonzalez-Franco & McMahan, VALID, Frontiers in Virtual Reality 4, 2023.",
        families=families(list(people)),
    )


def main(argv: Sequence[str] | None = None) -> int:
    flags = head_sets.arguments(__doc__.splitlines()[0], (28, 4, 10))
    flags.set_defaults(expressions_per_subject=8, random_per_subject=40)  # few people, so many scans of each
    flags.add_argument("--source", required=True, help="clone of valid-avatars-glb (unpacked), or an NPZ of its heads")
    flags = flags.parse_args(argv)
    return head_sets.main(flags, functools.partial(load_heads, flags.source), functools.partial(source, flags.source))


if __name__ == "__main__":
    sys.exit(main())
