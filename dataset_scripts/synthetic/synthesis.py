"""Labelled faces from a parametric head: what the builders for Anny and for ICT-FaceKit share.

In: a head model that is linear in its facial actions. Out: rows of `schema`. Every subject has its own random stream, so
a row depends on the seed and the settings, and on nothing else.
"""

import functools
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dataset_scripts.common import card
from dataset_scripts.common.building import build, cut
from dataset_scripts.common.captions import ACTIVE, captions_for
from dataset_scripts.synthetic.recipes import (
    MICRO,
    micro_curve,
    sample_combination,
    sample_expression,
    sample_micro,
    shape_weights,
)
from dataset_scripts.synthetic.variation import GeometryVariation, reframe
from mvfer.data import schema
from mvfer.data.geometry import rotation
from processing.framing_mvfer import FRAMED, FaceFrame, frame_upright
from processing.magnification_mvfer import check_magnification, magnify
from processing.prompts_mvfer import BASIC_EXPRESSIONS, EXPRESSIONS
from processing.rendering_mvfer import RenderSettings, render_scan

KINDS = ("3d", "4d", "micro")
MICRO_ACTIVE = 0.05  # a micro-expression is a trace of an expression, and is told all the same
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
    expressions: tuple[str, ...] = BASIC_EXPRESSIONS
    expressions_per_subject: int = 1
    random_per_subject: int = 7
    random_per_tested: int = 0
    intensity: tuple[float, float] = (0.5, 1.0)
    vary_geometry: bool = False
    variants: int = 1
    languages: tuple[str, ...] = ("en",)
    captions_per_row: int = 4
    num_frames: int = 16
    fps: float = 10.0
    magnification: float = 1.0
    render: RenderSettings = RenderSettings()

    def __post_init__(self):
        if len(self.subjects) != 3 or any(n < 0 for n in self.subjects) or not any(self.subjects):
            raise ValueError(f"expected three numbers of subjects (train, validation, test), got {self.subjects}")
        if self.kind not in KINDS:
            raise ValueError(f"expected kind {', '.join(KINDS)}, got {self.kind!r}")
        unknown = [name for name in self.expressions if name not in EXPRESSIONS]
        if unknown or not self.expressions:
            raise ValueError(f"unknown expressions {unknown}; expected some of {', '.join(EXPRESSIONS)}")
        if not 0 < self.intensity[0] <= self.intensity[1] <= 1:
            raise ValueError(f"expected an intensity range 0 < low <= high <= 1, got {self.intensity}")
        counts = (self.expressions_per_subject, self.captions_per_row, self.num_frames, self.variants)
        at_random = (self.random_per_subject, self.random_per_tested)
        if min(counts) < 1 or min(at_random) < 0 or self.fps <= 0:
            raise ValueError(
                "expected expressions_per_subject, captions_per_row, num_frames, variants >= 1, "
                f"random_per_subject, random_per_tested >= 0 and fps > 0, got {counts}, {at_random}, {self.fps}"
            )
        check_magnification(self.magnification)
        if self.magnification != 1 and self.kind == "3d":
            raise ValueError(
                "a single scan has no movement to magnify; drop --magnification, or build --kind 4d or micro"
            )

    def to_dict(self) -> dict:
        return schema.describe_settings(self)


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
            self.variation = GeometryVariation(frame_upright(typical, model.faces).apply(typical), model.faces)

    def _rng(self, subject: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, zlib.crc32(self.source.name.encode()), subject + 1])

    def shard_rows(self, shard, rejected: list[dict]) -> Iterator[dict]:
        """Rows; appends `{"id", "reason"}` of what could not be made."""
        streams = [self._rng(number) for number in shard.subjects]
        identities, known = self.model.identities(streams)
        rejected += self.model.rejected
        for number, rng, identity, columns in zip(shard.subjects, streams, identities, known, strict=True):
            subject = f"{self.source.name}-{number:05d}"
            rough = frame_upright(identity.numpy(), self.model.faces) if self.variation is not None else None
            for item in self._items(subject, shard.split, rng):
                try:
                    vertices, faces, light_deg = self._framed(item, identity, rough)
                    views = render_scan(vertices, faces, self.settings.render, frame=FRAMED, light_deg=light_deg)
                except ValueError as error:
                    rejected.append({"id": item["id"], "reason": str(error)})
                    continue
                yield self._row(item, views) | {"subject": subject, "split": shard.split} | columns

    def _items(self, subject: str, split: str, rng: np.random.Generator):
        """What a subject does: dicts with id, expression (or None), units, intensity, and a seed for the rendering."""
        settings, train = self.settings, split == "train"
        if settings.kind == "micro":
            yield from self._micro_items(subject, train, rng)
            return
        tasks: list[tuple[str | None, int]] = []
        for repeat in range(settings.expressions_per_subject if train else 2):
            tasks += [(name, repeat) for name in settings.expressions]
        tasks += [(None, i) for i in range(settings.random_per_subject if train else settings.random_per_tested)]
        for name, repeat in tasks:
            if name is None:
                units = sample_combination(rng)
                intensity = max(units.values())
            else:
                units, intensity = sample_expression(rng, name, strengths=settings.intensity)
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

    def _micro_items(self, subject: str, train: bool, rng: np.random.Generator):
        """The same of micro-expressions: every category of `MICRO`, of which only neutral and surprise are expressions."""
        settings = self.settings
        for repeat in range(settings.expressions_per_subject if train else 2):
            for category in MICRO:
                units, strength = sample_micro(rng, category)
                yield {
                    "id": f"{subject}-micro-{category}-{repeat}",
                    "expression": category if category in EXPRESSIONS else None,
                    "task": category,
                    "units": units,
                    "asymmetry": {unit: float(rng.uniform(-0.3, 0.3)) for unit in units},
                    "intensity": strength,
                    "curve": micro_curve(rng, settings.num_frames, settings.fps),
                    "pose": rng.normal(0, (3.0, 3.0, 2.0)).clip(-8, 8),
                    "seed": [int(rng.integers(2**63)), 0],
                }

    def _framed(self, item: dict, identity: Tensor, rough: FaceFrame | None) -> tuple[Tensor, Tensor, tuple | None]:
        """`(N, 3)` identity -> framed vertices `(T, N', 3)`, faces `(M', 3)`, light (yaw, pitch) if it is not the usual one.

        `rough`: the person's own frame, in whose units geometry varies.
        """
        vertices, turn = self._vertices(item, identity), rotation(*item["pose"]).T
        if self.settings.magnification != 1:
            moved = magnify(vertices.numpy(), vertices[0].numpy(), magnification=self.settings.magnification)
            vertices = torch.from_numpy(moved)
        if self.variation is None or rough is None:
            vertices = vertices @ turn
            return frame_upright(vertices[0].numpy(), self.model.faces).apply(vertices), self.faces, None
        rng = np.random.default_rng(item["seed"])
        vertices, faces = self.variation(rough.apply(vertices) @ turn, rng)
        frame = frame_upright(vertices[0].numpy(), faces.numpy())
        vertices = reframe(frame.apply(vertices), rng)
        light_deg = (float(rng.uniform(-60, 60)), float(rng.uniform(10, 65))) if rng.random() < 0.7 else None
        return vertices, faces, light_deg

    def example_scans(self, number: int) -> Iterator[tuple[str, np.ndarray]]:
        """Every first scan of an expression of a test subject: its row's id, and vertices `(N, 3)` at the apex."""
        stream = self._rng(number)
        identity = self.model.identities([stream])[0][0]
        for item in self._items(f"{self.source.name}-{number:05d}", "test", stream):
            if "-0-" in item["id"] + "-":  # the first repeat; builds with variants add "-v0"
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
                item["units"],
                item["seed"][0],
                count=settings.captions_per_row,
                languages=settings.languages,
                threshold=MICRO_ACTIVE if settings.kind == "micro" else ACTIVE,
            ),
            "caption_source": "captions",
            "action_units": schema.as_list(item["units"]),
            "intensity": item["intensity"],
            "views": schema.encode_views(views, item["id"]),
            "view_angles_deg": [list(angles) for angles in settings.render.view_angles_deg],
            "frame_times_s": [t / settings.fps for t in range(len(views))],
            "apex_time_s": int(np.argmax(item["curve"])) / settings.fps if len(views) > 1 and item["units"] else None,
            "task": item.get("task") or ("random" if name is None else name),
            "pose": "frontal",
            "occlusion": "none",
        }


def build_heads(
    load: Callable[[], HeadModel],
    source: Source,
    settings: BuildSettings,
    folder: str | os.PathLike,
    *,
    meshes: int = 0,
    **parallel,
) -> dict:
    """Build a data set of synthetic heads.

    Args:
        load: makes the head model; called once per process, so it must be picklable.
        folder: where the shards go.
        meshes: also write the first scans of so many test subjects as OBJ files below `meshes/`, to try predictions and
            robustness on.
        parallel: `num_proc`, `num_shards`, `shard_index`, as in `building.build`.
    Returns:
        the `dataset_info`.
    """
    numbers, first = {}, 0
    for split, count in zip(schema.SPLITS, settings.subjects, strict=True):
        numbers[split] = range(first, first + count)
        first += count
    shards = cut(numbers, SUBJECTS_PER_SHARD)
    make_worker = functools.partial(_make_synthesizer, load, source, settings)
    info = build(make_worker, card.describe_heads(source, settings), shards, folder, **parallel)
    if meshes:
        _write_meshes(make_worker(), numbers["test"][:meshes], Path(folder))
    return info


def _make_synthesizer(load, source, settings) -> Synthesizer:
    return Synthesizer(load(), source, settings)


def _write_meshes(synthesizer: Synthesizer, subjects: Sequence[int], folder: Path) -> None:
    (folder / "meshes").mkdir(exist_ok=True)
    faces = "".join("f {} {} {}\n".format(*face) for face in (synthesizer.model.faces + 1).tolist())
    for number in subjects:
        for name, vertices in synthesizer.example_scans(number):
            points = "".join("v {:.6f} {:.6f} {:.6f}\n".format(*point) for point in vertices.tolist())
            (folder / "meshes" / f"{name}.obj").write_text(points + faces, encoding="utf-8")


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
