"""A small network that sees where a face is, also where a part of it is hidden, torn or not there.

In: a close-up of a scan in a rough frame. Out: the similarity that takes it to the face's own frame, and how far off that may be.
The fitted mean face (`face_fit_mvfer`) is exact where surface and rim are seen; where they are not, the network infers them from
all that is.
"""

from functools import lru_cache

import torch
from torch import Tensor, nn

from .depth_maps_mvfer import DepthMap, difference
from .face_frame_mvfer import FaceFrame, as_rows

# Of every layer: channels, side of the kernel, stride.
LAYERS = ((32, 4, 4), (64, 3, 2), (64, 3, 1), (64, 3, 1), (80, 3, 2), (80, 3, 1), (80, 3, 1), (80, 3, 2))
CHANNELS, CELLS, SQUEEZED, HIDDEN, OUTPUTS = 5, 16, 32, 128, 8
STEP = 0.1  # what one unit of an output means: logarithm of the size, radians, framed units
IN_A_MIRROR = (1, 1, -1, -1, -1, 1, 1, 1)  # how the outputs' signs change


class FaceNet(nn.Module):
    """From `channels (B, 5, 128, 128)` of close-ups to `(B, 8)`: log size, rotation vector and shift over `STEP`; log error."""

    def __init__(self):
        super().__init__()
        wide = [CHANNELS, *(channels for channels, _, _ in LAYERS)]
        self.body = nn.Sequential(*(_layer(before, *layer) for before, layer in zip(wide, LAYERS, strict=False)))
        self.squeeze, self.hidden = nn.Conv2d(wide[-1], SQUEEZED, 1), nn.Linear(SQUEEZED * CELLS, HIDDEN)
        self.output = nn.Linear(HIDDEN, OUTPUTS)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, seen: Tensor) -> Tensor:
        squeezed = self.squeeze(self.body(seen)).flatten(1).relu()
        return self.output(self.hidden(squeezed).relu())


def _layer(before: int, after: int, side: int, stride: int) -> nn.Sequential:
    padding = 0 if side == stride else side // 2
    return nn.Sequential(nn.Conv2d(before, after, side, stride, padding), nn.GroupNorm(8, after), nn.ReLU())


def channels(depth: Tensor, pixel: float) -> Tensor:
    """What the network sees of depths `(B, S, S)`, framed units, NaN in holes: where there is a surface, its depth and normal."""
    seen = depth.isfinite()
    right, down = (torch.from_numpy(difference(depth.numpy(), axis)).nan_to_num(0) / pixel for axis in (2, 1))
    steep = seen / (1 + right.square() + down.square()).sqrt()
    return torch.stack([seen.float(), depth.nan_to_num(0).clamp(-1, 1), -right * steep, down * steep, steep], 1)


def similarities(outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sizes `(B,)`, rotations `(B, 3, 3)` and shifts `(B, 3)`: the true frame = size * rotation @ rough + shift."""
    size, vector, shift = (STEP * outputs[:, :7]).split([1, 3, 3], 1)
    x, y, z = vector.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).view(-1, 3, 3)
    return size[:, 0].exp(), torch.linalg.matrix_exp(cross), shift


@torch.no_grad()
def correction(view: DepthMap) -> tuple[FaceFrame, float]:
    """From a close-up of what is framed roughly: the frame to apply after that, and how far off it may be, framed units.

    It is the mean of what is seen there and in a mirror.
    """
    depth = torch.as_tensor(view.depth * view.pixel + view.middle[2], dtype=torch.float32)
    seen, mirrored = face_net()(channels(torch.stack([depth, depth.flip(1)]), view.pixel))
    outputs = (seen + mirrored * torch.tensor(IN_A_MIRROR))[None] / 2
    size, turn, shift = (part[0].double().numpy() for part in similarities(outputs))
    x, y, z = (-turn.T @ shift / size).tolist()
    return FaceFrame((x, y, z), float(size), as_rows(turn)), float(outputs[0, 7].exp())


@lru_cache(maxsize=1)
def face_net() -> FaceNet:
    """The network with its weights."""
    from .face_net_weights_mvfer import unpack

    net, (values, steps) = FaceNet().eval(), unpack()
    for weight in net.parameters():
        rows = rows_of(weight)
        part = values[: weight.numel()].reshape(rows, -1) * steps[:rows, None]
        weight.data = torch.from_numpy(part).view_as(weight)
        values, steps = values[weight.numel() :], steps[rows:]
    return net.requires_grad_(False)


def rows_of(weight: Tensor) -> int:
    """How many parts of a weight have a step of their own: one per output, of vectors one in all."""
    return len(weight) if weight.ndim > 1 else 1
