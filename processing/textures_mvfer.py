"""Texture images, read only from the folder of the mesh that names them.

In: the path of a mesh and the name it gives. Out: pixels. A mesh from a stranger must not make us open another file:
absolute names, `..`, and symbolic links that leave the folder are refused.
"""

from __future__ import annotations

import re
import stat
import unicodedata
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from .images_mvfer import as_rgb
from .obj_mvfer import MeshFileError, parse_mtl

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "TGA", "WEBP", "GIF")
MAX_TEXTURE_PX = 2**26  # 8192 x 8192
_MAX_MTL_BYTES = 2**22


def name_from_materials(path: Path, material_files: list[str], materials: dict[str, int]) -> str | None:
    """The texture of most polygons, as named in the material files."""
    textures: dict[str, str] = {}
    bytes_left = _MAX_MTL_BYTES  # of all: a small mesh may name one large file many times
    for name in dict.fromkeys(material_files):
        file = file_beside(path, name)
        if file is None:
            _warn_missing(path, "material file", name)
        else:
            with file.open("rb") as stream:
                text = stream.read(bytes_left)
            bytes_left -= len(text)
            textures.update(parse_mtl(text))
    used: dict[str, int] = {}
    for material, count in materials.items():
        if material in textures:
            used[textures[material]] = used.get(textures[material], 0) + count
    if len(used) > 1:
        warnings.warn(f"{path}: several textures, only that of most faces is used", UserWarning, stacklevel=4)
    return max(used, key=used.__getitem__) if used else None


def read_texture(path: Path, name: str) -> np.ndarray | None:
    """RGB uint8 (h, w, 3); None, with a warning, if the file is missing."""
    file = file_beside(path, name)
    if file is None:
        _warn_missing(path, "texture", name)
        return None
    try:
        with Image.open(file, formats=IMAGE_FORMATS) as image:
            return image_pixels(image)
    except MeshFileError:
        raise
    except Exception as error:
        raise MeshFileError(
            f"its texture {name!r} is not readable ({type(error).__name__}: {error})",
            "replace it, or pass geometry_only=True",
        ) from error


def image_pixels(image: Image.Image) -> np.ndarray:
    """RGB uint8 (h, w, 3); MeshFileError above 8192 x 8192 pixels, checked before decoding."""
    if image.width * image.height > MAX_TEXTURE_PX:
        raise MeshFileError(
            f"its texture has {image.width} x {image.height} pixels, more than {MAX_TEXTURE_PX}", "make it smaller"
        )
    return np.array(as_rgb(image))


def file_beside(path: Path, name: str) -> Path | None:
    """The file of that name in or below the mesh's folder, None if there is none.

    Raises MeshFileError if the name or a symbolic link leads out of the folder. The links of the Hugging Face cache,
    from `snapshots` to the `blobs` of the same repository, are followed.
    """
    forbidden = MeshFileError(
        f"refers to {name!r}, outside its own folder", "put the texture beside the mesh, or pass geometry_only=True"
    )
    relative = name.strip().strip('"').replace("\\", "/")
    if not relative or relative.startswith("/") or re.match(r"[A-Za-z]:|[A-Za-z][\w+.-]*://", relative):
        raise forbidden
    if ".." in relative.split("/") or "\0" in relative:
        raise forbidden
    folder = path.parent
    for form in dict.fromkeys(
        (relative, unicodedata.normalize("NFC", relative), unicodedata.normalize("NFD", relative))
    ):
        file = folder / form
        try:
            real = file.resolve()
            if not real.is_relative_to(folder.resolve()) and not _is_cache_blob(folder.absolute(), real):
                raise forbidden
            if stat.S_ISREG(real.stat().st_mode):
                return file
        except (OSError, RuntimeError):  # absent, unreadable, or a loop of links
            continue
    spelled = _in_other_case(folder, relative)
    return file_beside(path, spelled) if spelled else None


def _in_other_case(folder: Path, relative: str) -> str | None:
    """The name as the disk spells it, where upper and lower case differ: Windows does not tell them apart."""
    found: list[str] = []
    for part in relative.split("/"):
        wanted = unicodedata.normalize("NFC", part).casefold()
        try:
            names = sorted(entry.name for entry in folder.joinpath(*found).iterdir())
        except (OSError, ValueError):  # no such folder
            return None
        same = [name for name in names if unicodedata.normalize("NFC", name).casefold() == wanted]
        if not same:
            return None
        found += same[:1]
    spelled = "/".join(found)
    return spelled if spelled != relative else None


def _is_cache_blob(folder: Path, real: Path) -> bool:
    """Whether `real` lies in the blobs of the cached Hub repository that holds `folder`."""
    for parent in folder.parents:
        if parent.name == "snapshots" and re.match(r"(models|datasets|spaces)--", parent.parent.name):
            return real.parent == parent.parent.resolve() / "blobs"
    return False


def existing_name(path: Path, name: str | None) -> str | None:
    """The name, if there is such a file in the mesh's folder."""
    return name if name and file_beside(path, name) is not None else None


def name_of_same_base(path: Path) -> str | None:
    """The image beside the mesh with its base name.

    In BU-3DFE, `_RAW` meshes share the atlas of the `_F3D` mesh (public readers of the set pair `_RAW.wrl` with `_F3D.bmp`); its
    `_F2D` image is a photo, which the coordinates of neither fit.
    """
    for stem in dict.fromkeys((path.stem, path.stem.replace("_RAW", "_F3D"))):
        for suffix in _IMAGE_SUFFIXES:
            if file_beside(path, stem + suffix) is not None:
                return stem + suffix
    return None


def _warn_missing(path: Path, what: str, name: str) -> None:
    warnings.warn(f"{path}: its {what} {name} is missing; the mesh is loaded without it", UserWarning, stacklevel=5)
