"""Expressions as they happen: frames go in one by one, probabilities over the last seconds come out after each.

In: meshes, photos or views of one face, from a camera or from files. Out: a probability per label, and which of the frames
counted how much. Only the newest frame goes through the vision tower; what is kept of a frame are its views' features, so a
step costs the same however long the stream, and memory is bounded by the window.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .baseline_mvfer import Baseline, RunningBaseline, scan_means
from .classifier_mvfer import Classifier

RUNNING = "running"

_SAME_WEIGHT = 1e-6  # weights sum to 1 and are of single precision


class StreamStep(NamedTuple):
    """What is known after a frame, and the window's frames with their weights, oldest first.

    abstain (`bool`, *optional*): whether this is better left to people; `None` if the model is not calibrated for these labels.
    reason (`str`, *optional*): why it abstains.
    """

    time_s: float
    probabilities: dict[str, float]
    abstain: bool | None
    frame_times_s: list[float]
    frame_weights: list[float]
    reason: str | None = None

    @property
    def apex_time_s(self) -> float | None:
        """The time of the frame with the largest weight; `None` where all frames weigh the same, which tells of no apex."""
        largest = max(self.frame_weights)
        if largest - min(self.frame_weights) <= _SAME_WEIGHT:
            return None
        return self.frame_times_s[self.frame_weights.index(largest)]


class _Frame(NamedTuple):
    time_s: float
    features: Tensor  # (V, D)
    present: Tensor  # (V,)

    def mean(self) -> Tensor:
        """Of the views that are present: `(D,)`."""
        return scan_means(self.features[None, None], self.present[None, None])[0]


class MVFERStream:
    """Classify the last seconds of a stream of frames, after every frame.

    ```python
    stream = MVFERStream(model, processor, ["happiness", "disgust", "surprise"])
    for mesh in scanner:
        print(stream.push(mesh, time_s=time.monotonic()).probabilities)
    ```

    The result is that of the model on the window as one sequence whose `onset` is the stream's first frame: meshes are framed,
    and where the processor says so magnified, relative to that one. A frame that is lost is simply not pushed.
    `face_frames` tells where the face of the onset was found, and whether it is one.

    Args:
        model (`MVFERModel`): in evaluation mode. processor (`MVFERProcessor`).
        labels (`list[str]`): the classes. prompts, prompt_kinds, language: as in the pipeline.
        window_s (`float`, defaults to 2): frames older than this are forgotten.
        window_frames (`int`, defaults to 64): and never are more kept than this.
        view_angles_deg (`(V, 2)`, *optional*): of the cameras of photos; default the model's, or the front.
        baseline ([`Baseline`] or "running", *optional*): what is usual for this face; "running" finds it as the stream goes on
            ([`RunningBaseline`]). `calibrate` sets one.
    Raises:
        ValueError: if the window holds nothing, the processor pools sequences, which leaves nothing to keep of a frame, or there
            is a baseline and the model takes none.
    """

    def __init__(
        self,
        model,
        processor,
        labels: Sequence[str],
        *,
        window_s: float = 2.0,
        window_frames: int = 64,
        prompts: Mapping | None = None,
        prompt_kinds: Sequence[str] | None = None,
        language: str | None = None,
        view_angles_deg=None,
        baseline: Baseline | str | None = None,
    ):
        if not window_s > 0 or window_frames < 1:
            raise ValueError(f"expected window_s > 0 and window_frames >= 1, got {window_s!r} and {window_frames!r}")
        if processor.image_processor.frames != "sequence":
            raise ValueError(
                "a stream needs a model that reads frames; this one reads dynamic images of whole sequences"
            )
        self.model, self.processor, self.window_s = model, processor, float(window_s)
        self.view_angles_deg = None if view_angles_deg is None else torch.as_tensor(view_angles_deg).float()
        words: dict[str, Any] = {"prompts": prompts, "kinds": prompt_kinds, "language": language}
        self.classifier = Classifier.from_prompts(model, processor, labels, **words)
        self._frames: deque[_Frame] = deque(maxlen=window_frames)
        if isinstance(baseline, str) and baseline != RUNNING:
            raise ValueError(f"expected a Baseline or {RUNNING!r}, got {baseline!r}")
        if baseline is not None:
            model.known_baselines()
        self._first_baseline = baseline
        self.reset()

    def reset(self) -> None:
        """Forget all frames and the onset: somebody else comes."""
        self._frames.clear()
        self.face_frames: list = []
        self._onset, self._angles_deg = None, self.view_angles_deg
        self.baseline = None if isinstance(self._first_baseline, str) else self._first_baseline
        self._running = RunningBaseline() if isinstance(self._first_baseline, str) else None

    def calibrate(self, *, at_rest: bool = True) -> None:
        """Take what the window's frames show for what is usual for this face; from the next frame on, all is relative to it.

        Args:
            at_rest (`bool`, defaults to `True`): whether these frames show the face at rest; else they may show anything.
        Raises:
            ValueError: if there is no frame yet, or the model takes no baselines.
        """
        self.model.known_baselines()
        if not self._frames:
            raise ValueError("no frame yet to calibrate on; push some first")
        means = torch.stack([frame.mean() for frame in self._frames])
        seconds = max(1.0, self._frames[-1].time_s - self._frames[0].time_s)  # frames of one second are much the same
        count = torch.full((1,), min(float(len(means)), seconds), device=means.device)
        self.baseline, self._running = Baseline.of(means, at_rest=at_rest)._replace(count=count), None

    def push(self, frame, time_s: float | None = None) -> StreamStep:
        """Take the next frame.

        Args:
            frame: a mesh (path, `Mesh`, or dict with vertices and faces), a photo, or a list with one photo per camera, `None`
                for a view that is missing.
            time_s (`float`, *optional*): when it was taken, by any clock that goes forward; default one frame after the last,
                at the model's `frames_per_second`.
        Returns:
            [`StreamStep`]
        Raises:
            ValueError: if the frame cannot be read, has no view or another number of views, or time does not go forward. The
                stream is then as before and may go on.
        """
        last = self._frames[-1].time_s if self._frames else None
        if time_s is None:
            time_s = 0.0 if last is None else last + 1 / self.model.config.frames_per_second
        if not math.isfinite(time_s) or (last is not None and time_s <= last):
            raise ValueError(f"expected a time in seconds after {last}, got {time_s!r}")
        self._frames.append(_Frame(float(time_s), *self._encode(frame)))
        while self._frames[0].time_s < time_s - self.window_s:
            self._frames.popleft()
        if self._running is not None:
            self.baseline = self._running.observe(self._frames[-1].mean(), time_s)
        return self._step()

    @torch.no_grad()
    def _encode(self, frame) -> tuple[Tensor, Tensor]:
        """The features `(V, D)` of a frame's views, zeros where absent, and which are present `(V,)`."""
        given = None
        if isinstance(frame, (list, tuple)):
            given = [view is not None for view in frame]
            frame = [view for view in frame if view is not None]
            if not frame:
                raise ValueError("expected a frame with at least one view; leave lost frames out")
        frame = self.processor.image_processor.load_frame(frame)
        onset = frame if self._onset is None else self._onset
        sequence = {"frames": [frame], "onset": onset}
        if self._onset is not None and self.face_frames:  # the search for the face is not repeated
            sequence["face_frame"] = self.face_frames[0]
        inputs = self.processor(sequences=[sequence], return_tensors="pt")
        self.face_frames = getattr(inputs, "face_frames", [])
        pixels = inputs["pixel_values"][0, 0].to(self.model.device, self.model.dtype)  # (views present, C, H, W)
        present = torch.tensor(given or [True] * len(pixels), device=pixels.device)
        angles = inputs["view_angles_deg"][0] if "view_angles_deg" in inputs else self._angles_deg
        if angles is None:
            angles = self.model.default_angles_deg(len(present))
        if len(angles) != len(present) or (self._frames and len(present) != len(self._frames[0].present)):
            known = len(self._frames[0].present) if self._frames else len(angles)
            raise ValueError(f"expected {known} views in every frame (None for a missing one), got {len(present)}")
        computed = self.model.get_image_features(pixels).view_features[:, 0, 0]
        features = computed.new_zeros(len(present), computed.shape[-1])
        features[present] = computed
        self._onset, self._angles_deg = onset, angles
        return features, present

    @torch.no_grad()
    def _step(self) -> StreamStep:
        times = [frame.time_s for frame in self._frames]
        device = self._frames[0].features.device
        output = self.model.fuse_views(
            torch.stack([frame.features for frame in self._frames])[None],
            torch.stack([frame.present for frame in self._frames])[None],
            self._angles_deg[None].to(device),  # type: ignore[index]  # known since the first frame
            torch.tensor([[time - times[0] for time in times]], device=device),  # a clock's time does not fit 32 bits
            self.baseline,
        )
        found = self.classifier.read(output)
        probabilities = dict(zip(self.classifier.labels, found.probabilities[0].tolist(), strict=True))
        weights = output.frame_weights[0].tolist()
        return StreamStep(times[-1], probabilities, found.abstain[0], times, weights, found.reasons[0])
