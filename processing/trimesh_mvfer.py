"""STL through trimesh, behind checks that trimesh does not make; and trimesh's own objects.

In: the bytes of a file. Out: a dict of the fields of a `Mesh`. Before trimesh allocates anything, the counts that the
header claims are compared with the bytes that are there; afterwards, the faces found with the faces claimed, because
a truncated file otherwise comes back as a smaller or an empty mesh.
"""

from __future__ import annotations

import contextlib
import logging
import struct
import threading
from io import BytesIO
from typing import Any

import numpy as np

from .obj_mvfer import MeshFileError, check_size
from .textures_mvfer import image_pixels
from .vertices_mvfer import merge_equal_vertices

_REMEDY = "copy or export it again"


def parse_stl(data: bytes, *, geometry_only: bool = False) -> dict:
    """Read an `.stl` file. Equal vertices are merged: see `Mesh`.

    Returns:
        `dict`: fields of a `Mesh`, and `notes` where colours were not read.
    Raises:
        MeshFileError: if it is damaged, truncated, empty or a point cloud, or trimesh is not installed.
    """
    try:
        import trimesh  # here, because it costs what reading forty OBJ files costs, and these need it not
    except ImportError:
        raise MeshFileError("reading .stl needs trimesh", "pip install 'trimesh>=5'") from None
    claimed_faces = _claimed_faces(data)
    try:
        with _without_log():
            loaded = trimesh.load_mesh(BytesIO(data), file_type="stl", process=False)
    except Exception as error:
        detail = f"{type(error).__name__}: {error}".rstrip(": ")
        raise MeshFileError(f"damaged .stl file ({detail})", "copy or export it again") from error
    faces = getattr(loaded, "faces", ())
    if len(faces) < claimed_faces or not len(faces):
        raise MeshFileError(
            f"{len(faces)} faces found, the header promises {claimed_faces}"
            if claimed_faces
            else "no triangles found in it",
            "the file looks truncated or damaged: copy or export it again",
        )
    mesh = merge_equal_vertices(fields_of_trimesh(loaded, geometry_only=geometry_only))
    if not geometry_only and _has_colors(data):
        mesh["notes"] = ["the colours of an STL are not read; export it as .ply to keep them"]
    return mesh


def _has_colors(data: bytes) -> bool:
    """Whether a binary STL has colours, as Materialise Magics or VisCAM write them in the two bytes behind each triangle."""
    if len(data) < 84 or 84 + 50 * struct.unpack_from("<I", data, 80)[0] != len(data):
        return False
    behind = np.frombuffer(data, np.uint8, offset=84).reshape(-1, 50)[:, 48:].copy().view("<u2")
    return b"COLOR=" in data[:80] or bool((behind >> 15).any())


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


def _claimed_faces(data: bytes) -> int:
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
