"""Build from FaceScape: `python -m dataset_scripts.build_facescape --source DIR --out DIR`.

In: `1/models_reg/1_neutral.obj` to `20_brow_lower.obj`, with MTL and texture. Eighteen of the twenty faces were asked for by
their action, which gives captions; anger and sadness were asked for by name and have none.
"""

import argparse
import functools
import re
import sys
from pathlib import Path

from dataset_scripts.recorded.scan_sets import Found, ScanSet
from dataset_scripts.recorded.scan_sets import main as build_set
from dataset_scripts.recorded.scans import Scan
from dataset_scripts.recorded.source_tree import files

ACTIONS = {  # of the units that FACS has for what was asked; the jaw's and the mouth's side ways have none
    "neutral": {},
    "smile": {"12": 1.0},
    "mouth_stretch": {"27": 1.0},
    "anger": None,
    "jaw_left": None,
    "jaw_right": None,
    "jaw_forward": None,
    "mouth_left": None,
    "mouth_right": None,
    "dimpler": {"14": 1.0},
    "chin_raiser": {"17": 1.0},
    "lip_puckerer": {"18": 1.0},
    "lip_funneler": {"22": 1.0},
    "sadness": None,
    "lip_roll": {"28": 1.0},
    "grin": {"12": 1.0, "25": 1.0},
    "cheek_blowing": {"33": 1.0},
    "eye_closed": {"45": 1.0},
    "brow_raiser": {"1": 1.0, "2": 1.0},
    "brow_lower": {"4": 1.0},
}
EXPRESSIONS = ("neutral", "anger", "sadness")
NAME = re.compile(r"\d+_(\w+)")


def find(source: Path, flags: argparse.Namespace) -> Found:
    """All registered models below the folder."""
    found = Found()
    for path in files(source, ".obj"):
        if path.parent.name != "models_reg":
            continue
        match = NAME.fullmatch(path.stem)
        if match is None or match[1] not in ACTIONS:
            found.rejected.append((path, "its name is none of FaceScape's twenty, such as 2_smile.obj"))
            continue
        task = match[1]
        found.scans.append(
            Scan(
                subject=path.parent.parent.name,
                name=task,
                frames=(path,),
                expression=task if task in EXPRESSIONS else None,
                action_units=ACTIONS[task],
                columns={"task": task, "pose": "frontal"},
            )
        )
    return found


FACESCAPE = ScanSet(
    name="facescape",
    title="FaceScape",
    url="https://facescape.nju.edu.cn",
    citation="Yang et al., FaceScape: a Large-scale High Quality 3D Face Dataset, CVPR 2020.",
    layout="folders such as 1/models_reg with files such as 1_neutral.obj",
    find=find,
)

main = functools.partial(build_set, FACESCAPE)  # of a command line, to an exit status

if __name__ == "__main__":
    sys.exit(main())
