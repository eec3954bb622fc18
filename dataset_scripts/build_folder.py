"""Build from your own folder of meshes or photos: `python -m dataset_scripts.build_folder --source DIR --out DIR`.

In, one of
- a table `metadata.csv` or `metadata.jsonl` with the column `file_name` and any of: subject, label, caption, action_units
  ("12+6"), split, moment, camera, frame, time_s, yaw_deg, pitch_deg;
- `<split>/<label>/<file>` or `<label>/<file>`, as `imagefolder` has it, or `<file>` alone, without labels; every file is then a
  person of its own, unless `--subject_pattern` finds the person's name in the file's; pictures beside meshes are taken for
  their textures;
- range images of FRGC or UND at any depth, such as `nd1/Fall2003range/04201d302.abs.gz`: they have no labels, and the digits
  before the "d" are the person (as public readers of these sets have it);
- photos of one moment, `<subject>/<moment>/cam0.jpg`, `cam1.jpg` and so on; the moment's name may be a label ("happy_1");
- a data set that `datasets` reads, on the Hub (`--source owner/name`) or in a folder, with a column of meshes or pictures, and
  any of the table's columns; a list of meshes is a sequence.

Nothing that folders and files are called is written, but for expressions that are known, and for the labels that `--task_labels`
lists: who sorts files by people would else publish their names. Labels in a table are written as they are.

Photos of one moment are the views of one row, so no mesh is needed. Where the cameras stand is told by yaw_deg and pitch_deg in
the table, or by `--cameras cam0=-30 cam1=0 cam2=30`.
"""

import argparse
import functools
import math
import re
import sys
from collections import defaultdict
from pathlib import Path

from dataset_scripts.recorded.facs import parse_units
from dataset_scripts.recorded.hub_sets import SPLIT_NAMES, opened
from dataset_scripts.recorded.scan_sets import Found, ScanSet
from dataset_scripts.recorded.scan_sets import main as build_set
from dataset_scripts.recorded.scans import Scan
from dataset_scripts.recorded.source_tree import files, folders, is_photo
from dataset_scripts.recorded.tables import need_columns, read_table
from mvfer.data.schema import SPLITS
from processing.images_mvfer import PHOTO_SUFFIXES
from processing.meshes_mvfer import MESH_SUFFIXES
from processing.prompts_mvfer import find_expression

TABLES = ("metadata.csv", "metadata.jsonl")
COLUMNS = ("subject", "label", "caption", "action_units", "split", "moment", "camera", "frame", "time_s", "yaw_deg")
COLUMNS += ("pitch_deg",)
RANGE_IMAGE = re.compile(r"(\d{5})(?P<number>d\d+)\.abs(\.gz)?", re.IGNORECASE)
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def find(source: Path, flags: argparse.Namespace) -> Found:
    """What the table lists, or what the folders hold."""
    cameras = _cameras(flags.cameras)
    try:
        pattern = re.compile(flags.subject_pattern) if flags.subject_pattern else None
    except re.error as error:
        raise ValueError(f"--subject_pattern {flags.subject_pattern!r} is no regular expression: {error}") from error
    tables = [source / name for name in TABLES if (source / name).is_file()]
    if len(tables) > 1:
        raise ValueError(f"{source}: both {' and '.join(TABLES)}; keep one")
    found = Found()
    if tables:
        rows = _from_table(source, tables[0], found)
    else:
        rows = _from_folders(source, pattern, found, task_labels={label.casefold() for label in flags.task_labels})
    groups: dict[tuple, list[dict]] = defaultdict(list)
    for row in rows:
        groups[row["subject"], row["moment"]].append(row)
    for (subject, moment), members in groups.items():
        try:
            found.scans.append(_scan(subject, moment, members, cameras))
        except ValueError as error:
            found.rejected += [(row["path"], str(error)) for row in members]
    return found


def _from_table(source: Path, table: Path, found: Found) -> list[dict]:
    rows = read_table(table)
    need_columns(table, rows, ("file_name",))
    kept = []
    for number, row in enumerate(rows):
        path = source / row["file_name"]
        if not _is_inside(path, source) or not _is_ours(path):
            found.rejected.append((path, f"row {number + 1} of {table.name}: no mesh or photo inside the folder"))
            continue
        own = Path(row["file_name"]).with_suffix("").as_posix().replace("/", "-")
        named = {"subject": row.get("subject") or own, "moment": row.get("moment") or own, "path": path}
        kept.append(row | named)
    return kept


def _from_folders(source: Path, pattern: re.Pattern | None, found: Found, *, task_labels: set[str]) -> list[dict]:
    """One dict per file: subject, moment and path, and label, split and camera where the folders tell them."""
    listed = _listed(source, found)
    with_meshes = {path.parent for path in listed if not is_photo(path)}
    has_ranges = any(RANGE_IMAGE.fullmatch(path.name) for path in listed)
    taken, textures, stills = [], 0, 0
    for path in listed:
        if not is_photo(path):
            taken.append(path)
        elif path.parent in with_meshes:
            textures += 1
        elif has_ranges:  # FRGC has folders of stills beside those of range images
            stills += 1
        else:
            taken.append(path)
    for count, what in ((textures, "pictures beside meshes, taken for their textures"), (stills, "stills, left aside")):
        found.notes += [f"{what}: {count}"] if count else []
    is_flat = all(path.parent == source for path in taken)
    rows = []
    for path in taken:
        with found.rejecting(path):
            rows.append(_row(path, path.relative_to(source).parts, pattern, is_flat=is_flat))
    _check_labels(source, rows, task_labels)
    return rows


def _check_labels(source: Path, rows: list[dict], task_labels: set[str]) -> None:
    """Refuse folders of files whose names may be people instead of labels; such names of moments are dropped."""
    unknown = set()
    for row in rows:
        label = row.get("label")
        if label and find_expression(label) is None and label.casefold() not in task_labels:
            row["label"] = ""
            unknown |= {label} if "camera" not in row else set()
    if unknown:
        some = sorted(unknown)
        names = ", ".join(some[:5]) + (", ..." if len(some) > 5 else "")
        listed = " ".join(name if re.fullmatch(r"[\w.-]+", name) else repr(name) for name in some[:5])
        raise ValueError(
            f"{source}: {len(some)} folders of files have names that are none of the expressions: {names}. If these are people, "
            f"write {TABLES[0]} with file_name, subject and label, or sort the files by what they show and say "
            f"--subject_pattern; if they are what the faces do, say --task_labels {listed}"
        )


def _row(path: Path, parts: tuple[str, ...], pattern: re.Pattern | None, *, is_flat: bool) -> dict:
    camera = re.fullmatch(r"(cam\w*?\d+)", path.stem, re.IGNORECASE)
    if camera and len(parts) >= 3:
        moment, split = parts[-2], _split(parts[-4]) if len(parts) > 3 else None
        label = re.sub(r"[\W_\d]+$", "", moment)
        return dict(subject=parts[-3], moment=moment, camera=camera[1].lower(), label=label, split=split, path=path)
    split = _split(parts[0]) if len(parts) == 3 else None
    if range_image := RANGE_IMAGE.fullmatch(path.name):
        row = dict(subject=range_image[1], moment=path.name[: range_image.end("number")], path=path)
    elif is_flat:
        row = dict(subject=path.name, moment="scan", path=path)
    elif len(parts) == 2 or split:
        row = dict(subject="-".join(parts), moment=parts[-2], label=parts[-2], split=split, path=path)
    else:
        raise ValueError("expected <split>/<label>/<file>, <label>/<file>, only files, or a metadata.csv")
    if pattern:
        match = pattern.search(path.stem)
        if match is None:
            raise ValueError("its name holds no person's, as --subject_pattern looks for it")
        row |= dict(subject=match[match.lastindex or 0], moment=f"{row.get('label', 'scan')}-{path.stem}")
    return row


def _listed(source: Path, found: Found) -> list[Path]:
    """All meshes and photos in order, whatever they turn out to be."""
    for path in folders(source):
        if path.is_symlink():
            found.rejected.append((path, "a link to a folder; what it leads to was not looked at, copy it here"))
    listed = [path for path in files(source) if _is_ours(path)]
    reason = "a name that is no UTF-8, or holds control characters; rename the file"
    unwritable = {path for path in listed if _UNWRITABLE.search(str(path.relative_to(source)))}
    found.rejected += [(path, reason) for path in sorted(unwritable)]
    return [path for path in listed if path not in unwritable]


def _scan(subject: str, moment: str, rows: list[dict], cameras: dict[str, tuple[float, float]]) -> Scan:
    """The row of one moment (or of one sequence of moments, if there are frames)."""
    first = rows[0]
    label, split = first.get("label", ""), first.get("split") or None
    expression = find_expression(label) if label else None
    for column in ("caption",) if expression else ("caption", "label"):
        if _names(subject, first.get(column) or ""):
            raise ValueError(f"its {column} holds the person's name, and would be written; leave it out")
    if split and _split(split) is None:
        raise ValueError(f"split {split!r} is none of {', '.join(SPLITS)}")
    by_frame: dict[float, list[dict]] = defaultdict(list)
    for row in rows:
        by_frame[_number(row, "frame", 0.0)].append(row)
    frames, times, angles = [], [], ()
    for number, members in sorted(by_frame.items()):
        members.sort(key=lambda row: row.get("camera") or "")
        paths = tuple(row["path"] for row in members)
        photos = [is_photo(path) for path in paths]
        if any(photos) and not all(photos) or (not any(photos) and len(paths) > 1):
            raise ValueError(f"{len(paths)} files for one moment, expected one mesh, or photos of several cameras")
        if all(photos):
            these = tuple(_angle(row, cameras, len(members)) for row in members)
            if angles and these != angles:
                raise ValueError("the frames of one sequence have different cameras")
            angles = these
        frames.append(paths if all(photos) else paths[0])
        times.append(_number(members[0], "time_s", number / 25))
    return Scan(
        subject=subject,
        name=expression or "scan",
        moment=moment,
        frames=tuple(frames),
        times_s=tuple(times),
        view_angles_deg=angles,
        expression=expression,
        action_units=parse_units(first["action_units"]) if first.get("action_units") else None,
        captions=(first["caption"],) if first.get("caption") else (),
        columns={"task": label} if label else {},
        split=_split(split) if split else None,
    )


def _angle(row: dict, cameras: dict[str, tuple[float, float]], count: int) -> tuple[float, float]:
    if row.get("yaw_deg"):
        return _number(row, "yaw_deg", 0.0), _number(row, "pitch_deg", 0.0)
    name = (row.get("camera") or "").lower()
    if name in cameras:
        return cameras[name]
    if count == 1 and not cameras:
        return 0.0, 0.0
    raise ValueError(
        f"where camera {name or '(unnamed)'} stands is unknown; say --cameras {name or 'cam0'}=YAW or add yaw_deg"
    )


def _cameras(given: list[str]) -> dict[str, tuple[float, float]]:
    cameras = {}
    for text in given:
        match = re.fullmatch(r"([^=]+)=(-?[\d.]+)(?:,(-?[\d.]+))?", text)
        if match is None:
            raise ValueError(f"--cameras: expected NAME=YAW or NAME=YAW,PITCH in degrees, got {text!r}")
        cameras[match[1].lower()] = float(match[2]), float(match[3] or 0)
    return cameras


def _split(name: str) -> str | None:
    name = SPLIT_NAMES.get(name.lower(), name.lower())
    return name if name in SPLITS else None


def _is_ours(path: Path) -> bool:
    return path.name.lower().endswith((*MESH_SUFFIXES, *PHOTO_SUFFIXES))


def _names(person: str, text: str) -> bool:
    """Whether a text holds a person's name, in whatever case; a number alone is nobody's name."""
    is_name = len(person) > 2 and re.search(r"[^\W\d_]", person)
    return bool(is_name and re.search(rf"(?<!\w){re.escape(person)}(?!\w)", text, re.IGNORECASE))


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether a path of a table, links followed, stays in the folder."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # absurd names, loops of links
        return False


def _number(row: dict, column: str, otherwise: float) -> float:
    text = row.get(column)
    try:
        value = float(text) if text else otherwise
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{column} is {text!r}, expected a number")
    return value


def add_flags(flags: argparse.ArgumentParser) -> None:
    flags.add_argument("--cameras", nargs="+", default=[], metavar="NAME=YAW", help="where cameras stand, in degrees")
    flags.add_argument(
        "--subject_pattern",
        help="regular expression that finds the person in a file's name, its last group if it has groups, such as "
        "'^([a-z]+)_'; without it, every file is a person of its own",
    )
    flags.add_argument(
        "--task_labels",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="names of folders that are no expressions but what faces do, such as wink; they are written, as `task`",
    )


FOLDER = ScanSet(
    name="folder",
    title="a folder of scans or photos",
    url="made locally",
    citation="",
    sharing="Whether it may be shared is for its owner, and for the people in it, to say.",
    layout=f"{TABLES[0]} or {TABLES[1]} with file_name and any of {', '.join(COLUMNS)}; or <split>/<label>/<file>; or "
    "<label>/<file>; or files alone; or range images of FRGC or UND; or photos <subject>/<moment>/cam0.jpg and so on; or a data "
    "set that `datasets` reads, here or on the Hub (owner/name), with a column of meshes or pictures",
    find=find,
    add_flags=add_flags,
    opened=opened,
)

main = functools.partial(build_set, FOLDER)  # of a command line, to an exit status

if __name__ == "__main__":
    sys.exit(main())
