"""Build from BP4D-Spontaneous or BP4D+: `python -m dataset_scripts.build_bp4d --source DIR --out DIR`.

In: `Sequences(2D+3D)/F001/T1/0001.obj` (numbers of three or four digits, MTL and texture beside) and
`AUCoding/AU_OCC/F001_T1.csv`: the first row holds unit numbers, the first column frame numbers, values are 0, 1, or 9 for
unknown. Tasks are minutes long, so each is cut into windows, one row each. A unit is active in a window if it is in half of
the coded frames or more; whether it is strong, the coding does not say (intensity 1).
"""

import argparse
import csv
import re
import sys
from pathlib import Path

from dataset_scripts.recorded.facs import SAME
from dataset_scripts.recorded.frames import sequence_frames, timed
from dataset_scripts.recorded.scan_sets import SEXES, Found, ScanSet, main
from dataset_scripts.recorded.scans import Scan

FPS = 25.0
# What was to be elicited; BP4D+ has T9 and T10 as well.
TASKS = {1: "happiness", 2: "sadness", 3: "surprise", 5: "fear", 7: "anger", 8: "disgust"}
NAMES = {4: "embarrassment", 6: "pain"}
SUBJECT, TASK = re.compile(r"([FM])(\d{3})", re.IGNORECASE), re.compile(r"T(\d{1,2})", re.IGNORECASE)


def read_occurrence(path: Path, *, first_is_one: bool) -> dict[int, dict[str, bool]]:
    """Frame number of the mesh -> unit -> active, of the units that are known in that frame.

    Args:
        first_is_one: in BP4D+, unit frame f belongs to image f - 1.
    Raises:
        ValueError: if it is no such table.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            head, *rows = [row for row in csv.reader(stream) if row]
        units = [str(int(float(cell))) for cell in head[1:] if cell.strip()]
        known = {}
        for row in rows:
            number = int(float(row[0])) - first_is_one
            cells = zip(units, row[1:], strict=False)
            known[number] = {SAME.get(u, u): int(float(v)) == 1 for u, v in cells if int(float(v)) in (0, 1)}
        return known
    except (OSError, ValueError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not readable as a table of action units ({error})") from error


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
    found = Found()
    tables = {path.stem.upper(): path for path in source.rglob("*.csv")}
    for folder in sorted(path for path in source.rglob("*") if path.is_dir()):
        person, task = SUBJECT.fullmatch(folder.parent.name), TASK.fullmatch(folder.name)
        if person is None or task is None:
            continue
        with found.rejecting(folder):
            frames = sequence_frames(folder, ".obj")
            table = tables.get(f"{person[0]}_{task[0]}".upper())
            occurrence = read_occurrence(table, first_is_one=flags.plus) if table else {}
            number = int(task[1])
            what = {"sex": SEXES[person[1].upper()], "task": TASKS.get(number) or NAMES.get(number, f"T{number}")}
            for start in range(0, len(frames), flags.window_frames):
                window = frames[start : start + flags.window_frames]
                if len(window) < flags.window_frames and start:  # a rest; a short task is kept whole
                    continue
                numbers = [frame for frame, _ in window]
                scan = Scan(
                    subject=person[0].upper(),
                    name=f"T{number}-{numbers[0]:04d}",
                    **timed(window, FPS),
                    expression=TASKS.get(number),
                    action_units=units_of_window(numbers, occurrence),
                    columns=what,
                )
                found.scans.append(scan)
    return found


def add_flags(flags: argparse.ArgumentParser) -> None:
    flags.add_argument("--window_frames", type=int, default=50, help="frames of a window; 50 are two seconds")
    flags.add_argument("--plus", action="store_true", help="this is BP4D+, whose unit frames count from 1")


BP4D = ScanSet(
    name="bp4d",
    title="BP4D-Spontaneous",
    url="https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html",
    citation="Zhang et al., BP4D-Spontaneous, Image and Vision Computing 32(10), 2014.",
    layout="folders such as Sequences(2D+3D)/F001/T1 with files 0001.obj, and AUCoding/AU_OCC/F001_T1.csv",
    find=find,
    add_flags=add_flags,
)

if __name__ == "__main__":
    sys.exit(main(BP4D))
