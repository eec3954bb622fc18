"""Build labelled faces from your own neutral scans: `python -m dataset_scripts.build_transfer --neutrals DIR --out DIR`.

Every scan is a person, with its mouth closed and its eyes open; any mesh format, any topology. The expressions are those of
a family of heads (`--shapes anny`, or `--shapes ict --family FaceXModel`), moved over to each scan (`transfer`). The scans
are people's faces: what is built stays as private as they are.
"""

import functools
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dataset_scripts.synthetic import head_sets
from dataset_scripts.synthetic.heads import Head, HeadModel, HeadRejected, HeadSet, Source
from processing.meshes_mvfer import MESH_SUFFIXES, load_mesh

FAMILIES = ("anny", "ict")


def find_scans(folder: str) -> list[Path]:
    """The meshes of a folder, in order.

    Raises:
        ValueError: if there is none.
    """
    found = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in MESH_SUFFIXES)
    if not found:
        raise ValueError(f"{folder}: no meshes here; pass a folder of neutral scans, such as .obj or .ply files")
    return found


def load_family(shapes: str, family: str | None) -> HeadModel:
    """The heads whose expressions are shown."""
    if shapes == "anny":
        from dataset_scripts import build_anny

        return build_anny.load_head()
    from dataset_scripts import build_ict_facekit

    if family is None:
        raise ValueError("--shapes ict needs --family: the FaceXModel folder of a clone of ICT-FaceKit")
    return build_ict_facekit.load_head(family)


def load_heads(folder: str, shapes: str, family: str | None) -> HeadSet:
    """All scans; one is fitted when its person is asked for. What is no face is left out."""
    from dataset_scripts.synthetic.transfer import Transfer  # needs scipy

    scans, transfer = find_scans(folder), Transfer(load_family(shapes, family))

    def head(number: int) -> Head:
        path = scans[number]
        try:
            mesh = load_mesh(path, geometry_only=True)
            return transfer(np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64))
        except ValueError as error:  # which is listed in the folder: no path of this computer
            raise HeadRejected(f"scan {number + 1} in order: {str(error).replace(str(path), 'it')}") from error

    return HeadSet(head)


def source(folder: str, shapes: str) -> Source:
    """The version is a hash of the scans."""
    scans, digest = find_scans(folder), hashlib.sha256(shapes.encode())
    for path in scans:
        digest.update(path.read_bytes())
    return Source(
        name=f"transfer-{shapes}",
        title=f"neutral scans of whoever built it, with the expressions of {shapes}",
        url="a folder of scans",
        license="other",
        version=digest.hexdigest()[:12],
        citation="",
        families=tuple((number,) for number in range(len(scans))),
        sharing="It shows the faces of the people who were scanned: they decide whether it may be passed on.",
    )


def main(argv: Sequence[str] | None = None) -> int:
    flags = head_sets.arguments(__doc__.splitlines()[0], (1, 0, 0))
    # few people, so many scans of each; all of them train unless somebody says otherwise
    flags.set_defaults(expressions_per_subject=4, random_per_subject=12, rest_per_subject=2, subjects=None)
    flags.add_argument("--neutrals", required=True, help="folder of neutral scans, mouth closed, a person each")
    flags.add_argument("--shapes", choices=FAMILIES, default="anny", help="whose expressions they show")
    flags.add_argument("--family", help="with --shapes ict: ICT-FaceKit's FaceXModel folder")
    flags = flags.parse_args(argv)
    if flags.subjects is None:
        count = sum(path.suffix.lower() in MESH_SUFFIXES for path in Path(flags.neutrals).rglob("*"))
        flags.subjects = [max(count, 1), 0, 0]
    load = functools.partial(load_heads, flags.neutrals, flags.shapes, flags.family)
    return head_sets.main(flags, load, functools.partial(source, flags.neutrals, flags.shapes))


if __name__ == "__main__":
    sys.exit(main())
