"""What a model sees of an upload: the costly half, done once; `telling` then answers any number of questions about it.

In: an [`Upload`], a model and its processor. Out: a [`Seen`], views and their features; the files are not needed any more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from modeling_mvfer.baseline_mvfer import Baseline, scan_means
from mvfer.app.uploads import Upload
from mvfer.data.frame_times import frame_times
from processing.cameras_mvfer import view_name
from processing.channels_mvfer import COLOR_CHANNELS
from processing.face_frame_mvfer import FACE_LIKE, FaceFrame
from processing.sequences_mvfer import DEFAULT_FPS

NOT_FOR_PHOTOS = (
    "This model learnt from drawings of shape, not from photos: what it says of a photo means nothing. Drop a mesh, or "
    "start the app with a model that learnt from photos."
)
Progress = Callable[[int, int], None]  # frames done, of how many


@dataclass(frozen=True)
class Seen:
    """One scan, one moment in photos, or a sequence, as a model saw it.

    Attributes:
        name (`str`): of the upload.
        views (`(T, V, H, W, 3)`, uint8), view_names (`V`): as the model sees them.
        features (`(1, T, V, D)`), angles_deg (`(1, V, 2)`), times_s (`(1, T)`): for the fusion.
        doubts (`list[str]`): why it should not be believed, whatever it says.
        notes (`list[str]`): what else there is to know.
        source (`str`): for the audit log, a keyed hash of the files; empty where there is no log.
    """

    name: str
    views: np.ndarray
    view_names: list[str]
    features: Tensor
    angles_deg: Tensor
    times_s: Tensor
    doubts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    source: str = ""

    @property
    def mask(self) -> Tensor:
        """`(1, T, V)`: every view is present."""
        return torch.ones(self.features.shape[:3], dtype=torch.bool, device=self.features.device)


def see(upload: Upload, model, processor, *, fps: float = DEFAULT_FPS, progress: Progress | None = None) -> Seen:
    """See a mesh, a sequence of meshes, or photos of one moment.

    Raises:
        ValueError: if nothing of it can be read; the message names the file.
    """
    if upload.kind == "photos":
        return _see_photos(upload, model, processor)
    frames = frame_times(upload.paths, fps)
    seen = _see_meshes(upload.name, frames.paths, frames.times_s, model, processor, progress)
    if len(frames.paths) > 1:
        seen.notes.insert(0, f"{len(frames.paths)} meshes, read as a sequence {frames.said}.")
    return seen


def baseline_of(upload: Upload, model, processor, *, at_rest: bool) -> Baseline:
    """What is usual for one person, of whom every mesh is one scan, or the photos together are one.

    Raises:
        ValueError: if a file cannot be read or shows no face, or the model takes no baselines.
    """
    scans = [[path] for path in upload.paths] if upload.kind == "meshes" else [upload.paths]
    means = []
    for paths in scans:
        seen = see(Upload(upload.kind, paths, upload.name), model, processor)
        if upload.kind == "meshes" and seen.doubts:
            raise ValueError(f"{paths[0]}: no face found in it; leave it out")
        means.append(scan_means(seen.features, seen.mask))
    return Baseline.of(torch.cat(means), at_rest=at_rest)


def _see_photos(upload: Upload, model, processor) -> Seen:
    image_processor = processor.image_processor
    inputs = processor(images=[upload.paths], return_tensors="pt")
    views = image_processor.denormalize_views(inputs["pixel_values"])  # (1, V, H, W, 3)
    features = _features(inputs["pixel_values"][0], model)[None, None]
    angles = model.default_angles_deg(len(upload.paths))[None]
    is_for_photos = set(image_processor.channels) <= set(COLOR_CHANNELS)
    doubts = [] if is_for_photos else [NOT_FOR_PHOTOS]
    names = [f"photo {number}" for number in range(1, len(upload.paths) + 1)]  # where the cameras stood is not known
    return Seen(upload.name, views, names, features, angles, torch.zeros(1, 1), doubts)


def _see_meshes(
    name: str, paths: Sequence[str], times_s: Sequence[float], model, processor, progress: Progress | None
) -> Seen:
    """Frame by frame, as a stream sees them: framed as the first one is; a frame that cannot be read leaves a gap."""
    image_processor = processor.image_processor
    onset, views, features, times, lost = None, [], [], [], []
    face: FaceFrame | None = None
    for done, (path, time_s) in enumerate(zip(paths, times_s, strict=True)):
        try:
            mesh = image_processor.load_frame(path)
        except ValueError as error:
            lost.append(str(error))
            continue
        onset = onset or mesh
        sequence = {"frames": [mesh], "onset": onset} | ({"face_frame": face} if face else {})
        inputs = processor(sequences=[sequence], return_tensors="pt")
        (face,) = inputs.face_frames
        views.append(image_processor.denormalize_views(inputs["pixel_values"][0, 0]))
        features.append(_features(inputs["pixel_values"][0, 0], model))
        times.append(time_s)
        if progress is not None:
            progress(done + 1, len(paths))
    if face is None:
        raise ValueError(lost[0])
    notes = [f"Left out, as unreadable: {reason}." for reason in lost[:3]]
    notes += [f"And {len(lost) - 3} more."] if len(lost) > 3 else []
    return Seen(
        name=name,
        views=np.stack(views),
        view_names=[view_name(angle) for angle in inputs["view_angles_deg"][0].tolist()],
        features=torch.stack(features)[None],
        angles_deg=inputs["view_angles_deg"],
        times_s=torch.tensor([times]) - times[0],
        doubts=[] if face.is_face else [_no_face(face)],
        notes=notes + _orientation(face) + _sides(face) + _inferred(face),
    )


@torch.no_grad()
def _features(pixels: Tensor, model) -> Tensor:
    """Of the views of one moment, `(V, C, H, W)` to `(V, D)`."""
    return model.get_image_features(pixels.to(model.device, model.dtype)).view_features[:, 0, 0]


def _no_face(face: FaceFrame) -> str:
    return (
        f"No face was found in this scan (face-likeness {face.face_likeness:.2f}, {FACE_LIKE} is needed). Look at the views "
        "below; cut away what is not the head, or turn it so that y points up and the face looks towards +z."
    )


def _orientation(face: FaceFrame) -> list[str]:
    if not face.is_face or face.orientation == "y/z":
        return []
    up, front, *_ = face.orientation.split("/")
    return [f"The scan was turned: in the file, {up} points up and the face looks towards {front}."]


def _inferred(face: FaceFrame) -> list[str]:
    if not face.is_face or not face.inferred:
        return []
    return [
        f"The scan does not show {face.unseen}; the face was placed by the rest of it, perhaps a twentieth of its size off."
    ]


def _sides(face: FaceFrame) -> list[str]:
    if not face.is_inside_out:
        return []
    return ["The scan's triangles look inwards, as those of a mirrored scan do: its left and right may be exchanged."]
