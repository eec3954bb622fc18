"""STL and GLB through trimesh, behind checks that trimesh does not make.

In: the bytes of a file. Out: a dict of the fields of a `Mesh`. Before trimesh allocates anything, the counts that the
header claims are compared with the bytes that are there; afterwards, the faces found with the faces claimed, because
a truncated file otherwise comes back as a smaller or an empty mesh.
"""

from __future__ import annotations

import contextlib
import json
import logging
import struct
from collections import Counter
from io import BytesIO
from typing import Any

import numpy as np

from .obj_mvfer import MeshFileError, check_size
from .textures_mvfer import image_pixels

_REMEDY = "copy or export it again"
_EXPORT_ONE = "export one mesh without copies of it"
_FREE_ELEMENTS, _REUSE = 2**20, 4  # arrays of a GLB without bytes of their own, and meshes that are used again


def parse_with_trimesh(data: bytes, suffix: str, *, geometry_only: bool = False) -> dict:
    """Read a `.stl` or `.glb` file. Equal vertices are merged: see `Mesh`.

    Returns:
        `dict`: fields of a `Mesh`, and `notes` where colours were not read.
    Raises:
        MeshFileError: if it is damaged, truncated, empty or a point cloud, or trimesh is not installed.
    """
    try:
        import trimesh  # here, because it costs what reading forty OBJ files costs, and these need it not
    except ImportError:
        raise MeshFileError(f"reading {suffix} needs trimesh", "pip install 'trimesh>=5'") from None
    claimed_faces = _CLAIMS[suffix](data)
    try:
        with _without_log():
            loaded = trimesh.load_mesh(BytesIO(data), file_type=suffix[1:], process=False)
    except Exception as error:
        detail = f"{type(error).__name__}: {error}".rstrip(": ")
        raise MeshFileError(f"damaged {suffix} file ({detail})", "copy or export it again") from error
    faces = getattr(loaded, "faces", ())
    if len(faces) < claimed_faces or not len(faces):
        raise MeshFileError(
            f"{len(faces)} faces found, the header promises {claimed_faces}"
            if claimed_faces
            else "no triangles found in it",
            "the file looks truncated or damaged: copy or export it again",
        )
    mesh = _merge_equal_vertices(fields_of_trimesh(loaded, geometry_only=geometry_only))
    if suffix == ".stl" and not geometry_only and _has_stl_colors(data):
        mesh["notes"] = ["the colours of an STL are not read; export it as .ply to keep them"]
    return mesh


def _has_stl_colors(data: bytes) -> bool:
    """Whether a binary STL has colours, as Materialise Magics or VisCAM write them in the two bytes behind each triangle."""
    if len(data) < 84 or 84 + 50 * struct.unpack_from("<I", data, 80)[0] != len(data):
        return False
    behind = np.frombuffer(data, np.uint8, offset=84).reshape(-1, 50)[:, 48:].copy().view("<u2")
    return b"COLOR=" in data[:80] or bool((behind >> 15).any())


@contextlib.contextmanager
def _without_log():
    """trimesh logs a traceback for every texture that it does not find, and for all that we report ourselves."""
    log = logging.getLogger("trimesh")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def fields_of_trimesh(loaded, *, geometry_only: bool = False) -> dict:
    """The fields of a `Mesh` from a `trimesh.Trimesh`; face colours become vertex colours."""
    mesh: dict[str, Any] = {"vertices": np.asarray(loaded.vertices), "faces": np.asarray(loaded.faces)}
    if geometry_only:
        return mesh
    visual = loaded.visual
    if visual.kind in ("vertex", "face"):
        mesh["vertex_colors"] = np.asarray(visual.vertex_colors, np.uint8)[:, :3]
    elif visual.kind == "texture" and getattr(visual, "uv", None) is not None:
        mesh.update(uvs=np.asarray(visual.uv)[:, :2], uv_faces=mesh["faces"])
        image = getattr(visual.material, "baseColorTexture", None) or getattr(visual.material, "image", None)
        mesh["texture"] = image_pixels(image) if image is not None else None
    return mesh


def _merge_equal_vertices(mesh: dict) -> dict:
    """Vertices with equal coordinates become one; uvs keep their own indices."""
    vertices = np.ascontiguousarray(mesh["vertices"], np.float32) + np.float32(0)  # -0 -> 0
    bits = vertices.view(np.uint32).astype(np.uint64)  # (N, 3)
    keys = (bits[:, 0] * np.uint64(0x9E3779B97F4A7C15) ^ bits[:, 1]) * np.uint64(0xC2B2AE3D27D4EB4F) ^ bits[:, 2]
    if not 0 <= mesh["faces"].min() <= mesh["faces"].max() < len(vertices):
        return mesh  # for the door to refuse
    _, first, index = np.unique(keys, return_index=True, return_inverse=True)
    if not np.array_equal(vertices[first[index]].view(np.uint32), vertices.view(np.uint32)):  # two points, one key
        _, first, index = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    mesh["vertices"], mesh["faces"] = vertices[first], index.reshape(-1)[mesh["faces"]]
    if mesh.get("vertex_colors") is not None:
        mesh["vertex_colors"] = mesh["vertex_colors"][first]
    return mesh


def _claims_stl(data: bytes) -> int:
    """How many triangles the file promises."""
    if len(data) >= 84:
        faces = struct.unpack_from("<I", data, 80)[0]
        if 84 + 50 * faces == len(data):
            return faces
    text = data.lower()
    if text.lstrip().startswith(b"solid") and (b"facet" in text or b"\0" not in text):
        if b"endsolid" not in text:
            raise MeshFileError("the text STL ends without 'endsolid': truncated", _REMEDY)
        return text.count(b"endfacet")
    if len(data) < 84:
        raise MeshFileError(f"{len(data)} bytes, shorter than an STL header", _REMEDY)
    check_size("STL", f"{faces} triangles", 50 * faces, len(data) - 84)
    raise MeshFileError(f"{len(data) - 84 - 50 * faces} bytes after the {faces} triangles of the STL header", _REMEDY)


def _claims_glb(data: bytes) -> int:
    """0, for triangles are not promised; the arrays must have room in the file."""
    if len(data) < 20 or data[:4] != b"glTF":
        raise MeshFileError("no GLB header", "check the file's extension, or " + _REMEDY)
    total, json_length = struct.unpack_from("<8xII", data)
    check_size("GLB", "a file", max(total, 20 + json_length), len(data))
    try:
        document = json.loads(data[20 : 20 + json_length])
        counts = [int(accessor.get("count", 0)) for accessor in document.get("accessors", [])]
        repeated = _repeated_elements(document, counts)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise MeshFileError(f"the GLB's JSON is damaged ({type(error).__name__})", _REMEDY) from error
    largest = max(counts, default=0)
    check_size("GLB", f"an array of {largest} elements", largest, len(data))
    for what, elements in (("arrays", sum(counts)), ("repeated meshes", repeated)):
        if elements > _FREE_ELEMENTS + _REUSE * len(data):
            raise MeshFileError(f"the GLB holds {what} of {elements} elements in {len(data)} bytes", _EXPORT_ONE)
    return 0


def _repeated_elements(document: dict, counts: list[int]) -> int:
    """Vertices and indices of the scene, where nodes may use one mesh, and meshes one array, many times."""
    uses = Counter(node["mesh"] for node in document.get("nodes", []) if "mesh" in node)
    total = 0
    for number, mesh in enumerate(document.get("meshes", [])):
        arrays = [(part.get("attributes", {}).get("POSITION"), part.get("indices")) for part in mesh["primitives"]]
        total += max(uses[number], 1) * sum(counts[array] for pair in arrays for array in pair if array is not None)
    return total


_CLAIMS = {".stl": _claims_stl, ".glb": _claims_glb}
