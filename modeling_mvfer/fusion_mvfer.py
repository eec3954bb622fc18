"""Many views, one vector: masked attention over the views of a frame, or over the frames of a sequence.

In: features (..., S, D) of S views or frames, which of them are present, and where they are (camera angles, or times).
Out: their weighted mean (..., D) and the weights (..., S). Untrained, the weights are equal and the values unchanged:
the result is the mean of what is present, so that adding the fusion to a pretrained CLIP loses nothing. What is masked
takes no part, and the order of the set does not matter.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class ZeroInitLinear(nn.Linear):
    """A linear layer without bias that starts at zero, so that what it adds is nothing at first."""

    def __init__(self, width: int, result: int):
        super().__init__(width, result, bias=False)
        nn.init.zeros_(self.weight)


class MaskedFusion(nn.Module):
    """Gated attention over a set, with Fourier features of each element's position, neutral at the start.

    Args:
        width (`int`): D of the features.
        position_size (`int`): numbers that say where an element is: 2 for (yaw, pitch), 1 for a time.
        hidden_size (`int`): width of the attention's hidden layer.
        frequencies (`int`): Fourier frequencies per number.
    Source:
        Ilse et al. 2018, "Attention-based Deep Multiple Instance Learning", eq. 9, arXiv:1802.04712.
        Differs: the position joins both gates, a residual path may change the values, and both last layers start at zero.
    """

    def __init__(self, width: int, *, position_size: int, hidden_size: int, frequencies: int):
        super().__init__()
        self.frequencies = frequencies
        self.norm = nn.LayerNorm(width)
        self.content = nn.Linear(width, 3 * hidden_size)
        self.place = nn.Linear(2 * frequencies * position_size, 3 * hidden_size, bias=False)
        self.score = ZeroInitLinear(hidden_size, 1)
        self.value = ZeroInitLinear(hidden_size, width)

    def forward(self, features: Tensor, mask: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse a set.

        Args:
            features (`torch.Tensor` of shape `(..., S, D)`): what is masked must be finite, and is not used.
            mask (`torch.Tensor` of shape `(..., S)`): true where present.
            positions (`torch.Tensor` of shape `(..., S, position_size)`): radians (`angles_to_radians`, `times_to_phase`).
        Returns:
            fused `(..., D)` and weights `(..., S)`, which sum to 1; an empty set gives zeros for both.
        """
        scores, values = self.score_and_value(features, positions)
        return masked_mean(values, mask, scores)

    def score_and_value(self, features: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """What each element weighs `(..., S)`, before the softmax, and what it contributes `(..., S, D)`."""
        dtype = self.norm.weight.dtype
        waves = fourier_features(positions, self.frequencies).to(dtype)
        hidden = self.content(self.norm(features.to(dtype))) + self.place(waves)
        tanh_branch, gate, value_branch = hidden.chunk(3, dim=-1)  # (..., S, hidden_size) each
        scores = self.score(torch.tanh(tanh_branch) * torch.sigmoid(gate)).squeeze(-1)
        return scores, features + self.value(torch.relu(value_branch))


class TextGuidedFusion(MaskedFusion):
    """Attention that also looks at prompts: for what the face probably does, which view shows it best?

    Every prompt k has its own weights of the views, softmax_v(score_v + query(prompt_k) . key(view_v)); they are averaged over
    the prompts, each with its share: the softmax over prompts of its similarity to the mean of the views. The prompts are
    the same for all samples, so the text of a sample never enters its own embedding. Neutral at the start.

    Source:
        Behzad 2025, "FACET-VLM", multi-view text-guided fusion, arXiv:2507.01673. The paper could not be read in full: the
        formula is our reading of its name and purpose, and the bank of prompts in place of a given text is ours.
    """

    def __init__(self, width: int, *, position_size: int, hidden_size: int, frequencies: int):
        super().__init__(width, position_size=position_size, hidden_size=hidden_size, frequencies=frequencies)
        self.query = ZeroInitLinear(width, hidden_size)
        self.key = nn.Linear(width, hidden_size)

    def forward(  # type: ignore[override]  # it needs prompts too
        self, features: Tensor, mask: Tensor, positions: Tensor, prompts: Tensor, scale: Tensor
    ):
        """Fuse a set, as [`MaskedFusion`] does, in the light of prompts.

        Args:
            prompts (`torch.Tensor` of shape `(K, D)`): embeddings of texts, unit length.
            scale (`torch.Tensor` of shape `()`): factor of the cosines between views and prompts.
        """
        scores, values = self.score_and_value(features, positions)
        dtype = self.norm.weight.dtype
        asked, keys = self.query(prompts.to(dtype)), self.key(self.norm(features.to(dtype)))
        scores = scores.unsqueeze(-2) + asked @ keys.mT / math.sqrt(keys.shape[-1])  # (..., K, S)
        mean, _ = masked_mean(features, mask)
        shares = (scale * nn.functional.normalize(mean, dim=-1) @ prompts.to(mean).T).softmax(dim=-1)  # (..., K)
        by_prompt = masked_weights(mask.unsqueeze(-2), scores)  # (..., K, S)
        weights = (shares.unsqueeze(-1) * by_prompt).sum(dim=-2)
        return (weights.unsqueeze(-1) * values).sum(dim=-2), weights


class MaxFusion(nn.Module):
    """The element-wise maximum of what is present: same arguments and results as `MaskedFusion`, not neutral at the start.

    A view's weight is the share of dimensions in which it is the largest. One view is returned as it is.

    Source:
        Su et al. 2015, "Multi-view Convolutional Neural Networks" (MVCNN), view pooling, arXiv:1505.00880.
        Differs: it pools embeddings, not feature maps inside a network.
    """

    def forward(self, features: Tensor, mask: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        precise = features.to(torch.promote_types(features.dtype, torch.float32))
        present = precise.masked_fill(~mask.unsqueeze(-1), torch.finfo(precise.dtype).min)
        largest = present.amax(dim=-2, keepdim=True) * mask.any(dim=-1)[..., None, None]
        holds = (precise == largest) & mask.unsqueeze(-1)  # (..., S, D)
        weights = (holds / holds.sum(dim=-2, keepdim=True).clamp_min(1)).mean(dim=-1)
        return largest.squeeze(-2), weights.to(precise)


class MeanFusion(nn.Module):
    """The plain mean of what is present: the fusion to compare with. Same arguments and results as `MaskedFusion`."""

    def forward(self, features: Tensor, mask: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        return masked_mean(features, mask)


def build_fusion(config, kind: str, *, position_size: int) -> nn.Module:
    """The fusion of a kind ("attention", "text", "mean", "max") with the sizes of an `MVFERConfig`."""
    if kind == "max":
        return MaxFusion()
    if kind == "mean":
        return MeanFusion()
    fusion = TextGuidedFusion if kind == "text" else MaskedFusion
    return fusion(
        config.projection_dim,
        position_size=position_size,
        hidden_size=config.fusion_hidden_size,
        frequencies=config.fusion_frequencies,
    )


def masked_mean(features: Tensor, mask: Tensor, scores: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean of the present elements, weighted by the softmax of their scores.

    Args:
        features (`torch.Tensor` of shape `(..., S, D)`), mask and scores (`(..., S)`); no scores means equal ones.
    Returns:
        mean `(..., D)` and weights `(..., S)`, in 32 bits at least; an empty set gives zeros for both.
    """
    scores = torch.zeros(mask.shape, device=features.device) if scores is None else scores
    weights = masked_weights(mask, scores.to(torch.promote_types(features.dtype, torch.float32)))
    return (weights.unsqueeze(-1) * features).sum(dim=-2), weights


def masked_weights(mask: Tensor, scores: Tensor) -> Tensor:
    """Softmax of the scores `(..., S)` of the present elements; zeros for an empty set."""
    precise = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return precise.masked_fill(~mask, torch.finfo(precise.dtype).min).softmax(dim=-1) * mask


def fourier_features(positions: Tensor, frequencies: int) -> Tensor:
    """Sines and cosines of 1, 2, 4, 8, ... times each number: `(..., P)` radians to `(..., 2 * P * frequencies)`."""
    factors = 2 ** torch.arange(frequencies, device=positions.device, dtype=positions.dtype)
    phases = (positions.unsqueeze(-1) * factors).flatten(-2)
    return torch.cat([phases.sin(), phases.cos()], dim=-1)


def angles_to_radians(angles_deg: Tensor) -> Tensor:
    """Camera angles `(..., 2)` in degrees as positions: radians, so that a full turn returns to the same position."""
    return angles_deg * (math.pi / 180)  # torch.deg2rad is this, and has no place in a TorchScript graph of ONNX


def times_to_phase(times_s: Tensor, mask: Tensor, *, period_s: float = 8.0) -> Tensor:
    """Times `(..., S)` in seconds as positions `(..., S, 1)`: the phase of a slow wave since the first present frame.

    Counting from the first *present* frame makes a masked frame equal to an absent one, and a clip's start irrelevant.
    """
    first = times_s.masked_fill(~mask, math.inf).amin(dim=-1, keepdim=True)
    elapsed = torch.where(mask, times_s - first, torch.zeros_like(times_s))
    return (elapsed * (2 * math.pi / period_s)).unsqueeze(-1)


def pool_frames(view_features: Tensor, view_mask: Tensor, frame_weights: Tensor) -> tuple[Tensor, Tensor]:
    """One feature per view of a sequence: its frames' mean, with the frame weights that the fusion chose.

    Args:
        view_features (`torch.Tensor` of shape `(B, T, V, D)`), view_mask (`(B, T, V)`), frame_weights (`(B, T)`).
    Returns:
        features `(B, V, D)` and mask `(B, V)`; a single frame is returned as it is.
    """
    weights = (frame_weights.unsqueeze(-1) * view_mask).unsqueeze(-1)  # (B, T, V, 1)
    total = weights.sum(dim=1).clamp_min(torch.finfo(weights.dtype).tiny)
    return (weights * view_features).sum(dim=1) / total, view_mask.any(dim=1)
