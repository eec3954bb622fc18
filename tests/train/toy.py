"""A data set in the schema of `mvfer.data.schema`, small and learnable: every action lights its own patch of the views."""

from pathlib import Path

import numpy as np

from mvfer.data.schema import INFO_FILE, as_list, encode_views, shard_path, write_json, write_shard
from processing.prompts_mvfer import EXPRESSIONS, describe_actions

ACTIONS = {"happiness": ("6", "12"), "sadness": ("1", "15"), "surprise": ("2", "27")}
PATCHES = {
    unit: (row, column) for unit, (row, column) in zip(("1", "2", "6", "12", "15", "27"), np.ndindex(2, 3), strict=True)
}
ANGLES = [[-30.0, 0.0], [0.0, 0.0], [30.0, 0.0]]


def own_shades(person: int, size_px: int) -> np.ndarray:
    """What a person looks like: `(H, W, 1)` uint8, a few fields brighter than others, so that no two people are the same."""
    shades = np.random.default_rng([7, person]).integers(0, 48, (4, 4, 1), dtype=np.uint8)
    rows = np.arange(size_px) * 4 // size_px
    return shades[rows][:, rows]


def write_toy_data(
    folder: Path,
    *,
    subjects=(8, 3, 3),
    size_px: int = 32,
    background=(20, 60),
    frames: int = 1,
    apex_frame: int | None = None,
    aim_y: float = 0.0,
    **info,
) -> Path:
    """Write 3 rows per subject: 24 training, 9 validation, 9 test rows by default; of several frames, the first is dark."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    person = 0
    for split, count in zip(("train", "validation", "test"), subjects, strict=True):
        rows = []
        for _ in range(count):
            for expression, units in ACTIONS.items():
                name = f"toy-{person:03d}-{expression}"
                views = rng.integers(*background, size=(frames, 3, size_px, size_px, 3), dtype=np.uint8)
                views += own_shades(person, size_px)
                for unit in units:
                    row, column = (place * size_px // 3 for place in PATCHES[unit])
                    views[-(frames - 1) :, :, row : row + size_px // 4, column : column + size_px // 4] = 220
                rows.append(
                    {
                        "id": name,
                        "subject": f"toy-{person:03d}",
                        "expression": EXPRESSIONS.index(expression),
                        "captions": [describe_actions(units)],
                        "caption_source": "captions",
                        "action_units": as_list(dict.fromkeys(units, 1.0)),
                        "views": encode_views(views, name),
                        "view_angles_deg": ANGLES,
                        "frame_times_s": [t / 25 for t in range(frames)],
                        "apex_time_s": None if apex_frame is None else apex_frame / 25,
                        "split": split,
                    }
                )
            person += 1
        write_shard(shard_path(folder, split, 0, 1), rows)
    settings = {
        "view_angles_deg": ANGLES,
        "size_px": size_px,
        "supersampling": 1,
        "channels": ["clay", "curvature", "depth"],
        "aim_y": aim_y,
    }
    info = {"name": "toy", "source": "made up", "license": "cc0-1.0", "render_settings": settings} | info
    write_json(folder / INFO_FILE, info)
    return folder
