"""Numbered files of a sequence. In: a folder. Out: its frames in the order of their numbers, and their times."""

import re
from pathlib import Path

_NUMBER = re.compile(r"(\d+)$")


def numbered_frames(folder: Path, suffix: str) -> list[tuple[int, Path]]:
    """(number, file) of the files whose names end in a number, padded or not, by number.

    Raises:
        ValueError: if two files have the same number ("7.obj" and "007.obj").
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        match = _NUMBER.search(path.stem)
        if path.suffix.lower() != suffix or match is None or not path.is_file():
            continue
        number = int(match[1])
        if number in found:
            raise ValueError(f"{folder}: {found[number].name} and {path.name} are the same frame; remove one")
        found[number] = path
    return sorted(found.items())


def times_s(numbers: list[int], fps: float) -> tuple[float, ...]:
    """Seconds from the first frame; dropped frames leave a gap."""
    return tuple((number - numbers[0]) / fps for number in numbers)
