"""Photos, meshes and sequences to `pixel_values`. What CLIP's image processor does, plus views rendered from a mesh.

In: photos (flat, or nested [sample][view]), meshes, or sequences of either. Out: `pixel_values (B, C, H, W)` for a flat
list of photos, else `(B, V, C, H, W)` or `(B, T, V, C, H, W)` with masks that are true where something is present.
Rendering lives in the image processor, as frame sampling lives in video processors: its settings are typed, saved with
the processor, and can be overridden in a call.
"""

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, PILImageResampling
from transformers.processing_utils import ImagesKwargs

from .cameras_mvfer import DEFAULT_VIEW_ANGLES_DEG
from .channels_mvfer import COLOR_CHANNELS
from .framing_mvfer import FaceFrame
from .images_mvfer import PictureError, read_picture, to_8_bits, upright_rgb
from .magnification_mvfer import check_magnification
from .meshes_mvfer import MESH_SUFFIXES, Mesh, as_mesh, load_mesh
from .names_mvfer import printable
from .orientation_mvfer import AUTO, rotations
from .rank_pooling_mvfer import rank_pool
from .rendering_mvfer import RenderSettings, frame_mesh, render_mesh
from .sequences_mvfer import as_list, read_sequence, render_sequence
from .view_batches_mvfer import FRAMES, normalize_views, pad_views


class MVFERImageProcessorKwargs(ImagesKwargs, total=False):  # type: ignore[call-arg]  # a TypedDict
    """CLIP's settings, and:

    view_angles_deg (`(V, 2)` numbers): yaw and pitch of the cameras that meshes are rendered from, see `cameras_mvfer`.
        In a call with photos: where these were taken from, `(V, 2)` for all samples or `(B, V, 2)`.
    channels (three names): what the three channels of a rendered view show, see `channels_mvfer`.
    supersampling (`int`): samples per pixel along each axis.
    aim_y (`float`): how far above the tip of the nose the cameras look, in framed units, see `cameras_mvfer`.
    render_backend (`str`): "torch", "numba" or "auto", which is numba where it is installed; never stored with the processor.
    orientation (`str`): of meshes: "auto" finds it, else of mesh files which axis points up and, if unusual, where the face
        looks, see `orientation_mvfer`.
    up_axis (`str`): the same as an orientation, for "auto"; "y" leaves it to be found.
    num_frames (`int`): longer sequences are sampled to this many frames, uniformly in time.
    frames (`str`): "sequence", or "rank_pooled" for one dynamic image per view, see `rank_pooling_mvfer`.
    magnification (`float`): of the movement since the onset, in sequences of meshes, see `magnification_mvfer`.
    """

    view_angles_deg: Any
    channels: Any
    supersampling: int
    aim_y: float | int
    render_backend: str
    orientation: str
    up_axis: str
    num_frames: int
    frames: str
    magnification: float | int


class _Request(NamedTuple):
    kind: str  # "images", "meshes" or "sequences"
    items: Any
    view_angles_deg: Any  # as given in the call, else None


class MVFERImageProcessor(PilBackend):
    """CLIP's image processor that can also render.

        image_processor(images=[photo, photo])             pixel_values (B, C, H, W), as in CLIP
        image_processor(images=[[photo, photo], [photo]])  pixel_values (B, V, C, H, W), view_mask (B, V)
        image_processor(meshes=["face.obj", mesh])         the same, and view_angles_deg (B, V, 2)
        image_processor(sequences=[{"frames": [mesh, mesh], "fps": 25.0}])
            pixel_values (B, T, V, C, H, W), view_mask (B, T, V), view_angles_deg (B, V, 2), frame_mask (B, T),
            frame_times_s (B, T)

    A mesh is a path, a `Mesh`, a `trimesh.Trimesh` or a dict of arrays. A sequence is a dict of `frames`, each a mesh,
    a photo, or a list with one photo per view, and of `fps` (25 if absent) or `frame_times_s`; meshes are framed as the first
    frame is, and magnified from it, or as and from the `onset`, if that is given. With `frames="rank_pooled"` a sequence becomes
    (B, V, C, H, W), as a scan. Photos with known cameras take `view_angles_deg`.

    What is rendered carries `face_frames`, a list of `FaceFrame`, as an attribute of the result: where each face was found, how
    the scan lay, and how much it looks like a face.

    Raises:
        ValueError: in a call, for input of another kind, with what was got and what is expected; mesh errors name the
            file.
    """

    _auto_class = "AutoImageProcessor"
    valid_kwargs = MVFERImageProcessorKwargs
    model_input_names = ["pixel_values", "view_mask", "view_angles_deg", "frame_mask", "frame_times_s"]

    resample = PILImageResampling.BICUBIC
    image_mean = OPENAI_CLIP_MEAN
    image_std = OPENAI_CLIP_STD
    size = {"shortest_edge": 224}
    default_to_square = False
    crop_size = {"height": 224, "width": 224}
    do_resize = True
    do_center_crop = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True

    view_angles_deg = [list(angles) for angles in DEFAULT_VIEW_ANGLES_DEG]
    channels = ["clay", "curvature", "depth"]
    supersampling = 1
    aim_y = 0.0
    render_backend = "auto"
    orientation = "auto"
    up_axis = "y"
    num_frames = 8
    frames = "sequence"
    magnification = 1.0

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        _check_sequence_settings(vars(self))
        rotations(_orientation(vars(self)))
        self.view_angles_deg = self.render_settings.to_dict()["view_angles_deg"]  # raises on bad render settings

    @classmethod
    def from_render_settings(cls, settings: RenderSettings | Mapping, **kwargs) -> "MVFERImageProcessor":
        """The processor that renders like a data set whose `dataset_info.json` holds these settings.

        The backend is whichever is at hand where the processor is used, not the one that rendered the data set.
        """
        settings = settings if isinstance(settings, RenderSettings) else RenderSettings.from_dict(settings)
        fields = settings.to_dict()
        size_px, fields["render_backend"] = fields.pop("size_px"), "auto"
        del fields["backend"]
        crop_size = {"height": size_px, "width": size_px}
        return cls(size={"shortest_edge": size_px}, crop_size=crop_size, **fields, **kwargs)

    @classmethod
    def from_clip(cls, image_processor) -> "MVFERImageProcessor":
        """The processor that makes of photos what a plain CLIP's does: its size, crop, mean and standard deviation."""
        settings = image_processor.to_dict()
        return cls(
            **{name: settings[name] for name in cls.valid_kwargs.__annotations__ if settings.get(name) is not None}
        )

    @classmethod
    def from_dict(cls, image_processor_dict: dict, **kwargs):
        """As the parent's; a stored backend is one of the machine that stored it, and need not be installed here."""
        return super().from_dict(image_processor_dict | {"render_backend": "auto"}, **kwargs)

    def to_dict(self) -> dict:
        """As the parent's, without the backend of this machine: all give the same views."""
        return super().to_dict() | {"render_backend": "auto"}

    @property
    def size_px(self) -> int:
        """Height and width of what the model sees."""
        return _size_px(self.do_center_crop, self.crop_size, self.size)

    @property
    def render_settings(self) -> RenderSettings:
        """The settings that meshes are rendered with."""
        return _render_settings(vars(self))

    def normalize_views(self, views) -> torch.Tensor:
        """Views `(..., H, W, 3)` uint8 that are already at model size to `pixel_values (..., 3, H, W)`, all at once."""
        return _normalize(views, vars(self))

    def denormalize_views(self, pixel_values: torch.Tensor) -> np.ndarray:
        """`pixel_values (..., 3, H, W)` back to views `(..., H, W, 3)` uint8, to be looked at."""
        pixels = pixel_values.cpu().float().movedim(-3, -1)
        pixels = pixels * torch.tensor(self.image_std) + torch.tensor(self.image_mean)
        return (pixels.clamp(0, 1) * 255).round().to(torch.uint8).numpy()

    def load_frame(self, frame):
        """A mesh read into memory, with this processor's settings, for where it is needed again; photos as they are."""
        return frame if isinstance(frame, list | tuple) or _is_photo(frame) else _load(frame, "frame", vars(self))

    def framed(self, mesh) -> tuple[Mesh, FaceFrame]:
        """A mesh read into memory, with this processor's settings, and where its face was found."""
        return _framed(mesh, "mesh", vars(self))

    def __call__(self, images=None, *, meshes=None, sequences=None, **kwargs) -> BatchFeature:
        return self.preprocess(images, meshes=meshes, sequences=sequences, **kwargs)

    def preprocess(self, images=None, *, meshes=None, sequences=None, **kwargs) -> BatchFeature:
        given = {"images": images, "meshes": meshes, "sequences": sequences}
        given = {kind: items for kind, items in given.items() if items is not None}
        if len(given) != 1:
            raise ValueError(f"expected one of images, meshes, sequences, got {list(given) or 'none'}")
        ((kind, items),) = given.items()
        return super().preprocess(_Request(kind, items, kwargs.get("view_angles_deg")), **kwargs)

    def _preprocess_image_like_inputs(self, request: _Request, return_tensors=None, **kwargs) -> BatchFeature:
        _check_sequence_settings(kwargs)
        if kwargs["frames"] == "rank_pooled" and request.kind != "sequences":
            raise ValueError(
                f'{request.kind}: frames="rank_pooled" reads motion, which one moment lacks; pass sequences='
            )
        handler = {"images": self._images, "meshes": self._meshes, "sequences": self._sequences}[request.kind]
        frames: list[FaceFrame] = []
        batch = handler(request, kwargs, frames)
        if return_tensors != "pt":
            batch = {name: value.numpy() for name, value in batch.items()}
        result = BatchFeature(batch, tensor_type=return_tensors)
        result.face_frames = frames
        return result

    def _images(self, request: _Request, kwargs: dict, frames: list) -> dict[str, torch.Tensor]:
        samples = _nest_photos(request.items, "images")
        is_flat = not isinstance(samples[0], list)
        samples = [[sample] for sample in samples] if is_flat else samples
        pixels = self._photos([photo for sample in samples for photo in sample], kwargs)  # (n, C, H, W)
        if is_flat and request.view_angles_deg is None:
            return {"pixel_values": pixels}
        counts = [len(sample) for sample in samples]
        batch = pad_views(list(pixels.split(counts)), view_angles_deg=_angles_of(request.view_angles_deg, counts))
        return {"pixel_values": batch.pop("views"), **batch}

    def _meshes(self, request: _Request, kwargs: dict, frames: list) -> dict[str, torch.Tensor]:
        settings = _render_settings(kwargs)
        meshes = as_list(request.items, "meshes", one=(str, Mapping, Mesh))
        views = []
        for i, item in enumerate(meshes):
            mesh, frame = _framed(item, f"meshes[{i}]", kwargs)
            frames.append(frame)
            views.append(render_mesh(mesh, settings, frame=frame)[0])
        batch = pad_views(views, view_angles_deg=[settings.view_angles_deg] * len(views))
        return {"pixel_values": _normalize(batch.pop("views"), kwargs), **batch}

    def _sequences(self, request: _Request, kwargs: dict, frames: list) -> dict[str, torch.Tensor]:
        items = as_list(request.items, "sequences", one=(Mapping,))
        names = [f"sequences[{i}]" for i in range(len(items))]
        sequences = [read_sequence(item, name, kwargs["num_frames"]) for item, name in zip(items, names, strict=True)]
        kinds = {_is_photo(s.frames[0]) or isinstance(s.frames[0], list | tuple) for s in sequences}
        if len(kinds) != 1:
            raise ValueError("expected sequences of meshes or sequences of photos, got both in one call")
        times = [sequence.times_s for sequence in sequences]
        if kinds == {True}:
            nested = [_nest_photos(s.frames, name) for s, name in zip(sequences, names, strict=True)]
            nested = [[frame if isinstance(frame, list) else [frame] for frame in frames] for frames in nested]
            return self._photo_sequences(nested, times, request.view_angles_deg, kwargs)
        settings, views = _render_settings(kwargs), []
        for sequence, name in zip(sequences, names, strict=True):
            meshes = [_load(mesh, f"{name}, frame {t}", kwargs) for t, mesh in enumerate(sequence.frames)]
            known = [mesh for given, mesh in zip(sequence.frames, meshes, strict=True) if given is sequence.onset]
            onset = known[0] if known else _load(sequence.onset, f"{name}, onset", kwargs)
            frames.append(sequence.face_frame or _frame_of(onset, kwargs))
            options = {"where": name, "magnification": kwargs["magnification"], "frame": frames[-1]}
            views.append(render_sequence(meshes, onset, settings, **options))  # (T, V, H, W, 3)
        return _batch_of_sequences(views, [settings.view_angles_deg] * len(views), times, kwargs)

    def _photo_sequences(self, sequences: list, times: list, view_angles_deg, kwargs: dict) -> dict[str, torch.Tensor]:
        counts = [len(frames[0]) for frames in sequences]
        for i, (frames, count) in enumerate(zip(sequences, counts, strict=True)):
            if any(len(frame) != count for frame in frames):
                got = [len(frame) for frame in frames]
                raise ValueError(f"sequences[{i}]: expected {count} photos in every frame, got {got}")
        if kwargs["magnification"] != 1:
            raise ValueError("magnification moves the vertices of meshes, got photos; pass magnification=1")
        photos = [photo for frames in sequences for frame in frames for photo in frame]
        rank_pooled = kwargs["frames"] == "rank_pooled"
        plain = {"do_normalize": False, "do_rescale": True, "rescale_factor": 1.0}  # pixels of 0 to 255
        pixels = self._photos(photos, kwargs | plain if rank_pooled else kwargs)
        pixels = pixels.split([len(frames) * count for frames, count in zip(sequences, counts, strict=True)])
        views = [p.unflatten(0, (-1, count)) for p, count in zip(pixels, counts, strict=True)]  # (T, V, C, H, W)
        angles = _angles_of(view_angles_deg, counts)
        if rank_pooled:
            views = [frames.round().to(torch.uint8).movedim(2, -1).numpy() for frames in views]
            return _batch_of_sequences(views, angles, times, kwargs)
        batch = pad_views(views, view_angles_deg=angles, frame_times_s=times)
        return {"pixel_values": batch.pop("views"), **batch}

    def _photos(self, photos: list, kwargs: dict) -> torch.Tensor:
        """`(n, C, H, W)`. Photos already uint8 RGB at model size skip the resize: it would change nothing."""
        photos = [_check_photo(_open_photo(photo), kwargs["do_rescale"]) for photo in photos]
        size_px = _size_px(kwargs["do_center_crop"], kwargs["crop_size"], kwargs["size"])
        ready = [np.asarray(p) if isinstance(p, Image.Image) and p.mode == "RGB" else p for p in photos]
        if all(isinstance(p, np.ndarray) and p.dtype == np.uint8 and p.shape == (size_px, size_px, 3) for p in ready):
            return _normalize(np.stack(ready), kwargs)
        options = {name: kwargs.get(name) for name in ("do_convert_rgb", "input_data_format")}
        images = [self.process_image(photo, **options) for photo in photos]
        pixels = self._preprocess(images, return_tensors=None, **kwargs)["pixel_values"]
        shapes = {p.shape for p in pixels}
        if len(shapes) != 1:
            raise ValueError(f"photos of different sizes need do_resize and do_center_crop, got {sorted(shapes)}")
        return torch.from_numpy(np.stack(pixels).astype(np.float32))


def _size_px(do_center_crop: bool, crop_size, size) -> int:
    height, width = (crop_size.height, crop_size.width) if do_center_crop else (size.height, size.width)
    height, width = height or size.shortest_edge, width or size.shortest_edge
    if not height or height != width:
        raise ValueError(f"expected square images, got {height} x {width} pixels")
    return height


def _render_settings(values: Mapping) -> RenderSettings:
    return RenderSettings(
        view_angles_deg=_plain(values["view_angles_deg"]),
        size_px=_size_px(values["do_center_crop"], values["crop_size"], values["size"]),
        supersampling=values["supersampling"],
        channels=tuple(values["channels"]) if isinstance(values["channels"], list | tuple) else values["channels"],
        backend=values["render_backend"],
        aim_y=values["aim_y"],
    )


def _normalize(views, values: Mapping) -> torch.Tensor:
    scale = values["rescale_factor"] if values["do_rescale"] else 1.0
    mean, std = (values["image_mean"], values["image_std"]) if values["do_normalize"] else ((0.0,) * 3, (1.0,) * 3)
    return normalize_views(views, mean=mean, std=std, rescale_factor=scale)


def _batch_of_sequences(views: list, angles: list | None, times: list, kwargs: Mapping) -> dict[str, torch.Tensor]:
    """Sequences `(T, V, H, W, 3)` uint8, or their dynamic images, as a batch."""
    if kwargs["frames"] == "rank_pooled":
        views, times = [rank_pool(frames) for frames in views], None
    batch = pad_views(views, view_angles_deg=angles, frame_times_s=times)
    return {"pixel_values": _normalize(batch.pop("views"), kwargs), **batch}


def _load(mesh, where: str, values: Mapping) -> Mesh:
    if not isinstance(mesh, str) and not hasattr(mesh, "__fspath__"):
        try:
            return as_mesh(mesh)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    geometry_only = not set(values["channels"]) & set(COLOR_CHANNELS)
    orientation = _orientation(values)
    return load_mesh(mesh, up_axis="y" if orientation == AUTO else orientation, geometry_only=geometry_only)


def _orientation(values: Mapping) -> str:
    """As asked for; processors that were saved before there was "auto" may have another `up_axis` than ours."""
    return values["up_axis"] if values["orientation"] == AUTO and values["up_axis"] != "y" else values["orientation"]


def _framed(item, where: str, values: Mapping) -> tuple[Mesh, FaceFrame]:
    mesh = _load(item, where, values)
    return mesh, _frame_of(mesh, values)


def _frame_of(mesh: Mesh, values: Mapping) -> FaceFrame:
    """A file of a known orientation has been turned when it was read."""
    return frame_mesh(mesh, orientation=AUTO if _orientation(values) == AUTO else "y")


def _nest_photos(items, where: str) -> list:
    """A flat list of photos, or a list of non-empty lists of photos; nothing else."""
    if isinstance(items, np.ndarray | torch.Tensor) and items.ndim >= 4:
        items = list(items)
    items = [items] if _is_photo(items) else as_list(items, where)
    nested = [list(i) if isinstance(i, list | tuple) or getattr(i, "ndim", 0) == 4 else i for i in items]
    lists = [isinstance(item, list) for item in nested]
    if any(lists) and not all(lists):
        raise ValueError(f"{where}: expected photos, or lists with one photo per view, got a mixture")
    for index, item in enumerate(nested):
        if isinstance(item, list) and not item:
            raise ValueError(f"{where}[{index}]: expected at least one photo, got an empty list")
        for photo in item if isinstance(item, list) else [item]:
            if not _is_photo(photo):
                is_mesh = isinstance(photo, Mapping | str | os.PathLike) or hasattr(photo, "vertices")
                got = f"{type(photo).__name__}; meshes go into meshes=" if is_mesh else type(photo).__name__
                raise ValueError(f"{where}[{index}]: expected a photo (PIL, array or file), got {got}")
    return nested


def _is_photo(item) -> bool:
    is_array = isinstance(item, np.ndarray | torch.Tensor) and item.ndim in (2, 3)
    is_name = isinstance(item, str | os.PathLike) and not os.fspath(item).lower().endswith(MESH_SUFFIXES)
    return isinstance(item, Image.Image) or is_array or is_name


def _check_photo(photo, do_rescale: bool):
    """Catch what would silently become a wrong picture: not finite, empty, numbers of 16 bits or outside the ranges."""
    if isinstance(photo, Image.Image):
        return upright_rgb(photo)
    photo = photo.detach().cpu().numpy() if isinstance(photo, torch.Tensor) else photo
    if not photo.size or photo.dtype.kind not in "uif":
        raise ValueError(f"expected a photo of numbers, got an array {photo.shape} of {photo.dtype}")
    if not np.isfinite(photo).all():
        raise ValueError("expected finite pixels, got a photo with NaN or infinity")
    if photo.ndim == 2:
        photo = np.repeat(photo[..., None], 3, axis=-1)
    return to_8_bits(photo) if do_rescale else photo  # else the caller has scaled already


def _open_photo(photo):
    """Files are opened here, so that a missing one is named. Nothing is fetched."""
    if not isinstance(photo, str | os.PathLike):
        return photo
    name = printable(os.fspath(photo))
    if re.match(r"[A-Za-z][\w+.-]*://", name):
        raise ValueError(f"{name}: an address, and nothing is fetched; download the photo and pass its file")
    try:
        return read_picture(photo)
    except PictureError as error:
        raise ValueError(f"{name}: not readable as a photo ({error}); export it as PNG or JPEG") from error


def _angles_of(view_angles_deg, counts: list[int]) -> list | None:
    """Angles given in a call, per sample: `(V, 2)` for all alike, or one such array per sample."""
    if view_angles_deg is None:
        return None
    angles = _plain(view_angles_deg)
    try:
        is_shared = np.ndim(angles[0][0]) == 0
        angles = [angles] * len(counts) if is_shared else angles
        shapes = [np.shape(a) for a in angles]
    except (TypeError, IndexError, ValueError):
        raise ValueError(f"view_angles_deg: expected (V, 2) or (B, V, 2) numbers, got {view_angles_deg!r}") from None
    if shapes != [(count, 2) for count in counts] or not all(np.isfinite(a).all() for a in angles):
        raise ValueError(f"view_angles_deg: expected finite (V, 2) per sample for {counts} views, got {shapes}")
    return angles


def _plain(values):
    return values.tolist() if isinstance(values, np.ndarray | torch.Tensor) else values


def _check_sequence_settings(values: Mapping) -> None:
    count, frames = values["num_frames"], values["frames"]
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"expected num_frames >= 1, got {count!r}")
    if frames not in FRAMES:
        raise ValueError(f"frames: expected one of {', '.join(FRAMES)}, got {frames!r}")
    check_magnification(values["magnification"])
