"""Loops of torch and numpy code, compiled by numba, with the same bits; `compiled_mvfer.LOOPS` names them.

Sums run in the order of the vector instructions that torch uses, and are fused where those are.
"""

import math

import numpy as np

from .channels_numba_mvfer import compose
from .compiled_mvfer import LOOPS
from .face_fit_numba_mvfer import linearised
from .numba_mvfer import bits, compiled, fused
from .obj_numba_mvfer import plain_obj
from .rasterizer_mvfer import EDGE_TOLERANCE


@compiled
def vertex_normals(vertices, faces, crosses, total, normals):
    """As `rendering_mvfer.vertex_normals`, of one frame: `(N, 3)` and `(M, 3)` to `normals (N, 3)`.

    `crosses (M, 3)` float32 and `total (N, 3)` int64 are filled as well.
    """
    largest = np.float32(0)
    for t in range(len(faces)):
        i, j, k = faces[t, 0], faces[t, 1], faces[t, 2]
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        a, b, c = vertices[j, 0] - x, vertices[j, 1] - y, vertices[j, 2] - z
        x, y, z = vertices[k, 0] - x, vertices[k, 1] - y, vertices[k, 2] - z
        crosses[t, 0], crosses[t, 1] = fused(b, z, -(c * y)), fused(c, x, -(a * z))
        crosses[t, 2] = fused(a, y, -(b * x))
        largest = max(largest, abs(crosses[t, 0]), abs(crosses[t, 1]), abs(crosses[t, 2]))
    scale = np.float32(math.ldexp(1.0, 48 - math.frexp(largest)[1]))
    total[:] = 0
    for t in range(len(faces)):
        for axis in range(3):
            value = np.int64(crosses[t, axis] * scale)
            for corner in range(3):
                total[faces[t, corner], axis] += value
    least, one = np.float32(1e-30), np.float32(1)
    for i in range(len(normals)):
        x, y, z = np.float32(total[i, 0]), np.float32(total[i, 1]), np.float32(total[i, 2])
        inverse_length = one / math.sqrt(max(x * x + y * y + z * z, least))
        normals[i, 0], normals[i, 1], normals[i, 2] = x * inverse_length, y * inverse_length, z * inverse_length


@compiled
def nearest_triangles(screen, corners, keys, as_torch):
    """As `rasterizer_mvfer.nearest_triangles`, of one image: `screen (N, 3)` and `corners (M, 3)` to `keys (S, S)`.

    `as_torch`: with the same bits; else weights are found row by row, which rounds differently in the last place, and nothing is
    fused.

    The innermost loop has no branches, and its indices no sign, so that it becomes vector instructions.
    """
    size, samples = keys.shape[0], keys.reshape(-1)
    one, centre, tolerance = np.float32(1), np.float32(0.5), np.float32(-EDGE_TOLERANCE)
    samples[:] = 0
    for t in range(len(corners)):
        i, j, k = corners[t, 0], corners[t, 1], corners[t, 2]
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
        w1, w2, name = w1 - w0, w2 - w0, np.int64(0xFFFFFFFF) - t
        for row in range(top, bottom + 1):
            rows = np.float32(row - top)
            b_row, c_row = b_first + rows * b_y, c_first + rows * c_y
            first = np.uint64(row * size + left)
            for step in range(np.uint32(right - left + 1)):
                steps = np.float32(np.int32(step))
                if as_torch:
                    b = fused(rows, b_y, fused(steps, b_x, b_first))
                    c = fused(rows, c_y, fused(steps, c_x, c_first))
                    nearness = fused(c, w2, fused(b, w1, w0))
                else:
                    b, c = b_row + steps * b_x, c_row + steps * c_x
                    nearness = w0 + b * w1 + c * w2
                inside = (b >= tolerance) & (c >= tolerance) & (one - b - c >= tolerance)
                key = (bits(nearness) << 32) | name
                place = first + np.uint64(step)
                samples[place] = max(samples[place], key if inside else np.int64(0))


def load_loops() -> None:
    """From now on, these are used."""
    LOOPS["vertex_normals"], LOOPS["nearest_triangles"] = vertex_normals, nearest_triangles
    LOOPS["channels"], LOOPS["plain_obj"], LOOPS["linearised"] = compose, plain_obj, linearised
