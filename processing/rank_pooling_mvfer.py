"""A sequence as one image per view: what moved, and whether early or late (a dynamic image).

In: the frames of a sequence as uint8 views. Out: one uint8 view per camera, mid-grey where nothing changed, brighter where the
value rose over time and darker where it fell. A model of single scans can then read motion at the cost of one scan.
"""

import numpy as np


def rank_pooling_weights(num_frames: int) -> np.ndarray:
    """Weights of the frames in a dynamic image: 2 (T - t + 1) - (T + 1) (H_T - H_{t-1}), H_t = 1 + 1/2 + ... + 1/t.

    They sum to zero, so that a still sequence leaves nothing; a single frame has the weight zero.

    Args:
        num_frames (`int`): T, at least 1.
    Returns:
        `np.ndarray` of shape `(T,)`, float64.
    Source:
        Bilen et al., "Dynamic Image Networks for Action Recognition", CVPR 2016, and arXiv:1612.00738: approximate rank pooling,
        in closed form, of the frames' running means V_t, that is of the sum of V_q - V_t over all q > t.
    """
    if num_frames < 1:
        raise ValueError(f"expected num_frames >= 1, got {num_frames}")
    t = np.arange(1, num_frames + 1)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / t)])  # H_0, ..., H_T
    return 2 * (num_frames - t + 1) - (num_frames + 1) * (harmonic[-1] - harmonic[:-1])


def rank_pool(views: np.ndarray) -> np.ndarray:
    """Pool the frames of a sequence to one dynamic image per view.

    Args:
        views (`np.ndarray` of shape `(T, V, H, W, 3)`, uint8): frames in order; their times are not used.
    Returns:
        `np.ndarray` of shape `(V, H, W, 3)`, uint8: 127.5 + 127.5 d / max |d|, rounded, d the weighted sum over frames and the
        maximum that of the view; 128 all over where nothing moves.
    Raises:
        ValueError: if the views are not uint8 of this shape.
    Source:
        As `rank_pooling_weights`; for 4D faces seen from several angles Behzad et al. 2019, "Automatic 4D Facial Expression
        Recognition via Collaborative Cross-domain Dynamic Image Network", arXiv:1905.02319.
        Differs: the common min-max scaling puts "no change" at another grey in every image; here it is always the middle.
    """
    if views.dtype != np.uint8 or views.ndim != 5 or views.shape[-1] != 3 or not views.size:
        raise ValueError(f"expected uint8 views (T, V, H, W, 3), got {views.dtype} {views.shape}")
    change = np.zeros(views.shape[1:], dtype=np.float32)
    for weight, frame in zip(rank_pooling_weights(len(views))[1:], views[1:], strict=True):
        change += np.float32(weight) * (frame.astype(np.float32) - views[0])  # exactly zero where nothing moves
    peak = np.abs(change).max(axis=(1, 2, 3), keepdims=True)
    return np.rint(127.5 + 127.5 * change / np.where(peak > 0, peak, 1)).astype(np.uint8)
