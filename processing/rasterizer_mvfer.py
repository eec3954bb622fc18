"""What fills pixels, in plain torch: which triangle is seen at each, and what is seen of it. In: corners. Out: samples.

The z-buffer scatters every triangle over the pixel centres in its bounding box; each sample carries a 64-bit key
(nearness above, triangle below) and the largest key wins its pixel. Normals, depth and colours are then interpolated on
the winning triangle. Integers and a maximum do not care about order, so the result is bit-identical over runs, threads
and chunk sizes. The same code runs on CUDA tensors, and there is no tree to build.
"""

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor

from .cameras_mvfer import FOCAL_LENGTH

EDGE_TOLERANCE = 1e-5  # of a barycentric weight: closes cracks between neighbouring triangles
MAX_SAMPLES = {"cpu": 1 << 16, "cuda": 1 << 26}  # tested at a time: what fits into the cache, or into the memory


@dataclass(frozen=True)
class Paint:
    """Colours of a surface: a table interpolated over triangles, which holds colours, or places in a texture."""

    table: Tensor  # (3, N) colours in [0, 1], or (2, U) texture coordinates
    corners: Tensor  # (3, M)
    texture: Tensor | None  # (3, h, w)

    @classmethod
    def choose(cls, uvs, uv_faces, texture, vertex_colors, vertices: Tensor, faces: Tensor) -> "Paint | None":
        device = vertices.device
        if texture is not None and uvs is not None:
            uvs = torch.as_tensor(uvs).to(device, torch.float32)
            uv_faces = faces if uv_faces is None else torch.as_tensor(uv_faces).to(device, torch.int64)
            texture = torch.as_tensor(texture).to(device)
            if uvs.ndim != 2 or uvs.shape[1] != 2 or uv_faces.shape != faces.shape or texture.ndim != 3:
                raise ValueError(
                    f"expected uvs (U, 2), uv_faces {tuple(faces.shape)} and a texture (h, w, 3), got "
                    f"{tuple(uvs.shape)}, {tuple(uv_faces.shape)}, {tuple(texture.shape)}"
                )
            if uv_faces.numel() and not 0 <= int(uv_faces.min()) <= int(uv_faces.max()) < len(uvs):
                raise ValueError(f"uv_faces: indices must lie in [0, {len(uvs)})")
            texture = texture.permute(2, 0, 1)[:3].to(torch.float32) / 255
            return cls(uvs.t().contiguous(), uv_faces.t().contiguous(), texture)
        if vertex_colors is not None:
            colors = torch.as_tensor(vertex_colors).to(device)
            if colors.shape != vertices.shape[1:]:
                raise ValueError(f"vertex_colors: expected {tuple(vertices.shape[1:])}, got {tuple(colors.shape)}")
            return cls(colors.t().to(torch.float32) / 255, faces.t().contiguous(), None)
        return None

    def at(self, triangle: Tensor, weights: Tensor) -> Tensor:
        """Colours `(3, P)` in [0, 1] at points given by triangle and weights."""
        values = _mix(self.table, self.corners.index_select(1, triangle).view(-1), weights)
        if self.texture is None:
            return values.clamp_(0, 1)
        u, v = values
        place = torch.stack([2 * u - 1, 1 - 2 * v], 1)[None, None]  # (1, 1, P, 2); v runs upwards
        return nnf.grid_sample(self.texture[None], place, align_corners=False, padding_mode="border")[0, :, 0]


def rasterize(points: Tensor, normals: Tensor, corners: Tensor, size: int, paint: Paint | None) -> Tensor:
    """Draw n meshes, seen by one camera each.

    Args:
        points, normals (`(n, 3, N)`): in the camera frame.
        corners (`(3, M)`): the vertices of every triangle.
        paint: what colours the surface, if anything.
    Returns:
        `(C, n, size, size)`: normal, depth, mask, and three colours if painted.
    """
    n, _, N = points.shape
    inverse_depth = points[:, 2].reciprocal().neg_()
    half = 0.5 * size
    screen = torch.stack(  # (3, n, N): column, row, 1 / depth
        [
            (points[:, 0] * inverse_depth).mul_(FOCAL_LENGTH * half).add_(half),
            (points[:, 1] * inverse_depth).mul_(-FOCAL_LENGTH * half).add_(half),
            inverse_depth,
        ]
    ).view(3, -1)
    if n > 1:  # one long list of triangles
        offset = torch.arange(n, device=points.device)[:, None] * N
        triangles = (corners[:, None] + offset).view(3, -1)
    else:
        triangles = corners
    key = nearest_triangles(screen, triangles, n, size)
    pixel = key.nonzero()[:, 0]
    triangle = 0xFFFFFFFF - (key.index_select(0, pixel) & 0xFFFFFFFF)
    corner = triangles.index_select(1, triangle).view(-1)
    weights, depth = _perspective_weights(screen, corner, pixel, size)
    normal = _mix(normals.transpose(0, 1).reshape(3, -1), corner, weights)
    x, y, z = normal
    normal *= (x * x + y * y + z * z).clamp_min_(1e-30).rsqrt_()
    values = [normal, depth[None], torch.ones_like(depth)[None]]
    if paint:
        values.append(paint.at(triangle % corners.shape[1], weights))
    images = points.new_zeros(5 + 3 * bool(paint), n * size * size)
    return images.index_copy_(1, pixel, torch.cat(values)).view(-1, n, size, size)


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
    table = torch.stack([b, b_x, b_y, c, c_x, c_y, columns, w[0], w[1] - w[0], w[2] - w[0]])
    keys = torch.zeros(n * size * size, dtype=torch.int64, device=screen.device)
    for first, last in _parts(count):
        _scatter(keys, table, first_pixel, count, first, last, size)
    return keys


def _scatter(keys: Tensor, table: Tensor, first_pixel: Tensor, count: Tensor, first: int, last: int, size: int) -> None:
    """Test every pixel centre in the boxes of the triangles [first, last), and keep the largest key of every pixel."""
    count, table = count[first:last], table[:, first:last]
    triangle = torch.repeat_interleave(count)  # one entry per sample from here on
    first_sample = (count.cumsum(0) - count).to(torch.int32)
    b, b_x, b_y, c, c_x, c_y, columns = table[:7].index_select(1, triangle)
    step = torch.arange(len(triangle), dtype=torch.int32, device=keys.device)
    dx = step.sub_(first_sample.index_select(0, triangle)).to(torch.float32)
    dy = dx.add(0.5).div_(columns).floor_()
    dx.addcmul_(dy, columns, value=-1)
    b.addcmul_(dx, b_x).addcmul_(dy, b_y)
    c.addcmul_(dx, c_x).addcmul_(dy, c_y)
    inside = torch.minimum(torch.minimum(b, c), (1 - b).sub_(c)) >= -EDGE_TOLERANCE
    inside = inside.nonzero()[:, 0]  # less than half: one entry per sample inside from here on
    triangle = triangle.index_select(0, inside)
    nearness, w1, w2 = table[7:].index_select(1, triangle)
    nearness.addcmul_(b.index_select(0, inside), w1).addcmul_(c.index_select(0, inside), w2)
    key = nearness.view(torch.int32).to(torch.int64).bitwise_left_shift_(32)
    key.sub_(triangle).add_(0xFFFFFFFF - first)
    pixel = dx.add_(dy, alpha=size).index_select(0, inside).to(torch.int32)
    pixel.add_(first_pixel[first:last].index_select(0, triangle))
    keys.scatter_reduce_(0, pixel.to(torch.int64), key, "amax")


def _parts(count: Tensor) -> list[tuple[int, int]]:
    """Ranges of triangles with at most about `MAX_SAMPLES` samples each, or a single triangle."""
    limit = MAX_SAMPLES.get(count.device.type, MAX_SAMPLES["cpu"])
    last_part = count.cumsum(0).sub_(1).clamp_(min=0) // limit  # in which part each triangle ends
    _, lengths = torch.unique_consecutive(last_part, return_counts=True)
    ends = lengths.cumsum(0).tolist()
    return list(itertools.pairwise([0, *ends]))


def _pixel_span(coordinate: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """First pixel whose centre lies within the `(3, M)` corners' extent, and how many there are; both float `(M,)`."""
    low = torch.minimum(torch.minimum(coordinate[0], coordinate[1]), coordinate[2])
    high = torch.maximum(torch.maximum(coordinate[0], coordinate[1]), coordinate[2])
    first = low.sub_(0.5).ceil_().clamp_(0, size)
    last = high.sub_(0.5).floor_().clamp_(-1, size - 1)
    return first, last.sub_(first).add_(1).clamp_(min=0)


def _perspective_weights(screen: Tensor, corner: Tensor, pixel: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Weights `(3, P)` of the corners `(3 P,)` on the surface, not on the screen, and depth `(P,)`, at each pixel."""
    x, y, w = screen.index_select(1, corner).view(3, 3, -1)
    row = (pixel.to(torch.float64) / size).floor_()  # exact, and faster than dividing integers
    x = x - (pixel - row * size).to(torch.float32).add_(0.5)
    y = y - (row - (row / size).floor_() * size).to(torch.float32).add_(0.5)
    weights = torch.stack([x[1] * y[2] - y[1] * x[2], x[2] * y[0] - y[2] * x[0], x[0] * y[1] - y[0] * x[1]])
    total = weights[0] + weights[1] + weights[2]
    weights *= w
    weight_sum = weights[0] + weights[1] + weights[2]
    return weights.div_(weight_sum), total.div_(weight_sum)


def _mix(table: Tensor, corner: Tensor, weights: Tensor) -> Tensor:
    """Interpolate the columns of `(c, *)` between the corners `(3 P,)` with weights `(3, P)`: `(c, P)`."""
    a, b, c = table.index_select(1, corner).view(len(table), 3, -1).unbind(1)
    return (a * weights[0]).addcmul_(b, weights[1]).addcmul_(c, weights[2])


def mean_over_pixels(samples: Tensor, supersampling: int) -> Tensor:
    """Means over the covered samples of each pixel: `(C, n, S, S)` -> `(C, n, H, W)`; the mask becomes the coverage."""
    if supersampling == 1:
        return samples
    means = nnf.avg_pool2d(samples, supersampling)
    coverage = means[4].clone()
    means /= coverage.clamp_min(1e-6)
    means[4] = coverage
    x, y, z = means[:3]
    means[:3] *= (x * x + y * y + z * z).clamp_min_(1e-30).rsqrt_()
    return means
