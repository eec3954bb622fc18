"""Build from BU-4DFE: `python -m dataset_scripts.build_bu4dfe --source DIR --out DIR`.

In: `F001/Angry/000.wrl` with its texture `000.jpg`, about 100 frames at 25 per second. One row per sequence, which
goes from neutral over the apex to neutral. The set has no action units, so captions exist only with `--label_prompts`.
"""

import argparse
import functools
import re
import sys
from pathlib import Path

from dataset_scripts.recorded.frames import sequence_frames, timed
from dataset_scripts.recorded.scan_sets import SEXES, Found, ScanSet
from dataset_scripts.recorded.scan_sets import main as build_set
from dataset_scripts.recorded.scans import Scan
from dataset_scripts.recorded.source_tree import folders

FPS = 25.0
FOLDERS = {
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "sad": "sadness",
    "surprise": "surprise",
}
SUBJECT = re.compile(r"([FM])(\d{3})", re.IGNORECASE)


def find(source: Path, flags: argparse.Namespace) -> Found:
    """All sequences: `<subject>/<expression>` at any depth below the folder."""
    found = Found()
    for folder in folders(source):
        person, expression = SUBJECT.fullmatch(folder.parent.name), FOLDERS.get(folder.name.lower())
        if person is None:
            continue
        with found.rejecting(folder):
            if expression is None:
                raise ValueError(f"{folder.name} is none of {', '.join(FOLDERS)}")
            scan = Scan(
                subject=person[0].upper(),
                name=expression,
                **timed(sequence_frames(folder, ".wrl"), FPS),
                expression=expression,
                columns={"sex": SEXES[person[1].upper()], "task": expression},
            )
            found.scans.append(scan)
    return found


BU4DFE = ScanSet(
    name="bu4dfe",
    title="BU-4DFE (Binghamton University 3D dynamic Facial Expression database)",
    url="https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html",
    citation="Yin et al., A High-Resolution 3D Dynamic Facial Expression Database, FG 2008.",
    layout="folders such as F001/Angry with files 000.wrl, 001.wrl and so on",
    find=find,
)

main = functools.partial(build_set, BU4DFE)  # of a command line, to an exit status

if __name__ == "__main__":
    sys.exit(main())
