"""What a shard of scans is made of, as hashes: so that a build knows again whatever was edited since.

In: scans. Out: a keyed hash per person of all that is known of their scans (labels, texts, times, names) and of every byte of
their files, and of what meshes may read beside these. Files are read anew each time: size and time of a file tell nothing of an
edit that keeps both, and reading is a small part of what rendering costs.
"""

import dataclasses
import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from dataset_scripts.recorded.scans import PseudonymousScan, Scan
from dataset_scripts.recorded.source_tree import is_litter, is_photo
from mvfer.data.pseudonyms import Pseudonyms
from processing.images_mvfer import PHOTO_SUFFIXES
from processing.meshes_mvfer import MESH_SUFFIXES

LARGEST = 2**29  # bytes; no reader takes more
BESIDE = (*PHOTO_SUFFIXES, ".tga", ".gif", ".mtl", ".bin")  # what a mesh may read: materials, textures, buffers


def described(scans: Sequence[Scan], source: Path) -> str:
    """All that is known of scans, before any of their files is read."""
    return "\n".join(sorted(_described(scan, source) for scan in scans))


def _described(scan: Scan, source: Path) -> str:
    known = {field.name: getattr(scan, field.name) for field in dataclasses.fields(scan) if field.name != "frames"}
    known = {name: sorted(value.items()) if isinstance(value, Mapping) else value for name, value in known.items()}
    return repr((known, [os.path.relpath(file, source) for file in scan.files]))


class ShardSources:
    """The `sources_of` of a build: subject -> keyed hash."""

    def __init__(self, key: Pseudonyms, source: Path):
        self.key, self.source = key, source

    def __call__(self, shard) -> dict[str, str]:
        by_subject: dict[str, list[PseudonymousScan]] = {}
        for item in shard.work:
            by_subject.setdefault(item.subject, []).append(item)
        return {subject: self.key.digest(self._content(items)) for subject, items in by_subject.items()}

    def _content(self, items: Sequence[PseudonymousScan]) -> str:
        scans = [item.scan for item in items]
        files = sorted({file for scan in scans for file in scan.files})
        listed = {folder: _listed(folder) for folder in {file.parent for file in files if not is_photo(file)}}
        files += sorted({beside for file in files if file.parent in listed for beside in _beside(file, listed)})
        return described(scans, self.source) + "".join(f"\n{file_digest(file)}" for file in files)


def file_digest(path: Path) -> str:
    """A hash of a file's bytes; of what no reader takes, the reason."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            return f"unread: {stat.S_IFMT(status.st_mode)}, {status.st_size} bytes"
        with path.open("rb") as stream:
            while chunk := stream.read(2**20):
                digest.update(chunk)
    except (OSError, ValueError) as error:  # absent, a loop of links, an absurd name
        return f"unread: {type(error).__name__}"
    return digest.hexdigest()


def _beside(mesh: Path, listed: Mapping[Path, tuple[set[str], list[Path], list[Path]]]) -> list[Path]:
    """What a mesh may read: of its folder, all that bears its name or that of no other mesh; and what lies below it."""
    names, files, below = listed[mesh.parent]
    return [path for path in files if path.stem == mesh.stem or path.stem not in names] + below


def _listed(folder: Path) -> tuple[set[str], list[Path], list[Path]]:
    """Names of the meshes of a folder; what else meshes may read in it; and below it, in folders without meshes."""
    names: set[str] = set()
    found: dict[bool, list[Path]] = {True: [], False: []}
    for place, inner, files in os.walk(folder):
        is_top = Path(place) == folder
        meshes = [name for name in files if name.lower().endswith(MESH_SUFFIXES) and not is_litter(name)]
        if meshes and not is_top:
            inner.clear()
            continue
        names |= {Path(name).stem for name in meshes}
        inner[:] = [name for name in inner if not is_litter(name)]
        found[is_top] += [Path(place, n) for n in files if n.lower().endswith(BESIDE) and not is_litter(n)]
    return names, found[True], found[False]
