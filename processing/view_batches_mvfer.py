"""Views as tensors: the one normalisation, padding to a batch, sampling of frames, for the processor and for training.

In: views as uint8 or float arrays, `(V, ...)` for a scan, `(T, V, ...)` for a sequence, any numbers of each. Out:
padded tensors with masks that are true where something is present.
"""

import numpy as np
import torch

FRAMES = ("sequence", "rank_pooled")  # what is made of a sequence: all its frames, or one dynamic image per view


def normalize_views(views, *, mean, std, rescale_factor: float = 1 / 255) -> torch.Tensor:
    """Normalise any number of views at once.

    Args:
        views (`(..., H, W, 3)` uint8, numpy or torch).
        mean, std (3 numbers each): as in CLIP, of pixels times `rescale_factor`.
    Returns:
        `torch.Tensor` of shape `(..., 3, H, W)`, float32, contiguous: `(views * rescale_factor - mean) / std`.
    Raises:
        ValueError: if the views are not uint8 with three channels last.
    """
    views = torch.as_tensor(np.ascontiguousarray(views) if isinstance(views, np.ndarray) else views)
    if views.dtype != torch.uint8 or views.ndim < 3 or views.shape[-1] != 3:
        raise ValueError(f"expected uint8 views (..., H, W, 3), got {views.dtype} {tuple(views.shape)}")
    mean, std = (torch.tensor(values, dtype=torch.float32, device=views.device) for values in (mean, std))
    pixels = views.movedim(-1, -3).contiguous().to(torch.float32)
    return pixels.mul_((rescale_factor / std)[:, None, None]).sub_((mean / std)[:, None, None])


def sample_frames(times_s, num_frames: int, *, rng: np.random.Generator | None = None) -> np.ndarray:
    """Choose frames uniformly in time, the first and the last among them.

    Args:
        times_s (`(T,)` numbers): when each frame was taken, in order.
        num_frames: at most this many; shorter sequences are kept whole. One frame means the middle one.
        rng: if given, the times between are moved by up to half a step: another choice every epoch.
    Returns:
        Increasing indices, at most `num_frames`; fewer if several wanted times fall on one frame.
    Raises:
        ValueError: if there are no frames, times are not finite and increasing, or `num_frames` is below 1.
    """
    times = np.asarray(times_s, dtype=np.float64)
    if num_frames < 1:
        raise ValueError(f"expected num_frames >= 1, got {num_frames}")
    if times.ndim != 1 or not len(times) or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise ValueError(
            f"expected one increasing time in seconds per frame, got {np.array2string(times, threshold=6)}"
        )
    if len(times) <= num_frames:
        return np.arange(len(times))
    if num_frames == 1:
        wanted = np.array([(times[0] + times[-1]) / 2])
    else:
        wanted = np.linspace(times[0], times[-1], num_frames)
        if rng is not None:
            wanted[1:-1] += rng.uniform(-0.5, 0.5, num_frames - 2) * (wanted[1] - wanted[0])
    after = np.searchsorted(times, wanted).clip(1, len(times) - 1)
    nearest = after - (wanted - times[after - 1] < times[after] - wanted)
    return np.unique(nearest)


def pad_views(views: list, *, view_masks=None, view_angles_deg=None, frame_times_s=None) -> dict[str, torch.Tensor]:
    """Pad samples with unequal numbers of views and frames to one batch.

    Args:
        views: B arrays `(V, a, b, c)` for scans or `(T, V, a, b, c)` for sequences, of one kind, one image size and one
            type.
        view_masks: per sample `(V,)` bool, or None for all present.
        view_angles_deg: per sample `(V, 2)`; all or none.
        frame_times_s: per sequence `(T,)`; absent means 25 frames per second.
    Returns:
        dict: `views (B, V, ...)` or `(B, T, V, ...)`, `view_mask (B, V)` or `(B, T, V)`, `view_angles_deg (B, V, 2)` if
        given, and for sequences `frame_mask (B, T)`, `frame_times_s (B, T)`. What is padded is 0 and False.
    Raises:
        ValueError: if samples do not fit together.
    """
    views = [torch.as_tensor(np.ascontiguousarray(v) if isinstance(v, np.ndarray) else v) for v in views]
    view_masks, view_angles_deg, frame_times_s = (
        [None] * len(views) if given is None else list(given) for given in (view_masks, view_angles_deg, frame_times_s)
    )
    kinds = {(v.ndim, tuple(v.shape[-3:]), v.dtype) for v in views}
    if len(kinds) != 1 or next(iter(kinds))[0] not in (4, 5) or not all(v.numel() for v in views):
        raise ValueError(
            f"expected all scans or all sequences, of one image size, got {[tuple(v.shape) for v in views]}"
        )
    is_sequence = views[0].ndim == 5
    views = views if is_sequence else [v[None] for v in views]  # (T, V, ...)
    B, T, V = len(views), max(v.shape[0] for v in views), max(v.shape[1] for v in views)

    padded = views[0].new_zeros((B, T, V, *views[0].shape[2:]))
    view_mask = torch.zeros((B, T, V), dtype=torch.bool)
    for b, (sample, mask) in enumerate(zip(views, view_masks, strict=True)):
        t, v = sample.shape[:2]
        padded[b, :t, :v] = sample
        view_mask[b, :t, :v] = True if mask is None else torch.as_tensor(mask)
    batch = {
        "views": padded if is_sequence else padded[:, 0],
        "view_mask": view_mask if is_sequence else view_mask[:, 0],
    }
    if any(angles is not None for angles in view_angles_deg):
        batch["view_angles_deg"] = _pad_angles(view_angles_deg, [v.shape[1] for v in views])
    if is_sequence:
        batch["frame_mask"] = torch.zeros((B, T), dtype=torch.bool)
        batch["frame_times_s"] = torch.zeros((B, T), dtype=torch.float32)
        for b, times in enumerate(frame_times_s):
            t = len(views[b])
            batch["frame_mask"][b, :t] = True
            batch["frame_times_s"][b, :t] = torch.arange(t) / 25 if times is None else torch.as_tensor(times)
    return batch


def _pad_angles(view_angles_deg: list, counts: list[int]) -> torch.Tensor:
    padded = torch.zeros((len(counts), max(counts), 2), dtype=torch.float32)
    for b, (angles, count) in enumerate(zip(view_angles_deg, counts, strict=True)):
        angles = None if angles is None else torch.as_tensor(np.asarray(angles, dtype=np.float32))
        if angles is None or tuple(angles.shape) != (count, 2):
            got = "none" if angles is None else tuple(angles.shape)
            raise ValueError(f"sample {b}: expected view_angles_deg ({count}, 2) for its {count} views, got {got}")
        padded[b, :count] = angles
    return padded
