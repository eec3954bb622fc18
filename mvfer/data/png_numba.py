"""What is left of a picture once every byte is foretold by its neighbours, as PNGs keep it; compiled by numba."""

import numpy as np

from processing.numba_mvfer import compiled

_PAETH, _CHANNELS = 4, 3


@compiled
def foretold(picture, rows):
    """`picture (H, 3 W)` uint8 to `rows (H, 1 + 3 W)`: the filter's number, and each byte less its Paeth predictor.

    Source:
        Portable Network Graphics (PNG) Specification, Third Edition, W3C 2025, section 9.4.
    """
    height, width = picture.shape
    above, here = (
        np.zeros(width + _CHANNELS, np.int16),
        np.zeros(width + _CHANNELS, np.int16),
    )  # nothing before a row is 0
    for row in range(height):
        filtered = rows[row]
        filtered[0] = _PAETH
        here[_CHANNELS:] = picture[row]
        for c in range(width):
            left, up, corner = np.int32(here[c]), np.int32(above[c + _CHANNELS]), np.int32(above[c])
            from_left, from_up, from_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
            nearest = up if from_up <= from_corner else corner
            nearest = left if (from_left <= from_up) & (from_left <= from_corner) else nearest
            filtered[c + 1] = np.uint8(here[c + _CHANNELS] - nearest)
        above[:] = here
