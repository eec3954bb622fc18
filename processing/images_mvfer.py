"""Pictures of any depth to upright 8-bit RGB, alike for photos and textures.

In: an opened `PIL.Image`, or an array. Out: 8 bits. Pillow's own `convert("RGB")` clips: a picture of 16 bits becomes white,
one of floats black. Here 16 bits are scaled by 1/257, floats in 0..1 by 255; what is in no known range is refused.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

_TO_8_BITS = 257  # 65535 / 255


def upright_rgb(image: Image.Image) -> Image.Image:
    """The photo as RGB, turned as its EXIF entry says.

    Raises:
        ValueError: if its numbers are in no known range.
    """
    return as_rgb(ImageOps.exif_transpose(image))


def as_rgb(image: Image.Image) -> Image.Image:
    """The picture as RGB, not turned: texture coordinates refer to the pixels as they are stored.

    Raises:
        ValueError: if its numbers are in no known range.
    """
    if image.mode.startswith(("I", "F")):  # "I;16" and its byte orders, "I" (32 bits), "F"
        pixels = np.asarray(image)
        if image.mode == "I" and 0 <= pixels.min() <= pixels.max() <= 65535:  # 16 bits in 32, as some files have them
            pixels = pixels.astype(np.uint16)
        image = Image.fromarray(to_8_bits(pixels))
    return image.convert("RGB")


def to_8_bits(pixels: np.ndarray) -> np.ndarray:
    """Pixels of 8 bits, 16 bits or floats as uint8.

    Args:
        pixels: uint8, uint16, other integers in 0..255, or floats in 0..1 or 0..255. uint16 with nothing above 255 is taken
            for 8 bits.
    Raises:
        ValueError: if they are not finite, or in no such range.
    """
    if pixels.dtype == np.uint8:
        return pixels
    if not np.isfinite(pixels).all():
        raise ValueError("expected finite pixels, got a photo with NaN or infinity")
    low, high = pixels.min(), pixels.max()
    if pixels.dtype.kind == "f" and 0 <= low and high <= 1:
        pixels = pixels * 255
    elif pixels.dtype == np.uint16 and high > 255:
        pixels = pixels / _TO_8_BITS
    elif low < 0 or high > 255:
        raise ValueError(f"expected pixels in 0..255 or 0..1, got {low:.3g}..{high:.3g}; 16 bits are given as uint16")
    return pixels.round().astype(np.uint8)
