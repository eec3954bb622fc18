"""Views as PNG files, fast. In: `(H, W, 3)` uint8. Out: the bytes of a file that every reader of PNG opens.

Drawn faces are smooth, and a pixel is well foretold by its neighbours (the Paeth filter), after which little but runs is left to
find: smaller files than a search for repetitions makes, in less than half of its time.
"""

import struct
import zlib

import numpy as np

from processing.compiled_mvfer import LOOPS

_SIGNATURE, _RGB_OF_8_BITS, _PAETH = b"\x89PNG\r\n\x1a\n", (8, 2, 0, 0, 0), 4


def encode_png(view: np.ndarray) -> bytes:
    """A `(H, W, 3)` uint8 picture, lossless.

    Source:
        W3C, "Portable Network Graphics (PNG) Specification", 2nd edition: 11.2 chunks, 9.4 the Paeth filter.
    """
    height, width, _ = view.shape
    filtered = LOOPS.get("paeth", _paeth)(np.ascontiguousarray(view).reshape(height, 3 * width))
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    packed = packer.compress(filtered) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, *_RGB_OF_8_BITS)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _paeth(rows: np.ndarray) -> np.ndarray:
    """Rows `(H, 3 W)` less what the pixels to the left and above foretell: `(H, 1 + 3 W)`, the filter's number first."""
    left, above, corner = np.zeros((3, *rows.shape), np.int16)
    left[:, 3:], above[1:], corner[1:, 3:] = rows[:, :-3], rows[:-1], rows[:-1, :-3]
    along, down = above - corner, left - corner  # how far the guess left + above - corner is from left, and from above
    from_left, from_above, from_corner = np.abs(along), np.abs(down), np.abs(along + down)
    nearest = np.where(from_above <= from_corner, above, corner)
    guess = np.where((from_left <= from_above) & (from_left <= from_corner), left, nearest)
    filtered = np.full((len(rows), 1 + rows.shape[1]), _PAETH, np.uint8)
    filtered[:, 1:] = rows - guess  # modulo 256
    return filtered
