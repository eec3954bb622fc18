"""Build from BP4D-Spontaneous or BP4D+: `python -m dataset_scripts.build_bp4d --source DIR --out DIR`; BP4D+ with `--plus`.

In: `Sequences(2D+3D)/F001/T1/0001.obj` (numbers of three or four digits, MTL and texture beside) and
`AUCoding/AU_OCC/F001_T1.csv`: the first row holds unit numbers, the first column frame numbers, values are 0, 1, or 9 for
unknown. Tasks are minutes long, so each is cut into windows, one row each. A unit is active in a window if it is in half of
the coded frames or more; whether it is strong, the coding does not say (intensity 1).

BP4D+ is another set: 140 other people, ten other tasks, and unit frame f belongs to image f - 1 (public readers of it).
"""

import argparse
import csv
import functools
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from dataset_scripts.recorded.facs import SAME
from dataset_scripts.recorded.frames import numbered_frames, timed
from dataset_scripts.recorded.scan_sets import SEXES, Found, ScanSet
from dataset_scripts.recorded.scan_sets import main as build_set
from dataset_scripts.recorded.scans import Scan
from dataset_scripts.recorded.source_tree import files, folders, one_copy

FPS = 25.0
TASKS = {  # what was to be elicited: Zhang et al. 2014, and public readers of the set
    1: "happiness",
    2: "sadness",
    3: "surprise",
    4: "embarrassment",
    5: "fear",
    6: "pain",
    7: "anger",
    8: "disgust",
}
PLUS_TASKS = {  # by the public code of a co-author, S. Canavan, who tests these six; T4, T5, T6 and T8 we could not confirm
    1: "happiness",
    2: "surprise",
    3: "sadness",
    7: "fear",
    9: "anger",
    10: "disgust",
}
NO_EXPRESSION = ("embarrassment", "pain")  # none of ours
MOST = {"F": 23, "M": 18, "T": 8}  # women, men and tasks of BP4D; BP4D+ counts further
SUBJECT, TASK = re.compile(r"([FM])(\d{3})", re.IGNORECASE), re.compile(r"T(\d{1,2})", re.IGNORECASE)
_UNIT, _VALUE = re.compile(r"(?:AU)?\s*(\d{1,2})(?:\.0*)?", re.IGNORECASE), re.compile(r"([019])(?:\.0*)?")


def read_occurrence(path: Path, *, first_is_one: bool) -> tuple[dict[int, dict[str, bool]], int]:
    """The units that are known in each frame, and how many cells are none of 0, 1 and 9; these count as unknown.

    Args:
        first_is_one: in BP4D+, unit frame f belongs to image f - 1.
    Returns:
        frame number of the mesh -> unit -> active; odd cells.
    Raises:
        ValueError: if it is no such table.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            head, *rows = [row for row in csv.reader(stream) if any(cell.strip() for cell in row)]
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"{path}: not readable as a table of action units ({error})") from error
    units = {place: match[1].lstrip("0") for place, cell in enumerate(head) if (match := _UNIT.fullmatch(cell.strip()))}
    units = {place: SAME.get(unit, unit) for place, unit in units.items() if place and unit}
    if not units:
        raise ValueError(f"{path}: no numbers of action units in its first row")
    known: dict[int, dict[str, bool]] = {}
    odd = 0
    for row in rows:
        number = re.fullmatch(r"(\d+)(?:\.0*)?", row[0].strip())
        values = {unit: _VALUE.fullmatch(row[place].strip()) for place, unit in units.items() if place < len(row)}
        odd += sum(value is None for value in values.values()) + (number is None)
        if number:
            active = {unit: value[1] == "1" for unit, value in values.items() if value and value[1] != "9"}
            known[int(number[1]) - first_is_one] = active
    return known, odd


def units_of_window(numbers: list[int], occurrence: dict[int, dict[str, bool]]) -> dict[str, float] | None:
    """The units of a window; None if none of its frames was coded."""
    coded = [occurrence[number] for number in numbers if occurrence.get(number)]
    if not coded:
        return None
    units = {unit for frame in coded for unit in frame}
    share = {u: [frame[u] for frame in coded if u in frame] for u in sorted(units, key=int)}
    return {unit: 1.0 for unit, active in share.items() if 2 * sum(active) >= len(active)}


def find(source: Path, flags: argparse.Namespace) -> Found:
    """All windows of all tasks: `<subject>/T<number>` at any depth below the folder."""
    found, tasks = Found(), {}
    for folder in folders(source):
        if SUBJECT.fullmatch(folder.parent.name) and TASK.fullmatch(folder.name):
            with found.rejecting(folder):
                tasks[folder] = numbered_frames(folder, ".obj")
    with_meshes = {folder.parents[1] for folder, frames in tasks.items() if frames}
    aside = Counter(folder.parents[1] for folder in tasks if folder.parents[1] not in with_meshes)
    if aside:  # Physiology/F001/T1, BND/F001/T1
        counts = ", ".join(f"{os.path.relpath(root, source)} ({count})" for root, count in aside.items())
        found.notes.append(f"folders of tasks without meshes, left aside: {counts}")
    kept, copies = one_copy((_name(folder), folder, len(frames)) for folder, frames in tasks.items() if frames)
    found.notes += copies
    occurrences = _occurrences(source, kept, flags.plus, found)
    for folder, frames in tasks.items():
        if folder in kept:
            _check_set(folder, flags.plus)
            found.scans += _windows(folder, frames, occurrences.get(_name(folder), {}), flags)
        elif not frames and folder.parents[1] in with_meshes:
            found.rejected.append((folder, "no numbered .obj files in it"))
    return found


def _name(folder: Path) -> str:
    """F001_T1, as the tables of units are called."""
    return f"{folder.parent.name}_{folder.name}".upper()


def _occurrences(source: Path, tasks: Iterable[Path], plus: bool, found: Found) -> dict[str, dict]:
    """What is known of the units of each task that has a table; a table that cannot be read costs its task the captions."""
    names, known, odd = {_name(folder) for folder in tasks}, {}, Counter()
    tables = {
        path.stem.upper(): path for path in sorted(files(source, ".csv"), key=lambda path: "AU_OCC" in path.parts)
    }
    for name in sorted(names & set(tables)):
        try:
            known[name], odd[name] = read_occurrence(tables[name], first_is_one=plus)
        except ValueError as error:
            found.notes.append(f"{error}; its task has no captions")
    if odd.total():
        worst = ", ".join(name for name, _ in odd.most_common(3))
        found.notes.append(f"{odd.total()} cells of units are none of 0, 1 and 9, so unknown; most of them in {worst}")
    return known


def _check_set(folder: Path, plus: bool) -> None:
    """Raise a ValueError if BP4D has no such person or task, so that BP4D+ is not labelled by the tasks of BP4D."""
    for name in (folder.parent.name, folder.name):
        if not plus and int(name[1:]) > MOST[name[0].upper()]:
            raise ValueError(
                f"{folder}: BP4D-Spontaneous has the people F001 to F023 and M001 to M018 and the tasks T1 to T8; this is of "
                "BP4D+, where the same tasks are other emotions: pass --plus"
            )


def _windows(
    folder: Path, frames: list[tuple[int, Path]], occurrence: dict, flags: argparse.Namespace
) -> Iterator[Scan]:
    subject, number = folder.parent.name.upper(), int(folder.name[1:])
    task = (PLUS_TASKS if flags.plus else TASKS).get(number)
    for start in range(0, len(frames), flags.window_frames):
        window = frames[start : start + flags.window_frames]
        if len(window) < flags.window_frames and start:  # a rest; a short task is kept whole
            continue
        numbers = [frame for frame, _ in window]
        yield Scan(
            subject=subject,
            name=f"T{number}-{numbers[0]:04d}",
            **timed(window, FPS),
            expression=None if task in NO_EXPRESSION else task,
            action_units=units_of_window(numbers, occurrence),
            columns={"sex": SEXES[subject[0]], "task": task or f"T{number}"},
        )


def add_flags(flags: argparse.ArgumentParser) -> None:
    flags.add_argument("--window_frames", type=int, default=50, help="frames of a window; 50 are two seconds")
    flags.add_argument(
        "--plus", action="store_true", help="this is BP4D+: other tasks, and unit frames that count from 1"
    )


def _told_by(flags: argparse.Namespace) -> dict:
    return PLUS if flags.plus else {}


PLUS = {
    "name": "bp4d-plus",
    "title": "BP4D+ (Multimodal Spontaneous Emotion Corpus)",
    "citation": "Zhang et al., Multimodal Spontaneous Emotion Corpus for Human Behavior Analysis (BP4D+), CVPR 2016.",
}
BP4D = ScanSet(
    name="bp4d",
    title="BP4D-Spontaneous",
    url="https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html",
    citation="Zhang et al., BP4D-Spontaneous, Image and Vision Computing 32(10), 2014.",
    layout="folders such as Sequences(2D+3D)/F001/T1 with files 0001.obj, and AUCoding/AU_OCC/F001_T1.csv",
    find=find,
    add_flags=add_flags,
    told_by=_told_by,
)

main = functools.partial(build_set, BP4D)  # of a command line, to an exit status

if __name__ == "__main__":
    sys.exit(main())
