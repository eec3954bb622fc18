"""What a command is asked to read. In: files, folders and patterns. Out: [`Item`]s, one per row of a table.

A folder stands for all that lies below it: every mesh is a scan; photos `cam0.jpg`, `cam1.jpg`, ... of one folder are the views
of one moment, other photos a view each; pictures beside meshes are textures. With `sequences`, the files of one folder are the
frames of one sequence instead, as `mvfer watch` takes them.
"""

import glob
import os
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from dataset_scripts.recorded.source_tree import files, is_photo
from mvfer.data.frame_times import FrameTimes, frame_times
from processing.images_mvfer import PHOTO_SUFFIXES
from processing.meshes_mvfer import MESH_SUFFIXES

CAMERA = re.compile(r"cam\w*?\d+", re.IGNORECASE)


class Item(NamedTuple):
    """One thing that gets one answer.

    name: the file, or the folder of several. paths: the mesh; the photo, or one per camera; or all frames, if they are read as
    one. sequence: to which it belongs, and of that its frame and time_s. problem: why there is nothing to read.
    """

    name: str
    paths: tuple[str, ...]
    sequence: FrameTimes | None = None
    frame: int | None = None
    time_s: float | None = None
    problem: str = ""

    @property
    def is_photos(self) -> bool:
        return self.paths[0].lower().endswith(PHOTO_SUFFIXES)

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole sequence, whose frames are read together."""
        return self.sequence is not None and self.frame is None


def find_items(
    asked: Sequence[str], *, sequences: bool = False, whole: bool = False, fps: float = 25.0, as_given: bool = True
) -> list[Item]:
    """What the arguments name.

    Args:
        asked: files, folders, and patterns such as "scans/**/*.obj".
        sequences: several files of one folder are frames of one sequence; whole: which is read as one, for dynamic images.
        fps: of sequences whose names tell no times.
        as_given: in the order of the arguments, also twice; else each once, in natural order (f2 before f10).
    """
    found = [item for name in asked for item in _named(name)]
    if not as_given:
        found = sorted({item.name: item for item in found}.values(), key=lambda item: natural(item.name))
    return list(_in_sequences(found, whole=whole, fps=fps)) if sequences else found


def natural(name: str) -> list:
    """A key by which f2 comes before f10."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", name))]


def stamp(item: Item) -> str:
    """What changes where the files, or the place in the sequence, do."""
    of_sequence = item.sequence.paths if item.sequence else ()
    parts = [_state(path) for path in {*item.paths, *of_sequence[:1]}] if not item.is_whole else map(_state, item.paths)
    return f"{','.join(sorted(parts))} {item.frame} {item.time_s} {len(of_sequence)}"


def _state(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return "none"
    return f"{found.st_size}:{found.st_mtime_ns}"


def _named(name: str) -> list[Item]:
    if os.path.isdir(name):
        below = _of_folder(Path(name))
        problem = f"{name}: no meshes or photos in it; meshes end in {', '.join(MESH_SUFFIXES)}"
        return below or [Item(name, (name,), problem=problem)]
    if glob.has_magic(name) and not os.path.lexists(name):
        matches = sorted(glob.glob(name, recursive=True), key=natural)
        return [item for match in matches for item in _named(match)] or [Item(name, (name,))]
    return [Item(name, (name,))]


def _of_folder(folder: Path) -> list[Item]:
    below = [path for path in files(folder, (*MESH_SUFFIXES, *PHOTO_SUFFIXES)) if path.is_file()]
    below.sort(key=lambda path: natural(str(path)))
    with_meshes = {path.parent for path in below if not is_photo(path)}
    found = []
    for parent, inner in groupby(
        (p for p in below if not (is_photo(p) and p.parent in with_meshes)), lambda p: p.parent
    ):
        paths = [str(path) for path in inner]
        is_moment = len(paths) > 1 and all(CAMERA.fullmatch(Path(path).stem) for path in paths)
        found += [Item(str(parent), tuple(paths))] if is_moment else [Item(path, (path,)) for path in paths]
    return found


def _in_sequences(items: Iterable[Item], *, whole: bool, fps: float) -> Iterable[Item]:
    by_folder: dict[str, list[Item]] = {}
    for item in items:
        by_folder.setdefault(os.path.dirname(item.name), []).append(item)
    for folder, members in by_folder.items():
        if len(members) == 1 or any(len(item.paths) > 1 or item.problem for item in members):
            yield from members
            continue
        named = sorted((item.name for item in members), key=natural)
        sequence = frame_times(named, fps)
        sequence = sequence._replace(times_s=[round(time - sequence.times_s[0], 6) for time in sequence.times_s])
        if whole:
            yield Item(folder or ".", tuple(sequence.paths), sequence)
            continue
        for frame, (path, time_s) in enumerate(zip(sequence.paths, sequence.times_s, strict=True)):
            yield Item(path, (path,), sequence, frame, time_s)
