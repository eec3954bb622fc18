"""What a model says of what it has seen: the cheap half, done again whenever somebody types another prompt.

In: a [`Seen`], a [`Classifier`] and perhaps a person's baseline. Out: a [`Told`]: probabilities, whether to abstain and why, the
view that shows it most with the weight of each camera, and for sequences a probability per label at every time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from modeling_mvfer.actions_mvfer import ActionReader
from modeling_mvfer.baseline_mvfer import Baseline
from modeling_mvfer.classifier_mvfer import UNLIKE, Classified, Classifier
from mvfer.app.seeing import Seen
from mvfer.reports.pictures import displayable
from mvfer.studies.explain import attribute_views, heat_of, heat_over_views
from processing.view_batches_mvfer import sample_frames

WINDOW_S = 2.0  # as far back as a stream looks
WINDOW_FRAMES = 64
MAX_LABELS = 40
MAX_LETTERS = 4000


@dataclass(frozen=True)
class Told:
    """What is shown of one input.

    Attributes:
        name (`str`); probabilities (label to number, best first).
        abstain (`bool`, *optional*): whether it is better left to people; `None` where the model cannot tell.
        doubts, notes (`list[str]`): why it abstains; what else there is to know.
        views (`(V, H, W, 3)`, uint8), view_names, view_weights (`V` each): of the frame that shows the best label most.
        frame (`int`), frame_time_s (`float`): which frame that is.
        actions (`list[dict]`): facial actions of that frame, rows of `ActionReader`; empty where they were not asked for.
        times_s (`T` numbers), timeline (label to `T` numbers): over the last seconds before each time; of one frame, empty.
    """

    name: str
    probabilities: dict[str, float]
    abstain: bool | None
    doubts: list[str]
    notes: list[str]
    views: np.ndarray
    view_names: list[str]
    view_weights: list[float]
    frame: int
    frame_time_s: float
    times_s: list[float]
    timeline: dict[str, list[float]]
    actions: list[dict[str, Any]]

    @property
    def best(self) -> str:
        """The most probable label."""
        return next(iter(self.probabilities))


def parse_labels(text: str) -> tuple[list[str], dict[str, list[str]]]:
    """Labels as they are typed, one a line: `happiness`, or with descriptions, `smirk: left lip corner pulled up; ...`.

    Raises:
        ValueError: if there is none, or too much of it.
    """
    if len(text) > MAX_LETTERS:
        raise ValueError(f"{len(text)} letters of labels, more than {MAX_LETTERS}; type fewer")
    labels, prompts = [], {}
    for line in text.splitlines():
        label, _, described = (part.strip() for part in line.partition(":"))
        if not label or label in labels:
            continue
        labels.append(label)
        if texts := [part.strip() for part in described.split(";") if part.strip()]:
            prompts[label] = texts
    if not labels:
        raise ValueError("no label; type one a line, such as happiness, or mouth wide open")
    if len(labels) > MAX_LABELS:
        raise ValueError(f"{len(labels)} labels, more than {MAX_LABELS}; type fewer")
    return labels, prompts


@torch.no_grad()
def tell(
    seen: Seen,
    classifier: Classifier,
    processor,
    *,
    baseline: Baseline | None = None,
    reader: ActionReader | None = None,
) -> Told:
    """Answer for the whole input as the pipeline does, and for every time of a sequence as a stream does.

    Raises:
        ValueError: if there is a baseline, and the model takes none.
    """
    times = seen.times_s[0].tolist()
    chosen = sample_frames(times, processor.image_processor.num_frames).tolist()
    whole = _read(seen, classifier, chosen, baseline)
    probabilities = dict(zip(classifier.labels, whole.probabilities[0].tolist(), strict=True))
    best = max(range(len(classifier.labels)), key=list(probabilities.values()).__getitem__)
    alone = [_read(seen, classifier, [frame], baseline) for frame in range(len(times))]
    frame = max(range(len(times)), key=lambda t: float(alone[t].probabilities[0, best]))
    windows = [_window(times, t) for t in range(len(times))] if len(times) > 1 else []
    rows = [_read(seen, classifier, window, baseline).probabilities[0].tolist() for window in windows]
    doubts = seen.doubts or _why(whole, classifier)
    notes = list(seen.notes)
    if classifier.warning:
        notes.append(f"{classifier.warning[0].upper()}{classifier.warning[1:].partition('; calibrate it')[0]}.")
    return Told(
        name=seen.name,
        probabilities=dict(sorted(probabilities.items(), key=lambda item: -item[1])),
        abstain=True if doubts else whole.abstain[0],
        doubts=doubts,
        notes=notes,
        views=displayable(seen.views[frame], processor.image_processor.channels),
        view_names=seen.view_names,
        view_weights=alone[frame].features.view_weights[0, 0].tolist(),  # type: ignore[union-attr, index]
        frame=frame,
        frame_time_s=times[frame],
        times_s=times if windows else [],
        actions=_actions(seen, alone[frame], reader),
        timeline={label: [row[k] for row in rows] for k, label in enumerate(classifier.labels)} if rows else {},
    )


def where(seen: Seen, told: Told, classifier: Classifier, processor, *, baseline: Baseline | None = None) -> np.ndarray:
    """The shown frame's views, coloured by what speaks for its best label (red) and against it (blue): `(V, H, W, 3)`, uint8."""
    if len(classifier.labels) < 2:
        raise ValueError("one label alone is always certain; type another to compare it with")
    views, model = seen.views[told.frame], classifier.model
    pixels = processor.image_processor.normalize_views(views)[None].to(model.device, model.dtype)
    inputs = {"pixel_values": pixels, "view_angles_deg": seen.angles_deg.to(model.device), "baseline": baseline}
    return heat_over_views(told.views, heat_of(attribute_views(classifier, inputs, told.best)))


def _read(seen: Seen, classifier: Classifier, frames: Sequence[int], baseline: Baseline | None) -> Classified:
    """What some of the frames show together."""
    chosen = list(frames)
    if baseline is not None:
        classifier = replace(classifier, familiarity=None)  # what is alike was found without a baseline
    times = seen.times_s[:, chosen] - seen.times_s[:, chosen[:1]]
    device = seen.features.device
    angles = seen.angles_deg.to(device)
    fused = classifier.model.fuse_views(
        seen.features[:, chosen], seen.mask[:, chosen], angles, times.to(device), baseline
    )
    return classifier.read(fused)


def _window(times: Sequence[float], last: int) -> list[int]:
    """The frames of the last seconds, this one among them."""
    recent = [t for t in range(last + 1) if times[t] >= times[last] - WINDOW_S]
    return recent[-WINDOW_FRAMES:]


def _actions(seen: Seen, found: Classified, reader: ActionReader | None) -> list[dict[str, Any]]:
    """None of what should not be believed."""
    if reader is None or seen.doubts or found.features is None:
        return []
    return reader.rows(reader.read(found.features, seen.angles_deg))[0]


def _why(found: Classified, classifier: Classifier) -> list[str]:
    """Why the model itself abstains."""
    if not found.abstain[0]:
        return []
    said = f"The scan is {found.reasons[0]}." if found.reasons[0] == UNLIKE else f"It is {found.reasons[0]}."
    score = float(found.probabilities[0].max())
    least = classifier.calibration.abstain_below if classifier.calibration else None
    if least is not None and score < least:
        said += f" The best score is {score:.2f}. Below {least:.2f}, this model leaves a scan to people."
    return [said]
