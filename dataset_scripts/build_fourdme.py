"""Build from 4DME: `python -m dataset_scripts.build_fourdme --source DIR --annotations FILE --out DIR`.

In: numbered OBJ or PLY frames in `<subject>/<fold_name>/`, and the table of annotations (Excel or CSV) with the columns sub_ID,
fold_name, Emotion, Onset, Apex, Offset and AUs ("1+2(k)"). One row per micro-expression, from onset to offset. Emotions may be
several (Positive, Negative, Surprise, Repression, Others); they go to `task`, joined by "+", as only one of them is ours.
"""

import argparse
import re
import sys
from pathlib import Path

from dataset_scripts.recorded.facs import parse_units
from dataset_scripts.recorded.frames import numbered_frames, timed
from dataset_scripts.recorded.scan_sets import Found, ScanSet, main
from dataset_scripts.recorded.scans import Scan
from dataset_scripts.recorded.tables import need_columns, read_table

COLUMNS = ("sub_ID", "fold_name", "Emotion", "Onset", "Apex", "Offset", "AUs")


def find(source: Path, flags: argparse.Namespace) -> Found:
    """All annotated sequences."""
    found, table = Found(), _table(source, flags.annotations)
    rows = read_table(table)
    need_columns(table, rows, COLUMNS)
    for row in rows:
        folder = source / row["sub_ID"] / row["fold_name"]
        with found.rejecting(folder):
            found.scans.append(_scan(folder, row, flags.fps))
    return found


def _table(source: Path, annotations: str | None) -> Path:
    if annotations:
        return Path(annotations)
    tables = sorted(path for path in source.iterdir() if path.suffix.lower() in (".xlsx", ".csv"))
    if len(tables) != 1:
        raise ValueError(f"{source}: {len(tables)} tables of annotations here; name one with --annotations")
    return tables[0]


def _scan(folder: Path, row: dict[str, str], fps: float) -> Scan:
    if not re.fullmatch(r"[\w .-]+", row["sub_ID"]) or ".." in (row["sub_ID"], row["fold_name"]) or not folder.is_dir():
        raise ValueError("the table names this folder, but it is not there")
    frames = numbered_frames(folder, ".obj") or numbered_frames(folder, ".ply")
    try:
        onset, apex, offset = (int(float(row[name])) for name in ("Onset", "Apex", "Offset"))
    except ValueError:
        raise ValueError(f"onset, apex and offset are {row['Onset']!r}, {row['Apex']!r}, {row['Offset']!r}") from None
    window = [(number, path) for number, path in frames if onset <= number <= offset]
    if not onset <= apex <= offset or not window:
        raise ValueError(f"no frames from onset {onset} over apex {apex} to offset {offset} among {len(frames)}")
    emotions = [word.strip() for word in re.split(r"[+,;/]", row["Emotion"]) if word.strip()]
    return Scan(
        subject=row["sub_ID"],
        name=f"micro-{row['fold_name']}-{onset}",
        **timed(window, fps),
        expression="surprise" if [e.lower() for e in emotions] == ["surprise"] else None,
        action_units=parse_units(row["AUs"]) if row["AUs"] else None,
        columns={"task": "+".join(emotions), "apex_time_s": (apex - window[0][0]) / fps},
    )


def add_flags(flags: argparse.ArgumentParser) -> None:
    flags.add_argument("--annotations", type=Path, help="the table; default: the only one in the source folder")
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

if __name__ == "__main__":
    sys.exit(main(FOURDME))
