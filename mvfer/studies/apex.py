"""Where in a sequence the expression is strongest: spotted from what the model sees, and how far off that is.

In: a model and a split of sequences whose `apex_time_s` is known. Out: the mean absolute error in frames of two ways to spot the
apex, neither of which was trained for it, and beside them that of always naming the middle frame.
"""

import numpy as np

from mvfer.data.split_reader import SplitReader
from mvfer.evaluation.embeddings import evaluation_mode
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
    reader = SplitReader(model, image_processor, known, num_frames=num_frames, batch_size=batch_size)
    errors: dict[str, list[np.ndarray]] = {"frame_weights": [], "onset_distance": [], "middle_frame": []}
    with evaluation_mode(model):
        for rows, _, inputs in reader:
            output = model.get_image_features(**inputs)
            mask, times = inputs["frame_mask"].cpu().numpy(), inputs["frame_times_s"].cpu().numpy()
            true = nearest_frames(times, mask, np.array([known["apex_time_s"][row] for row in rows]))
            spotted = {
                "frame_weights": apex_of_weights(output.frame_weights.float().cpu().numpy(), mask),
                "onset_distance": apex_of_distances(output.frame_features.float().cpu().numpy(), mask),
                "middle_frame": mask.sum(1) // 2,
            }
            for name, frames in spotted.items():
                errors[name].append(np.abs(frames - true))
    subjects = list(map(str, known["subject"]))
    scores = {name: bootstrap_mean(np.concatenate(values), subjects, seed=seed) for name, values in errors.items()}
    return scores | {"num_sequences": len(known)}
