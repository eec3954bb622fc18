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

from .images_mvfer import MAX_PICTURE_PX, PictureError, as_rgb, read_picture
from .names_mvfer import file_names, material_names, printable, split_library_names, without_comment
from .obj_mvfer import MeshFileError, parse_mtl

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
_MAX_MTL_BYTES = 2**22
_MAX_LIBRARIES = 100  # in one line


def name_from_materials(path: Path, material_files: list[str], materials: dict[str | None, int]) -> str | None:
    """The texture of most polygons, as named in the material files.

    Args:
        material_files: what follows each `mtllib`. materials: what follows each `usemtl` (None: nothing) -> polygons.
    """
    textures = _textures(path, material_files)
    used: dict[str, int] = {}
    unknown = []
    for material, count in materials.items():
        name = next((name for name in material_names(material or "") if name in textures), None)
        if name is None and material is not None and count:
            unknown.append(printable(material))
        elif name is not None and (texture := textures[name]):
            used[texture] = used.get(texture, 0) + count
    if textures and unknown:
        _warn(path, f"its material {unknown[0]} is in none of its material files")
    if not any(count for material, count in materials.items() if material is not None):  # mtllib without usemtl
        used = dict.fromkeys((texture for texture in textures.values() if texture), 1)
    if len(used) > 1:
        _warn(path, "several textures, only that of most faces is used")
    return max(used, key=used.__getitem__) if used else None


def _textures(path: Path, material_files: list[str]) -> dict[str, str | None]:
    """Material, in all spellings -> its texture, of all material files."""
    textures: dict[str, str | None] = {}
    bytes_left = _MAX_MTL_BYTES  # of all: a small mesh may name one large file many times
    for name in dict.fromkeys(name for line in dict.fromkeys(material_files) for name in _libraries(path, line)):
        file = file_beside(path, name)
        if file is None:
            _warn_missing(path, "material file", name)
            continue
        with file.open("rb") as stream:
            text = stream.read(bytes_left)
        bytes_left -= len(text)
        for material, texture in parse_mtl(text).items():
            textures.update(dict.fromkeys(material_names(material), texture))
    return textures


def _libraries(path: Path, value: str) -> list[str]:
    """The material files of one `mtllib`: a name, which may hold blanks, or several, and perhaps a comment behind."""
    plain = without_comment(value)
    several = split_library_names(plain)
    for names in ([value], [plain], several, plain.split()):
        if names and all(file_beside(path, name) is not None for name in names[:_MAX_LIBRARIES]):
            return names[:_MAX_LIBRARIES]
    return several[:_MAX_LIBRARIES]


def read_texture(path: Path, name: str) -> np.ndarray | None:
    """RGB uint8 (h, w, 3); None, with a warning, if the file is missing. The name may have a comment behind it."""
    file = file_beside(path, name) or file_beside(path, without_comment(name))
    if file is None:
        _warn_missing(path, "texture", without_comment(name))
        return None
    return texture_pixels(file, repr(printable(name)))


def texture_pixels(source: Path | bytes, name: str, *, max_px: int = MAX_PICTURE_PX) -> np.ndarray:
    """RGB uint8 (h, w, 3) of a file or its bytes; MeshFileError if it cannot be read, or is too large."""
    try:
        return np.array(read_picture(source, upright=False, max_px=max_px))
    except PictureError as error:
        raise MeshFileError(
            f"its texture {name} is not readable ({error})", "replace it, make it smaller, or pass geometry_only=True"
        ) from error


def image_pixels(image: Image.Image) -> np.ndarray:
    """RGB uint8 (h, w, 3) of an opened picture; MeshFileError above 8192 x 8192 pixels, checked before decoding."""
    if image.width * image.height > MAX_PICTURE_PX:
        raise MeshFileError(
            f"its texture has {image.width} x {image.height} pixels, more than {MAX_PICTURE_PX}", "make it smaller"
        )
    return np.array(as_rgb(image))


def file_beside(path: Path, name: str) -> Path | None:
    """The file of that name in or below the mesh's folder, None if there is none.

    Raises MeshFileError if the name or a symbolic link leads out of the folder. The links of the Hugging Face cache,
    from `snapshots` to the `blobs` of the same repository, are followed.
    """
    relative = [spelling.replace("\\", "/") for spelling in file_names(name.strip().strip('"'))]
    for form in dict.fromkeys(unicodedata.normalize(kind, form) for form in relative for kind in ("NFC", "NFD")):
        if (file := _inside(path.parent, form, name)) is not None:
            return file
    for form in relative:
        if (spelled := _in_other_case(path.parent, form)) and (
            file := _inside(path.parent, spelled, spelled)
        ) is not None:
            return file
    return None


def _inside(folder: Path, relative: str, name: str) -> Path | None:
    """The file `relative` to a folder, None if there is none; MeshFileError if it leads out of the folder."""
    forbidden = MeshFileError(
        f"refers to {printable(name)!r}, outside its own folder",
        "put the texture beside the mesh, or pass geometry_only=True",
    )
    if not relative or relative.startswith("/") or re.match(r"[A-Za-z]:|[A-Za-z][\w+.-]*://", relative):
        raise forbidden
    if ".." in relative.split("/") or "\0" in relative:
        raise forbidden
    try:
        file = folder / relative
        real = file.resolve()
        if not real.is_relative_to(folder.resolve()) and not _is_cache_blob(folder.absolute(), real):
            raise forbidden
        return file if stat.S_ISREG(real.stat().st_mode) else None
    except (OSError, RuntimeError, UnicodeEncodeError):  # absent, unreadable, a loop of links, no name for this system
        return None


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
    return "/".join(found)


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
    _warn(path, f"its {what} {printable(name)} is missing; the mesh is loaded without it")


def _warn(path: Path, what: str) -> None:
    warnings.warn(f"{printable(str(path))}: {what}", UserWarning, stacklevel=6)
