"""Frames that look at each other: a small transformer over a sequence's fused frames, before these become one vector.

In: one feature per frame (B, T, D), which frames are present, and when they were taken. Out: features of the same shape, which
now may say how a frame differs from the others: what moved since the onset, which one scan cannot tell. Untrained it changes
nothing, what is masked takes no part, and only times order the frames, not their positions in the tensor.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .fusion_mvfer import ZeroInitLinear, fourier_features


class TemporalTransformer(nn.Module):
    """Pre-norm transformer layers over frames, neutral at the start.

    Args:
        width (`int`): D of the features, a multiple of `heads`.
        layers, heads (`int`): how many.
        frequencies (`int`): Fourier frequencies of the time.
    Source:
        Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762, in the pre-norm form of Xiong et al. 2020,
        arXiv:2002.04745.
        Differs: Fourier features of the time join every layer's input, as in `MaskedFusion`, and both branches of a layer end in
        weights that start at zero.
    """

    def __init__(self, width: int, *, layers: int, heads: int, frequencies: int):
        super().__init__()
        self.frequencies = frequencies
        self.layers = nn.ModuleList(TemporalLayer(width, heads=heads, waves=2 * frequencies) for _ in range(layers))

    def forward(self, frames: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Let frames exchange what they hold.

        Args:
            frames (`torch.Tensor` of shape `(B, T, D)`): what is masked must be finite, and is not used.
            mask (`(B, T)`, bool): true where present.
            positions (`(B, T, 1)`): radians, from `times_to_phase`.
        Returns:
            `torch.Tensor` of shape `(B, T, D)`; what stands at masked frames means nothing.
        """
        waves = fourier_features(positions, self.frequencies)
        for layer in self.layers:
            frames = layer(frames, mask, waves)
        return frames


class TemporalLayer(nn.Module):
    """Attention between frames, then a perceptron on each; both are added to what was there."""

    def __init__(self, width: int, *, heads: int, waves: int):
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.place = nn.Linear(waves, width, bias=False)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = ZeroInitLinear(width, width)
        self.hidden = nn.Linear(width, 4 * width)
        self.change = ZeroInitLinear(4 * width, width)

    def forward(self, frames: Tensor, mask: Tensor, waves: Tensor) -> Tensor:
        dtype = self.mlp_norm.weight.dtype
        inputs = self.attention_norm(frames.to(dtype)) + self.place(waves.to(dtype))
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, T, D / heads)
            for part in self.query_key_value(inputs).chunk(3, dim=-1)
        )
        hidden_keys = torch.zeros(mask.shape, dtype=query.dtype, device=mask.device)
        hidden_keys = hidden_keys.masked_fill(~mask, torch.finfo(query.dtype).min)  # not -inf: a mask may hide all
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=hidden_keys[:, None, None])
        frames = frames + self.mix(seen.transpose(1, 2).flatten(2))
        return frames + self.change(torch.relu(self.hidden(self.mlp_norm(frames.to(dtype)))))
