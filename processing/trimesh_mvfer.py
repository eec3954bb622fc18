"""PLY, OFF and STL through trimesh, behind checks that trimesh does not make.

In: the bytes of a file. Out: a dict of the fields of a `Mesh`. Before trimesh allocates anything, the counts that the
header claims are compared with the bytes that are there; afterwards, the faces found with the faces claimed, because
a truncated file otherwise comes back as a smaller or an empty mesh.
"""

from __future__ import annotations

import contextlib
import logging
import re
import struct
import threading
from io import BytesIO
from typing import Any

import numpy as np

from .obj_mvfer import FROM_POINTS, MeshFileError, decode
from .textures_mvfer import image_pixels
from .vertices_mvfer import merge_equal_vertices

_REMEDY = "copy or export it again"
_PLY_BYTES = {
    **dict.fromkeys(("char", "uchar", "int8", "uint8"), 1),
    **dict.fromkeys(("short", "ushort", "int16", "uint16", "float16"), 2),
    **dict.fromkeys(("int", "uint", "int32", "uint32", "float", "float32"), 4),
    **dict.fromkeys(("double", "float64", "int64", "uint64"), 8),
}


def parse_with_trimesh(data: bytes, suffix: str, *, geometry_only: bool = False) -> dict:
    """Read a `.ply`, `.off` or `.stl` file. Equal vertices of STL are merged.

    Returns:
        `dict`: fields of a `Mesh`; for a PLY with uvs also `texture_name`, as its header names it, or None.
    Raises:
        MeshFileError: if it is damaged, truncated, empty or a point cloud, or trimesh is not installed.
    """
    try:
        import trimesh  # here, because it costs what reading forty OBJ files costs, and these need it not
    except ImportError:
        raise MeshFileError(f"reading {suffix} needs trimesh", "pip install 'trimesh>=5'") from None
    claimed_vertices, claimed_faces = _CLAIMS[suffix](data)
    try:
        with _without_log():
            loaded = trimesh.load_mesh(BytesIO(data), file_type=suffix[1:], process=False)
    except Exception as error:
        detail = f"{type(error).__name__}: {error}".rstrip(": ")
        raise MeshFileError(f"damaged {suffix} file ({detail})", "copy or export it again") from error
    vertices, faces = getattr(loaded, "vertices", ()), getattr(loaded, "faces", ())
    if len(faces) < claimed_faces or (not len(faces) and not claimed_vertices):
        raise MeshFileError(
            f"{len(faces)} faces found, the header promises {claimed_faces}"
            if claimed_faces
            else "no triangles found in it",
            "the file looks truncated or damaged: copy or export it again",
        )
    if not len(faces):
        raise MeshFileError(
            f"{max(len(vertices), claimed_vertices)} vertices but no faces: a point cloud",
            FROM_POINTS,
        )
    mesh = fields_of_trimesh(loaded, geometry_only=geometry_only)
    if suffix == ".stl":
        mesh = merge_equal_vertices(mesh)
    if suffix == ".ply":
        named = re.search(rb"(?im)^comment[ \t]+texturefile[ \t]+([^\r\n]+)", data[: data.find(b"end_header")])
        mesh["texture_name"] = decode(named[1]).strip() or None if named else None
    return mesh


@contextlib.contextmanager
def _without_log():
    """trimesh logs a traceback for every texture that it does not find, and for all that we report ourselves.

    What other threads let trimesh log in the meantime goes on to its reader, and all does afterwards.
    """
    ours = threading.get_ident()

    def is_of_others(record: logging.LogRecord) -> bool:
        return record.thread != ours

    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "trimesh"]
    logs = [logging.getLogger(name) for name in names]  # a filter holds for one logger, not for those below it
    for log in logs:
        log.addFilter(is_of_others)
    try:
        yield
    finally:
        for log in logs:
            log.removeFilter(is_of_others)


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


def _claims_ply(data: bytes) -> tuple[int, int]:
    end = data.find(b"end_header")
    if not data.startswith(b"ply") or end < 0:
        raise MeshFileError("no PLY header ('ply' to 'end_header')", "check the file's extension, or " + _REMEDY)
    ascii_format, counts, least = False, {}, 0
    name = None
    for words in (line.split() for line in data[:end].decode("latin-1").splitlines()):
        if words[:1] == ["format"]:
            ascii_format = words[1:2] == ["ascii"]
        elif words[:1] == ["element"] and len(words) == 3 and words[2].isdecimal():
            name, counts[words[1]] = words[1], int(words[2])
        elif words[:1] == ["element"]:
            raise MeshFileError(f"PLY header line {' '.join(words)!r} is no element and count", _REMEDY)
        elif words[:1] == ["property"] and name and len(words) > 2:
            least += counts[name] * (2 if ascii_format else _PLY_BYTES.get(words[2 if words[1] == "list" else 1], 1))
    _compare(
        "PLY",
        f"{counts.get('vertex', 0)} vertices and {counts.get('face', 0)} faces",
        least,
        len(data) - end - len("end_header\n"),
    )
    return counts.get("vertex", 0), counts.get("face", 0)


def _claims_off(data: bytes) -> tuple[int, int]:
    blank = rb"(?:\s|#[^\n]*\n)*"
    header = re.match(blank + rb"C?OFF\b" + blank + rb"(\d{1,18})[ \t]+(\d{1,18})\b", data)
    if header is None:
        raise MeshFileError(
            "no OFF header with the numbers of vertices and faces", "check the extension, or " + _REMEDY
        )
    vertices, faces = int(header[1]), int(header[2])
    least = 6 * vertices + 8 * faces - 1  # "0 0 0\n", "3 0 1 2\n", the last line break left out
    _compare("OFF", f"{vertices} vertices and {faces} faces", least, len(data) - header.end())
    return vertices, faces


def _claims_stl(data: bytes) -> tuple[int, int]:
    if len(data) >= 84:
        faces = struct.unpack_from("<I", data, 80)[0]
        if 84 + 50 * faces == len(data):
            return 0, faces
    text = data.lower()
    if text.lstrip().startswith(b"solid") and (b"facet" in text or b"\0" not in text):
        if b"endsolid" not in text:
            raise MeshFileError("the text STL ends without 'endsolid': truncated", _REMEDY)
        return 0, text.count(b"endfacet")
    if len(data) < 84:
        raise MeshFileError(f"{len(data)} bytes, shorter than an STL header", _REMEDY)
    _compare("STL", f"{faces} triangles", 50 * faces, len(data) - 84)
    raise MeshFileError(f"{len(data) - 84 - 50 * faces} bytes after the {faces} triangles of the STL header", _REMEDY)


def _compare(kind: str, claim: str, least: int, there: int) -> None:
    if least > there:
        raise MeshFileError(
            f"the {kind} header promises {claim}, at least {least} bytes, but there are {there}: truncated or forged",
            _REMEDY,
        )


_CLAIMS = {".ply": _claims_ply, ".off": _claims_off, ".stl": _claims_stl}
