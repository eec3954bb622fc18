"""OFF files to arrays, in numpy.

In: the bytes of a text. Out: a dict of the fields of a `Mesh`. After the header (`OFF`, or with letters for what vertices
have besides: `C` colours, `N` normals, `ST` uvs) come the numbers of vertices and faces, then one line for each.
"""

from __future__ import annotations

import codecs
import re

import numpy as np

from .names_mvfer import decode
from .obj_mvfer import (
    FROM_POINTS,
    MeshFileError,
    check_polygons,
    check_size,
    face_to_vertex_colors,
    fan_triangles,
    find_words,
    parse_numbers,
    to_uint8_colors,
)

_BLANK = rb"(?:\s|#[^\n]*\n)*"
_KEYWORD = re.compile(_BLANK + rb"(ST)?(C)?(N)?(4)?(n)?OFF\b(?:[ \t]+(BINARY)\b)?")
_COUNTS = re.compile(_BLANK + rb"(\d{1,18})[ \t]+(\d{1,18})\b[^\n]*\n?")
_DAMAGED = "the file looks truncated or damaged: copy or export it again"


def parse_off(data: bytes, *, geometry_only: bool = False) -> dict:
    """Read an OFF file.

    Returns:
        `dict`: `vertices` (N, 3); `faces` (M, 3), polygons of any size as fans; `vertex_colors` (N, 3) uint8, of faces where
        vertices have none; with `ST` `uvs` (N, 2) and `uv_faces` (M, 3); `notes`.
    Raises:
        MeshFileError: if it is damaged, truncated, a point cloud, binary, or not in three dimensions.
    """
    letters, count, face_count, body = _header(
        data.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    )
    values, widths = _rows(body)
    for found, name, promised in ((len(widths), "vertices", count), (len(widths) - count, "faces", face_count)):
        if found < promised:
            raise MeshFileError(f"{found} {name} found, the header promises {promised}", _DAMAGED)
    face_widths = widths[count : count + face_count]
    table = _vertex_table(values, widths[:count])
    corners, counts, behind = _polygons(values[table.size :], face_widths)
    mesh = {"vertices": table[:, :3], "faces": corners[fan_triangles(counts)]}
    if geometry_only:
        return mesh
    looks = _looks(table, *letters)
    if "uvs" in looks:
        looks["uv_faces"] = mesh["faces"]
    if "vertex_colors" not in looks and behind is not None:
        colors = np.repeat(to_uint8_colors(behind), counts - 2, axis=0)
        looks["vertex_colors"] = face_to_vertex_colors(colors, mesh["faces"], count)
    elif "vertex_colors" not in looks and (face_widths > 1 + counts).any():
        looks["notes"] = ["not all faces have a colour of three or four numbers, so none is read; export it as .ply"]
    return mesh | looks


def _header(data: bytes) -> tuple[tuple[bool, bool, bool], int, int, bytes]:
    """Whether vertices have uvs, colours and normals; the numbers of vertices and faces; what follows."""
    keyword = _KEYWORD.match(data)
    if keyword is not None and any(keyword.group(4, 5, 6)):
        raise MeshFileError(f"{decode(keyword[0]).strip()!r} files are not supported", "export it as .ply")
    header = _COUNTS.match(data, keyword.end()) if keyword else None
    if keyword is None or header is None:
        raise MeshFileError(
            "no OFF header with the numbers of vertices and faces", "check the extension, or copy or export it again"
        )
    count, face_count = int(header[1]), int(header[2])
    claim = f"{count} vertices and {face_count} faces"
    least = 6 * count + 8 * face_count - 1  # "0 0 0\n", "3 0 1 2\n", the last line break left out
    check_size("OFF", claim, least, len(data) - header.end())
    if not count or not face_count:
        raise MeshFileError(f"{count} vertices but no faces: a point cloud", FROM_POINTS)
    has_uvs, has_colors, has_normals = map(bool, keyword.group(1, 2, 3))
    return (has_uvs, has_colors, has_normals), count, face_count, data[header.end() :]


def _rows(body: bytes) -> tuple[np.ndarray, np.ndarray]:
    """All numbers, and how many each line has that has any."""
    if b"#" in body:
        body = re.sub(rb"#[^\n]*", b"", body)
    ends = np.flatnonzero(np.frombuffer(body, np.uint8) == 10) + 1
    starts = np.concatenate([[0], ends[ends < len(body)]]).astype(np.int64)
    _, widths = find_words(body, starts)
    values = parse_numbers(body, np.float64, "the OFF file's numbers")
    if len(values) != widths.sum():
        raise MeshFileError("the OFF file holds something that is not a number", _DAMAGED)
    return values, widths[widths > 0]


def _vertex_table(values: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """(N, C)"""
    if widths.min() < 3 or (widths != widths[0]).any():
        raise MeshFileError(f"vertex lines of {widths.min()} to {widths.max()} numbers", _DAMAGED)
    return values[: widths.sum()].reshape(len(widths), -1)


def _polygons(values: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """All corners (C,), how many each polygon has (F,), and the colours behind them (F, 3) if all polygons have one."""
    begins = np.cumsum(widths) - widths
    first = values[begins]
    if not ((first >= 3) & (first < widths) & (first == np.rint(first))).all():
        raise MeshFileError("a face line that does not begin with the number of its corners, 3 or more", _DAMAGED)
    counts = first.astype(np.int64)
    check_polygons(counts)
    inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    corners = values[np.repeat(begins + 1, counts) + inside]
    if not ((corners == np.rint(corners)) & (np.abs(corners) < 2**53)).all():
        raise MeshFileError("vertex indices that are no whole numbers", _DAMAGED)
    has_colors = (widths - 1 - counts).min() >= 3
    behind = values[(begins + 1 + counts)[:, None] + np.arange(3)] if has_colors else None
    return corners.astype(np.int64), counts, behind


def _looks(table: np.ndarray, has_uvs: bool, has_colors: bool, has_normals: bool) -> dict:
    """Colours and uvs of vertices. Three or four numbers more are a colour, without a letter for it too: so many write it."""
    looks, begin = {}, 3 + 3 * has_normals
    width = table.shape[1] - begin - 2 * has_uvs
    if width in (3, 4):
        looks["vertex_colors"] = to_uint8_colors(table[:, begin : begin + 3])
    elif width != 0 or has_colors:
        raise MeshFileError(f"vertex lines of {table.shape[1]} numbers do not fit the letters before OFF", _DAMAGED)
    if has_uvs:
        looks["uvs"] = table[:, -2:]
    return looks
