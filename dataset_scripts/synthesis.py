"""Labelled faces from a parametric head: what the builders for Anny and for ICT-FaceKit share.

In: a head model that is linear in its facial actions. Out: a folder of Parquet shards (`schema`). Every subject has its
own random stream, and shards are whole subjects, so the bytes depend on the seed and settings, never on the number of
processes; finished shards are kept when a build is started again.
"""

import argparse
import json
import multiprocessing
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor
from tqdm import tqdm

from processing.framing_mvfer import FaceFrame, frame_face
from processing.prompts_mvfer import EXPRESSIONS
from processing.rendering_mvfer import BACKENDS, RenderSettings, render_scan, resolve_backend

from . import card, schema
from .captions import captions_for
from .recipes import sample_combination, sample_expression, shape_weights
from .variation import GeometryVariation, reframe, rotation

BASIC = tuple(name for name in EXPRESSIONS if name != "contempt")
FRAMED = FaceFrame((0.0, 0.0, 0.0), 1.0)
SUBJECTS_PER_SHARD = 25


@dataclass
class HeadModel:
    """A head whose vertices are identity + sum of weight x shape; y up, face towards +z, any unit.

    Args:
        faces (`(M, 3)` int64): triangles.
        shape_names: ARKit names ("mouthSmileLeft"), the subject's sides.
        shapes (`(A, N, 3)` float32): displacements.
        identities: takes the random streams of S subjects; gives vertices `(S, N, 3)` float32 and S dicts of columns
            (sex, age_group, ancestry) as far as known.
    """

    faces: np.ndarray
    shape_names: list[str]
    shapes: Tensor
    identities: Callable[[Sequence[np.random.Generator]], tuple[Tensor, list[dict]]]
    rejected: list[dict] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """Where the heads come from, for the folder's card."""

    name: str  # prefix of the subjects: "anny" -> "anny-00012"
    title: str
    url: str
    license: str
    version: str
    citation: str


@dataclass(frozen=True)
class BuildSettings:
    """What decides the bytes of a build (with the source and the renderer)."""

    subjects: tuple[int, int, int] = (350, 40, 60)
    kind: str = "3d"
    seed: int = 0
    expressions: tuple[str, ...] = BASIC
    expressions_per_subject: int = 1
    random_per_subject: int = 7
    vary_geometry: bool = False
    variants: int = 1
    languages: tuple[str, ...] = ("en",)
    captions_per_row: int = 4
    num_frames: int = 16
    fps: float = 10.0
    render: RenderSettings = RenderSettings()

    def __post_init__(self):
        if len(self.subjects) != 3 or any(n < 0 for n in self.subjects) or not any(self.subjects):
            raise ValueError(f"expected three numbers of subjects (train, validation, test), got {self.subjects}")
        if self.kind not in ("3d", "4d"):
            raise ValueError(f"expected kind 3d or 4d, got {self.kind!r}")
        unknown = [name for name in self.expressions if name not in EXPRESSIONS]
        if unknown or not self.expressions:
            raise ValueError(f"unknown expressions {unknown}; expected some of {', '.join(EXPRESSIONS)}")
        counts = (self.expressions_per_subject, self.captions_per_row, self.num_frames, self.variants)
        if min(counts) < 1 or self.random_per_subject < 0 or self.fps <= 0:
            raise ValueError(
                "expected expressions_per_subject, captions_per_row, num_frames, variants >= 1, "
                f"random_per_subject >= 0 and fps > 0, got {counts}, {self.random_per_subject}, {self.fps}"
            )

    def to_dict(self) -> dict:
        return json.loads(json.dumps(asdict(self) | {"render": self.render.to_dict()}))


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


class Synthesizer:
    """Makes the rows of subjects with one head model."""

    def __init__(self, model: HeadModel, source: Source, settings: BuildSettings):
        self.model, self.source, self.settings = model, source, settings
        self.faces = torch.from_numpy(model.faces)
        self.basis = model.shapes.flatten(1)  # (A, 3 N)
        self.column = {name: i for i, name in enumerate(model.shape_names)}
        self.variation = None
        if settings.vary_geometry:
            typical = model.identities([self._rng(-1)])[0][0].numpy()
            self.variation = GeometryVariation(frame_face(typical, model.faces).apply(typical), model.faces)

    def _rng(self, subject: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, zlib.crc32(self.source.name.encode()), subject + 1])

    def shard_rows(self, shard: Shard) -> tuple[list[dict], list[dict]]:
        """Rows, and `{"id", "reason"}` of what could not be made."""
        streams = [self._rng(number) for number in shard.subjects]
        identities, known = self.model.identities(streams)
        rows, rejected = [], list(self.model.rejected)
        for number, rng, identity, columns in zip(shard.subjects, streams, identities, known, strict=True):
            subject = f"{self.source.name}-{number:05d}"
            rough = frame_face(identity.numpy(), self.model.faces) if self.variation is not None else None
            for item in self._items(subject, shard.split, rng):
                try:
                    views = self._render(item, identity, rough)
                except ValueError as error:
                    rejected.append({"id": item["id"], "reason": str(error)})
                    continue
                rows.append(self._row(item, views) | {"subject": subject, "split": shard.split} | columns)
        return rows, rejected

    def _items(self, subject: str, split: str, rng: np.random.Generator):
        """What a subject does: dicts with id, expression (or None), units, intensity, and a seed for the rendering."""
        settings, train = self.settings, split == "train"
        tasks: list[tuple[str | None, int]] = []
        for repeat in range(settings.expressions_per_subject if train else 2):
            tasks += [(name, repeat) for name in settings.expressions]
        tasks += [(None, i) for i in range(settings.random_per_subject if train else 0)]
        for name, repeat in tasks:
            if name is None:
                units = sample_combination(rng)
                intensity = max(units.values())
            else:
                units, intensity = sample_expression(rng, name)
            asymmetry = {unit: float(np.clip(rng.normal(0, 0.12), -0.35, 0.35)) for unit in units}
            curve = activation_curve(rng, settings.num_frames) if settings.kind == "4d" else np.ones(1)
            pose = rng.normal(0, (3.0, 3.0, 2.0)).clip(-8, 8)
            item_seed = int(rng.integers(2**63))
            for variant in range(settings.variants if train and settings.vary_geometry else 1):
                yield {
                    "id": f"{subject}-{name or 'random'}-{repeat}" + (f"-v{variant}" if settings.variants > 1 else ""),
                    "expression": name,
                    "units": units,
                    "asymmetry": asymmetry,
                    "intensity": intensity,
                    "curve": curve,
                    "pose": pose,
                    "seed": [item_seed, variant],
                }

    def _render(self, item: dict, identity: Tensor, rough: FaceFrame | None = None) -> np.ndarray:
        """`(N, 3)` identity -> `(T, V, H, W, 3)` uint8. `rough`: the person's own frame, in whose units geometry varies."""
        vertices, turn = self._vertices(item, identity), rotation(*item["pose"]).T
        if self.variation is None:
            return render_scan(vertices @ turn, self.faces, self.settings.render)
        rng = np.random.default_rng(item["seed"])
        vertices, faces = self.variation(rough.apply(vertices) @ turn, rng)
        frame = frame_face(vertices[0].numpy(), faces.numpy())
        vertices = reframe(frame.apply(vertices), rng)
        light = (float(rng.uniform(-60, 60)), float(rng.uniform(10, 65))) if rng.random() < 0.7 else None
        return render_scan(vertices, faces, self.settings.render, frame=FRAMED, light_deg=light)

    def example_scans(self, shard: Shard) -> Iterator[tuple[str, np.ndarray]]:
        """Every first scan of an expression of the shard's first subject: its id and vertices `(N, 3)` at the apex."""
        stream = self._rng(shard.subjects[0])
        identity = self.model.identities([stream])[0][0]
        for item in self._items(f"{self.source.name}-{shard.subjects[0]:05d}", shard.split, stream):
            if item["id"].endswith("-0"):
                apex = self._vertices(item, identity)[int(np.argmax(item["curve"]))]
                yield item["id"], (apex @ rotation(*item["pose"]).T).numpy()

    def _vertices(self, item: dict, identity: Tensor) -> Tensor:
        """`(N, 3)` identity -> `(T, N, 3)`: what the face does, the head upright."""
        weights = torch.zeros(len(self.column))
        for shape, weight in shape_weights(item["units"], asymmetry=item["asymmetry"]).items():
            weights[self.column[shape]] = weight
        curve = torch.tensor(item["curve"], dtype=torch.float32)[:, None]
        return identity + ((curve * weights) @ self.basis).view(len(curve), -1, 3)

    def _row(self, item: dict, views: np.ndarray) -> dict:
        settings, name = self.settings, item["expression"]
        return {
            "id": item["id"],
            "expression": -1 if name is None else EXPRESSIONS.index(name),
            "captions": captions_for(
                item["units"], item["seed"][0], count=settings.captions_per_row, languages=settings.languages
            ),
            "caption_source": "captions",
            "action_units": schema.as_list(item["units"]),
            "intensity": item["intensity"],
            "views": schema.encode_views(views, item["id"]),
            "view_angles_deg": [list(angles) for angles in settings.render.view_angles_deg],
            "frame_times_s": [t / settings.fps for t in range(len(views))],
            "task": "random" if name is None else name,
            "pose": "frontal",
            "occlusion": "none",
        }


def activation_curve(rng: np.random.Generator, num_frames: int) -> np.ndarray:
    """Neutral, onset, apex, offset: `(num_frames,)` in [0, 1], 0 at the first frame, 1 at the apex, smooth."""
    if num_frames == 1:
        return np.ones(1)
    onset, hold = rng.uniform(0.2, 0.4), rng.uniform(0.15, 0.3)
    rest = rng.uniform(0.0, 0.3)  # what is left at the end
    time_ = np.linspace(0, 1, num_frames)
    rise = np.clip(time_ / onset, 0, 1)
    fall = np.clip((time_ - onset - hold) / (1 - onset - hold), 0, 1)
    smooth_rise, smooth_fall = rise * rise * (3 - 2 * rise), fall * fall * (3 - 2 * fall)
    curve = smooth_rise * (1 - (1 - rest) * smooth_fall)
    return curve / curve.max()


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


def arguments(description: str, subjects: Sequence[int]) -> argparse.ArgumentParser:
    """The flags that all builders have."""
    default = BuildSettings()
    flags = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = flags.add_argument
    add("--out", required=True, help="folder to write")
    add("--subjects", type=int, nargs=3, default=list(subjects), metavar=("TRAIN", "VALIDATION", "TEST"), help="people")
    add("--kind", choices=("3d", "4d"), default=default.kind, help="scans, or sequences from onset over apex to offset")
    add("--size_px", type=int, default=64, help="height and width of the views")
    add("--supersampling", type=int, default=2, help="samples per pixel and axis")
    add("--channels", nargs=3, default=list(default.render.channels), help="what the three channels show")
    add(
        "--view_angles_deg",
        type=float,
        nargs="+",
        default=None,
        metavar="YAW",
        help="yaw of every view; default -30 0 30",
    )
    add("--backend", choices=BACKENDS, default="auto", help="rasteriser; auto is numba where installed")
    add("--seed", type=int, default=default.seed, help="the same seed gives the same bytes")
    add("--expressions", nargs="+", default=list(default.expressions), choices=EXPRESSIONS, help="classes")
    add(
        "--expressions_per_subject",
        type=int,
        default=default.expressions_per_subject,
        help="rows per class and training subject",
    )
    add(
        "--random_per_subject",
        type=int,
        default=default.random_per_subject,
        help="rows of random actions per training subject",
    )
    add("--vary_geometry", action="store_true", help="vary resolution, smoothness, noise, holes, framing and light")
    add("--variants", type=int, default=default.variants, help="with --vary_geometry: renderings per training scan")
    add("--languages", nargs="+", default=list(default.languages), choices=("en", "ja"), help="of the captions")
    add("--captions_per_row", type=int, default=default.captions_per_row, help="per language")
    add("--num_frames", type=int, default=default.num_frames, help="4d: frames per sequence")
    add("--fps", type=float, default=default.fps, help="4d: frames per second")
    add("--meshes", action="store_true", help="also write the first test subject's scans as OBJ files")
    add("--num_proc", type=int, default=os.cpu_count() or 1, help="processes")
    add("--num_shards", type=int, default=1, help="number of machines that share the build")
    add("--shard_index", type=int, default=0, help="which of them this is")
    return flags


def run(flags: argparse.Namespace, load: Callable[[], HeadModel], source: Source) -> dict:
    """Build with parsed flags."""
    render = {"size_px": flags.size_px, "supersampling": flags.supersampling, "channels": tuple(flags.channels)}
    if flags.view_angles_deg:
        render["view_angles_deg"] = tuple((yaw, 0.0) for yaw in flags.view_angles_deg)
    names = set(BuildSettings.__dataclass_fields__) - {"render"}
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in vars(flags).items() if k in names}
    settings = BuildSettings(render=RenderSettings(backend=resolve_backend(flags.backend), **render), **values)
    info = build(
        load,
        source,
        settings,
        flags.out,
        num_proc=flags.num_proc,
        num_shards=flags.num_shards,
        shard_index=flags.shard_index,
        meshes=flags.meshes,
    )
    if info.get("complete"):
        print(f"{flags.out}: {info['rows']}, {info['bytes'] / 1e6:.1f} MB")
    return info
