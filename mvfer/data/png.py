"""Pictures to lossless PNGs. In: `(H, W, 3)` uint8. Out: the bytes of a file that every reader of PNGs opens.

Drawn faces are smooth: once a pixel is foretold by its neighbours, little but runs is left to find. Pillow tries five ways to
foretell a row; where numba is installed, one of them (Paeth's) is used throughout, which takes as many bytes and a third of the
time. ISA-L, if it is installed too (`pip install "mvfer[fast]"`), takes a tenth more bytes and a third of that.
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from processing.numba_mvfer import numba_is_installed

try:
    from isal import isal_zlib
except ImportError:
    isal_zlib = None  # type: ignore[assignment]  # stands for its absence

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EIGHT_BITS, _RGB = 8, 2


def encode_png(picture: np.ndarray) -> bytes:
    """The picture as a PNG."""
    if not numba_is_installed():  # and not whether it is in use: the same picture has the same bytes in every process
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, format="PNG", compress_type=zlib.Z_RLE)
        return buffer.getvalue()
    from mvfer.data.png_numba import foretold

    height, width, _ = picture.shape
    rows = np.empty((height, 1 + 3 * width), np.uint8)
    foretold(np.ascontiguousarray(picture).reshape(height, -1), rows)
    size = struct.pack(">IIBBBBB", width, height, _EIGHT_BITS, _RGB, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", size) + _chunk(b"IDAT", _deflated(rows)) + _chunk(b"IEND", b"")


def _deflated(rows: np.ndarray) -> bytes:
    if isal_zlib is not None:
        return isal_zlib.compress(rows, 1)
    packer = zlib.compressobj(1, strategy=zlib.Z_RLE)
    return packer.compress(rows.tobytes()) + packer.flush()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
