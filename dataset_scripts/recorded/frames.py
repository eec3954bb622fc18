"""Numbered files of a sequence. In: a folder. Out: its frames in the order of their numbers, and their times."""

import re
from pathlib import Path
from typing import Any

from dataset_scripts.recorded.source_tree import is_litter

_NUMBER = re.compile(r"(\d+)$")


def numbered_frames(folder: Path, suffix: str) -> list[tuple[int, Path]]:
    """(number, file) of the files whose names end in a number, padded or not, by number.

    Raises:
        ValueError: if two files have the same number ("7.obj" and "007.obj").
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _NUMBER.search(path.stem)
        if path.suffix.lower() != suffix or match is None or is_litter(path.name) or not path.is_file():
            continue
        number = int(match[1])
        if number in found:
            raise ValueError(f"{folder}: {found[number].name} and {path.name} are the same frame; remove one")
        found[number] = path
    return sorted(found.items())


def sequence_frames(folder: Path, suffix: str) -> list[tuple[int, Path]]:
    """`numbered_frames` of a folder that should have some; raises a ValueError if it has none."""
    frames = numbered_frames(folder, suffix)
    if not frames:
        raise ValueError(f"no numbered {suffix} files in it")
    return frames


def timed(frames: list[tuple[int, Path]], fps: float) -> dict[str, Any]:
    """`frames` and `times_s` of a `Scan`: seconds from the first frame; dropped frames leave a gap."""
    first = frames[0][0]
    return {
        "frames": tuple(path for _, path in frames),
        "times_s": tuple((number - first) / fps for number, _ in frames),
    }
