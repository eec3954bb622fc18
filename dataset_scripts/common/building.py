"""From work to a folder of shards: in parallel, resumable, in parts that several machines make.

In: what makes rows (a picklable function that gives a `Worker`), and the shards that are to be made. Out: Parquet shards
(`schema`), a card, `dataset_info.json`. Shards are whole subjects, so their bytes never depend on the number of processes;
finished shards are kept when a build is started again, if they were made of what lies in the source now.

Where tasks run, which of them is done and what they said is an engine's business (`mvfer distribute`). What stays here is what
no engine can know: a shard is a pure function of its index, so any task may make it, again if need be; and a set is complete,
with a card, once every shard is there. A part never completes a set: of parts that end at once, each would take itself for the
last.
"""

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow.parquet as pq
import torch

from dataset_scripts.common import card
from mvfer.data import schema
from mvfer.data.folder_lock import folder_lock
from mvfer.data.parts import Part
from mvfer.progress import progress_bar
from processing.names_mvfer import shown

SAME_BUILD = ("name", "version", "renderer", "build", "source_version", "shards")  # of `dataset_info`, decide the bytes
REMEDY = "build it anew with --overwrite, or choose another --out"


@dataclass(frozen=True)
class Shard:
    """One Parquet file to be: subjects of one split, and whatever the worker needs to know of them."""

    split: str
    index: int
    count: int
    subjects: Sequence
    work: Sequence = ()

    def path(self, folder: Path) -> Path:
        return schema.shard_path(folder, self.split, self.index, self.count)


class Worker(Protocol):
    """Makes the rows of a shard. One lives in every process of a build."""

    def shard_rows(self, shard: Shard, rejected: list[dict]) -> Iterable[dict]:
        """Yield rows; append `{"id", "reason"}` to `rejected` for what could not be made, with "kept" for what is in doubt."""


def cut(subjects: Mapping[str, Sequence], per_shard: int) -> list[Shard]:
    """Cut every split's subjects into shards of `per_shard`."""
    shards = []
    for split, names in subjects.items():
        count = -(-len(names) // per_shard)
        shards += [Shard(split, i, count, names[i * per_shard : (i + 1) * per_shard]) for i in range(count)]
    return shards


Sources = Callable[[Shard], Mapping[str, str]]  # subject of a shard -> a hash of all that its rows are made of


def made_up(shard: Shard) -> Mapping[str, str]:
    """The sources of a shard that settings alone decide."""
    return {}


_worker: Worker  # of this process, once it has started
_sources_of: Sources


def _start_worker(make_worker: Callable[[], Worker], sources_of: Sources) -> None:
    global _worker, _sources_of
    torch.set_num_threads(1)
    _worker, _sources_of = make_worker(), sources_of


def _build_shard(shard: Shard, folder: Path) -> int:
    rejected: list[dict] = []
    sources = _sources_of(shard)  # before the rows: of a file that is edited meanwhile, the hash is the old one
    return schema.write_shard(shard.path(folder), _worker.shard_rows(shard, rejected), rejected, sources)


def build(
    make_worker: Callable[[], Worker],
    info: dict,
    shards: Sequence[Shard],
    folder: str | os.PathLike,
    *,
    num_proc: int = 1,
    part: Part | None = None,
    overwrite: bool = False,
    rejected: Sequence[dict] = (),
    sources_of: Sources = made_up,
) -> dict:
    """Build a data set, or go on with one.

    Args:
        make_worker: called once per process, so it must be picklable.
        info: what is known before the first row (`card.describe_heads`, `card.describe_scans`).
        shards: all of them, whichever machine makes which.
        folder: where the shards go.
        num_proc: processes; the result does not depend on it.
        part: of the shards, to be made and no more. In a folder that all parts share, a build without `part` then completes
            the set; `merge` joins parts that were made in folders of their own.
        overwrite: delete the build that the folder holds.
        rejected: `{"id", "reason"}` of what was refused before rendering.
        sources_of: what shards are made of; picklable.
    Returns:
        the `dataset_info`; `complete` is false after a part of a set that was not complete before.
    Raises:
        ValueError: if the folder holds a build with other settings or of other files, another process builds there, or a
            process is killed.
    """
    if num_proc < 1:
        raise ValueError(f"expected num_proc >= 1, got {num_proc}")
    if overwrite and part:
        raise ValueError("parts of a build would delete each other's shards: delete the folder by hand instead")
    folder = Path(folder)
    with folder_lock(folder, "a build", part=str(part or "")):
        if overwrite:
            _delete(folder)
        mine = part.of(shards) if part else shards
        info = _build(make_worker, info, shards, mine, folder, num_proc, rejected, sources_of)
        return info if part else finish(folder)


def _build(make_worker, info, shards, mine, folder, num_proc, rejected, sources_of) -> dict:
    """`build` without its end, in a folder that is held."""
    info = info | {"shards": {split: sum(shard.split == split for shard in shards) for split in schema.SPLITS}}
    before = _claim(folder, info)
    if not before.get("complete"):
        schema.write_rejected(folder, rejected)
    _check_sources(folder, before, mine, sources_of)
    todo = [shard for shard in mine if not is_empty_split(before, shard.split) and not shard.path(folder).exists()]
    started = time.perf_counter()
    done = sum(_run(make_worker, sources_of, folder, todo, num_proc))
    if done:
        views = sum(_views_in(shard.path(folder)) for shard in todo)
        seconds = time.perf_counter() - started
        print(f"{done} rows, {views} views in {seconds:.1f} s ({views / seconds:.0f} views per second)")
    return before


def _views_in(path: Path) -> int:
    groups = schema.read_columns(path, ["frame_times_s", "view_angles_deg"]).to_pylist()
    return sum(len(row["frame_times_s"]) * len(row["view_angles_deg"]) for row in groups)


def is_empty_split(info: dict, split: str) -> bool:
    """Whether a complete build found nothing usable for a split that was to have rows; it then has no shards."""
    return info.get("complete", False) and info["rows"][split] == 0


def _claim(folder: Path, info: dict) -> dict:
    """Write down whose folder this is, or refuse to mix two builds; what stands there now."""
    path = folder / schema.INFO_FILE
    if path.exists():
        old = json.loads(path.read_text(encoding="utf-8"))
        for key in SAME_BUILD:
            if old.get(key) != info[key]:
                raise ValueError(
                    f"{folder} holds a build with another {key} ({old.get(key)} instead of {info[key]}); {REMEDY}"
                )
        return old
    if _shards_in(folder):
        raise ValueError(f"{folder} holds shards of which no {schema.INFO_FILE} tells what they are; {REMEDY}")
    info = info | {"complete": False}
    schema.write_json(path, info)
    return info


def _check_sources(folder: Path, before: dict, shards: Sequence[Shard], sources_of: Sources) -> None:
    """Refuse to keep finished shards of files that were edited since."""
    edited = 0
    for shard in shards:
        path, empty = shard.path(folder), before.get("empty", {})
        if path.exists():
            edited += schema.read_sources(path) != sources_of(shard)
        elif path.name in empty:
            edited += empty[path.name] != sources_of(shard)
    if edited:
        raise ValueError(f"{folder}: the files that {edited} of its shards were made of have changed since; {REMEDY}")


def _delete(folder: Path) -> None:
    """Take a build away, and nothing else that lies in the folder."""
    info = folder / schema.INFO_FILE
    if info.exists():
        schema.write_json(
            info, json.loads(info.read_text(encoding="utf-8")) | {"complete": False}
        )  # it is no set any more
        for name in (schema.REJECTED_FILE, "README.md", schema.SHEET_FILE):
            (folder / name).unlink(missing_ok=True)
    for path in [*_shards_in(folder), *folder.glob(".*.parquet.*.tmp")]:
        path.unlink()
    info.unlink(missing_ok=True)  # last: without it, shards that are left would be nobody's


def _shards_in(folder: Path) -> list[Path]:
    return [path for split in schema.SPLITS for path in folder.glob(f"{split}-*-of-*.parquet")]


def _run(make_worker, sources_of, folder, todo, num_proc):
    """Build shards and yield their numbers of rows, with a progress bar that shows the rate and the time left."""
    total = sum(len(shard.subjects) for shard in todo)
    bar = progress_bar(what="build", unit="subject", hidden=not todo, in_logs=True, total=total)
    if min(num_proc, len(todo)) <= 1:
        threads = torch.get_num_threads()
        try:
            if todo:
                _start_worker(make_worker, sources_of)
            for shard in todo:
                yield _build_shard(shard, folder)
                bar.update(len(shard.subjects))
        finally:
            torch.set_num_threads(threads)
            bar.close()
        return
    context = multiprocessing.get_context("spawn")
    with bar, ProcessPoolExecutor(num_proc, context, _start_worker, (make_worker, sources_of)) as pool:
        futures = {pool.submit(_build_shard, shard, folder): shard for shard in todo}
        for future in as_completed(futures):
            try:
                yield future.result()
            except BrokenProcessPool as error:
                raise ValueError(
                    f"a process of the build was killed, most likely for memory; run the same command again with fewer than "
                    f"--num_proc {num_proc}: finished shards are kept"
                ) from error
            bar.update(len(futures[future].subjects))


def finish(folder: Path) -> dict:
    """Once every shard is there: count, list what was rejected, write the card; last of all, say that the folder is complete."""
    info = json.loads((folder / schema.INFO_FILE).read_text(encoding="utf-8"))
    planned = {split: count for split, count in info["shards"].items() if not is_empty_split(info, split)}
    paths = [(split, schema.shard_path(folder, split, i, n)) for split, n in planned.items() for i in range(n)]
    counts = {split: sum(pq.read_metadata(path).num_rows for s, path in paths if s == split) for split in schema.SPLITS}
    people = {
        split: len({s for name, path in paths if name == split for s in _subjects(path)}) for split in schema.SPLITS
    }
    rejected = schema.read_rejected_file(folder) + [item for _, path in paths for item in schema.read_rejected(path)]
    rejected = list({item["id"]: item for item in rejected}.values())  # a damaged source file is met by every shard
    schema.write_rejected(folder, rejected)
    size = sum(path.stat().st_size for split, path in paths if counts[split])
    doubtful = sum(item.get("kept", False) for item in rejected)
    refused = len(rejected) - doubtful
    info |= {"rows": counts, "subjects": people, "rejected": refused, "bytes": size, "complete": True}
    info |= {"doubtful": doubtful} if doubtful else {}
    empty = {path.name: schema.read_sources(path) for split, path in paths if not counts[split]}
    info |= {"empty": info.get("empty", {}) | empty} if empty else {}
    (folder / "README.md").write_text(card.write(info), encoding="utf-8")
    for left in folder.glob(".*.parquet.*.tmp"):  # of killed runs
        left.unlink()
    schema.write_json(folder / schema.INFO_FILE, info)
    for split, path in paths:  # `datasets` reads no set that has a split without rows
        if not counts[split]:
            path.unlink()
    reasons = f"see {shown(str(folder / schema.REJECTED_FILE))} for the reasons"
    if refused:
        print(f"{refused} items could not be made; {reasons}")
    if doubtful:
        print(f"{doubtful} scans were kept, though no face is found in them; {reasons}")
    return info


def _subjects(path: Path) -> set[str]:
    return set(schema.read_columns(path, ["subject"])["subject"].to_pylist())
