"""Build from CoMA or VOCASET: `python -m dataset_scripts.build_coma --source DIR --out DIR`.

In: `FaceTalk_170725_00137_TA/bareteeth/bareteeth.000001.ply` (CoMA, extreme expressions) or
`.../sentence01/sentence01.000001.ply` (VOCASET, speech). One row per sequence. None of the expressions is one of ours; where
the name says the action, it becomes the caption.
"""

import argparse
import functools
import re
import sys
from pathlib import Path

from dataset_scripts.recorded.frames import sequence_frames, timed
from dataset_scripts.recorded.scan_sets import Found, ScanSet
from dataset_scripts.recorded.scan_sets import main as build_set
from dataset_scripts.recorded.scans import Scan
from dataset_scripts.recorded.source_tree import folders

FPS = 60.0
ACTIONS = {
    "eyebrow": {"1": 1.0, "2": 1.0},
    "high_smile": {"12": 1.0},
    "mouth_open": {"27": 1.0},
    "lips_up": {"10": 1.0},
}
SUBJECT = re.compile(r"FaceTalk_\w+_TA", re.IGNORECASE)


def find(source: Path, flags: argparse.Namespace) -> Found:
    """All sequences: `<subject>/<expression or sentence>` at any depth below the folder."""
    found = Found()
    for folder in folders(source):
        if not SUBJECT.fullmatch(folder.parent.name):
            continue
        with found.rejecting(folder):
            scan = Scan(
                subject=folder.parent.name,
                name=folder.name,
                **timed(sequence_frames(folder, ".ply"), FPS),
                action_units=ACTIONS.get(folder.name),
                columns={"task": folder.name},
            )
            found.scans.append(scan)
    return found


COMA = ScanSet(
    name="coma",
    title="CoMA, or VOCASET, of the Max Planck Institute for Intelligent Systems",
    url="https://coma.is.tue.mpg.de",
    citation="Ranjan et al., Generating 3D Faces using Convolutional Mesh Autoencoders, ECCV 2018; Cudeiro et al., CVPR 2019.",
    layout="folders such as FaceTalk_170725_00137_TA/bareteeth with files bareteeth.000001.ply and so on",
    find=find,
)

main = functools.partial(build_set, COMA)  # of a command line, to an exit status

if __name__ == "__main__":
    sys.exit(main())
