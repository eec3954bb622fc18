"""Colours of a glTF scene: textures with their coordinates, colours of vertices, and one picture of them all.

In: the primitives of a `GltfFile`. Out: `uvs`, `uv_faces` and `texture` of a `Mesh`, or its `vertex_colors`. A texture names
the set of coordinates it goes with, may shift, scale and turn it (KHR_texture_transform), and goes on beyond its edge; a
scene may have several. A `Mesh` has one picture, which ends at its edge, so pictures are laid side by side and repeated.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from .gltf_file_mvfer import GltfFile
from .images_mvfer import MAX_PICTURE_PX
from .names_mvfer import printable
from .obj_mvfer import MeshFileError
from .textures_mvfer import texture_pixels

_CLAMP, _MIRROR, _REPEAT = 33071, 33648, 10497
_MAX_TILES = 4  # of a picture that is repeated, along each axis; what lies farther out keeps the edge's colour
_WITHOUT = "the mesh is loaded without it"


class Paint(NamedTuple):
    """What one primitive looks like. `uvs` are glTF's: the origin at the upper left."""

    texture: np.ndarray | None = None  # (h, w, 3) uint8
    uvs: np.ndarray | None = None  # (N, 2) float64
    wrap: tuple[int, int] = (_REPEAT, _REPEAT)
    colors: np.ndarray | None = None  # (N, 3) uint8
    factor: tuple[float, ...] = (1.0, 1.0, 1.0)  # linear RGB


class Part(NamedTuple):
    """One primitive where the scene shows it."""

    vertices: np.ndarray  # (N, 3)
    faces: np.ndarray  # (M, 3) int64
    paint: Paint


class Painter:
    """Finds the paint of primitives; every image is decoded once, and all together are no larger than one may be."""

    def __init__(self, file: GltfFile):
        self.file = file
        self._images: dict[int, np.ndarray | None] = {}
        self._pixels_left = MAX_PICTURE_PX

    def paint_of(self, primitive: dict, count: int) -> Paint:
        """The paint of a primitive of `count` vertices."""
        attributes = primitive["attributes"]
        material = self.file.entries("materials")[primitive["material"]] if "material" in primitive else {}
        metal = material.get("pbrMetallicRoughness", {})
        gloss = material.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness", {})
        factor = metal.get("baseColorFactor") or gloss.get("diffuseFactor") or (1.0, 1.0, 1.0)
        colors = self._colors(attributes, count)
        info = metal.get("baseColorTexture") or gloss.get("diffuseTexture")
        if info is None:
            return Paint(colors=colors, factor=tuple(factor[:3]))
        moved = info.get("extensions", {}).get("KHR_texture_transform", {})
        name = f"TEXCOORD_{moved.get('texCoord', info.get('texCoord', 0))}"
        if name not in attributes:
            self._warn(f"its texture needs {name}, which is absent; {_WITHOUT}")
            return Paint(colors=colors, factor=tuple(factor[:3]))
        uvs = self.file.array(attributes[name]).astype(np.float64)
        if uvs.shape != (count, 2):
            raise MeshFileError(f"{name} {uvs.shape} for {count} vertices", "export it again")
        texture = self.file.entries("textures")[info["index"]]
        sampler = self.file.entries("samplers")[texture["sampler"]] if "sampler" in texture else {}
        wrap = sampler.get("wrapS", _REPEAT), sampler.get("wrapT", _REPEAT)
        return Paint(self._picture(texture), _transformed(uvs, moved), wrap, colors, tuple(factor[:3]))

    def _colors(self, attributes: dict, count: int) -> np.ndarray | None:
        if "COLOR_0" not in attributes:
            return None
        colors = self.file.array(attributes["COLOR_0"])
        if colors.shape not in ((count, 3), (count, 4)):
            return None
        if colors.dtype == np.uint8:  # not marked as normalised, but meant so
            return colors[:, :3]
        return (np.nan_to_num(colors[:, :3]).clip(0, 1) * 255).round().astype(np.uint8)

    def _picture(self, texture: dict) -> np.ndarray | None:
        number = texture.get("extensions", {}).get("EXT_texture_webp", {}).get("source", texture.get("source"))
        if number is None:
            self._warn(f"its texture is in a form that is not supported (KTX2?); {_WITHOUT}")
            return None
        if number not in self._images:
            self._images[number] = self._decode(number, self.file.entries("images")[number])
        return self._images[number]

    def _decode(self, number: int, entry: dict) -> np.ndarray | None:
        if "uri" in entry:
            data = self.file.bytes_of_uri(entry["uri"], "texture")
            if data is None:
                self._warn(f"its texture {printable(entry['uri'])} is missing; {_WITHOUT}")
                return None
        else:
            data = bytes(self.file.view(entry["bufferView"]))
        picture = texture_pixels(data, str(number), max_px=self._pixels_left)
        self._pixels_left -= picture.shape[0] * picture.shape[1]
        return picture

    def _warn(self, what: str) -> None:
        warnings.warn(f"{printable(str(self.file.path))}: {what}", UserWarning, stacklevel=8)


def join_paint(parts: list[Part]) -> dict[str, Any]:
    """`uvs`, `uv_faces` and `texture` of all parts; or their `vertex_colors`; or nothing."""
    if all(part.paint.texture is None for part in parts):
        if all(part.paint.colors is None for part in parts):
            return {}
        return {"vertex_colors": np.concatenate([_solid(part) for part in parts])}
    uvs, corners, slots, pictures, count, pixels = [], [], [], {}, 0, 0
    tiled: dict[tuple, np.ndarray] = {}
    for part in parts:
        texture, uv, corner = _within_the_picture(part, tiled)
        slots.append(id(texture))
        if id(texture) not in pictures:
            pictures[id(texture)] = texture
            pixels += texture.shape[0] * texture.shape[1]
            _check_pixels(pixels)
        corners.append(corner + count)
        uvs.append(uv)
        count += len(uv)
    if len(pictures) > 1:
        atlas, places = _side_by_side(pictures)
        for uv, slot in zip(uvs, slots, strict=True):
            left, width, height = places[slot]
            uv[:] = (uv.clip(0, 1) * (width, height) + (left, 1)) / (atlas.shape[1], atlas.shape[0])
    else:
        (atlas,) = pictures.values()
    joined = np.concatenate(uvs)
    joined[:, 1] = 1 - joined[:, 1]  # the origin of a Mesh's uvs is the lower left
    return {"uvs": joined, "uv_faces": np.concatenate(corners), "texture": atlas}


def _check_pixels(count: int) -> None:
    if count > MAX_PICTURE_PX:
        raise MeshFileError(
            f"its textures, laid side by side, have more than {MAX_PICTURE_PX} pixels", "make them smaller"
        )


def _within_the_picture(part: Part, tiled: dict[tuple, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Texture, uvs of its own (n, 2) and the faces' indices into them, the texture repeated where uvs go beyond its edge."""
    paint, corners = part.paint, part.faces
    if paint.texture is None or paint.uvs is None:
        color = _solid(part)[np.unique(corners)].mean(axis=0).round().astype(np.uint8)
        return np.broadcast_to(color, (1, 1, 3)), np.full((len(part.vertices), 2), 0.5), corners
    texture, uvs = paint.texture, paint.uvs.copy()
    low, high = uvs[corners].min(axis=(0, 1)), uvs[corners].max(axis=(0, 1))
    beyond = [axis for axis in (0, 1) if paint.wrap[axis] != _CLAMP and not 0 <= low[axis] <= high[axis] <= 1]
    if not beyond or not np.isfinite([low, high]).all():
        return texture, uvs, corners
    uvs = uvs[corners].reshape(-1, 2)
    for axis in beyond:  # u runs along the picture's second axis, v along its first
        if paint.wrap[axis] == _MIRROR:
            texture = _kept(tiled, texture, axis, 0)
            uvs[:, axis] /= 2
        uvs[:, axis] -= np.repeat(np.floor(uvs[:, axis].reshape(-1, 3).min(axis=1)), 3)
        room = max(1, MAX_PICTURE_PX // (texture.shape[0] * texture.shape[1]))
        tiles = int(min(np.ceil(uvs[:, axis].max()), _MAX_TILES, room)) or 1
        texture = _kept(tiled, texture, axis, tiles)
        uvs[:, axis] /= tiles
    return texture, uvs, np.arange(len(uvs)).reshape(-1, 3)


def _kept(tiled: dict[tuple, np.ndarray], texture: np.ndarray, axis: int, tiles: int) -> np.ndarray:
    """The texture `tiles` times along an axis, or with its mirror image (0); parts that repeat it alike share the result."""
    key = (id(texture), axis, tiles)
    if key not in tiled and tiles != 1:
        _check_pixels(texture.shape[0] * texture.shape[1] * (tiles or 2))
        copies = [texture] * tiles or [texture, np.flip(texture, 1 - axis)]
        tiled[key] = np.concatenate(copies, axis=1 - axis)
    return tiled.get(key, texture)


def _side_by_side(pictures: dict[int, np.ndarray]) -> tuple[np.ndarray, dict[int, tuple[int, int, int]]]:
    """One picture of all, each with an edge of its own colours, and where each is: left, width, height."""
    height = max(len(picture) for picture in pictures.values())
    _check_pixels((height + 2) * sum(picture.shape[1] + 2 for picture in pictures.values()))
    strips, places, left = [], {}, 0
    for name, picture in pictures.items():
        places[name] = left + 1, picture.shape[1], len(picture)
        strips.append(np.pad(picture, ((1, 1 + height - len(picture)), (1, 1), (0, 0)), mode="edge"))
        left += picture.shape[1] + 2
    return np.concatenate(strips, axis=1), places


def _solid(part: Part) -> np.ndarray:
    """`(N, 3)` uint8: the part's own colours, or its material's, from linear light to sRGB."""
    if part.paint.colors is not None:
        return part.paint.colors
    linear = np.clip(np.asarray(part.paint.factor, np.float64), 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.broadcast_to((srgb * 255).round().astype(np.uint8), (len(part.vertices), 3))


def _transformed(uvs: np.ndarray, moved: dict) -> np.ndarray:
    """Scale, then turn counter-clockwise as seen on the picture, whose v runs down, then shift.

    Source:
        Khronos Group, KHR_texture_transform. The signs follow its words and its example (lower left quadrant), as three.js
        and Babylon.js have them.
    """
    if not moved:
        return uvs
    angle = float(moved.get("rotation", 0.0))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    scale, offset = moved.get("scale", (1, 1)), moved.get("offset", (0, 0))
    return (uvs * np.asarray(scale, np.float64)) @ turn.T + np.asarray(offset, np.float64)
