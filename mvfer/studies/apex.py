"""Where in a sequence the expression is strongest: spotted from what the model sees, and how far off that is.

In: a model and a split of sequences whose `apex_time_s` is known. Out: the mean absolute error in frames of two ways to spot the
apex, neither of which was trained for it, and beside them that of always naming the middle frame.
"""

import numpy as np
import torch

from mvfer.data.batching import Collator, ViewDataset
from mvfer.evaluation.metrics import bootstrap_mean


def apex_of_weights(frame_weights: np.ndarray, frame_mask: np.ndarray) -> np.ndarray:
    """The present frame that counts most in the fusion: `(B, T)` weights and mask to `(B,)` indices, the first of equals."""
    return np.where(frame_mask, frame_weights, -np.inf).argmax(1)


def apex_of_distances(frame_features: np.ndarray, frame_mask: np.ndarray) -> np.ndarray:
    """The present frame whose embedding is farthest, by cosine, from that of the onset, the first present frame.

    Args:
        frame_features (`(B, T, D)`): each frame's fused views, any length. frame_mask (`(B, T)`, bool).
    Returns:
        `(B,)` indices, the first of equals.
    """
    embeds = frame_features / np.maximum(np.linalg.norm(frame_features, axis=-1, keepdims=True), 1e-12)
    onset = embeds[np.arange(len(embeds)), frame_mask.argmax(1)]
    similarity = np.einsum("btd,bd->bt", embeds, onset)
    return np.where(frame_mask, -similarity, -np.inf).argmax(1)


def nearest_frames(times_s: np.ndarray, frame_mask: np.ndarray, apex_times_s: np.ndarray) -> np.ndarray:
    """The present frame nearest to a time: `(B, T)`, `(B, T)` and `(B,)` to `(B,)` indices."""
    return np.where(frame_mask, np.abs(times_s - apex_times_s[:, None]), np.inf).argmin(1)


@torch.no_grad()
def apex_errors(model, image_processor, split, *, seed: int, num_frames: int = 300, batch_size: int = 16) -> dict:
    """How far spotted apexes are from the true ones, in frames.

    Args:
        model (`MVFERModel`), image_processor (`MVFERImageProcessor`).
        split (`datasets.Dataset`): rows of `mvfer.data.schema`; those without `apex_time_s` are left out.
        seed (`int`): of the bootstrap over subjects.
        num_frames (`int`, defaults to 300): longer sequences are sampled to this many frames, which are what is counted.
    Returns:
        `dict`: frame_weights, onset_distance, middle_frame (each `{"mean", "low", "high"}`), num_sequences.
    Raises:
        ValueError: if no row has a known apex, or the model reads dynamic images, which have no frames.
    """
    if image_processor.frames != "sequence":
        raise ValueError("a model of dynamic images sees no frames; the apex cannot be spotted with it")
    rows = [row for row, apex in enumerate(split["apex_time_s"]) if apex is not None]
    if not rows:
        raise ValueError("expected rows with a known apex_time_s, got none; build a set with --kind 4d or micro")
    known = split.select(rows)
    data, collate = ViewDataset(known, num_frames=num_frames, memory_budget_bytes=0), Collator(None, image_processor)
    errors: dict[str, list[np.ndarray]] = {"frame_weights": [], "onset_distance": [], "middle_frame": []}
    was_training = model.training
    model.eval()
    for start in range(0, len(known), batch_size):
        index = range(start, min(start + batch_size, len(known)))
        batch = collate([data[row] | {"captions": [], "known_captions": []} for row in index])
        batch = {name: value.to(model.device) for name, value in batch.items()}
        batch["pixel_values"] = batch["pixel_values"].to(model.dtype)
        output = model.get_image_features(**batch)
        mask, times = batch["frame_mask"].cpu().numpy(), batch["frame_times_s"].cpu().numpy()
        true = nearest_frames(times, mask, np.array([known["apex_time_s"][row] for row in index]))
        spotted = {
            "frame_weights": apex_of_weights(output.frame_weights.float().cpu().numpy(), mask),
            "onset_distance": apex_of_distances(output.frame_features.float().cpu().numpy(), mask),
            "middle_frame": mask.sum(1) // 2,
        }
        for name, frames in spotted.items():
            errors[name].append(np.abs(frames - true))
    model.train(was_training)
    subjects = list(map(str, known["subject"]))
    scores = {name: bootstrap_mean(np.concatenate(values), subjects, seed=seed) for name, values in errors.items()}
    return scores | {"num_sequences": len(known)}
