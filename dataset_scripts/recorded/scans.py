"""Scans on disk to rows: what the builders for recorded data sets share.

In: `Scan`s, which say where a scan, a sequence or the photos of a moment lie and what is known of them. Out: rows of
`schema`. A sequence is read, rendered and encoded frame by frame, so its length does not matter to memory.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image, ImageOps

from dataset_scripts.common.captions import captions_for
from dataset_scripts.recorded.facs import describable
from dataset_scripts.recorded.reasons import without_paths
from mvfer.data import schema
from processing.face_frame_mvfer import FaceFrame
from processing.images_mvfer import PictureError, read_picture
from processing.meshes_mvfer import load_mesh
from processing.prompts_mvfer import EXPRESSIONS, prompts_for
from processing.rendering_mvfer import RenderSettings, frame_mesh, render_mesh
from processing.view_batches_mvfer import sample_frames

RGB = ("red", "green", "blue")
DEMOGRAPHICS = ("sex", "age_group", "ancestry")


@dataclass(frozen=True)
class Scan:
    """One row to be.

    Args:
        subject: the set's own name of the person; only its pseudonym is written.
        name: tells the person's rows apart ("happiness-3"); is written, so it holds nothing of the names of files and people.
        moment: tells rows of one name apart, in the source's own words; only a keyed hash of it is written.
        frames: per frame a mesh file, or the photos of all cameras at that moment.
        expression: one of `EXPRESSIONS`, or None if unknown.
        action_units: unit -> intensity in [0, 1]; None if nobody coded them, {} if coded and none was active.
        captions: texts that come with the data (never names of emotions; those are labels).
        times_s: of the frames, each after the one before.
        view_angles_deg: (yaw, pitch) of the cameras; of photos only.
        columns: further columns of the schema: task, pose, occlusion, apex_time_s, static_units, and those of `DEMOGRAPHICS`.
        split: if the source decides it.
    """

    subject: str
    name: str
    frames: tuple[Path | tuple[Path, ...], ...]
    expression: str | None = None
    action_units: Mapping[str, float] | None = None
    captions: tuple[str, ...] = ()
    intensity: float | None = None
    times_s: tuple[float, ...] = (0.0,)
    view_angles_deg: tuple[tuple[float, float], ...] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)
    split: str | None = None
    moment: str = ""

    def __post_init__(self):
        if len(self.frames) != len(self.times_s) or not self.frames:
            raise ValueError(f"{self.name}: {len(self.frames)} frames for {len(self.times_s)} times")
        if (wrong := schema.frame_out_of_time(np.subtract(self.times_s, self.times_s[0]))) is not None:
            before, time = self.times_s[max(wrong - 1, 0)], self.times_s[wrong]
            raise ValueError(
                f"{self.name}: times go from {before:g} s to {time:g} s at frame {wrong}, not forward; correct them"
            )
        if self.expression is not None and self.expression not in EXPRESSIONS:
            raise ValueError(f"unknown expression {self.expression!r}; expected one of {', '.join(EXPRESSIONS)}")

    @property
    def files(self) -> list[Path]:
        return [file for frame in self.frames for file in ((frame,) if isinstance(frame, Path) else frame)]

    @property
    def is_partial(self) -> bool:
        """Whether the source says that the face is turned away or partly hidden."""
        said = self.columns.get("pose") or "frontal", self.columns.get("occlusion") or "none"
        return said != ("frontal", "none")

    def sampled(self, num_frames: int) -> "Scan":
        """At most that many frames, uniformly in time, first and last included, or the middle one; 0 keeps all."""
        if not num_frames or len(self.frames) <= num_frames:
            return self
        index = sample_frames(self.times_s, num_frames)
        kept = {name: tuple(getattr(self, name)[i] for i in index) for name in ("frames", "times_s")}
        return Scan(**{f: getattr(self, f) for f in self.__dataclass_fields__} | kept)


@dataclass(frozen=True)
class ScanSettings:
    """What decides the bytes of a build, with the source, the key of the pseudonyms and the renderer."""

    seed: int = 0
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    num_frames: int = 32
    up_axis: str = "y"
    geometry_only: bool = False
    label_prompts: bool = False
    keep_demographics: bool = False
    keep_geometry: bool = False
    languages: tuple[str, ...] = ("en",)
    captions_per_row: int = 4
    render: RenderSettings = RenderSettings()

    def __post_init__(self):
        if self.num_frames < 0 or self.captions_per_row < 1:
            raise ValueError(
                f"expected num_frames >= 0 and captions_per_row >= 1, got {self.num_frames}, {self.captions_per_row}"
            )

    def to_dict(self) -> dict:
        return schema.describe_settings(self)


@dataclass(frozen=True)
class PseudonymousScan:
    """A scan under the names that may be written."""

    subject: str
    id: str
    scan: Scan


class ScanRenderer:
    """Makes rows of scans."""

    def __init__(self, settings: ScanSettings):
        self.settings = settings

    def shard_rows(self, shard, rejected: list[dict]) -> Iterator[dict]:
        """Rows; appends `{"id", "reason"}` of what cannot be read, without the file's name, which names the person.

        Of scans that are kept, though no face is found in them, also `"kept": True`.
        """
        for item in shard.work:
            meshes: list[tuple] = []
            doubts: list[str] = []
            try:
                views, angles = self._views(item, meshes, doubts)
            except ValueError as error:
                reason = without_paths(str(error), item.scan.files, item.scan.subject, item.scan.moment)
                rejected.append({"id": item.id, "reason": reason})
                continue
            rejected += [{"id": item.id, "reason": doubt, "kept": True} for doubt in doubts]
            kept = {schema.MESHES: schema.encode_meshes(meshes, item.id)} if self.settings.keep_geometry else {}
            yield self._row(item, shard.split, views, angles) | kept

    def _views(
        self, item: PseudonymousScan, meshes: list[tuple], doubts: list[str]
    ) -> tuple[list[list[dict]], Sequence]:
        """PNGs, frames x views, and the angles of the views.

        Appends vertices and faces to `meshes` if they are to be kept, and to `doubts` why the scan may show no face.
        """
        scan, render = item.scan, self.settings.render
        if not isinstance(scan.frames[0], Path):
            if render.channels != RGB:
                raise ValueError(f"a photo, which has colours only; this set shows {', '.join(render.channels)}")
            frames = cast(tuple[tuple[Path, ...], ...], scan.frames)
            photos = (np.stack([read_photo(path, render.size_px) for path in frame]) for frame in frames)
            return schema.encode_views(photos, item.id), scan.view_angles_deg
        return schema.encode_views(self._rendered(scan, meshes, doubts), item.id), render.view_angles_deg

    def _rendered(self, scan: Scan, meshes: list[tuple], doubts: list[str]) -> Iterator[np.ndarray]:
        settings, frame = self.settings, None
        for path in scan.files:
            mesh = load_mesh(path, up_axis=settings.up_axis, geometry_only=settings.geometry_only)
            try:
                if settings.keep_geometry:
                    meshes.append((mesh.vertices, mesh.faces))
                if frame is None:
                    frame = frame_mesh(mesh)
                    doubts += [] if frame.is_face or scan.is_partial else [no_face(frame)]
                yield render_mesh(mesh, settings.render, frame=frame)[0]
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error

    def _row(self, item: PseudonymousScan, split: str, views: list[list[dict]], angles: Sequence) -> dict:
        scan, settings = item.scan, self.settings
        captions, source = self._captions(item)
        columns = {k: v for k, v in scan.columns.items() if settings.keep_demographics or k not in DEMOGRAPHICS}
        return {
            "id": item.id,
            "subject": item.subject,
            "expression": -1 if scan.expression is None else EXPRESSIONS.index(scan.expression),
            "captions": captions,
            "caption_source": source,
            "action_units": schema.as_list(scan.action_units or {}),
            "intensity": scan.intensity,
            "views": views,
            "view_angles_deg": [list(pair) for pair in angles],
            "frame_times_s": [float(time - scan.times_s[0]) for time in scan.times_s],
            "split": split,
        } | columns

    def _captions(self, item: PseudonymousScan) -> tuple[list[str], str]:
        """Texts and what they are. Labels become texts only on request, and are called so."""
        scan, settings = item.scan, self.settings
        if settings.label_prompts and scan.expression is not None:
            names = [prompts_for([scan.expression], kinds=["names"], language=lang) for lang in settings.languages]
            texts = [text for bank in names for text in bank[scan.expression][: settings.captions_per_row]]
            return texts, "label_prompts"
        if scan.captions:
            return list(scan.captions), "captions"
        said = describable(scan.action_units or {})
        if scan.action_units is not None and (said or not scan.action_units):  # unspeakable units are no relaxed face
            seed = zlib.crc32(f"{settings.seed}:{item.id}".encode())
            options: dict[str, Any] = {"count": settings.captions_per_row, "languages": settings.languages}
            return captions_for(said, seed, **options), "captions"
        return [], "none"


def no_face(frame: FaceFrame) -> str:
    """Why predictions would abstain from such a scan, and what to do."""
    return (
        f"kept, though no face is found in it (face-likeness {frame.face_likeness:.2f}): look at it with mvfer render, say how "
        "it lies with --up_axis, or cut away what is not the head"
    )


def read_photo(path: Path, size_px: int) -> np.ndarray:
    """A photo as a square `(H, W, 3)` uint8 view: turned upright, its shorter side scaled, its middle kept.

    Raises:
        ValueError: `"<path>: <reason>; <remedy>"` if it cannot be read or is absurdly large.
    """
    try:
        photo = read_picture(path, at_least_px=size_px)
    except PictureError as error:
        raise ValueError(f"{path}: not readable as a photo ({error}); export it as a smaller PNG or JPEG") from error
    return np.asarray(ImageOps.fit(photo, (size_px, size_px), Image.Resampling.BICUBIC))
