"""The one door that pictures enter by, and pictures of any depth to upright 8-bit RGB, alike for photos and textures.

In: a file, the bytes of one, an opened `PIL.Image`, or an array. Out: 8 bits. Pillow opens whatever a picture says it is, and
starts Ghostscript for PostScript that is named .png: so nothing else here calls `Image.open`, and this door names formats that
are decoded within the process, and looks at the size first. Pillow's own `convert("RGB")` clips: a picture of 16 bits becomes
white, one of floats black. Here 16 bits are scaled by 1/257, floats in 0..1 by 255; what is in no known range is refused.
"""

from __future__ import annotations

import os
import stat
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

PICTURE_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "TGA", "WEBP", "GIF")
PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")  # of files that are taken for photos
MAX_PICTURE_PX = 2**26  # 8192 x 8192
MAX_PICTURE_BYTES = 512 * 2**20
_MAX_SCANNED_PX = 2**30  # a JPEG may go over its pixels again and again: 16 times at the largest size
_PROGRAMS = ("EPS", "WMF")  # Pillow hands these to other programs when their pixels are asked for
_TO_8_BITS = 257  # 65535 / 255


class PictureError(ValueError):
    """Why a picture is not read; whoever asked adds its name and what to do."""


def read_picture(
    source: str | os.PathLike | bytes, *, upright: bool = True, max_px: int = MAX_PICTURE_PX, at_least_px: int = 0
) -> Image.Image:
    """The first picture of a file, as RGB.

    Args:
        source: a path, or the bytes of a file.
        upright: turn it as its EXIF entry says; not for textures, whose coordinates refer to the pixels as they are stored.
        max_px: refuse more pixels, before they are decoded.
        at_least_px: of a JPEG, shorter sides above twice this may be decoded at a fraction of their size; 0: as it is.
    Raises:
        PictureError: if it is no regular file, of none of `PICTURE_FORMATS`, too large, or damaged.
    """
    try:
        data = source if isinstance(source, bytes) else _bytes_of(Path(source))
        with Image.open(BytesIO(data), formats=PICTURE_FORMATS) as picture:
            if at_least_px:
                picture.draft("RGB", (2 * at_least_px, 2 * at_least_px))
            _check_size(picture, data, max_px)
            return upright_rgb(picture) if upright else as_rgb(picture)
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(f"no picture of a known kind ({', '.join(PICTURE_FORMATS)})") from None
    except OSError as error:
        raise PictureError(error.strerror or f"{type(error).__name__}: {error}".rstrip(": ")) from error
    except ValueError as error:  # ours, of numbers in no known range
        raise PictureError(str(error)) from error
    except Exception as error:  # Pillow's decoders raise all kinds
        raise PictureError(f"{type(error).__name__}: {error}".rstrip(": ")) from error


def _bytes_of(path: Path) -> bytes:
    """The content of a regular file. A pipe or device is not waited for."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise PictureError("not a regular file")
        if status.st_size > MAX_PICTURE_BYTES:
            raise PictureError(f"{status.st_size} bytes, more than {MAX_PICTURE_BYTES}")
        return file.read(MAX_PICTURE_BYTES)


def _check_size(picture: Image.Image, data: bytes, max_px: int) -> None:
    pixels = picture.width * picture.height
    if pixels > max_px:
        raise PictureError(f"{picture.width} x {picture.height} pixels, more than {max_px}")
    if picture.format in ("JPEG", "MPO") or picture.info.get("compression") in ("jpeg", "tiff_jpeg"):
        scans = data.count(b"\xff\xda")  # within the data of a scan, FF is followed by 00
        if scans * pixels > _MAX_SCANNED_PX:
            raise PictureError(f"a JPEG of {scans} scans over {picture.width} x {picture.height} pixels")


def upright_rgb(image: Image.Image) -> Image.Image:
    """The photo as RGB, turned as its EXIF entry says.

    Raises:
        ValueError: if its numbers are in no known range, or reading it would start another program.
    """
    _check_kind(image)
    return as_rgb(ImageOps.exif_transpose(image))


def as_rgb(image: Image.Image) -> Image.Image:
    """The picture as RGB, not turned: texture coordinates refer to the pixels as they are stored.

    Raises:
        ValueError: if its numbers are in no known range, or reading it would start another program.
    """
    _check_kind(image)
    if image.mode.startswith(("I", "F")):  # "I;16" and its byte orders, "I" (32 bits), "F"
        pixels = np.asarray(image)
        if image.mode == "I" and 0 <= pixels.min() <= pixels.max() <= 65535:  # 16 bits in 32, as some files have them
            pixels = pixels.astype(np.uint16)
        image = Image.fromarray(to_8_bits(pixels))
    return image.convert("RGB")


def _check_kind(image: Image.Image) -> None:
    """Pictures that somebody else opened are decoded when their pixels are first asked for: here."""
    if image.format in _PROGRAMS:
        raise PictureError(f"a picture of the kind {image.format}, which another program would have to read")


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
