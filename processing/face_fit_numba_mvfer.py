"""What a Gauss-Newton step of the fit sums up, in one loop for numba: as `face_fit_mvfer._linearised`, with the same bits."""

import math

import numpy as np

from .numba_mvfer import compiled


@compiled
def linearised(slopes, pixels, turned, expected, place, size, forward, modes, cells, step, numbers, flags, out):
    """Fill `out`: the Jacobian `(H, 7 + K, P)`, weights `(H, P)` and residuals `(H, P)`, all float32.

    Of `slopes (3, pixels * pixels)`, points and expected normals `(3, H, P)`, `place (H, 3)`, `size (H,)`, `forward (H, 3)`,
    `modes (K, all P)` and `cells (all P,)`, of which every `step` counts; `numbers`: width, the cosine from where a cell has
    weight, and up to where this grows; `flags`: whether these cosines, and whether `cells`, matter.
    """
    jacobian, weights, residuals = out
    width, alike_from, alike_range = numbers
    like_normals, use_cells = flags
    zero, one = np.float32(0), np.float32(1)
    for h in range(turned.shape[1]):
        length, length_64 = size[h], np.float64(size[h])
        for p in range(turned.shape[2]):
            x, y, z = turned[0, h, p], turned[1, h, p], turned[2, h, p]
            column, depth = x * length + place[h, 0], z * length + place[h, 2]
            row = np.float32(pixels) - (y * length + place[h, 1])
            i, j = math.floor(row), math.floor(column)
            seen = i >= 0 and j >= 0 and i < pixels and j < pixels
            found, slope_x, slope_y = zero, zero, zero
            if seen:
                index = int(i) * pixels + int(j)
                found, slope_x, slope_y = slopes[0, index], slopes[1, index], slopes[2, index]
                seen = math.isfinite(slope_x + slope_y + found)
                if not seen:
                    found, slope_x, slope_y = zero, zero, zero
            steep = one / math.sqrt(slope_x * slope_x + slope_y * slope_y + one)
            u, v, w = -slope_x * steep, -slope_y * steep, steep
            residual, weight = zero, zero
            if seen:
                right = np.float64(column) - (np.float64(j) + 0.5)
                up = np.float64(i) + 0.5 - np.float64(row)
                ahead = np.float64(found) + np.float64(slope_x) * right + np.float64(slope_y) * up - np.float64(depth)
                residual = np.float32(np.float64(steep) * ahead / length_64)
                share = residual / width
                weight = max(one - share * share, zero)
                weight = weight * weight
                if like_normals:
                    cosine = expected[0, h, p] * u + expected[1, h, p] * v + expected[2, h, p] * w
                    weight = weight * min(max((cosine - alike_from) / alike_range, zero), one)
                if use_cells:
                    weight = weight * cells[p * step]
            weights[h, p], residuals[h, p] = weight, residual
            jacobian[h, 0, p], jacobian[h, 1, p], jacobian[h, 2, p] = u, v, w
            jacobian[h, 3, p] = u * x + v * y + w * z
            jacobian[h, 4, p], jacobian[h, 5, p], jacobian[h, 6, p] = y * w - z * v, z * u - x * w, x * v - y * u
        for k in range(jacobian.shape[1] - 7):
            for p in range(turned.shape[2]):
                ahead = (
                    jacobian[h, 0, p] * forward[h, 0]
                    + jacobian[h, 1, p] * forward[h, 1]
                    + jacobian[h, 2, p] * forward[h, 2]
                )
                jacobian[h, 7 + k, p] = ahead * modes[k, p * step]
