"""The z-buffer in plain torch: the nearest triangle at every pixel. In: corners on the screen. Out: a key per pixel.

Every triangle is scattered over the pixel centres in its bounding box; each sample carries a 64-bit key (nearness
above, triangle below) and the largest key wins its pixel. Integers and a maximum do not care about order, so the
result is bit-identical over runs, threads and chunk sizes. The same code runs on CUDA tensors, and there is no tree
to build.
"""

import torch
from torch import Tensor

EDGE_TOLERANCE = 1e-5  # of a barycentric weight: closes cracks between neighbouring triangles
MAX_SAMPLES = {"cpu": 1 << 16, "cuda": 1 << 26}  # tested at a time: what fits into the cache, or into the memory


def nearest_triangles(screen: Tensor, triangles: Tensor, n: int, size: int) -> Tensor:
    """For every pixel of n images, `bits(nearness) << 32 | ~triangle` of the nearest triangle, or 0.

    Args:
        screen (`(3, n N)`): column, row (pixel centres at .5) and nearness of every vertex; nearness grows towards the
            viewer and is linear on the screen, such as 1 / depth. Triangles with a nearness <= 0 are not drawn.
        triangles (`(3, n M)`): indices into `screen`, image after image.
    Returns:
        `(n size size,)` int64. The bits of positive floats sort as the floats do; ties go to the first triangle.
    """
    x, y, w = screen.index_select(1, triangles.reshape(-1)).view(3, 3, -1)  # each (3 corners, n M)
    left, columns = _pixel_span(x, size)
    top, rows = _pixel_span(y, size)
    x1, x2, y1, y2 = x[1] - x[0], x[2] - x[0], y[1] - y[0], y[2] - y[0]
    inverse_area = (x1 * y2).sub_(x2 * y1).reciprocal_()
    # Barycentric weights b and c of the second and third corner: their gradients, and their values at the first pixel.
    b_x, b_y, c_x, c_y = y2 * inverse_area, -x2 * inverse_area, -y1 * inverse_area, x1 * inverse_area
    dx, dy = left + 0.5 - x[0], top + 0.5 - y[0]
    b, c = dx * b_x + dy * b_y, dx * c_x + dy * c_y
    # Nothing is drawn of triangles that are seen edge-on or that cross the camera plane.
    drawable = inverse_area.isfinite() & (w.amin(0) > 0)
    count = (columns * rows).nan_to_num_(0, 0, 0).mul_(drawable).to(torch.int64)
    first_pixel = (top * size + left).nan_to_num_(0, 0, 0).to(torch.int32)
    if n > 1:
        first_pixel.view(n, -1).add_(torch.arange(n, device=screen.device)[:, None] * (size * size))
    table = torch.stack([b, b_x, b_y, c, c_x, c_y, w[0], w[1] - w[0], w[2] - w[0], columns])
    keys = torch.zeros(n * size * size, dtype=torch.int64, device=screen.device)
    for first, last in _parts(count):
        _scatter(keys, table, first_pixel, count, first, last, size)
    return keys


def _scatter(keys: Tensor, table: Tensor, first_pixel: Tensor, count: Tensor, first: int, last: int, size: int) -> None:
    """Test every pixel centre in the boxes of the triangles [first, last), and keep the largest key of every pixel."""
    count = count[first:last]
    triangle = torch.repeat_interleave(count)  # one entry per sample from here on
    first_sample = (count.cumsum(0) - count).to(torch.int32)
    samples = table[:, first:last].index_select(1, triangle)
    b, b_x, b_y, c, c_x, c_y, nearness, w1, w2, columns = samples
    step = torch.arange(len(triangle), dtype=torch.int32, device=keys.device)
    dx = step.sub_(first_sample.index_select(0, triangle)).to(torch.float32)
    dy = dx.add(0.5).div_(columns).floor_()
    dx.addcmul_(dy, columns, value=-1)
    b.addcmul_(dx, b_x).addcmul_(dy, b_y)
    c.addcmul_(dx, c_x).addcmul_(dy, c_y)
    inside = torch.minimum(torch.minimum(b, c), (1 - b).sub_(c)) >= -EDGE_TOLERANCE
    nearness.addcmul_(b, w1).addcmul_(c, w2).mul_(inside)
    key = nearness.view(torch.int32).to(torch.int64).bitwise_left_shift_(32)
    key.sub_(triangle).add_(0xFFFFFFFF - first).mul_(inside)
    pixel = dx.add_(dy, alpha=size).to(torch.int32).add_(first_pixel[first:last].index_select(0, triangle))
    keys.scatter_reduce_(0, pixel.to(torch.int64), key, "amax")


def _parts(count: Tensor) -> list[tuple[int, int]]:
    """Ranges of triangles with at most about `MAX_SAMPLES` samples each, or a single triangle."""
    limit = MAX_SAMPLES.get(count.device.type, MAX_SAMPLES["cpu"])
    last_part = count.cumsum(0).sub_(1).clamp_(min=0) // limit  # in which part each triangle ends
    _, lengths = torch.unique_consecutive(last_part, return_counts=True)
    ends = lengths.cumsum(0).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _pixel_span(coordinate: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """First pixel whose centre lies within the `(3, M)` corners' extent, and how many there are; both float `(M,)`."""
    low = torch.minimum(torch.minimum(coordinate[0], coordinate[1]), coordinate[2])
    high = torch.maximum(torch.maximum(coordinate[0], coordinate[1]), coordinate[2])
    first = low.sub_(0.5).ceil_().clamp_(0, size)
    last = high.sub_(0.5).floor_().clamp_(-1, size - 1)
    return first, last.sub_(first).add_(1).clamp_(min=0)
