"""Embeddings of a split, made once and used by every test.

In go a model, its image processor and a split of a data set; out come, per scan, the fused embedding, the embedding
from every single view alone, the fused embedding with half of every view covered, or otherwise changed, and how much each view
and moment counted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from tqdm.auto import tqdm

from mvfer.data.augmentation import halves
from mvfer.data.batching import Collator, ViewDataset
from mvfer.data.duplicates import thumbnail
from processing.cameras_mvfer import view_name

SIDES = ("left", "right", "top", "bottom")
MOMENTS = np.linspace(0, 1, 5)  # of a sequence, from its first frame to its last


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
        )


def embed_split(
    model,
    image_processor,
    split,
    *,
    each_view: bool = False,
    occlusion_seed: int | None = None,
    thumbnails: bool = False,
    num_frames: int | None = None,
    batch_size: int = 64,
    progress: bool = True,
) -> SplitFeatures:
    """Embed every row of a split, each as it is stored: nothing is augmented.

    Args:
        model (`MVFERModel`): used in evaluation mode without gradients; its mode is restored.
        image_processor (`MVFERImageProcessor`): its normalisation and size are the model's.
        split (`datasets.Dataset`): rows of `mvfer.data.schema`.
        each_view (`bool`): also embed every view alone (costs about as much again).
        occlusion_seed (`int`, *optional*): also embed with half of every view covered, sides drawn from this seed.
        thumbnails (`bool`): also keep a thumbnail of every scan (3 kB per view).
        num_frames (`int`, *optional*): longer sequences are sampled to this many frames; default the processor's number.
        batch_size (`int`, defaults to 64): scans at once.
    Raises:
        ValueError: if there are no rows.
    """
    if len(split) == 0:
        raise ValueError("expected at least one row to embed, got an empty split")
    num_frames = image_processor.num_frames if num_frames is None else num_frames
    views = ViewDataset(split, num_frames=num_frames, frames=image_processor.frames, memory_budget_bytes=0)
    collate = Collator(None, image_processor, phrases=False)  # without captions no tokenizer is needed
    sides = None if occlusion_seed is None else draw_sides(len(split), views.num_views, seed=occlusion_seed)
    fused, occluded, same_occluded, alone, small, weights, moments = [], [], [], [], [], [], []
    was_training = model.training
    model.eval()
    try:
        for start in tqdm(
            range(0, len(split), batch_size), desc="embed", unit="batch", disable=None if progress else True
        ):
            rows = range(start, min(start + batch_size, len(split)))
            samples = [views[row] | {"captions": [], "known_captions": []} for row in rows]
            batch = collate(samples)
            embeds, of_views, of_frames = _embed_and_weigh(model, batch)
            fused.append(embeds)
            weights += of_views
            moments.append(of_frames)
            if thumbnails:
                small += [thumbnail(s["views"] if s["views"].ndim == 5 else s["views"][None]) for s in samples]
            if each_view:
                alone += _embed_each_view(model, batch)
            if sides is not None:
                covered = [
                    s | {"views": cover_halves(s["views"], sides[r])} for r, s in zip(rows, samples, strict=True)
                ]
                occluded.append(_embed(model, collate(covered)))
                covered = [
                    s | {"views": cover_half(s["views"], sides[r][0])} for r, s in zip(rows, samples, strict=True)
                ]
                same_occluded.append(_embed(model, collate(covered)))
    finally:
        model.train(was_training)
    fused, moments = np.concatenate(fused), np.concatenate(moments)
    return SplitFeatures(
        image_embeds=fused,
        by_view=_by_name(alone, fused.shape[1:]),
        half_occluded=np.concatenate(occluded) if occluded else None,
        same_half_occluded=np.concatenate(same_occluded) if same_occluded else None,
        labels=np.array(split["expression"]),
        subjects=list(map(str, split["subject"])),
        ids=list(map(str, split["id"])),
        thumbnails=small if thumbnails else None,
        view_weights=_by_name(weights, ()),
        frame_weights=None if np.isnan(moments).all() else moments,
    )


def embed_changed(
    model,
    image_processor,
    split,
    changes: Mapping[str, Callable[[dict, int], dict]],
    *,
    num_frames: int = 8,
    batch_size: int = 64,
    progress: bool = True,
) -> dict[str, np.ndarray]:
    """Embed every row once per change, decoding its views only once.

    Args:
        changes (name to function): takes a sample of `ViewDataset` and its row number, returns another sample.
        others: as in `embed_split`.
    Returns:
        `dict` of name to `(n, D)`, float32, unit length.
    """
    views = ViewDataset(split, num_frames=num_frames, memory_budget_bytes=0)
    collate = Collator(None, image_processor, phrases=False)
    found: dict[str, list[np.ndarray]] = {name: [] for name in changes}
    was_training = model.training
    model.eval()
    try:
        batches = range(0, len(split), batch_size)
        with tqdm(total=len(batches) * len(changes), desc="robustness", disable=None if progress else True) as bar:
            for start in batches:
                rows = range(start, min(start + batch_size, len(split)))
                samples = [views[row] | {"captions": [], "known_captions": []} for row in rows]
                for name, change in changes.items():
                    changed = [change(sample, row) for row, sample in zip(rows, samples, strict=True)]
                    found[name].append(_embed(model, collate(changed)))
                    bar.update()
    finally:
        model.train(was_training)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def embed_views(model, image_processor, views: list[np.ndarray], view_angles_deg: list[np.ndarray]) -> np.ndarray:
    """Embed scans that were just rendered, each `(V, H, W, 3)` uint8 with `(V, 2)` angles: `(n, D)`, unit length."""
    samples = [{"views": one, "view_angles_deg": angles} for one, angles in zip(views, view_angles_deg, strict=True)]
    return _embed(model, Collator(None, image_processor, phrases=False)(samples))


def draw_sides(count: int, views: int, *, seed: int) -> list[list[str]]:
    """The side to cover of each view of `count` scans, each of the four equally likely, in row order."""
    return [[SIDES[i] for i in row] for row in np.random.default_rng(seed).integers(len(SIDES), size=(count, views))]


def cover_halves(views: np.ndarray, sides: list[str]) -> np.ndarray:
    """Cover half of every view, each with its own side, as things in front of each camera do: `(..., V, H, W, 3)`."""
    return np.stack(
        [cover_half(views[..., v, :, :, :], side) for v, side in enumerate(sides[: views.shape[-4]])], axis=-4
    )


def cover_half(views: np.ndarray, side: str) -> np.ndarray:
    """Set the named half of every image of a scan to background (0), the same half in all its views and frames.

    Args:
        views (`uint8 (..., H, W, 3)`): not changed.
        side (`str`): left, right, top or bottom, as seen in the image.
    """
    parts = halves(*views.shape[-3:-1])
    if side not in parts:
        raise ValueError(f"expected a side of {list(parts)}, got {side!r}")
    covered = views.copy()
    covered[(..., *parts[side], slice(None))] = 0
    return covered


def _embed_each_view(model, batch: dict[str, torch.Tensor]) -> list[dict[str, np.ndarray]]:
    """For each sample of a batch, its views' names and what the model makes of each of them alone, `(D,)`."""
    present, angles = batch["view_mask"], batch["view_angles_deg"]
    present = present.any(1) if present.dim() == 3 else present  # (B, T, V) -> (B, V)
    found: list[dict[str, np.ndarray]] = [{} for _ in present]
    for v in range(present.shape[1]):
        one = {name: batch[name] for name in ("frame_mask", "frame_times_s") if name in batch}
        one["pixel_values"] = batch["pixel_values"][..., v : v + 1, :, :, :]
        one["view_mask"] = batch["view_mask"][..., v : v + 1]
        one["view_angles_deg"] = angles[:, v : v + 1]
        embeds = _embed(model, {name: value[present[:, v]] for name, value in one.items()})
        for row, embed in zip(present[:, v].nonzero()[:, 0].tolist(), embeds, strict=True):
            found[row][view_name(angles[row, v].tolist())] = embed
    return found


def _by_name(rows: list[dict[str, np.ndarray]], shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for row in rows for name in row)
    missing = np.full(shape, np.nan, np.float32)
    return {name: np.stack([row.get(name, missing) for row in rows]) for name in names}


def _embed(model, batch: dict[str, torch.Tensor]) -> np.ndarray:
    return _unit(_look_at(model, batch).pooler_output)


def _embed_and_weigh(
    model, batch: dict[str, torch.Tensor]
) -> tuple[np.ndarray, list[dict[str, np.ndarray]], np.ndarray]:
    """Embeddings `(B, D)`; per sample the weights of its views by name; and what its frames count at `MOMENTS`, `(B, 5)`."""
    output = _look_at(model, batch)
    of_views, of_frames = output.view_weights.float().cpu(), output.frame_weights.float().cpu()
    over_frames = (of_frames.unsqueeze(-1) * of_views).sum(1).numpy()  # (B, V)
    present = batch["view_mask"].view(len(over_frames), -1, over_frames.shape[1]).any(1)
    film = batch.get("frame_mask", torch.ones_like(of_frames, dtype=torch.bool)).numpy()
    names = [[view_name(angles) for angles in row] for row in batch["view_angles_deg"].tolist()]
    weights = [
        {name: weight for name, weight, there in zip(*columns, strict=True) if there}
        for columns in zip(names, over_frames, present.tolist(), strict=True)
    ]
    times = batch.get("frame_times_s", torch.zeros_like(of_frames)).numpy()
    moments = map(_at_moments, of_frames.numpy(), times, film)
    return _unit(output.pooler_output), weights, np.stack(list(moments))


def _at_moments(weights: np.ndarray, times: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Weights of frames `(T,)`, relative to equal ones, at `MOMENTS` of their times `(T,)`: `(5,)`, NaN of a single frame."""
    weights, times = weights[present], times[present]
    if len(times) < 2 or times[-1] <= times[0]:
        return np.full(len(MOMENTS), np.nan)
    return np.interp(MOMENTS, (times - times[0]) / (times[-1] - times[0]), weights * len(weights))


@torch.no_grad()
def _look_at(model, batch: dict[str, torch.Tensor]):
    """What the model makes of a batch, an `MVFERImageOutput`."""
    batch = {name: value.to(model.device) for name, value in batch.items()}
    batch["pixel_values"] = batch["pixel_values"].to(model.dtype)
    return model.get_image_features(**batch)


def _unit(features: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
