"""OFF files to arrays, in numpy.

In: the bytes of a text. Out: a dict of the fields of a `Mesh`. After the header (`OFF`, or with letters for what vertices
have besides: `C` colours, `N` normals, `ST` uvs) come the numbers of vertices and faces, then one line for each.
"""

from __future__ import annotations

import re

import numpy as np

from .obj_mvfer import (
    MeshFileError,
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
    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    keyword = _KEYWORD.match(data)
    if keyword is not None and any(keyword.group(4, 5, 6)):
        raise MeshFileError(f"{keyword[0].split()[-1].decode()} files are not supported", "export it as .ply")
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
        raise MeshFileError(f"{count} vertices but no faces: a point cloud", "export a triangle mesh instead of points")
    values, widths = _rows(data[header.end() :])
    for found, name, promised in ((len(widths), "vertices", count), (len(widths) - count, "faces", face_count)):
        if found < promised:
            raise MeshFileError(f"{found} {name} found, the header promises {promised}", _DAMAGED)
    table = _vertex_table(values, widths[:count])
    mesh, fan, rows = _polygons(values[widths[:count].sum() :], widths[count : count + face_count])
    mesh["vertices"] = table[:, :3]
    if geometry_only:
        return mesh
    return mesh | _looks(table, keyword, mesh["faces"], rows, fan)


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


def _polygons(values: np.ndarray, widths: np.ndarray) -> tuple[dict, np.ndarray, np.ndarray]:
    """`faces`; the polygon of each triangle (M,); what stands behind the corners of each polygon (F, 0 or more)."""
    begins = np.cumsum(widths) - widths
    counts = values[begins]
    if not ((counts >= 3) & (counts < widths) & (counts == np.rint(counts))).all():
        raise MeshFileError("a face line that does not begin with the number of its corners, 3 or more", _DAMAGED)
    counts = counts.astype(np.int64)
    inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    corners = values[np.repeat(begins + 1, counts) + inside]
    with np.errstate(invalid="ignore"):
        if not ((corners == np.rint(corners)) & (np.abs(corners) < 2**53)).all():
            raise MeshFileError("vertex indices that are no whole numbers", _DAMAGED)
    behind = int((widths - 1 - counts).min())
    rest = values[(begins + 1 + counts)[:, None] + np.arange(behind)]
    polygon = np.repeat(np.arange(len(counts)), counts - 2)
    return {"faces": corners.astype(np.int64)[fan_triangles(counts)]}, polygon, rest


def _looks(table: np.ndarray, keyword: re.Match, faces: np.ndarray, behind: np.ndarray, polygon: np.ndarray) -> dict:
    """Colours and uvs. Without a letter for it, three or four more numbers per vertex are a colour, as many programs write."""
    looks: dict = {}
    has_uvs, has_colors, has_normals = map(bool, keyword.group(1, 2, 3))
    color_at = 3 + 3 * has_normals
    width = table.shape[1] - color_at - 2 * has_uvs
    if width in (3, 4) and (has_colors or not keyword.group(3)):
        looks["vertex_colors"] = to_uint8_colors(table[:, color_at : color_at + 3])
    elif behind.shape[1] >= 3:
        colors = to_uint8_colors(behind)
        looks["vertex_colors"] = face_to_vertex_colors(colors[polygon], faces, len(table))
    elif behind.shape[1] or width > 0:
        looks["notes"] = ["its colours are no three or four numbers and are not read; export it as .ply"]
    if has_uvs and table.shape[1] >= color_at + 2:
        looks.update(uvs=table[:, -2:], uv_faces=faces)
    return looks
