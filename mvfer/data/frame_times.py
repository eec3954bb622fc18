"""Files of one sequence, as a shell lists them, in the order in which they were taken, and when that was.

In: paths (`f1.obj f10.obj f2.obj`) and frames per second. Out: the paths in order, their times, and where both come from.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

_DIGITS = re.compile(r"([0-9]+)")
_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|ms)$", re.IGNORECASE)
_SECONDS = {"s": 1.0, "ms": 1e-3}


class FrameTimes(NamedTuple):
    """Frames in order, when each was taken in seconds, and where order and times come from."""

    paths: list[str]
    times_s: list[float]
    said: str


def frame_times(paths: Sequence[str], fps: float, *, as_given: bool = False) -> FrameTimes:
    """Order the files of a sequence by what their names say.

    Names that end in a time (`face_0.04s.obj`, `40ms.ply`) give times. Names that differ in one number alone (`f9.obj`,
    `f10.obj`) give the order, and their times, where that number counts frames: a lost frame then leaves a gap. Other names
    say nothing: the order is the given one, as it is with `as_given`.
    """
    rate = f"at {fps:g} frames per second"
    in_order = [number / fps for number in range(len(paths))]
    if as_given:
        return FrameTimes(list(paths), in_order, f"in the order given, {rate}")
    if (seconds := _ending_times(paths)) is not None:
        order = np.argsort(seconds)
        return FrameTimes([paths[i] for i in order], [seconds[i] for i in order], "times from their names")
    if (numbers := _numbers(paths)) is None:
        return FrameTimes(list(paths), in_order, f"in the order given, {rate}")
    order = np.argsort(numbers)
    ordered, sorted_paths = [numbers[i] for i in order], [paths[i] for i in order]
    said = f"in the order of the numbers in their names, {rate}"
    if np.median(np.diff(ordered)) != 1:  # time stamps, or every tenth frame: not known in seconds
        return FrameTimes(sorted_paths, in_order, said)
    lost = ordered[-1] - ordered[0] + 1 - len(ordered)
    gaps = f"; {lost} numbers are missing and leave gaps" if lost else ""
    return FrameTimes(sorted_paths, [(number - ordered[0]) / fps for number in ordered], said + gaps)


def _ending_times(paths: Sequence[str]) -> list[float] | None:
    """The times at the ends of all names, in seconds; None unless all have one, and no two the same."""
    found = [_TIME.search(Path(path).stem) for path in paths]
    times = [float(match[1]) * _SECONDS[match[2].lower()] for match in found if match is not None]
    return times if len(set(times)) == len(paths) > 1 else None


def _numbers(paths: Sequence[str]) -> list[int] | None:
    """The one number by which all paths differ; None if there is no such."""
    parts = [_DIGITS.split(path) for path in paths]  # text, digits, text, ...
    if len({tuple(part[::2]) for part in parts}) != 1:
        return None
    table = np.array([[int(digits) for digits in part[1::2]] for part in parts], dtype=object)
    differ = [column for column in table.T if len(set(column)) > 1]
    return list(differ[0]) if len(differ) == 1 and len(set(differ[0])) == len(paths) else None
