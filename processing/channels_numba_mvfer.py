"""`channels_mvfer.compose_channels`, compiled by numba: the same bits.

Blurring visits nothing outside of the box around what is seen, and keeps its sums in registers, fused where those of torch's
`add_` with an `alpha` are. The hyperbolic tangent is torch's own, as others round differently.
"""

import math

import numpy as np
import torch
from torch import Tensor

from .cameras_mvfer import CAMERA_DISTANCE
from .channels_mvfer import CHANNELS, CURVATURE_GAIN, INSIDE_BELOW, SMOOTHING, blur_weights
from .numba_mvfer import BLOCK, add_weighted, compiled

_CLAY, _CURVATURE, _CLAY_CURVATURE, _DEPTH = (
    CHANNELS.index(n) for n in ("clay", "curvature", "clay_curvature", "depth")
)
_NORMAL_X, _MASK, _RED, _GRAY = (CHANNELS.index(name) for name in ("normal_x", "mask", "red", "gray"))


def compose(buffers: dict[str, Tensor], channels, light_deg) -> Tensor:
    """As `compose_channels`, on the CPU: `(F, V, 3, H, W)` uint8, with the three channels side by side in memory."""
    normal, shape = buffers["normal"], buffers["mask"].shape
    side = torch.where(normal[:, :, 2].mean((2, 3)) < 0, -1.0, 1.0).flatten().numpy()  # as seen by each camera
    x, y, z, depth, mask = (
        _planes(plane) for plane in (*normal.unbind(2), buffers["depth"][:, :, 0], buffers["mask"][:, :, 0])
    )
    colors = [_planes(plane) for plane in buffers["color"].unbind(2)] if "color" in buffers else [depth] * 3
    boxes = np.empty((len(mask), 4), np.int64)
    _boxes(mask, boxes)
    codes = np.array([CHANNELS.index(name) for name in channels])
    bend = np.zeros(
        depth.shape if set(channels) & {"curvature", "clay_curvature"} else (0, *depth.shape[1:]), np.float32
    )
    if len(bend):
        pixel = 2 / shape[-1]
        weights = blur_weights(SMOOTHING / pixel)
        _bends(x, y, z, mask, side, boxes, np.array(weights, np.float32), np.float32(2 * pixel), bend)
        bend = torch.tanh(torch.from_numpy(bend)).numpy()
    yaw, pitch = (math.radians(angle) for angle in light_deg)
    light = (math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch))
    images = np.empty((*depth.shape, 3), np.uint8)
    planes = (p.reshape(len(p), depth[0].size) for p in (x, y, z, depth, mask, *colors, bend))
    _compose(*planes, side, codes, np.array(light, np.float32), images.reshape(len(images), -1, 3))
    return torch.from_numpy(images).unflatten(0, shape[:2]).permute(0, 1, 4, 2, 3)


def _planes(buffer: Tensor) -> np.ndarray:
    """`(F, V, H, W)` -> `(F V, H, W)`."""
    return buffer.flatten(0, 1).contiguous().numpy()


@compiled
def _boxes(mask, boxes):
    """The first and the last row, and column, in which something is seen, of every image: `boxes (n, 4)`."""
    n, height, width = mask.shape
    for image in range(n):
        top, bottom, left, right = height, -1, width, -1
        for row in range(height):
            first, last = 0, width - 1
            while first < left and mask[image, row, first] == 0:
                first += 1
            while last > right and mask[image, row, last] == 0:
                last -= 1
            left, right = min(left, first), max(right, last)
            while first < width and mask[image, row, first] == 0:
                first += 1
            if first < width:
                top, bottom = min(top, row), row
        boxes[image, 0], boxes[image, 1], boxes[image, 2], boxes[image, 3] = top, bottom, left, right


@compiled
def _bends(x, y, z, mask, side, boxes, weights, step, bends):
    """`CURVATURE_GAIN` times the divergence of the smoothed normals, `(n, H, W)`, where something is seen; else left as it is."""
    n, height, width = x.shape
    radius, wide = len(weights) // 2, width + BLOCK
    source = np.zeros(wide + len(weights), np.float32)
    across, smooth = np.empty((height + 2 * radius) * wide, np.float32), np.empty((3, height * wide), np.float32)
    for image in range(n):
        top, bottom = boxes[image, 0], boxes[image, 1]
        left, right = (
            max(boxes[image, 2] - 1, 0),
            min(boxes[image, 3] + 2, width),
        )  # a pixel more to every side is compared
        first, last = max(top - 1, 0), min(bottom + 2, height)
        for axis in range(3):
            values = (x if axis == 0 else (y if axis == 1 else z))[image].reshape(-1)
            seen, towards, smoothed = mask[image].reshape(-1), z[image].reshape(-1), smooth[axis]
            across[:] = 0
            for row in range(top, bottom + 1):
                _masked(values, seen, towards, side[image], np.uint64(row * width), width, source, np.uint64(radius))
                for column in range(left, right, BLOCK):
                    add_weighted(source, column, 1, weights, across, (row + radius) * wide + column)
            for row in range(first, last):
                for column in range(left, right, BLOCK):
                    add_weighted(across, row * wide + column, wide, weights, smoothed, row * wide + column)
        if top <= bottom:
            _normalize(
                smooth[0, first * wide : last * wide],
                smooth[1, first * wide : last * wide],
                smooth[2, first * wide : last * wide],
            )
        for row in range(top, bottom + 1):
            above, below = max(row - 1, 0) * wide, min(row + 1, height - 1) * wide
            _divergence(smooth, row * wide, above, below, width, left, right, step, bends, image, row)


@compiled
def _masked(values, mask, z, side, begin, width, masked, at):
    """A row of normals' parts, turned outwards, times how much is seen of what does not look away."""
    zero, one, least = np.float32(0), np.float32(1), np.float32(INSIDE_BELOW)
    for step in range(np.uint32(width)):
        c = np.uint64(step)
        shown = mask[begin + c] * (one if z[begin + c] * side > least else zero)
        masked[at + c] = values[begin + c] * side * shown


@compiled
def _normalize(x, y, z):
    one, least = np.float32(1), np.float32(1e-12)
    for c in range(len(x)):
        scale = one / math.sqrt(max(x[c] * x[c] + y[c] * y[c] + z[c] * z[c], least))
        x[c], y[c], z[c] = x[c] * scale, y[c] * scale, z[c] * scale


@compiled
def _divergence(smooth, begin, above, below, width, left, right, step, bends, image, row):
    """A row of `bends`; beyond an edge of the image it goes on as at the edge."""
    zero, gain = np.float32(0), np.float32(CURVATURE_GAIN)
    for c in range(max(left, 1), min(right, width - 1)):
        across = smooth[0, begin + c + 1] - smooth[0, begin + c - 1]
        down = smooth[1, above + c] - smooth[1, below + c]
        bends[image, row, c] = gain * ((across + down) / step * max(smooth[2, begin + c], zero))
    for c in (0, width - 1):
        if left <= c < right:
            across = smooth[0, begin + min(c + 1, width - 1)] - smooth[0, begin + max(c - 1, 0)]
            down = smooth[1, above + c] - smooth[1, below + c]
            bends[image, row, c] = gain * ((across + down) / step * max(smooth[2, begin + c], zero))


@compiled
def _compose(x, y, z, depth, mask, red, green, blue, bends, side, codes, light, images):
    """Fill `images (n, H W, 3)` with three channels of planes `(n, H W)`."""
    n, count = depth.shape
    made = np.empty((3, count), np.float32)
    for image in range(n):
        bend = bends[image] if len(bends) else depth[image]
        for k in range(3):
            _channel(
                codes[k], x[image], y[image], z[image], depth[image], mask[image], red[image], green[image], blue[image],
                bend, side[image], light, made[k],
            )  # fmt: skip
        _interleave(made[0], made[1], made[2], images[image].reshape(-1))


@compiled
def _channel(code, x, y, z, depth, mask, red, green, blue, bend, side, light, made):
    """One channel, 0 to 255; as `channels_mvfer._channel`."""
    half, one, zero, distance = np.float32(0.5), np.float32(1), np.float32(0), np.float32(CAMERA_DISTANCE)
    if code == _CLAY or code == _CLAY_CURVATURE:
        ambient, key, soft = np.float32(0.05), np.float32(0.65), np.float32(0.25)
        light_x, light_y, light_z = light[0], light[1], light[2]
        for c in range(len(made)):
            lit = light_x * (x[c] * side) + light_y * (y[c] * side) + light_z * (z[c] * side)
            made[c] = ambient + key * max(lit, zero) + soft * max(z[c] * side, zero)
        if code == _CLAY_CURVATURE:
            for c in range(len(made)):
                made[c] = made[c] * (one + half * bend[c])
    elif code == _CURVATURE:
        for c in range(len(made)):
            made[c] = half + half * bend[c]
    elif code == _DEPTH:
        for c in range(len(made)):
            made[c] = half + half * (distance - depth[c])
    elif code == _MASK:
        made[:] = one
    elif code == _GRAY:
        r, g, b = np.float32(0.299), np.float32(0.587), np.float32(0.114)
        for c in range(len(made)):
            made[c] = r * red[c] + g * green[c] + b * blue[c]
    elif code >= _RED:
        made[:] = red if code == _RED else (green if code == _RED + 1 else blue)
    else:
        values = x if code == _NORMAL_X else (y if code == _NORMAL_X + 1 else z)
        for c in range(len(made)):
            made[c] = half + half * (values[c] * side)
    least, levels = np.float32(INSIDE_BELOW), np.float32(255)
    for c in range(len(made)):
        shown = mask[c] * (one if z[c] * side > least else zero)
        made[c] = np.rint(min(max(made[c], zero), one) * shown * levels)


@compiled
def _interleave(first, second, third, image):
    for step in range(np.uint32(len(first))):
        c = np.uint64(step)
        three = np.uint64(3) * c
        image[three] = np.uint8(first[c])
        image[three + np.uint64(1)] = np.uint8(second[c])
        image[three + np.uint64(2)] = np.uint8(third[c])
