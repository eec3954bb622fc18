"""Build from 4DME: `python -m dataset_scripts.build_fourdme --source DIR --annotations FILE --out DIR`.

In: numbered OBJ or PLY frames in `<subject>/<fold_name>/`, and the table of annotations (Excel or CSV) with the columns sub_ID,
fold_name, Emotion, Onset, Apex, Offset and AUs ("1+AU2(k)"). One row per micro-expression, from onset to offset. Emotions may be
several (Positive, Negative, Surprise, Repression, Others); they go to `task`, joined by "+", as only one of them is ours.

The table is `4DME_Labelling_Micro_release v1.xlsx`; there are others, of macro-expressions and of an earlier labelling, which has
video_number for fold_name. A unit marked "(k)" is there all the time: it goes to `static_units`, and to no caption. (Both by
public readers of the set, in `meb` of T. Varanka, Oulu. They also found the units of rows 144 and 145, from 0, exchanged in
the table: correct it there before building.)
"""

import argparse
import functools
import re
import sys
from pathlib import Path

from dataset_scripts.recorded.facs import split_units
from dataset_scripts.recorded.frames import numbered_frames, timed
from dataset_scripts.recorded.scan_sets import Found, ScanSet
from dataset_scripts.recorded.scan_sets import main as build_set
from dataset_scripts.recorded.scans import Scan
from dataset_scripts.recorded.source_tree import is_litter
from dataset_scripts.recorded.tables import need_columns, read_table

COLUMNS = ("sub_ID", "fold_name", "Emotion", "Onset", "Apex", "Offset", "AUs")
MEANT = "the table of micro-expressions is '4DME_Labelling_Micro_release v1.xlsx'"


def find(source: Path, flags: argparse.Namespace) -> Found:
    """All annotated sequences."""
    found, counted = Found(), 0
    table, rows = _annotations(source, flags.annotations)
    found.notes.append(f"annotations: {table}")
    for row in rows:
        folder = source / row["sub_ID"] / row["fold_name"]
        with found.rejecting(folder):
            scan, is_counted = _scan(folder, row, flags.fps)
            found.scans.append(scan)
            counted += is_counted
    if counted:
        found.notes.append(f"{counted} clips count their frames anew; their first frame was taken for the onset")
    return found


def _annotations(source: Path, given: Path | None) -> tuple[Path, list[dict[str, str]]]:
    """The table and its rows: the one that was named, else the only one that is about micro-expressions."""
    if given:
        rows = read_table(given)
        need_columns(given, rows, COLUMNS, hint=MEANT)
        if _is_macro(given):
            raise ValueError(f"{given}: by its name, this is of macro-expressions; {MEANT}")
        return given, rows
    found, others = {}, []
    for path in sorted(path for path in source.iterdir() if path.suffix.lower() in (".xlsx", ".csv")):
        if is_litter(path.name) or _is_macro(path):
            continue
        try:
            rows = read_table(path)
            need_columns(path, rows, COLUMNS, hint=MEANT)
            found[path] = rows
        except ValueError as error:
            others.append(str(error))
    if len(found) != 1:
        reasons = "".join(f"; {reason}" for reason in others or map(str, found))
        raise ValueError(
            f"{source}: {len(found)} tables of annotations here; name one with --annotations ({MEANT}){reasons}"
        )
    return found.popitem()


def _is_macro(table: Path) -> bool:
    return "macro" in table.name.lower() and "micro" not in table.name.lower()


def _scan(folder: Path, row: dict[str, str], fps: float) -> tuple[Scan, bool]:
    """The scan, and whether its clip counted its frames anew."""
    if not re.fullmatch(r"[\w .-]+", row["sub_ID"]) or ".." in (row["sub_ID"], row["fold_name"]) or not folder.is_dir():
        raise ValueError("the table names this folder, but it is not there")
    try:
        onset, apex, offset = (int(float(row[name])) for name in ("Onset", "Apex", "Offset"))
    except ValueError:
        raise ValueError(f"onset, apex and offset are {row['Onset']!r}, {row['Apex']!r}, {row['Offset']!r}") from None
    frames, is_counted = _aligned(numbered_frames(folder, ".obj") or numbered_frames(folder, ".ply"), onset, offset)
    window = [(number, path) for number, path in frames if onset <= number <= offset]
    if not onset <= apex <= offset or not window:
        raise ValueError(f"no frames from onset {onset} over apex {apex} to offset {offset} among {len(frames)}")
    emotions = [word.strip() for word in re.split(r"[+,;/]", row["Emotion"]) if word.strip()]
    units, static = split_units(row["AUs"])
    scan = Scan(
        subject=row["sub_ID"],
        name=f"micro-{row['fold_name']}-{onset}",
        **timed(window, fps),
        expression="surprise" if [e.lower() for e in emotions] == ["surprise"] else None,
        action_units=units or None,  # nothing but static units is no relaxed face
        columns={
            "task": "+".join(emotions),
            "apex_time_s": (apex - window[0][0]) / fps,
            "static_units": static,
        },
    )
    return scan, is_counted


def _aligned(frames: list[tuple[int, Path]], onset: int, offset: int) -> tuple[list[tuple[int, Path]], bool]:
    """Frames under the numbers of the table. A clip of one micro-expression may count from 0 or 1, while Onset and Offset count
    through the whole recording: then the clip is as long as the table says, give or take a frame.
    """
    if not frames or (frames[0][0] <= onset and offset <= frames[-1][0]):
        return frames, False
    first, last = frames[0][0], frames[-1][0]
    longer = (last - first) - (offset - onset)
    is_apart = last < onset
    if first > 1 or (longer != 0 and not is_apart):
        return frames, False
    if longer > 1:
        raise ValueError(
            f"its frames count from {first} to {last}, the table from {onset} to {offset}: which frame is the onset is unknown"
        )
    return [(number - first + onset, path) for number, path in frames], True


def add_flags(flags: argparse.ArgumentParser) -> None:
    flags.add_argument("--annotations", type=Path, help=f"the table; default: the one in the source folder; {MEANT}")
    flags.add_argument("--fps", type=float, default=60.0, help="frames per second of the meshes")


FOURDME = ScanSet(
    name="fourdme",
    title="4DME (4D micro-expressions, University of Oulu)",
    url="https://www.oulu.fi/en/university/faculties-and-units/faculty-information-technology-and-electrical-engineering",
    citation="Li et al., 4DME: A Spontaneous 4D Micro-Expression Dataset with Multimodalities, IEEE TAC 2022.",
    layout="folders <sub_ID>/<fold_name> with numbered meshes, and a table with the columns " + ", ".join(COLUMNS),
    find=find,
    add_flags=add_flags,
)

main = functools.partial(build_set, FOURDME)  # of a command line, to an exit status

if __name__ == "__main__":
    sys.exit(main())
