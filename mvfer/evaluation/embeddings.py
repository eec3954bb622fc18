"""Embeddings of a split, made once and used by every test.

In: a model, its image processor and a split of a data set. Out: per scan, the fused embedding, the embedding from every
single view alone, the fused embedding with half of every view covered, or otherwise changed, and how much each view and
moment counted.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from modeling_mvfer.actions_mvfer import side_embeds
from mvfer.data.duplicates import thumbnail
from mvfer.data.split_reader import Batch, SplitReader, frames_of, model_inputs
from mvfer.evaluation.occlusion import cover_half, cover_halves, draw_sides
from mvfer.progress import progress_bar
from processing.cameras_mvfer import view_name

MOMENTS = np.linspace(0, 1, 5)  # of a sequence, from its first frame to its last
Change = Callable[[dict, int], dict]  # a sample of `ViewDataset` and its row number to another sample


@dataclass(frozen=True)
class SplitFeatures:
    """Unit-length embeddings of `n` scans, float32, with what the tests need to know of each scan.

    Attributes:
        image_embeds (`(n, D)`): all views fused.
        by_view (`dict` of view name to `(n, D)`): the model given that view only; NaN where a scan lacks it.
        half_occluded (`(n, D)` or `None`): all views fused, half of each covered, every view on its own side.
        same_half_occluded (`(n, D)` or `None`): the same half of all views covered, so that it is seen from nowhere.
        labels (`(n,)`): index of the expression, -1 unknown.
        subjects, ids (`n` strings).
        thumbnails (`n` arrays or `None`): small pictures, by which the same scan is found in another split.
        view_weights (`dict` of view name to `(n,)`): how much of each view entered `image_embeds`; NaN where a scan lacks it.
        frame_weights (`(n, 5)` or `None`): how much the frames at `MOMENTS` counted, 1 as much as with equal weights; NaN
            for single scans, `None` if all are.
        lengths (`(n,)` or `None`): of the features, before they became `image_embeds`.
        sides (`(n, 2, D)` or `None`): what the views from the left, and those from the right, show; zeros without both.
    """

    image_embeds: np.ndarray
    by_view: dict[str, np.ndarray]
    half_occluded: np.ndarray | None
    same_half_occluded: np.ndarray | None
    labels: np.ndarray
    subjects: list[str]
    ids: list[str]
    thumbnails: list[np.ndarray] | None = None
    view_weights: dict[str, np.ndarray] = field(default_factory=dict)
    frame_weights: np.ndarray | None = None
    lengths: np.ndarray | None = None
    sides: np.ndarray | None = None

    @property
    def features(self) -> np.ndarray:
        """As the model made them, `(n, D)`, not of unit length."""
        return self.image_embeds * self.lengths[:, None]  # type: ignore[index]  # known where they were embedded

    def select(self, rows) -> "SplitFeatures":
        """The scans at these positions (integers of shape `(m,)`)."""

        def of(values):
            return None if values is None else values[rows]

        return SplitFeatures(
            image_embeds=self.image_embeds[rows],
            by_view={name: embeds[rows] for name, embeds in self.by_view.items()},
            half_occluded=of(self.half_occluded),
            same_half_occluded=of(self.same_half_occluded),
            labels=self.labels[rows],
            subjects=[self.subjects[row] for row in rows],
            ids=[self.ids[row] for row in rows],
            thumbnails=None if self.thumbnails is None else [self.thumbnails[row] for row in rows],
            view_weights={name: weights[rows] for name, weights in self.view_weights.items()},
            frame_weights=of(self.frame_weights),
            lengths=of(self.lengths),
            sides=of(self.sides),
        )


def embed_split(
    model,
    image_processor,
    split,
    *,
    each_view: bool = False,
    occlusion_seed: int | None = None,
    thumbnails: bool = False,
    batch_size: int = 64,
    progress: bool = True,
) -> SplitFeatures:
    """Embed every row of a split, each as it is stored: nothing is augmented.

    Args:
        model (`MVFERModel`): used in evaluation mode without gradients; its mode is restored.
        image_processor (`MVFERImageProcessor`): its normalisation, size and reading of sequences are the model's.
        split (`datasets.Dataset`): rows of `mvfer.data.schema`.
        each_view (`bool`): also embed every view alone (costs about as much again).
        occlusion_seed (`int`, *optional*): also embed with half of every view covered, sides drawn from this seed.
        thumbnails (`bool`): also keep a thumbnail of every scan (3 kB per view).
        batch_size (`int`, defaults to 64): scans at once.
    Raises:
        ValueError: if there are no rows.
    """
    reader = SplitReader(model, image_processor, split, batch_size=batch_size, progress="embed" if progress else None)
    covers = {} if occlusion_seed is None else _covers(draw_sides(len(split), reader.num_views, seed=occlusion_seed))
    fused, alone, small, view_weights, frame_weights = [], [], [], [], []
    lengths, sides = [], []
    covered: dict[str, list[np.ndarray]] = {name: [] for name in covers}
    with evaluation_mode(model):
        for batch in reader:
            output = model.get_image_features(**batch.inputs)
            fused.append(_unit(output))
            lengths.append(output.pooler_output.float().norm(dim=-1).cpu().numpy())
            sides.append(side_embeds(output, batch.inputs["view_angles_deg"]).cpu().numpy())
            view_weights += _weights_of_views(output, batch.inputs)
            frame_weights += _weights_at_moments(output, batch.inputs)
            if each_view:
                alone += _embed_each_view(model, batch.inputs)
            if thumbnails:
                small += [thumbnail(frames_of(sample)) for sample in batch.samples]
            for name, change in covers.items():
                covered[name].append(_embed_changed(model, reader, batch, change))
    fused, frame_weights = np.concatenate(fused), np.stack(frame_weights)
    return SplitFeatures(
        image_embeds=fused,
        by_view=_by_name(alone, fused.shape[1:]),
        **{name: np.concatenate(covered[name]) if covers else None for name in ("half_occluded", "same_half_occluded")},
        labels=np.array(split["expression"]),
        subjects=list(map(str, split["subject"])),
        ids=list(map(str, split["id"])),
        thumbnails=small if thumbnails else None,
        view_weights=_by_name(view_weights, ()),
        frame_weights=None if np.isnan(frame_weights).all() else frame_weights,
        lengths=np.concatenate(lengths),
        sides=np.concatenate(sides),
    )


def embed_changed(
    model,
    image_processor,
    split,
    changes: Mapping[str, Change],
    *,
    batch_size: int = 64,
    progress: bool = True,
) -> dict[str, np.ndarray]:
    """Embed every row once per change, decoding its views only once.

    Args:
        changes (name to function): takes a sample of `ViewDataset`, with all its frames, and its row number, returns another
            sample.
        others: as in `embed_split`.
    Returns:
        `dict` of name to `(n, D)`, float32, unit length.
    """
    reader = SplitReader(model, image_processor, split, keep_frames=True, batch_size=batch_size)
    found: dict[str, list[np.ndarray]] = {name: [] for name in changes}
    bar = progress_bar(what="robustness", unit="batch", hidden=not progress, total=len(reader) * len(changes))
    with evaluation_mode(model), bar:
        for batch in reader:
            for name, change in changes.items():
                found[name].append(_embed_changed(model, reader, batch, change))
                bar.update()
    return {name: np.concatenate(parts) for name, parts in found.items()}


def embed_views(model, image_processor, views: list[np.ndarray], view_angles_deg: Sequence) -> np.ndarray:
    """Embed scans that were just rendered, each `(V, H, W, 3)` uint8 with `(V, 2)` angles: `(n, D)`, unit length.

    Raises:
        ValueError: if the model reads dynamic images, which single scans do not give.
    """
    check_reads_scans(image_processor)
    samples = [{"views": one, "view_angles_deg": angles} for one, angles in zip(views, view_angles_deg, strict=True)]
    with evaluation_mode(model):
        return _embed(model, model_inputs(model, image_processor, samples))


def check_reads_scans(image_processor) -> None:
    """Raise a ValueError if the model reads dynamic images alone."""
    if image_processor.frames == "rank_pooled":
        raise ValueError(
            "a model of dynamic images reads motion, which a single scan lacks; test one of scans or sequences"
        )


@contextmanager
def evaluation_mode(model) -> Iterator[None]:
    """Without dropout and gradients; the model's mode is restored."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def _covers(sides: list[list[str]]) -> dict[str, Change]:
    """Half of each view covered on its own side, and all views on the side of the first, as changes of rows."""
    return {
        "half_occluded": lambda sample, row: sample | {"views": cover_halves(sample["views"], sides[row])},
        "same_half_occluded": lambda sample, row: sample | {"views": cover_half(sample["views"], sides[row][0])},
    }


def _embed(model, inputs: Mapping[str, Tensor]) -> np.ndarray:
    return _unit(model.get_image_features(**inputs))


def _embed_changed(model, reader: SplitReader, batch: Batch, change: Change) -> np.ndarray:
    changed = [change(sample, row) for row, sample in zip(batch.rows, batch.samples, strict=True)]
    return _embed(model, reader.collate(changed))


def _embed_each_view(model, inputs: Mapping[str, Tensor]) -> list[dict[str, np.ndarray]]:
    """For each sample of a batch, what the model makes of each of its views alone, `(D,)`, by name."""
    names, present = _view_names(inputs), _present_views(inputs)
    found: list[dict[str, np.ndarray]] = [{} for _ in names]
    for v in range(present.shape[1]):
        one = {name: inputs[name] for name in ("frame_mask", "frame_times_s") if name in inputs}
        one["pixel_values"] = inputs["pixel_values"][..., v : v + 1, :, :, :]
        one["view_mask"] = inputs["view_mask"][..., v : v + 1]
        one["view_angles_deg"] = inputs["view_angles_deg"][:, v : v + 1]
        embeds = _embed(model, {name: value[present[:, v]] for name, value in one.items()})
        for row, embed in zip(present[:, v].nonzero()[:, 0].tolist(), embeds, strict=True):
            found[row][names[row][v]] = embed
    return found


def _weights_of_views(output, inputs: Mapping[str, Tensor]) -> list[dict[str, np.ndarray]]:
    """For each sample of a batch, how much each of its views entered the embedding, by name."""
    weights = (output.frame_weights.float().cpu().unsqueeze(-1) * output.view_weights.float().cpu()).sum(1)  # (B, V)
    rows = zip(_view_names(inputs), weights.numpy(), _present_views(inputs).tolist(), strict=True)
    return [{name: weight for name, weight, there in zip(*columns, strict=True) if there} for columns in rows]


def _weights_at_moments(output, inputs: Mapping[str, Tensor]) -> list[np.ndarray]:
    """For each sample of a batch, what its frames count at `MOMENTS`, `(5,)`."""
    weights = output.frame_weights.float().cpu()  # (B, T)
    times = inputs.get("frame_times_s", torch.zeros_like(weights)).cpu()
    present = inputs.get("frame_mask", torch.ones_like(weights, dtype=torch.bool)).cpu()
    return list(map(_at_moments, weights.numpy(), times.numpy(), present.numpy()))


def _at_moments(weights: np.ndarray, times: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Weights of frames `(T,)`, relative to equal ones, at `MOMENTS` of their times `(T,)`: `(5,)`, NaN of a single frame."""
    weights, times = weights[present], times[present]
    if len(times) < 2 or times[-1] <= times[0]:
        return np.full(len(MOMENTS), np.nan)
    return np.interp(MOMENTS, (times - times[0]) / (times[-1] - times[0]), weights * len(weights))


def _view_names(inputs: Mapping[str, Tensor]) -> list[list[str]]:
    """The names of the `V` views of each sample of a batch, of those it lacks as well."""
    return [[view_name(angles) for angles in row] for row in inputs["view_angles_deg"].tolist()]


def _present_views(inputs: Mapping[str, Tensor]) -> Tensor:
    """Which samples have which views in any frame: `(B, V)`."""
    mask = inputs["view_mask"]  # (B, V) or (B, T, V)
    return mask.any(1) if mask.dim() == 3 else mask


def _by_name(rows: list[dict[str, np.ndarray]], shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Columns of the same names from rows, NaN of this shape where a row lacks one."""
    names = dict.fromkeys(name for row in rows for name in row)
    missing = np.full(shape, np.nan, np.float32)
    return {name: np.stack([row.get(name, missing) for row in rows]) for name in names}


def _unit(output) -> np.ndarray:
    return normalize(output.pooler_output.float(), dim=-1).cpu().numpy()


def match_statistics(target: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Move the target scans' embeddings to where the training scans' lie, without labels.

    A new scanner or a new mesh topology shifts all embeddings alike. With m and s the mean and the standard deviation
    per dimension over the unlabelled target scans (m_t, s_t) and training scans (m_s, s_s):

        x' = (x - m_t) * s_s / s_t + m_s,    then scaled to unit length.

    It assumes that both sets hold similar shares of the classes, and needs more than a few target scans.

    Args:
        target (`(n, D)`), source (`(m, D)`): n, m >= 2.
    Returns:
        `(n, D)` float32, unit length.
    """
    if min(len(target), len(source)) < 2 or target.shape[1] != source.shape[1]:
        raise ValueError(f"expected (n >= 2, D) target and (m >= 2, D) source, got {target.shape} and {source.shape}")
    scale = source.std(0) / np.maximum(target.std(0), 1e-6)
    moved = (target - target.mean(0)) * scale + source.mean(0)
    return (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)
