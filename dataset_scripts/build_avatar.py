"""Build labelled 3D or 4D faces from your own avatars: `python -m dataset_scripts.build_avatar --source *.glb --out DIR`.

Each glTF file is a person. Its morph targets are named as ARKit names them ("mouthSmileLeft" or "mouthSmile_L", whatever
stands before a dot), or `--mapping` is a JSON file that says which targets make which action unit:

    {"12L": {"smile_l": 1.0}, "12R": {"smile_r": 1.0}, "26": {"mouth_open": 0.5}}

Action units without targets are told and left out, and with them the ways to show an expression that need them.
"""

import functools
import hashlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from dataset_scripts.synthetic import head_sets
from dataset_scripts.synthetic.gltf_morphs import join_parts, read_morph_parts
from dataset_scripts.synthetic.heads import Head, HeadSet, Source
from dataset_scripts.synthetic.recipes import shown_by
from dataset_scripts.synthetic.unit_tables import ARKIT, UnitTable, read_table
from processing.names_mvfer import shown

_ARKIT_NAMES = {name.lower(): name for name in ARKIT.shapes}


def arkit_name(target: str) -> str:
    """ "head.mouthSmile_L" -> "mouthSmileLeft"; other names stay."""
    name = target.rsplit(".", 1)[-1]
    spelled = re.sub(r"_([LR])$", lambda side: {"L": "left", "R": "right"}[side[1]], name).lower()
    return _ARKIT_NAMES.get(spelled, name)


def find_files(paths: Sequence[str]) -> list[Path]:
    """The glTF files among files and folders.

    Raises:
        ValueError: if there is no file.
    """
    found = _listed(paths)
    if not found:
        raise ValueError(f"{', '.join(paths)}: no .glb or .gltf here; pass files, or folders that hold some")
    return found


def _listed(paths: Sequence[str]) -> list[Path]:
    found = []
    for path in map(Path, paths):
        inside = [p for p in path.rglob("*") if p.suffix.lower() in (".glb", ".gltf")] if path.is_dir() else [path]
        found += sorted(inside)
    return found


def read_avatar(path: Path, mapping: UnitTable | None = None, meshes: Sequence[str] = ()) -> Head:
    """The head of a file, with the units that it can show.

    Args:
        mapping: which targets make which unit; ARKit's names if left out.
        meshes: the meshes that are drawn; all if empty.
    Raises:
        ValueError: if the file is damaged, or none of its targets makes an action unit.
    """
    parts = read_morph_parts(path)
    chosen = [part for part in parts if not meshes or part.name in meshes]
    if not chosen:
        raise ValueError(
            f"{path}: no mesh is named {', '.join(meshes)}; it has {', '.join(p.name or '?' for p in parts)}"
        )
    table, name_of = (mapping, str) if mapping else (ARKIT, arkit_name)
    targets = sorted({target for part in chosen for target in part.shapes})
    table = table.without(table.missing(set(map(name_of, targets))))
    if not table.units:
        raise ValueError(
            f"{path}: none of its morph targets makes an action unit; expected names such as mouthSmileLeft, or --mapping "
            f"FILE; it has {', '.join(targets[:12]) or 'no named targets'}"
        )
    vertices, faces, shapes = join_parts(chosen, table.shapes, name_of)
    return Head(vertices, faces, table.shapes, shapes, table)


def load_heads(paths: Sequence[str], mapping: str | None, meshes: Sequence[str]) -> HeadSet:
    """All avatars; a file is read when its person is asked for."""
    files, table = find_files(paths), read_table(Path(mapping)) if mapping else None
    return HeadSet(lambda number: read_avatar(files[number], table, meshes))


def source(paths: Sequence[str], mapping: str | None, meshes: Sequence[str], license_: str) -> Source:
    """The version is a hash of the files. Says of every file what it cannot show."""
    files, table = find_files(paths), read_table(Path(mapping)) if mapping else None
    digest = hashlib.sha256(Path(mapping).read_bytes() if mapping else b"")
    for path in files:
        head = read_avatar(path, table, meshes)
        if lacking := sorted(set((table or ARKIT).units) - set(head.table.units), key=(table or ARKIT).units.index):
            print(f"{shown(str(path))}: no shapes for action units {', '.join(lacking)}; left out", file=sys.stderr)
        if set(shown_by(head.table)) == {"neutral"}:
            print(f"{shown(str(path))}: shows no expression but neutral", file=sys.stderr)
        digest.update(path.read_bytes())
    return Source(
        name="avatar",
        title="avatars of whoever built it",
        url="their makers' terms",
        license=license_,
        version=digest.hexdigest()[:12],
        citation="",
        families=tuple((number,) for number in range(len(files))),
        sharing="The avatars' makers, and people whom they resemble, decide whether it may be passed on.",
    )


def main(argv: Sequence[str] | None = None) -> int:
    flags = head_sets.arguments(__doc__.splitlines()[0], (1, 0, 0))
    # few people, so many scans of each; all of them train unless somebody says otherwise
    flags.set_defaults(expressions_per_subject=8, random_per_subject=40, subjects=None)
    flags.add_argument(
        "--source", required=True, nargs="+", help=".glb and .gltf files, or folders of them; a person each"
    )
    flags.add_argument("--mapping", help="JSON: action unit -> {morph target: weight}; default: ARKit's names")
    flags.add_argument("--parts", nargs="+", default=[], help="names of the meshes to draw; default: all of a file")
    flags.add_argument("--license", default="other", help="of the avatars, for the card")
    flags = flags.parse_args(argv)
    flags.subjects = flags.subjects or [max(len(_listed(flags.source)), 1), 0, 0]
    options = (flags.source, flags.mapping, flags.parts)
    return head_sets.main(
        flags, functools.partial(load_heads, *options), functools.partial(source, *options, flags.license)
    )


if __name__ == "__main__":
    sys.exit(main())
