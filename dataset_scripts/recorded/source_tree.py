"""What lies below a source folder. In: a folder. Out: its folders and files, archives that nobody unpacked, copies.

What operating systems leave behind is passed over everywhere: `__MACOSX`, `._*` (macOS puts one beside every file, under the
file's own suffix), `.DS_Store`, `Thumbs.db`, `desktop.ini`, and `~$*`, Excel's mark of an open table.
"""

import os
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path

from processing.images_mvfer import PHOTO_SUFFIXES

_LITTER = re.compile(r"__MACOSX|\._.*|\.DS_Store|Thumbs\.db|desktop\.ini|~\$.*", re.IGNORECASE | re.DOTALL)
_ARCHIVE = re.compile(r"(.+)\.(zip|rar|7z|tar|tgz|tar\.(gz|bz2|xz))", re.IGNORECASE | re.DOTALL)


def is_litter(name: str) -> bool:
    """Whether a file or folder of this name belongs to an operating system, not to the set."""
    return _LITTER.fullmatch(name) is not None


def is_photo(path: Path) -> bool:
    """Whether a file is named as a photo is."""
    return path.suffix.lower() in PHOTO_SUFFIXES


def folders(source: Path) -> list[Path]:
    """All folders below, sorted; links to folders are listed, but not followed."""
    return sorted(Path(place, name) for place, names, _ in _walk(source) for name in names)


def files(source: Path, suffixes: str | tuple[str, ...] = "") -> list[Path]:
    """All files below with one of the suffixes (lower case; any, if empty), sorted."""
    return sorted(
        Path(place, name) for place, _, names in _walk(source) for name in names if name.lower().endswith(suffixes)
    )


def packed(source: Path) -> list[Path]:
    """Archives below without a folder of their name beside them."""
    found = []
    for place, inner, names in _walk(source):
        matches = [match for name in names if (match := _ARCHIVE.fullmatch(name))]
        found += [Path(place, match[0]) for match in matches if match[1] not in inner]
    return sorted(found)


def _walk(source: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    for place, inner, names in os.walk(source):
        inner[:] = [name for name in inner if not is_litter(name)]
        yield place, inner, [name for name in names if not is_litter(name)]


def one_copy(items: Iterable[tuple[Hashable, Path, int]]) -> tuple[set[Path], list[str]]:
    """Of what lies in a source twice, as the set was unpacked twice: the copy with most frames, else the first.

    Args:
        items: what it is, where it lies, and how many frames it has. Two of one name in one folder are a mistake, not copies,
            and both stay.
    Returns:
        the places to keep; what to tell the user, a line for each pair of folders.
    """
    kept: set[Path] = set()
    first: dict[Hashable, Path] = {}
    copies: Counter = Counter()
    for what, path, _ in sorted(items, key=lambda item: (-item[2], item[1])):
        used = first.setdefault(what, path)
        if path.parent == used.parent:
            kept.add(path)
        else:
            copies[_roots(used.parent, path.parent)] += 1
    notes = [f"{count} scans lie here twice: {used} is used, {other} is not" for (used, other), count in copies.items()]
    return kept, notes


def _roots(one: Path, other: Path) -> tuple[Path, Path]:
    """Two paths without what they end in alike."""
    while one.name == other.name and one.parent != other.parent:
        one, other = one.parent, other.parent
    return one, other
