"""From a recipe to a folder of shards: in parallel, resumable, shared between machines.

In: what loads a head model, and `BuildSettings`. Out: Parquet shards (`schema`). Shards are whole subjects, so their bytes
never depend on the number of processes; finished shards are kept when a build is started again.
"""

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import torch
from tqdm import tqdm

from . import card, schema
from .synthesis import BuildSettings, HeadModel, Source, Synthesizer

SUBJECTS_PER_SHARD = 25


@dataclass(frozen=True)
class Shard:
    split: str
    index: int
    count: int
    subjects: range  # numbers of the subjects, unique over all splits

    def path(self, folder: Path) -> Path:
        return schema.shard_path(folder, self.split, self.index, self.count)


def plan(settings: BuildSettings) -> list[Shard]:
    """Cut every split's subjects into shards."""
    shards, start = [], 0
    for split, number in zip(schema.SPLITS, settings.subjects, strict=True):
        count = -(-number // SUBJECTS_PER_SHARD)
        for index in range(count):
            first = start + index * SUBJECTS_PER_SHARD
            shards.append(Shard(split, index, count, range(first, min(first + SUBJECTS_PER_SHARD, start + number))))
        start += number
    return shards


_worker: Synthesizer | None = None


def _start_worker(load: Callable[[], HeadModel], source: Source, settings: BuildSettings) -> None:
    global _worker
    torch.set_num_threads(1)
    _worker = Synthesizer(load(), source, settings)


def _build_shard(shard: Shard, folder: Path) -> int:
    rows, rejected = _worker.shard_rows(shard)
    schema.write_shard(shard.path(folder), rows, rejected)
    return len(rows)


def build(
    load: Callable[[], HeadModel],
    source: Source,
    settings: BuildSettings,
    folder: str | os.PathLike,
    *,
    num_proc: int = 1,
    num_shards: int = 1,
    shard_index: int = 0,
    meshes: bool = False,
) -> dict:
    """Build a data set, or go on with one.

    Args:
        load: makes the head model; called once per process, so it must be picklable.
        folder: where the shards go.
        num_proc: processes; the result does not depend on it.
        num_shards, shard_index: which part of the shards this machine makes; the last one to finish writes the card.
        meshes: also write the first test subject's scans as OBJ files below `meshes/`, to try predictions on.
    Returns:
        the `dataset_info`; `complete` is false while shards of other machines are missing.
    Raises:
        ValueError: if the folder holds a build with other settings.
    """
    if num_proc < 1 or not 0 <= shard_index < num_shards:
        raise ValueError(
            f"expected num_proc >= 1 and 0 <= shard_index < num_shards, got {num_proc}, {shard_index}, {num_shards}"
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    info = card.describe(source, settings)
    _claim(folder, info)
    shards = plan(settings)
    todo = [shard for shard in shards[shard_index::num_shards] if not shard.path(folder).exists()]
    started = time.perf_counter()
    done = sum(_run(load, source, settings, folder, todo, num_proc))
    if todo:
        views = done * len(settings.render.view_angles_deg) * (settings.num_frames if settings.kind == "4d" else 1)
        seconds = time.perf_counter() - started
        print(f"{done} rows, {views} views in {seconds:.1f} s ({views / seconds:.0f} views per second)")
    if all(shard.path(folder).exists() for shard in shards):
        info = _finish(folder, info, shards)
    if meshes:
        _write_meshes(Synthesizer(load(), source, settings), next(s for s in shards if s.split == "test"), folder)
    return info


def _write_meshes(synthesizer: Synthesizer, shard: Shard, folder: Path) -> None:
    (folder / "meshes").mkdir(exist_ok=True)
    faces = "".join("f {} {} {}\n".format(*face) for face in (synthesizer.model.faces + 1).tolist())
    for name, vertices in synthesizer.example_scans(shard):
        points = "".join("v {:.6f} {:.6f} {:.6f}\n".format(*point) for point in vertices.tolist())
        (folder / "meshes" / f"{name}.obj").write_text(points + faces, encoding="utf-8")


def _claim(folder: Path, info: dict) -> None:
    """Write down whose folder this is, or refuse to mix two builds."""
    path = folder / schema.INFO_FILE
    if path.exists():
        old = json.loads(path.read_text(encoding="utf-8"))
        for key in ("name", "version", "source_version", "renderer", "build"):
            if old.get(key) != info[key]:
                raise ValueError(
                    f"{folder} holds a build with another {key} ({old.get(key)} instead of {info[key]}); "
                    "delete the folder or choose another --out"
                )
        return
    schema.write_json(path, info | {"complete": False})


def _run(load, source, settings, folder, todo, num_proc):
    """Build shards and yield their numbers of rows, with a progress bar that shows the rate and the time left."""
    bar = tqdm(total=sum(len(shard.subjects) for shard in todo), unit="subject", disable=not todo)
    if min(num_proc, len(todo)) <= 1:
        threads = torch.get_num_threads()
        try:
            if todo:
                _start_worker(load, source, settings)
            for shard in todo:
                yield _build_shard(shard, folder)
                bar.update(len(shard.subjects))
        finally:
            torch.set_num_threads(threads)
            bar.close()
        return
    context = multiprocessing.get_context("spawn")
    with bar, ProcessPoolExecutor(num_proc, context, _start_worker, (load, source, settings)) as pool:
        futures = {pool.submit(_build_shard, shard, folder): shard for shard in todo}
        for future in as_completed(futures):
            yield future.result()
            bar.update(len(futures[future].subjects))


def _finish(folder: Path, info: dict, shards: list[Shard]) -> dict:
    """Count, list what was rejected, write the card; last of all, say that the folder is complete."""
    paths = [(shard.split, shard.path(folder)) for shard in shards]
    counts = {split: sum(pq.read_metadata(path).num_rows for s, path in paths if s == split) for split in schema.SPLITS}
    rejected = [item for _, path in paths for item in schema.read_rejected(path)]
    rejected = list({item["id"]: item for item in rejected}.values())  # a damaged source file is met by every shard
    lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in rejected)
    (folder / schema.REJECTED_FILE).write_text(lines, encoding="utf-8")
    size = sum(path.stat().st_size for _, path in paths)
    info = info | {"rows": counts, "rejected": len(rejected), "bytes": size, "complete": True}
    (folder / "README.md").write_text(card.write(info), encoding="utf-8")
    schema.write_json(folder / schema.INFO_FILE, info)
    if rejected:
        print(f"{len(rejected)} items could not be made; their reasons are in {folder / schema.REJECTED_FILE}")
    return info
