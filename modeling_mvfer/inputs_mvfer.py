"""What the model is given, brought to one form and checked at the door.

In: views, masks, angles and times in any of the contract's forms; token ids; which text is true of which sample. Out: the same
with all their axes, or a ValueError that says what was got and what is expected. Values are looked at only where there are any:
not while a graph is traced, and not on the meta device.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.utils.import_utils import is_tracing

from .objectives_mvfer import TextFeatures


def has_values(tensor: Tensor) -> bool:
    """Whether a tensor can be asked what it holds: false in a traced graph, of a fake tensor, and on the meta device."""
    return not (is_tracing(tensor) or tensor.is_meta)


def check_views(model, pixels: Tensor, mask, angles, frame_mask, times) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Bring all forms of input to (B, T, V, C, H, W), (B, T, V), (B, V, 2) and (B, T).

    Args:
        model (`MVFERModel`): knows the angles and times of inputs that come without.
    Raises:
        ValueError: if shapes do not fit, or a sample has no view at all.
    """
    if pixels.ndim not in (4, 5, 6):
        raise ValueError(f"expected pixel_values with 4, 5 or 6 axes, (B, T, V, C, H, W), got {tuple(pixels.shape)}")
    if pixels.ndim == 4:
        pixels = pixels.unsqueeze(1)
    if pixels.ndim == 5:
        pixels = pixels.unsqueeze(1)
    batch, frames, views = pixels.shape[:3]
    device = pixels.device
    mask = torch.ones(batch, frames, views, device=device) if mask is None else mask
    mask = mask.unsqueeze(1) if mask.ndim == 2 and frames == 1 else mask
    check_shape("view_mask", mask, (batch, frames, views))
    mask = mask.bool()
    if frame_mask is not None:
        check_shape("frame_mask", frame_mask, (batch, frames))
        mask = mask & frame_mask.bool().unsqueeze(-1)
    if has_values(mask) and not bool(mask.flatten(1).any(dim=1).all()):
        empty = (~mask.flatten(1).any(dim=1)).nonzero().flatten().tolist()
        raise ValueError(f"expected at least one present view per sample, got none in samples {empty}")

    floating = torch.promote_types(model.dtype, torch.float32)
    if angles is None:
        angles = model.default_angles_deg(views).to(device)
    angles = angles.expand(batch, -1, -1) if angles.ndim == 2 else angles
    check_shape("view_angles_deg", angles, (batch, views, 2))
    if times is None:
        times = torch.arange(frames, device=device).expand(batch, -1) / model.config.frames_per_second
    check_shape("frame_times_s", times, (batch, frames))
    return pixels, mask, angles.to(floating), times.to(floating)


def text_keys(input_ids: Tensor, eos_token_id: int) -> Tensor:
    """Token ids up to the one where CLIP pools, -1 behind it: equal keys are equal texts, however padded."""
    if input_ids.ndim != 2 or not len(input_ids):
        raise ValueError(f"expected token ids (K, L) of at least one text, got {tuple(input_ids.shape)}")
    if eos_token_id == 2:  # CLIP checkpoints of before 2023: the end token is the one with the highest id
        end = input_ids == input_ids.amax(dim=1, keepdim=True)
    else:
        end = input_ids == eos_token_id
        if has_values(end) and not bool(end.any(dim=1).all()):
            raise ValueError(f"a text has no end token {eos_token_id}, at which CLIP reads it; was it cut off?")
    behind = end.cumsum(dim=1) - end.long() > 0
    return input_ids.masked_fill(behind, -1)


def captions(features: Tensor, keys: Tensor, targets, assignments, samples: int) -> TextFeatures:
    """The texts of a batch for the objective, with which is true of which sample, or soft assignments instead."""
    if assignments is not None:
        check_shape("text_assignments", assignments, (samples, len(features)))
        return TextFeatures(precise(features), keys, assignments.to(precise(features)))
    targets = text_targets(targets, samples, len(features), "text_targets", features.device)
    if not targets.any():
        # nothing is described here, so these texts are excluded from the contrast
        features, keys, targets = features[:0], keys[:0], targets[:, :0]
    return TextFeatures(precise(features), keys, targets)


def text_targets(targets: Tensor | None, samples: int, texts: int, name: str, device) -> Tensor:
    """Which text is true of which sample, `(B, K)` bool; by default the identity."""
    if targets is None and samples != texts:
        raise ValueError(f"{samples} samples and {texts} texts: name the pairs with {name} of shape {(samples, texts)}")
    if targets is None:
        return torch.eye(samples, dtype=torch.bool, device=device)
    check_shape(name, targets, (samples, texts))
    return targets.bool()


def check_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"expected {name} of shape {shape}, got {tuple(tensor.shape)}")


def precise(tensor: Tensor) -> Tensor:
    """In 32 bits at least."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
