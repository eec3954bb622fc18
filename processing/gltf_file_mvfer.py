"""The container of a glTF 2.0 scene: its JSON, its buffers, and the arrays (accessors) in them.

In: the bytes of a `.glb` or `.gltf` file and its path. Out: a `GltfFile` that gives arrays by number. What cannot be read
is refused here, because whoever passes over it shows another face: compressed arrays, extensions that the file requires
and nobody here knows, claims that the bytes do not bear out. Buffers of their own lie beside the file, in its folder.

Source: Khronos Group, "glTF 2.0 Specification", 2021, sections 3.6 (buffers, accessors, sparse) and 4 (GLB).
"""

from __future__ import annotations

import binascii
import json
import re
import struct
from base64 import b64decode
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from .obj_mvfer import MeshFileError
from .textures_mvfer import file_beside

COPY_AGAIN = "copy or export it again"
DAMAGED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
DRACO, MESHOPT = "KHR_draco_mesh_compression", ("EXT_meshopt_compression", "KHR_meshopt_compression")
_UNPACK_DRACO = "export it without compression (Blender reads it), or run `npx @gltf-transform/cli copy in.glb out.glb`"
_UNPACK_MESHOPT = (
    "export it without compression, or run `npx @gltf-transform/cli copy in.glb out.glb`, "
    "or `gltfpack -noq -i in.glb -o out.glb` (version 0.21 or later)"
)
# Extensions that are applied here, and such as change neither the surface nor its base colour.
KNOWN = re.compile(
    r"KHR_(mesh_quantization|texture_transform|node_visibility|lights_punctual|xmp_json_ld|xmp|materials_\w+|texture_basisu)"
    r"|EXT_texture_webp"
)
_FREE_ELEMENTS, _REUSE = 2**20, 4  # arrays without bytes of their own, and meshes that are used again
_MAX_ELEMENTS, _ELEMENTS_PER_PART = 2**23, 256  # of all meshes where they are used; what a part costs besides
_FREE_NUMBERS = 2**26  # that are read from arrays, if the file has fewer bytes than that
_MAX_BRACKETS, _MAX_VALUES, _MAX_NODES = 2**20, 2**22, 2**17  # of the JSON
_TYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class GltfFile:
    """A parsed file.

    Attributes:
        document (`dict`): the JSON.
    """

    def __init__(self, path: Path, data: bytes, *, max_bytes: int):
        self.path, self._max_bytes = path, max_bytes
        text, self._body = _chunks(data) if path.suffix.lower() == ".glb" else (data, None)
        _check_text(text)
        self.document: dict[str, Any] = json.loads(text)
        _check_support(self.document)
        self._buffers: dict[int, memoryview] = {}
        size = len(data) + sum(len(self._buffer(n)) for n in range(len(self.entries("buffers"))) if self._is_apart(n))
        _check_size(self, size)
        self._numbers_left = max(_FREE_NUMBERS, size)

    def entries(self, name: str) -> list:
        """A top-level list of the document; empty if it has none."""
        return self.document.get(name, [])

    def array(self, number: int) -> np.ndarray:
        """`(count, width)`: an accessor, sparse values put in, normalised integers as float64 in [-1, 1] or [0, 1]."""
        accessor = self.entries("accessors")[number]
        dtype, width = np.dtype(_TYPES[accessor["componentType"]]), _WIDTHS[accessor["type"]]
        count, sparse = int(accessor["count"]), accessor.get("sparse")
        self._numbers_left -= count * width
        if self._numbers_left < 0:
            raise MeshFileError("its arrays are used again and again", "export one mesh without copies of it")
        if "bufferView" in accessor:
            values = self._elements(accessor, dtype, width, count)
        else:
            values = np.zeros((count, width), dtype)
        if sparse:
            place = self._elements(
                sparse["indices"], np.dtype(_TYPES[sparse["indices"]["componentType"]]), 1, sparse["count"]
            )
            values = values.copy()
            values[place[:, 0]] = self._elements(sparse["values"], dtype, width, sparse["count"])
        if accessor.get("normalized") and dtype.kind in "iu":
            return np.maximum(values / np.iinfo(dtype).max, -1.0)
        return values

    def view(self, number: int) -> memoryview:
        """The bytes of a buffer view."""
        view = self.entries("bufferViews")[number]
        begin, length = view.get("byteOffset", 0), view["byteLength"]
        there = self._buffer(view["buffer"])
        if not 0 <= begin <= begin + length <= len(there):
            raise MeshFileError(f"bytes {begin} to {begin + length} of a buffer of {len(there)}: truncated", COPY_AGAIN)
        return there[begin : begin + length]

    def bytes_of_uri(self, uri: str, what: str) -> bytes | None:
        """The content of a data URI, or of a file beside this one; None if there is no such file."""
        if uri.startswith("data:"):
            head, _, content = uri.partition(",")
            try:
                return (
                    b64decode(content, validate=True)
                    if head.endswith(";base64")
                    else unquote(content).encode("latin-1")
                )
            except (binascii.Error, UnicodeError) as error:
                raise MeshFileError(f"its {what} is a damaged data URI ({error})", COPY_AGAIN) from error
        file = file_beside(self.path, unquote(uri))
        if file is None:
            return None
        size = file.stat().st_size
        if size > self._max_bytes:
            raise MeshFileError(
                f"its {what} {uri} has {size} bytes, more than max_bytes={self._max_bytes}", "simplify it"
            )
        return file.read_bytes()

    def _elements(self, entry: dict, dtype: np.dtype, width: int, count: int) -> np.ndarray:
        number, size = entry["bufferView"], dtype.itemsize * width
        stride = self.entries("bufferViews")[number].get("byteStride") or size
        # numpy compares offset, strides and shape with the length of the view
        return np.ndarray(
            (count, width), dtype, self.view(number), entry.get("byteOffset", 0), (stride, dtype.itemsize)
        )

    def _is_apart(self, number: int) -> bool:
        return "uri" in self.entries("buffers")[number]

    def _buffer(self, number: int) -> memoryview:
        if number not in self._buffers:
            buffer = self.entries("buffers")[number]
            if "uri" in buffer:
                content = self.bytes_of_uri(buffer["uri"], "buffer")
                if content is None:
                    raise MeshFileError(
                        f"its buffer {buffer['uri']} is missing",
                        "copy it along, or export one .glb that holds everything",
                    )
            elif number == 0 and self._body is not None:
                content = self._body
            elif name := next((name for name in MESHOPT if name in buffer.get("extensions", {})), None):
                raise compressed(name)  # a buffer that stands for what is to be unpacked
            else:
                raise MeshFileError(f"buffer {number} has no content", COPY_AGAIN)
            if len(content) < buffer["byteLength"]:
                raise MeshFileError(
                    f"a buffer of {buffer['byteLength']} bytes has {len(content)}: truncated", COPY_AGAIN
                )
            self._buffers[number] = memoryview(content)
        return self._buffers[number]


def _chunks(data: bytes) -> tuple[bytes, bytes | None]:
    """The JSON and the binary chunk of a GLB."""
    if len(data) < 20 or data[:4] != b"glTF":
        raise MeshFileError("no GLB header", "check the file's extension, or " + COPY_AGAIN)
    version, total, length = struct.unpack_from("<4xIII", data)
    if version != 2:
        raise MeshFileError(f"GLB version {version}, expected 2", "export it as glTF 2.0")
    least = max(total, 20 + length)
    if least > len(data):
        raise MeshFileError(
            f"the GLB header promises a file of {least} bytes, but there are {len(data)}: truncated or forged",
            COPY_AGAIN,
        )
    body = None
    if len(data) >= 28 + length:
        body_length, kind = struct.unpack_from("<I4s", data, 20 + length)
        body = data[28 + length : 28 + length + body_length] if kind == b"BIN\0" else None
    return data[20 : 20 + length], body


def compressed(name: str) -> MeshFileError:
    """The refusal of data that an extension has compressed."""
    return MeshFileError(
        f"compressed with {name}, which is not supported", _UNPACK_DRACO if name == DRACO else _UNPACK_MESHOPT
    )


def _check_text(text: bytes) -> None:
    """Refuse JSON that would become many times its size in memory."""
    brackets, values = text.count(b"{") + text.count(b"["), text.count(b",")
    if brackets > _MAX_BRACKETS or values > _MAX_VALUES:
        raise MeshFileError(
            f"its JSON has {brackets} lists and objects and {values} values", "export one mesh, as .glb"
        )


def _check_support(document: dict) -> None:
    """Refuse other versions, compression, and extensions that are required but not known."""
    version = str(document.get("asset", {}).get("version", "2.0"))
    if not version.startswith("2."):
        raise MeshFileError(f"glTF {version}, expected 2.0", "export it as glTF 2.0")
    for name in document.get("extensionsRequired", []):
        if name in (DRACO, *MESHOPT):
            raise compressed(name)
        if not KNOWN.fullmatch(name):
            raise MeshFileError(
                f"requires the extension {name}, which is not supported", "export it without it, or as .ply"
            )


def _check_size(file: GltfFile, size: int) -> None:
    """Compare the arrays that the document claims, sparse and repeated ones too, with the bytes that are there."""
    if len(file.entries("nodes")) > _MAX_NODES:
        raise MeshFileError(f"it has {len(file.entries('nodes'))} nodes, more than {_MAX_NODES}", "export one mesh")
    counts = [int(accessor.get("count", 0)) for accessor in file.entries("accessors")]
    largest = max(counts, default=0)
    if largest > size:
        raise MeshFileError(
            f"the JSON promises an array of {largest} elements, at least {largest} bytes, but there are {size}: truncated "
            "or forged",
            COPY_AGAIN,
        )
    repeated = _repeated_elements(file, counts)
    for what, elements, most in (("arrays", sum(counts), 2**31), ("repeated meshes", repeated, _MAX_ELEMENTS)):
        if elements > (limit := min(_FREE_ELEMENTS + _REUSE * size, most)):
            raise MeshFileError(
                f"it holds {what} of {elements} elements in {size} bytes, more than {limit}",
                "export one mesh without copies of it",
            )


def _repeated_elements(file: GltfFile, counts: list[int]) -> int:
    """Vertices and indices of the scene, where nodes may use one mesh, and meshes one array, many times."""
    uses = Counter(node["mesh"] for node in file.entries("nodes") if "mesh" in node)
    total = 0
    for number, mesh in enumerate(file.entries("meshes")):
        arrays = []
        for part in mesh["primitives"]:
            arrays += [part["attributes"].get("POSITION"), part.get("indices")]
            arrays += [target.get("POSITION") for target in part.get("targets", [])]
        total += max(uses[number], 1) * len(mesh["primitives"]) * _ELEMENTS_PER_PART
        total += max(uses[number], 1) * sum(counts[array] for array in arrays if array is not None)
    return total
