"""Why a file was not used, in words that name nobody. In: a reason as the user is told it. Out: the one that a data set keeps."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from processing.images_mvfer import PHOTO_SUFFIXES
from processing.meshes_mvfer import MESH_SUFFIXES

_QUOTED = re.compile(r"""(?<!\w)(['"])([^'"\n]*)\1""")
_NUMBER = re.compile(r"nan|[+-]?(inf|[\d.]+(e[+-]?\d+)?)", re.IGNORECASE)
_SUFFIXES = "|".join(map(re.escape, (*MESH_SUFFIXES, *PHOTO_SUFFIXES)))
_NAMED_FILE = re.compile(rf"""[^\s'"/\\]+({_SUFFIXES})(?!\w)""", re.IGNORECASE)


def names_in(place: str) -> list[str]:
    """Names in a path that may be somebody's; a plain word in small letters, or a column's, is none."""
    names = [name for part in Path(place).parts for name in (part, Path(part).stem)]
    return [name for name in names if not re.fullmatch(r"[a-z]*(_s|_deg)?|[\W\d_]*", name)]


def without_paths(reason: str, files: Sequence[Path], *names: str) -> str:
    """The reason without paths and names of files, these names, and what is quoted, which comes from a file; numbers and very
    short words are left."""
    for path in files:
        for form in (str(path), path.name, os.path.join(path.parent.name, path.name), str(path.parent)):
            reason = reason.replace(form, "the file")
    for name in names:
        if re.search(r"[^\W\d_]", name):
            reason = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "...", reason, flags=re.IGNORECASE)
    return _NAMED_FILE.sub("a file", _QUOTED.sub(_blank, reason))


def _blank(quoted: re.Match) -> str:
    return quoted[0] if len(quoted[2]) < 3 or _NUMBER.fullmatch(quoted[2]) else "'...'"
