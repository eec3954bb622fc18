"""Build from BU-3DFE: `python -m dataset_scripts.build_bu3dfe --source DIR --out DIR`.

In: `F0001/F0001_AN01WH_F3D.wrl` and so on: sex and number, expression and level 01 to 04 (NE00 is neutral), ancestry, and
F3D (cropped face) or RAW. The texture of both is `_F3D.bmp`; `_F2D.bmp` is a photo, which their coordinates do not fit. One row
per scan; `intensity` is the level over 4. The set has no action units, so captions exist only with `--label_prompts`.
"""

import argparse
import functools
import re
import sys
from pathlib import Path

from dataset_scripts.recorded.scan_sets import SEXES, Found, ScanSet
from dataset_scripts.recorded.scan_sets import main as build_set
from dataset_scripts.recorded.scans import Scan
from dataset_scripts.recorded.source_tree import files

CODES = {"AN": "anger", "DI": "disgust", "FE": "fear", "HA": "happiness", "SA": "sadness", "SU": "surprise"}
CODES["NE"] = "neutral"
ANCESTRIES = {
    "WH": "white",
    "BL": "black",
    "AE": "east-asian",
    "AM": "middle-east-asian",
    "IN": "indian",
    "LA": "latin",
}
LEVELS = 4
NAME = re.compile(r"([FM])(\d{4})_([A-Z]{2})(\d{2})([A-Z]{2})_(F3D|RAW)", re.IGNORECASE)


def find(source: Path, flags: argparse.Namespace) -> Found:
    """All scans of the wanted kind below the folder."""
    found = Found()
    for path in files(source, ".wrl"):
        match = NAME.fullmatch(path.stem)
        if match is None:
            found.rejected.append((path, "its name is none of BU-3DFE's, such as F0001_AN01WH_F3D.wrl"))
            continue
        sex, number, code, level, ancestry, kind = match.groups()
        if kind.upper() != flags.scans:
            continue
        level = int(level)
        if code.upper() not in CODES or level > LEVELS or (level == 0) != (code.upper() == "NE"):
            found.rejected.append((path, f"expression {code}{level:02d} is none of BU-3DFE's"))
            continue
        expression = CODES[code.upper()]
        found.scans.append(
            Scan(
                subject=f"{sex.upper()}{number}",
                name=f"{expression}-{level}",
                frames=(path,),
                expression=expression,
                intensity=level / LEVELS,
                columns={
                    "sex": SEXES[sex.upper()],
                    "ancestry": ANCESTRIES.get(ancestry.upper(), "other"),
                    "task": expression,
                    "pose": "frontal",
                },
            )
        )
    return found


def add_flags(flags: argparse.ArgumentParser) -> None:
    flags.add_argument("--scans", choices=("F3D", "RAW"), default="F3D", help="cropped faces, or raw scans")


BU3DFE = ScanSet(
    name="bu3dfe",
    title="BU-3DFE (Binghamton University 3D Facial Expression database)",
    url="https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html",
    citation="Yin et al., A 3D Facial Expression Database For Facial Behavior Research, FG 2006.",
    layout="folders such as F0001 with files such as F0001_AN01WH_F3D.wrl",
    find=find,
    add_flags=add_flags,
)

main = functools.partial(build_set, BU3DFE)  # of a command line, to an exit status

if __name__ == "__main__":
    sys.exit(main())
