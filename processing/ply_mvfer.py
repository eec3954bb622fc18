"""PLY files to arrays: what the tables of `ply_tables_mvfer.py` mean.

In: the bytes of a file. Out: a dict of the fields of a `Mesh`. Faces may be polygons or strips; colours and uvs may belong to
vertices or to faces and their corners.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .obj_mvfer import FROM_POINTS, MeshFileError, face_to_vertex_colors, fan_triangles, to_uint8_colors
from .ply_tables_mvfer import Lists, Table, read_ply

_COLORS = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
_UVS = (("texture_u", "texture_v"), ("u", "v"), ("s", "t"))
_INDICES = ("vertex_indices", "vertex_index")
_DAMAGED = "the file looks truncated or damaged: copy or export it again"


def parse_ply(data: bytes, *, geometry_only: bool = False) -> dict:
    """Read a PLY file.

    Returns:
        `dict`: `vertices` (N, 3); `faces` (M, 3), polygons of any size as fans, and `tristrips` as triangles; `vertex_colors`
        (N, 3) uint8, of faces where vertices have none; `uvs` (U, 2) and `uv_faces` (M, 3), of vertices (`s`, `t` and the
        like) or of corners (`texcoord`); `texture_name`, as a comment `TextureFile` names it, or None; `notes`.
    Raises:
        MeshFileError: if it is damaged, truncated or a point cloud.
    """
    tables, names = read_ply(data)
    vertex, face = tables.get("vertex", {}), tables.get("face", {})
    vertices = _columns(vertex, (("x", "y", "z"),))
    if vertices is None:
        raise MeshFileError("no vertices with x, y and z", "export a triangle mesh")
    polygons, strips = _indices(face), _strip_triangles(_indices(tables.get("tristrips", {})))
    if not len(polygons.counts) and not len(strips):
        raise MeshFileError(f"{len(vertices)} vertices but no faces: a point cloud", FROM_POINTS)
    if len(polygons.counts) and polygons.counts.min() < 3:
        raise MeshFileError(f"a face of {polygons.counts.min()} corners, expected 3 or more", _DAMAGED)
    fan = fan_triangles(polygons.counts)
    faces = np.concatenate([polygons.values[fan], strips])
    mesh: dict[str, Any] = {"vertices": vertices, "faces": faces}
    if geometry_only:
        return mesh
    mesh["vertex_colors"] = _colors(vertex)
    if mesh["vertex_colors"] is None and not len(strips) and (colors := _colors(face)) is not None:
        mesh["vertex_colors"] = face_to_vertex_colors(
            np.repeat(colors, polygons.counts - 2, axis=0), faces, len(vertices)
        )
    wedges = face.get("texcoord")
    if isinstance(wedges, Lists) and not len(strips):
        mesh.update(uvs=_corner_uvs(wedges, polygons.counts), uv_faces=fan)
    elif (uvs := _columns(vertex, _UVS)) is not None:
        mesh.update(uvs=uvs, uv_faces=faces)
    return mesh | _texture(names, face.get("texnumber"))


def _indices(table: Table) -> Lists:
    """The lists of vertex indices, whatever their name; empty without such."""
    lists = {name: column for name, column in table.items() if isinstance(column, Lists) and name != "texcoord"}
    found = next((lists[name] for name in (*_INDICES, *lists) if name in lists), None)
    if found is None:
        return Lists(np.zeros(0, np.int64), np.zeros(0, np.int64))
    values = found.values
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            if not ((values == np.rint(values)) & (np.abs(values) < 2**53)).all():
                raise MeshFileError("vertex indices that are no whole numbers", _DAMAGED)
    return Lists(found.counts, values.astype(np.int64))


def _strip_triangles(strips: Lists) -> np.ndarray:
    """Strips, which -1 may divide, as triangles (T, 3): every second one is turned, those without area are left out."""
    ends = np.cumsum(strips.counts)
    sequence = np.insert(strips.values, ends, -1)
    place = np.arange(len(sequence))
    begin = np.maximum.accumulate(np.where(sequence < 0, place, -1)) + 1 if len(sequence) else place
    windows = np.lib.stride_tricks.sliding_window_view(sequence, 3) if len(sequence) > 2 else np.zeros((0, 3), np.int64)
    turned = (place - begin)[: len(windows)] % 2 == 1
    triangles = np.where(turned[:, None], windows[:, [1, 0, 2]], windows)
    a, b, c = triangles.T
    return triangles[(triangles >= 0).all(axis=1) & (a != b) & (b != c) & (c != a)]


def _columns(table: Table, names: tuple[tuple[str, ...], ...]) -> np.ndarray | None:
    """The columns of the first names that are all there, side by side."""
    for some in names:
        found = [column for name in some if isinstance(column := table.get(name), np.ndarray)]
        if len(found) == len(some):
            return np.stack(found, axis=1)
    return None


def _colors(table: Table) -> np.ndarray | None:
    """(n, 3) uint8; of 0..255 where they are bytes or above 1, else of 0..1."""
    colors = _columns(table, _COLORS)
    if colors is None or colors.dtype == np.uint8:
        return colors
    return (colors >> 8).astype(np.uint8) if colors.dtype.str[1:] == "u2" else to_uint8_colors(colors)


def _corner_uvs(wedges: Lists, counts: np.ndarray) -> np.ndarray:
    """(C, 2), one per corner of the polygons; (0, 0) for polygons that have none."""
    has = wedges.counts > 0
    if (wedges.counts[has] != 2 * counts[has]).any():
        raise MeshFileError("texcoord lists that do not hold two numbers per corner", _DAMAGED)
    uvs = np.zeros((counts.sum(), 2))
    uvs[np.repeat(has, counts)] = wedges.values.reshape(-1, 2)
    return uvs


def _texture(names: list[str], numbers: np.ndarray | Lists | None) -> dict:
    """The texture's name, of several that of most faces."""
    if len(names) < 2:
        return {"texture_name": (names[0] or None) if names else None}
    numbers = numbers if isinstance(numbers, np.ndarray) else np.zeros(0)
    inside = numbers[(numbers >= 0) & (numbers < len(names))].astype(np.int64)
    number = int(np.bincount(inside, minlength=1).argmax())
    return {"texture_name": names[number] or None, "notes": ["several textures, only that of most faces is used"]}
