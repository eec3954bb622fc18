"""A data set of the Hub, or of this computer, as a folder of files that `build_folder` reads.

In: what `datasets.load_dataset` takes: a repository (`owner/name`), a folder with Parquet files or written by `save_to_disk`, or
one that only `meshfolder` or `imagefolder` understand, as its tables lie in its splits' folders. One column holds a `Mesh`, an
`Image`, or a list of meshes, the frames of a sequence. Out: a file per mesh or picture, in a folder that is gone when the build
is over, and a `metadata.jsonl` with what else is known of them.
"""

import contextlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
from datasets import ClassLabel, Dataset, DatasetDict, Image, List, Mesh, Value
from huggingface_hub.constants import HF_HUB_CACHE

from dataset_scripts.recorded.source_tree import files
from mvfer.data.schema import ACTIVE, INFO_FILE, SPLITS, as_dict, by_itself
from processing.images_mvfer import PHOTO_SUFFIXES
from processing.meshes_mvfer import MESH_SUFFIXES
from processing.names_mvfer import printable

REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # of meshfolder and imagefolder
SAVED = ("dataset_dict.json", "state.json")  # by save_to_disk
LISTS = ("captions", "action_units", "frame_times_s")  # that are read; of other lists nothing is known
SPLIT_NAMES = {"valid": "validation", "val": "validation", "dev": "validation"}
NAMED_OTHERWISE = {"expression": "label", "labels": "label", "emotion": "label", "person": "subject"}


@contextlib.contextmanager
def opened(source: str) -> Iterator[Path]:
    """The folder to read for what `--source` names: itself, or one that is deleted afterwards.

    Raises:
        ValueError: if it names nothing, or a data set without meshes and pictures.
    """
    folder = Path(source)
    if folder.is_dir() and not is_data_set(folder):
        yield folder
        return
    if not folder.is_dir() and not (REPOSITORY.fullmatch(source) and not folder.exists()):
        raise ValueError(f"{source}: no folder, and no repository on the Hub (owner/name)")
    with tempfile.TemporaryDirectory(prefix="mvfer_set_") as temporary:
        place = Path(temporary, "set")  # with nothing beside it
        place.mkdir()
        cache = Path(temporary, "cache")
        inside = [folder] if folder.is_dir() else [cache, Path(HF_HUB_CACHE)]  # where its files may lie
        unpack(_loaded(source, cache), source, place, inside)
        for path in files(folder, ".txt"):  # lists of people who must not be used
            shutil.copy(path, place)
        yield place


def is_data_set(folder: Path) -> bool:
    """Whether a folder is for `datasets` to read: its files lie in tables, or are described where nobody else looks."""
    if any((folder / name).is_file() for name in (*SAVED, INFO_FILE, "metadata.parquet")):
        return True
    if any((folder / name).is_file() for name in TABLES):
        return False
    if any((folder / split / name).is_file() for split in (*SPLITS, *SPLIT_NAMES) for name in TABLES):
        return True
    suffixes = (*MESH_SUFFIXES, *PHOTO_SUFFIXES)
    return any(folder.rglob("*.parquet")) and not files(folder, suffixes)


def _loaded(source: str, cache: Path) -> DatasetDict:
    """The data set, by a cache of its own: the user's may hold an older one of the same name, and would keep a copy."""
    folder, options = Path(source), {"cache_dir": str(cache)}
    try:
        with by_itself() if folder.is_dir() else contextlib.nullcontext():
            if any((folder / name).is_file() for name in SAVED):
                found = datasets.load_from_disk(source)
            elif folder.is_dir():  # by its tables alone: what its README.md calls its files may lie anywhere
                found = datasets.load_dataset(_reader(folder), data_dir=source, **options)
            else:
                found = datasets.load_dataset(source, **options)
    except Exception as error:  # `datasets` raises what its readers and the Hub's client raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        nowhere = "" if folder.is_dir() else "no folder of this name, and "
        raise ValueError(f"{source}: {nowhere}not readable as a data set ({reason})") from error
    return found if isinstance(found, DatasetDict) else DatasetDict({"train": found})


def _reader(folder: Path) -> str:
    """What of `datasets` understands a folder."""
    if any(path for path in folder.rglob("*.parquet") if path.name not in TABLES):
        return "parquet"
    return "meshfolder" if any(path.suffix.lower() in MESH_SUFFIXES for path in folder.rglob("*")) else "imagefolder"


def unpack(splits: Mapping[str, Dataset], source: str, folder: Path, inside: Sequence[Path]) -> None:
    """Write the files of a data set, named by split and row, and the table that describes them.

    Raises:
        ValueError: if there is no column of meshes or pictures, or a row names a file that lies in none of the folders `inside`.
    """
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as table:
        for split, rows in splits.items():
            column = _column(rows, source)
            many = isinstance(rows.features[column], List)
            kind = rows.features[column].feature if many else rows.features[column]
            closed = type(kind)(decode=False)  # nothing of it is decoded here
            rows = rows.cast_column(column, List(closed) if many else closed)
            rows = rows.select_columns([column, *_told(rows)])
            named = {name: f.names for name, f in rows.features.items() if isinstance(f, ClassLabel)}
            for number, row in enumerate(rows):
                known = _known({name: value for name, value in row.items() if name != column}, named)
                known |= {"split": split} if len(splits) > 1 else {}
                for frame, item in enumerate((row[column] or [None]) if many else [row[column]]):
                    name = f"{split}-{number:06d}" + (f"-{frame:04d}" if many else "")
                    line = known | _place(name, row, frame, many=many)
                    if not _is_own(item or {}, inside):
                        raise ValueError(
                            f"{source}: {split} row {number} names the file {printable(repr((item or {}).get('path')))}, which "
                            "is no part of the set, and nothing else is opened; whoever made the set should put the bytes in"
                        )
                    line["file_name"] = _write(item, folder, name, is_mesh=isinstance(kind, Mesh))
                    table.write(json.dumps(line) + "\n")


def _column(rows: Dataset, source: str) -> str:
    """The column to read: of meshes if there is one, else of pictures."""
    for kinds in ((Mesh,), (Image,)):
        for name, feature in rows.features.items():
            inner = feature.feature if isinstance(feature, List) and Mesh in kinds else feature
            if isinstance(inner, kinds):
                return name
    columns = ", ".join(rows.features)
    raise ValueError(
        f"{source}: no column of meshes or pictures; it has {columns}. Cast one: "
        'set.cast_column(NAME, datasets.Mesh()).save_to_disk("set")'
    )


def _told(rows: Dataset) -> list[str]:
    """The columns that may say something beside the meshes and pictures."""
    return [name for name, f in rows.features.items() if isinstance(f, Value | ClassLabel) or name in LISTS]


def _known(row: Mapping[str, Any], named: Mapping[str, list[str]]) -> dict[str, Any]:
    """What a row says beside its file, in the columns of `build_folder`'s table."""
    told: dict[str, Any] = {}
    for name, value in row.items():
        if name in named:
            value = named[name][value] if value is not None and value >= 0 else None
        if name == "captions":
            name, value = "caption", next(iter(value or []), None)
        if name == "action_units" and isinstance(value, list):
            value = "+".join(f"{unit}{_letter(amount)}" for unit, amount in as_dict(value).items() if amount >= ACTIVE)
        if value is not None and not isinstance(value, list | dict | bytes):
            told[NAMED_OTHERWISE.get(name, name)] = value
    return told


def _letter(intensity: float) -> str:
    """As FACS grades it, A to E."""
    return "ABCDE"[min(4, max(0, math.ceil(5 * intensity) - 1))]


def _place(name: str, row: Mapping[str, Any], frame: int, *, many: bool) -> dict[str, Any]:
    """Which moment a file is of; frames of one row are one sequence."""
    if not many:
        return {}
    times = row.get("frame_times_s")
    moment = {"moment": name.rpartition("-")[0], "frame": frame}
    if row.get("subject") is None:
        moment["subject"] = moment["moment"]
    return moment | ({"time_s": times[frame]} if times and frame < len(times) else {})


def _is_own(item: Mapping, inside: Sequence[Path]) -> bool:
    """Whether an item has bytes, names nothing, or names a file of the set's; a table may name any file of this computer."""
    if item.get("bytes") is not None or not item.get("path"):
        return True
    path = os.path.abspath(item["path"])
    return any(Path(path).is_relative_to(os.path.abspath(folder)) for folder in inside)


def _write(item: Mapping | None, folder: Path, name: str, *, is_mesh: bool) -> str:
    """One file of a row, from its bytes or where it lies; of an empty row a file without anything, which is rejected."""
    item = item or {}
    path = str(item.get("path") or "")
    suffix = Path(path).suffix.lower()
    if suffix not in (MESH_SUFFIXES if is_mesh else PHOTO_SUFFIXES):
        suffix = ".ply" if is_mesh else ".png"
    content = item.get("bytes")
    if content is None and path and Path(path).is_file():
        content = Path(path).read_bytes()
    (folder / f"{name}{suffix}").write_bytes(content or b"")
    return f"{name}{suffix}"
