"""A convolutional stem for small models trained from scratch.

In: pixels (B, C, H, W). Out: one feature per patch (B, D, H / P, W / P), as from CLIP's patch embedding, whose place it
takes. Early convolutions let a small transformer learn from few images (Xiao et al. 2021, "Early Convolutions Help
Transformers See Better", arXiv:2106.14881; differs: residual blocks, and group norm with one group, which needs no batch
statistics and is the fastest in this layout). Pretrained CLIP never uses it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import CLIPVisionModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from .normalization_mvfer import GlobalBatchNorm


class StemVisionModel(CLIPVisionModel):
    """CLIP's vision tower with a `ConvolutionStem` as its patch embedding."""

    def __init__(self, config, channels: list[int], blocks: list[int]):
        super().__init__(config)
        self.embeddings.patch_embedding = ConvolutionStem(
            config.num_channels, config.hidden_size, channels=channels, blocks=blocks
        )
        self.post_layernorm = GlobalBatchNorm(config.hidden_size)
        self.post_init()

    def _initialize_weights(self, module, is_custom_code: bool = False):
        # For custom code transformers skips modules that own no parameter, and with them CLIP's scaled initialisation;
        # it need not: `_init_weights` leaves loaded weights alone.
        super()._initialize_weights(module, is_custom_code=False)

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d | MatrixConvolution):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, GlobalBatchNorm):
            for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
                init.constant_(getattr(module, name), value)


class MatrixConvolution(nn.Module):
    """A 3x3 convolution, padded by one pixel, that keeps its weight as a matrix `(out, in * 9)`.

    So optimizers of matrices (Muon) take it as they take linear layers: from scratch that is worth ten points of accuracy
    after 300 steps.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1):
        super().__init__()
        self.shape, self.stride = (out_channels, in_channels, 3, 3), stride
        self.weight, self.bias = (
            nn.Parameter(torch.empty(out_channels, in_channels * 9)),
            nn.Parameter(torch.empty(out_channels)),
        )

    def forward(self, images: Tensor) -> Tensor:
        weight = self.weight.view(self.shape).contiguous(memory_format=torch.channels_last)
        return nn.functional.conv2d(images, weight, self.bias, stride=self.stride, padding=1)


class ResidualBlock(nn.Module):
    """`x + convolution(relu(norm(x)))`, with the shape `(B, C, H, W)` kept."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.convolution = MatrixConvolution(channels, channels)

    def forward(self, images: Tensor) -> Tensor:
        return images + self.convolution(torch.relu(self.norm(images)))


class Stage(GradientCheckpointingLayer, nn.Sequential):
    """One halving of the image with its residual blocks; with gradient checkpointing they are computed again for the backward."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.Sequential.forward(self, images)


class ConvolutionStem(nn.Conv2d):
    """Stride-2 convolutions with residual blocks, then the 1x1 convolution that this module itself is.

    Args:
        in_channels (`int`): channels of the pixels.
        width (`int`): channels of the result, the vision tower's hidden size.
        channels (`list[int]`): channels after each halving of the image.
        blocks (`list[int]`): residual blocks after each halving.
    """

    def __init__(self, in_channels: int, width: int, *, channels: list[int], blocks: list[int]):
        super().__init__(channels[-1], width, kernel_size=1)
        stages, previous = [], in_channels
        for current, count in zip(channels, blocks, strict=True):
            halve = MatrixConvolution(previous, current, stride=2)
            stages.append(Stage(halve, *[ResidualBlock(current) for _ in range(count)]))
            stages.append(nn.Sequential(nn.GroupNorm(1, current), nn.ReLU()))
            previous = current
        self.stages = nn.Sequential(*stages)

    def forward(self, pixel_values: Tensor) -> Tensor:
        if self.stages[0].gradient_checkpointing and self.training and not pixel_values.requires_grad:
            pixel_values = (
                pixel_values.detach().requires_grad_()
            )  # else reentrant checkpoints give the weights no gradient
        # channels last: the faster layout on CPUs, and the tokens then lie in memory as the transformer wants them
        return super().forward(self.stages(pixel_values.contiguous(memory_format=torch.channels_last)))
