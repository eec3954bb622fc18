"""Build from Bosphorus: `python -m dataset_scripts.build_bosphorus --source DIR --out DIR`.

In: `bs000/bs000_E_HAPPY_0.bnt` and so on. Kinds: N (neutral), E (expressions), LFAU, UFAU and CAU (single and combined action
units, from which captions are made), O (occlusions), YR, PR and CR (rotations). IGN is left out. People in
`unallowed_subjects.txt` are never rendered.

Where `facscodes.lst` lies in the folder or beside it (`facscodes.zip` of the set, unpacked), units are those that its coders saw,
with their strengths, instead of those that the file's name says were asked for. Its lines are "bs000_E_HAPPY_0 -> 6C+L12D",
with "0" for no unit: so read by two public readers of the set, OpenFace's among them.
"""

import argparse
import functools
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from dataset_scripts.recorded.facs import parse_units
from dataset_scripts.recorded.scan_sets import Found, ScanSet
from dataset_scripts.recorded.scan_sets import main as build_set
from dataset_scripts.recorded.scans import Scan
from dataset_scripts.recorded.source_tree import files

KINDS = ("N", "E", "LFAU", "UFAU", "CAU", "O", "YR", "PR", "CR")
EXPRESSION_CODES = {
    "ANGER": "anger",
    "DISGUST": "disgust",
    "FEAR": "fear",
    "HAPPY": "happiness",
    "SADNESS": "sadness",
    "SURPRISE": "surprise",
}
NAME = re.compile(r"(bs\d{3})_([A-Z]+)_(.+)_(\d+)", re.IGNORECASE)
CODES_FILE = "facscodes.lst"


def find(source: Path, flags: argparse.Namespace) -> Found:
    """All scans of the wanted kinds below the folder."""
    found = Found()
    codes = _codes(source, found)
    for path in files(source, ".bnt"):
        match = NAME.fullmatch(path.stem)
        if match is None:
            if "_IGN" not in path.stem.upper():
                found.rejected.append((path, "its name is none of Bosphorus', such as bs000_E_HAPPY_0.bnt"))
            continue
        subject, kind, what, number = match.group(1).lower(), match.group(2).upper(), match.group(3), match.group(4)
        if kind not in flags.kinds:
            if kind not in (*KINDS, "IGN"):
                found.rejected.append((path, f"kind {kind} is none of {', '.join(KINDS)}"))
            continue
        with found.rejecting(path):
            found.scans.append(_scan(path, subject, kind, what, number, codes))
    return found


def _codes(source: Path, found: Found) -> dict[str, dict[str, float]]:
    """Name of a scan, in capitals -> the units that the set's coders saw; empty without their file."""
    paths = [path for path in files(source, ".lst") if path.name.lower() == CODES_FILE]
    above = source.resolve().parent
    paths += [path for path in (above / CODES_FILE, above / "facscodes" / CODES_FILE) if path.is_file()]
    if not paths:
        return {}
    codes, unread = {}, 0
    for line in paths[0].read_text(encoding="utf-8", errors="replace").splitlines():
        name, arrow, units = line.partition("->")
        if arrow and NAME.fullmatch(Path(name.strip()).stem):
            try:
                codes[Path(name.strip()).stem.upper()] = parse_units(units)
            except ValueError:
                unread += 1
    more = f"; {unread} more could not be read" if unread else ""
    found.notes.append(f"{paths[0]}: action units of {len(codes)} scans as coded{more}")
    return codes


def _scan(path: Path, subject: str, kind: str, what: str, number: str, codes: Mapping[str, dict[str, float]]) -> Scan:
    expression, units = None, None
    if kind == "E":
        expression = EXPRESSION_CODES.get(what.upper())
        if expression is None:
            raise ValueError(f"expression {what} is none of {', '.join(EXPRESSION_CODES)}")
    elif kind.endswith("AU"):
        units = parse_units(what)
    elif kind == "N":
        expression, units = "neutral", {}
    rotated = kind in ("YR", "PR", "CR")
    return Scan(
        subject=subject,
        name=f"{kind}-{what}-{number}",
        frames=(path,),
        expression=expression,
        action_units=codes.get(path.stem.upper(), units),
        columns={
            "task": expression or f"{kind} {what}",
            "pose": f"{kind} {what}" if rotated else "frontal",
            "occlusion": what.lower() if kind == "O" else "none",
        },
    )


def add_flags(flags: argparse.ArgumentParser) -> None:
    flags.add_argument(
        "--kinds",
        nargs="+",
        choices=KINDS,
        default=["N", "E", "LFAU", "UFAU", "CAU"],
        help="which scans; O are occluded, YR, PR and CR are turned",
    )


BOSPHORUS = ScanSet(
    name="bosphorus",
    title="the Bosphorus 3D Face Database",
    url="http://bosphorus.ee.boun.edu.tr",
    citation="Savran et al., Bosphorus Database for 3D Face Analysis, BIOID 2008.",
    layout="folders such as bs000 with files such as bs000_E_HAPPY_0.bnt",
    find=find,
    add_flags=add_flags,
)

main = functools.partial(build_set, BOSPHORUS)  # of a command line, to an exit status

if __name__ == "__main__":
    sys.exit(main())
