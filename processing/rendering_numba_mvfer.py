"""`rasterizer_mvfer.rasterize` compiled by numba, a few times faster on a CPU. In and out are the same.

It walks over the triangles one by one in the same arithmetic, so its images differ from torch's only where the
compilers round differently. Optional: `pip install "mvfer[fast]"`.
"""

import math

import numpy as np
import torch
from torch import Tensor

from .cameras_mvfer import FOCAL_LENGTH
from .rasterizer_mvfer import EDGE_TOLERANCE

try:
    from numba import njit
except ImportError:
    njit = None  # type: ignore[assignment]  # stands for its absence


def numba_is_installed() -> bool:
    """Whether the numba backend can be used here."""
    return njit is not None


def rasterize_numba(points: Tensor, normals: Tensor, corners: Tensor, size: int, paint) -> Tensor:
    """Draw n meshes, seen by one camera each: `(n, 3, N)` points and normals -> `(C, n, size, size)` samples."""
    n = len(points)
    images = torch.zeros(5 + 3 * bool(paint), n, size * size)
    nearest = np.empty(size * size, np.int64)
    weights = np.empty((3, size * size), np.float32)
    for i in range(n):
        drawn = np.zeros((5, size * size), np.float32)
        _draw(points[i].numpy(), normals[i].numpy(), corners.numpy(), size, drawn, nearest, weights)
        images[:5, i] = torch.from_numpy(drawn)
        if paint:
            pixel = torch.from_numpy(nearest >= 0).nonzero()[:, 0]
            triangle = torch.from_numpy(nearest).index_select(0, pixel)
            images[5:, i, pixel] = paint.at(triangle, torch.from_numpy(weights).index_select(1, pixel))
    return images.view(-1, n, size, size)


def _compiled(function):
    """With machine code kept in `__pycache__`, or in the user's cache folder where that cannot be written."""
    if njit is None:
        return function
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # neither can be written, or the package lies in a zip file: compiled in every process
        return njit(nogil=True)(function)


@_compiled
def _draw(points, normals, corners, size, drawn, nearest, weights):
    """Fill `drawn (5, S S)` with normal, depth, mask; `nearest (S S)` with triangles or -1; `weights (3, S S)`."""
    half = np.float32(0.5 * size)
    focal = np.float32(FOCAL_LENGTH * 0.5 * size)
    one, centre, tolerance = np.float32(1), np.float32(0.5), np.float32(-EDGE_TOLERANCE)
    screen = np.empty((points.shape[1], 3), np.float32)  # column, row, 1 / depth
    for i in range(points.shape[1]):
        inverse_depth = -(one / points[2, i])
        screen[i, 0] = points[0, i] * inverse_depth * focal + half
        screen[i, 1] = points[1, i] * inverse_depth * -focal + half
        screen[i, 2] = inverse_depth
    nearness = np.zeros(size * size, np.float32)
    nearest[:] = -1
    for t in range(corners.shape[1]):
        i, j, k = corners[0, t], corners[1, t], corners[2, t]
        x0, y0, w0 = screen[i, 0], screen[i, 1], screen[i, 2]
        x1, y1, w1 = screen[j, 0], screen[j, 1], screen[j, 2]
        x2, y2, w2 = screen[k, 0], screen[k, 1], screen[k, 2]
        if not (w0 > 0 and w1 > 0 and w2 > 0):  # crosses the camera plane
            continue
        left = max(math.ceil(min(x0, x1, x2) - centre), 0)
        right = min(math.floor(max(x0, x1, x2) - centre), size - 1)
        top = max(math.ceil(min(y0, y1, y2) - centre), 0)
        bottom = min(math.floor(max(y0, y1, y2) - centre), size - 1)
        if right < left or bottom < top:
            continue
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0:
            continue
        inverse_area = one / area
        if not math.isfinite(inverse_area):
            continue
        b_x, b_y = (y2 - y0) * inverse_area, -(x2 - x0) * inverse_area
        c_x, c_y = -(y1 - y0) * inverse_area, (x1 - x0) * inverse_area
        dx, dy = np.float32(left) + centre - x0, np.float32(top) + centre - y0
        b_first, c_first = dx * b_x + dy * b_y, dx * c_x + dy * c_y
        for row in range(top, bottom + 1):
            steps = np.float32(row - top)
            b_row, c_row = b_first + steps * b_y, c_first + steps * c_y
            for column in range(left, right + 1):
                steps = np.float32(column - left)
                b, c = b_row + steps * b_x, c_row + steps * c_x
                if b >= tolerance and c >= tolerance and one - b - c >= tolerance:
                    near = w0 + b * (w1 - w0) + c * (w2 - w0)
                    pixel = row * size + column
                    if near > nearness[pixel]:
                        nearness[pixel] = near
                        nearest[pixel] = t
    for pixel in range(size * size):
        t = nearest[pixel]
        if t < 0:
            continue
        i, j, k = corners[0, t], corners[1, t], corners[2, t]
        x, y = np.float32(pixel % size) + centre, np.float32(pixel // size) + centre
        x0, y0, w0 = screen[i, 0] - x, screen[i, 1] - y, screen[i, 2]
        x1, y1, w1 = screen[j, 0] - x, screen[j, 1] - y, screen[j, 2]
        x2, y2, w2 = screen[k, 0] - x, screen[k, 1] - y, screen[k, 2]
        a, b, c = x1 * y2 - y1 * x2, x2 * y0 - y2 * x0, x0 * y1 - y0 * x1
        total = a + b + c
        a, b, c = a * w0, b * w1, c * w2
        weight_sum = a + b + c
        a, b, c = a / weight_sum, b / weight_sum, c / weight_sum
        x = a * normals[0, i] + b * normals[0, j] + c * normals[0, k]
        y = a * normals[1, i] + b * normals[1, j] + c * normals[1, k]
        z = a * normals[2, i] + b * normals[2, j] + c * normals[2, k]
        length = math.sqrt(max(x * x + y * y + z * z, np.float32(1e-30)))
        drawn[0, pixel], drawn[1, pixel], drawn[2, pixel] = x / length, y / length, z / length
        drawn[3, pixel], drawn[4, pixel] = total / weight_sum, one
        weights[0, pixel], weights[1, pixel], weights[2, pixel] = a, b, c
