"""Labelled faces from heads that move: what the builders of synthetic data share.

In: heads whose vertices are linear in their facial actions (`heads`). Out: rows of `schema`. Every subject has its own
random stream, so a row depends on the seed and the settings, and on nothing else.
"""

import functools
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dataset_scripts.common import card
from dataset_scripts.common.building import build, cut
from dataset_scripts.common.captions import ACTIVE, captions_for
from dataset_scripts.synthetic.heads import Head, HeadModel, HeadRejected, HeadSet, Source
from dataset_scripts.synthetic.recipes import (
    MICRO,
    ONE_SIDED_CHANCE,
    micro_curve,
    sample_combination,
    sample_expression,
    sample_micro,
    sample_rest,
    shown_by,
)
from dataset_scripts.synthetic.unit_tables import UnitTable
from dataset_scripts.synthetic.variation import GeometryVariation, draw_proportions, reframe
from mvfer.data import schema
from mvfer.data.geometry import rotation
from processing.framing_mvfer import FRAMED, FaceFrame, frame_upright
from processing.magnification_mvfer import check_magnification, magnify
from processing.prompts_mvfer import BASIC_EXPRESSIONS, EXPRESSIONS
from processing.rendering_mvfer import RenderSettings, render_scan

KINDS = ("3d", "4d", "micro")
MICRO_ACTIVE = 0.05  # a micro-expression is a trace of an expression, and is told all the same
SUBJECTS_PER_SHARD = 25


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
    rest_per_subject: int = 0
    one_sided: float = ONE_SIDED_CHANCE
    intensity: tuple[float, float] = (0.5, 1.0)
    vary_geometry: bool = False
    people: int = 1
    variants: int = 1
    languages: tuple[str, ...] = ("en",)
    captions_per_row: int = 4
    num_frames: int = 16
    fps: float = 10.0
    magnification: float = 1.0
    keep_geometry: bool = False
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
        if not 0 <= self.one_sided <= 1:
            raise ValueError(f"expected a chance one_sided in 0..1, got {self.one_sided}")
        counts = (self.expressions_per_subject, self.captions_per_row, self.num_frames, self.variants, self.people)
        at_random, at_rest = (self.random_per_subject, self.random_per_tested), self.rest_per_subject
        if min(counts) < 1 or min(*at_random, at_rest) < 0 or self.fps <= 0:
            raise ValueError(
                "expected expressions_per_subject, captions_per_row, num_frames, variants, people >= 1, random_per_subject, "
                f"random_per_tested, rest_per_subject >= 0 and fps > 0, got {counts}, {at_random}, {at_rest}, {self.fps}"
            )
        if at_rest and self.kind == "micro":
            raise ValueError(
                "micro-expressions have a sequence at rest for every category's repeat; drop rest_per_subject"
            )
        check_magnification(self.magnification)
        if self.magnification != 1 and self.kind == "3d":
            raise ValueError(
                "a single scan has no movement to magnify; drop --magnification, or build --kind 4d or micro"
            )

    def to_dict(self) -> dict:
        return schema.describe_settings(self)


class Synthesizer:
    """Makes the rows of subjects of one family of heads."""

    def __init__(self, model: HeadModel | HeadSet, source: Source, settings: BuildSettings):
        self.model, self.source, self.settings = model, source, settings
        self._varied: tuple[np.ndarray, GeometryVariation] | None = None
        if settings.vary_geometry and isinstance(model, HeadModel):
            self._vary(model.heads([-1], [self._rng(-1)])[0]())

    def _rng(self, subject: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, zlib.crc32(self.source.name.encode()), subject + 1])

    def _vary(self, head: Head) -> GeometryVariation:
        """The variation of a head's topology; prepared once where all share one."""
        if self._varied is None or self._varied[0] is not head.faces:
            typical = head.vertices.numpy()
            framed = frame_upright(typical, head.faces).apply(typical)
            self._varied = head.faces, GeometryVariation(framed, head.faces)
        return self._varied[1]

    def shard_rows(self, shard, rejected: list[dict]) -> Iterator[dict]:
        """Rows; appends `{"id", "reason"}` of what could not be made."""
        streams = [self._rng(number) for number in shard.subjects]
        heads = self.model.heads(shard.subjects, streams)
        rejected += self.model.rejected
        for number, rng, give in zip(shard.subjects, streams, heads, strict=True):
            subject = f"{self.source.name}-{number:05d}"
            try:
                head = give()
            except HeadRejected as error:
                rejected.append({"id": subject, "reason": str(error)})
                continue
            people = self.settings.people if shard.split == "train" and self.settings.vary_geometry else 1
            for copy in range(people):
                name = f"{subject}-p{copy}" if people > 1 else subject
                yield from self._person_rows(name, shard.split, head, rng, rejected)

    def _person_rows(self, subject: str, split: str, head: Head, rng: np.random.Generator, rejected) -> Iterator[dict]:
        person = self._another_person(head, rng.spawn(1)[0]) if self.settings.vary_geometry else None
        for item in self._items(subject, split, rng, head.table):
            try:
                vertices, faces, light_deg = self._framed(item, head, person)
                views = render_scan(vertices, faces, self.settings.render, frame=FRAMED, light_deg=light_deg)
            except ValueError as error:
                rejected.append({"id": item["id"], "reason": str(error)})
                continue
            kept: dict[str, Any] = {"subject": subject, "split": split}
            if self.settings.keep_geometry:
                frames = [(frame.numpy(), faces.numpy()) for frame in vertices]
                kept[schema.MESHES] = schema.encode_meshes(frames, item["id"])
            yield self._row(item, views) | kept | head.columns

    def _another_person(self, head: Head, rng: np.random.Generator) -> tuple[FaceFrame, Tensor]:
        """The frame of a head, in whose units geometry varies, and what other proportions add to it, `(N, 3)`."""
        rough = frame_upright(head.vertices.numpy(), head.faces)
        return rough, draw_proportions(rough.apply(head.vertices), rng)

    def _items(self, subject: str, split: str, rng: np.random.Generator, table: UnitTable):
        """What a subject does: dicts with id, expression (or None), units, intensity, and a seed for the rendering."""
        settings, train = self.settings, split == "train"
        if settings.kind == "micro":
            yield from self._micro_items(subject, train, rng, table)
            return
        rest_rng = rng.spawn(1)[0]  # rows at rest change nothing of the others
        shown = [name for name in settings.expressions if name in shown_by(table)]
        for repeat in range(settings.expressions_per_subject if train else 2):
            for name in shown:
                units, intensity = sample_expression(rng, name, strengths=settings.intensity, table=table)
                yield from self._variants(f"{subject}-{name}-{repeat}", name, units, intensity, train, rng)
        for i in range(settings.random_per_subject if train else settings.random_per_tested):
            units = sample_combination(rng, table, one_sided=settings.one_sided)
            yield from self._variants(f"{subject}-random-{i}", None, units, max(units.values()), train, rng)
        for i in range(settings.rest_per_subject):
            units = sample_rest(rest_rng, table)
            yield from self._variants(f"{subject}-rest-{i}", "neutral", units, 0.0, train, rest_rng)

    def _variants(self, name: str, expression: str | None, units: dict, intensity: float, train: bool, rng):
        """One action of a subject, once per rendering that is wanted of it."""
        settings = self.settings
        item = {
            "expression": expression,
            "units": units,
            "asymmetry": {unit: float(np.clip(rng.normal(0, 0.12), -0.35, 0.35)) for unit in units},
            "intensity": intensity,
            "curve": activation_curve(rng, settings.num_frames) if settings.kind == "4d" else np.ones(1),
            "pose": rng.normal(0, (3.0, 3.0, 2.0)).clip(-8, 8),
        }
        seed = int(rng.integers(2**63))
        for variant in range(settings.variants if train and settings.vary_geometry else 1):
            ending = f"-v{variant}" if settings.variants > 1 else ""
            yield item | {"id": name + ending, "seed": [seed, variant]}

    def _micro_items(self, subject: str, train: bool, rng: np.random.Generator, table: UnitTable):
        """The same of micro-expressions: every category of `MICRO`, of which only neutral and surprise are expressions."""
        settings = self.settings
        shown = [category for category, variants in MICRO.items() if any(map(table.can_show, variants))]
        for repeat in range(settings.expressions_per_subject if train else 2):
            for category in shown:
                units, strength = sample_micro(rng, category, table)
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

    def _framed(
        self, item: dict, head: Head, person: tuple[FaceFrame, Tensor] | None
    ) -> tuple[Tensor, Tensor, tuple | None]:
        """Framed vertices `(T, N', 3)`, faces `(M', 3)`, light (yaw, pitch) if it is not the usual one.

        `person`: from `_another_person`; None if geometry does not vary.
        """
        vertices, turn = _moved(head, item), rotation(*item["pose"]).T
        if self.settings.magnification != 1:
            moved = magnify(vertices.numpy(), vertices[0].numpy(), magnification=self.settings.magnification)
            vertices = torch.from_numpy(moved)
        if person is None:
            vertices, faces = vertices @ turn, torch.from_numpy(head.faces)
            return frame_upright(vertices[0].numpy(), head.faces).apply(vertices), faces, None
        rng, (rough, proportions) = np.random.default_rng(item["seed"]), person
        vertices, faces = self._vary(head)((rough.apply(vertices) + proportions) @ turn, rng)
        frame = frame_upright(vertices[0].numpy(), faces.numpy())
        vertices = reframe(frame.apply(vertices), rng)
        light_deg = (float(rng.uniform(-60, 60)), float(rng.uniform(10, 65))) if rng.random() < 0.7 else None
        return vertices, faces, light_deg

    def example_scans(self, number: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """First scans of expressions of a test subject: a row's id, vertices `(N, 3)` at the apex, faces `(M, 3)`."""
        stream = self._rng(number)
        head = self.model.heads([number], [stream])[0]()
        for item in self._items(f"{self.source.name}-{number:05d}", "test", stream, head.table):
            if "-0-" in item["id"] + "-":  # the first repeat; builds with variants add "-v0"
                apex = _moved(head, item)[int(np.argmax(item["curve"]))]
                yield item["id"], (apex @ rotation(*item["pose"]).T).numpy(), head.faces

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
    load: Callable[[], HeadModel | HeadSet],
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
        parallel: `num_proc`, `part` and `overwrite`, as in `building.build`.
    Returns:
        the `dataset_info`.
    """
    numbers = source.splits(settings.subjects, settings.seed)
    shards = cut(numbers, SUBJECTS_PER_SHARD)
    make_worker = functools.partial(_make_synthesizer, load, source, settings)
    info = build(make_worker, card.describe_heads(source, settings), shards, folder, **parallel)
    if meshes and info["complete"]:
        _write_meshes(make_worker(), numbers["test"][:meshes], Path(folder))
    return info


def _moved(head: Head, item: dict) -> Tensor:
    """`(T, N, 3)`: what the face does, the head upright."""
    wanted = head.table.weights(item["units"], asymmetry=item["asymmetry"])
    weights = torch.tensor([wanted.get(shape, 0.0) for shape in head.shape_names], dtype=torch.float32)
    curve = torch.tensor(item["curve"], dtype=torch.float32)[:, None]
    return head.vertices + ((curve * weights) @ head.shapes.flatten(1)).view(len(curve), -1, 3)


def _make_synthesizer(load, source, settings) -> Synthesizer:
    return Synthesizer(load(), source, settings)


def _write_meshes(synthesizer: Synthesizer, subjects: Sequence[int], folder: Path) -> None:
    (folder / "meshes").mkdir(exist_ok=True)
    for number in subjects:
        for name, vertices, triangles in synthesizer.example_scans(number):
            faces = "".join("f {} {} {}\n".format(*face) for face in (triangles + 1).tolist())
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
