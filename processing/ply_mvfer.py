"""PLY files, text and binary, to arrays, in numpy.

In: the bytes of a file. Out: a dict of the fields of a `Mesh`. A PLY is a few tables, each with columns that its header
names; a column may hold lists. Lists of equal lengths are read by one numpy call, unequal ones by a walk over the rows. What
the header claims is compared with the bytes that are there before anything is allocated.
"""

from __future__ import annotations

import codecs
import re
import struct
from typing import Any, NamedTuple

import numpy as np

from .names_mvfer import decode
from .obj_mvfer import (
    MeshFileError,
    check_size,
    face_to_vertex_colors,
    fan_triangles,
    parse_numbers,
    to_uint8_colors,
)

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
    **{"int64": "i8", "uint64": "u8", "float16": "f2"},
}
_FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_COLORS = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
_UVS = (("texture_u", "texture_v"), ("u", "v"), ("s", "t"))
_INDICES = ("vertex_indices", "vertex_index")
_REMEDY = "copy or export it again"
_DAMAGED = "the file looks truncated or damaged: copy or export it again"


class _Property(NamedTuple):
    name: str
    type: str  # of numpy, without the order of bytes
    count_type: str | None  # of a list


class _Element(NamedTuple):
    name: str
    rows: int
    properties: list[_Property]


class _Lists(NamedTuple):
    """A column of lists: how long each is `(n,)`, and all of them joined."""

    counts: np.ndarray
    values: np.ndarray


_Table = dict[str, "np.ndarray | _Lists"]


def parse_ply(data: bytes, *, geometry_only: bool = False) -> dict:
    """Read a PLY file.

    Returns:
        `dict`: `vertices` (N, 3); `faces` (M, 3), polygons of any size as fans, and `tristrips` as triangles; `vertex_colors`
        (N, 3) uint8, of faces where vertices have none; `uvs` (U, 2) and `uv_faces` (M, 3), of vertices (`s`, `t` and the
        like) or of corners (`texcoord`); `texture_name`, as a comment `TextureFile` names it, or None; `notes`.
    Raises:
        MeshFileError: if it is damaged, truncated or a point cloud.
    """
    order, elements, names, begin = _header(data)
    tables = _tables(data, begin, order, elements)
    vertex, face = tables.get("vertex", {}), tables.get("face", {})
    vertices = _columns(vertex, (("x", "y", "z"),))
    if vertices is None:
        raise MeshFileError("no vertices with x, y and z", "export a triangle mesh")
    polygons, strips = _indices(face), _strip_triangles(_indices(tables.get("tristrips", {})))
    if not len(polygons.counts) and not len(strips):
        raise MeshFileError(
            f"{len(vertices)} vertices but no faces: a point cloud", "export a triangle mesh instead of points"
        )
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
    if isinstance(wedges, _Lists) and not len(strips):
        mesh.update(uvs=_corner_uvs(wedges, polygons.counts), uv_faces=fan)
    elif (uvs := _columns(vertex, _UVS)) is not None:
        mesh.update(uvs=uvs, uv_faces=faces)
    return mesh | _texture(names, face.get("texnumber"))


# ---- the header ----


def _header(data: bytes) -> tuple[str, list[_Element], list[str], int]:
    """The order of bytes ("" for text), the tables, the textures' names, and where the data begin."""
    end = re.search(rb"[\r\n][ \t]*end_header[ \t]*", data)
    begin = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
    if end is None or not data.startswith(b"ply", begin):
        raise MeshFileError("no PLY header ('ply' to 'end_header')", "check the file's extension, or " + _REMEDY)
    header = data[begin : end.start()]
    order, elements, names = _declarations(re.split(r"\r\n|\r|\n", decode(header)))
    is_windows = data.startswith(b"\r\n", end.end()) and b"\n" in header
    begin = min(end.end() + 1 + is_windows, len(data))
    counts = {element.name: element.rows for element in elements}
    claim = f"{counts.get('vertex', 0)} vertices and {counts.get('face', 0)} faces"
    least = sum(element.rows * _least_bytes(element, is_text=not order) for element in elements)
    check_size("PLY", claim, least, len(data) - begin)
    return order, elements, names, begin


def _declarations(lines: list[str]) -> tuple[str, list[_Element], list[str]]:
    """The order of bytes, the tables, and the textures' names."""
    order, elements, names = "", [], []
    for line in lines:
        words = line.split()
        key = words[0] if words else ""
        if key == "format" and len(words) > 1:
            if words[1] not in _FORMATS:
                raise MeshFileError(f"PLY format {words[1]!r} is none of {', '.join(_FORMATS)}", _REMEDY)
            order = _FORMATS[words[1]]
        elif key == "element":
            if len(words) != 3 or not re.fullmatch(r"[0-9]{1,18}", words[2]):
                raise MeshFileError(f"PLY header line {' '.join(words)!r} is no element and count", _REMEDY)
            elements.append(_Element(words[1], int(words[2]), []))
        elif key == "property":
            if not elements:
                raise MeshFileError(f"PLY header line {' '.join(words)!r} belongs to no element", _REMEDY)
            elements[-1].properties.append(_property(words))
        elif key in ("comment", "obj_info") and len(words) > 2 and words[1].lower() == "texturefile":
            names.append(line.split(None, 2)[2].strip())
    for names_of in ([element.name for element in elements], *([p.name for p in e.properties] for e in elements)):
        if len(set(names_of)) < len(names_of):
            raise MeshFileError(
                "PLY header: two elements, or two properties of one element, have the same name", _REMEDY
            )
    return order, elements, names


def _property(words: list[str]) -> _Property:
    is_list = words[1:2] == ["list"]
    types = words[2:4] if is_list else words[1:2]
    if len(words) != (5 if is_list else 3) or any(kind not in _TYPES for kind in types):
        raise MeshFileError(f"PLY header line {' '.join(words)!r} is no property with a known type", _REMEDY)
    return _Property(words[-1], _TYPES[types[-1]], _TYPES[types[0]] if is_list else None)


def _least_bytes(element: _Element, *, is_text: bool) -> int:
    """Of a row: in a text a digit and a blank per number."""
    firsts = [column.count_type or column.type for column in element.properties]
    return 2 * len(firsts) if is_text else sum(int(kind[1]) for kind in firsts)


# ---- the tables ----


def _tables(data: bytes, begin: int, order: str, elements: list[_Element]) -> dict[str, _Table]:
    if not order:
        text = data[begin:]
        return _read_tables(_Numbers(parse_numbers(text, np.float64, "the PLY file's numbers")), elements)
    try:
        return _read_tables(_Bytes(data, begin, order), elements)
    except MeshFileError:
        if data[begin : begin + 1] != b"\n":
            raise
        return _read_tables(_Bytes(data, begin + 1, order), elements)  # a blank line after the header


def _read_tables(source: _Numbers | _Bytes, elements: list[_Element]) -> dict[str, _Table]:
    tables = {}
    for element in elements:
        table = source.uniform(element)
        tables[element.name] = source.walk(element) if table is None else table
    return tables


class _Numbers:
    """The numbers of a text, in order."""

    def __init__(self, values: np.ndarray):
        self.values, self.at = values, 0

    def uniform(self, element: _Element) -> _Table | None:
        """The next table, if all rows are alike; None if not, or if they are not all there."""
        widths, place = [], self.at
        for column in element.properties:
            if column.count_type is None:
                widths.append(1)
            elif place < len(self.values) and 0 <= self.values[place] <= len(self.values):
                widths.append(1 + int(self.values[place]))
            else:
                return None
            place += widths[-1]
        total = element.rows * sum(widths)
        if self.at + total > len(self.values):
            return None
        rows = self.values[self.at : self.at + total].reshape(element.rows, sum(widths))
        table: _Table = {}
        for column, width, start in zip(element.properties, widths, np.cumsum([0, *widths]), strict=False):
            if column.count_type is None:
                table[column.name] = _as_bytes(rows[:, start], column)
            elif (rows[:, start] == width - 1).all():
                counts = np.full(element.rows, width - 1)
                table[column.name] = _Lists(counts, rows[:, start + 1 : start + width].ravel())
            else:
                return None
        self.at += total
        return table

    def walk(self, element: _Element) -> _Table:
        """The next table, row by row."""
        values, place = self.values.tolist(), self.at
        places: dict[str, list[int]] = {column.name: [] for column in element.properties}
        counts: dict[str, list[int]] = {column.name: [] for column in element.properties if column.count_type}
        for row in range(element.rows):
            for column in element.properties:
                if place >= len(values):
                    raise _cut_off(element, row)
                if column.count_type is not None:
                    count = values[place]
                    if not 0 <= count <= len(values) - place - 1:
                        raise _cut_off(element, row)
                    counts[column.name].append(int(count))
                    place += 1
                places[column.name].append(place)
                place += counts[column.name][-1] if column.count_type else 1
        self.at = place
        return {
            column.name: _gather(self.values, places[column.name], counts[column.name])
            if column.count_type
            else _as_bytes(self.values[places[column.name]], column)
            for column in element.properties
        }


class _Bytes:
    """Binary numbers, one after the other."""

    def __init__(self, data: bytes, at: int, order: str):
        self.data, self.at, self.order = data, at, order

    def uniform(self, element: _Element) -> _Table | None:
        """The next table, if all rows are alike; None if not, or if they are not all there."""
        if not element.rows:
            return {column.name: _empty(column) for column in element.properties}
        columns: list[tuple] = []
        place, lists = self.at, {}
        for number, column in enumerate(element.properties):
            kind = self.order + column.type
            if column.count_type is None:
                columns.append((str(number), kind))
                place += int(kind[2])
                continue
            counter = np.dtype(self.order + column.count_type)
            if place + counter.itemsize > len(self.data):
                return None
            count = np.frombuffer(self.data, counter, 1, place)[0]
            if not 0 <= count <= len(self.data):
                return None
            lists[number] = int(count)
            columns += [(f"{number} count", counter), (str(number), kind, (int(count),))]
            place += counter.itemsize + int(count) * int(kind[2])
        if not columns:
            return {}
        if self.at + element.rows * (place - self.at) > len(self.data):
            return None
        rows = np.frombuffer(self.data, np.dtype(columns), element.rows, self.at)
        if any((rows[f"{number} count"] != count).any() for number, count in lists.items()):
            return None
        self.at += rows.nbytes
        return {
            column.name: _Lists(np.full(element.rows, lists[number]), rows[str(number)].ravel())
            if number in lists
            else rows[str(number)]
            for number, column in enumerate(element.properties)
        }

    def walk(self, element: _Element) -> _Table:
        """The next table, row by row."""
        data, place, end = self.data, self.at, len(self.data)
        places: dict[str, list[int]] = {column.name: [] for column in element.properties}
        counts: dict[str, list[int]] = {column.name: [] for column in element.properties if column.count_type}
        steps = [
            (
                places[column.name].append,
                int(column.type[1]),
                counts[column.name].append if column.count_type else None,
                _struct(self.order, column.count_type) if column.count_type else None,
            )
            for column in element.properties
        ]
        for row in range(element.rows):
            for add_place, size, add_count, counter in steps:
                if counter is not None and add_count is not None:
                    if place + counter.size > end:
                        raise _cut_off(element, row)
                    (count,) = counter.unpack_from(data, place)
                    place += counter.size
                    if not 0 <= count <= end:
                        raise _cut_off(element, row)
                    add_count(int(count))
                    size *= int(count)
                add_place(place)
                place += size
            if place > end:
                raise _cut_off(element, row)
        self.at = place
        return {column.name: self._column(column, places[column.name], counts) for column in element.properties}

    def _column(self, column: _Property, places: list[int], counts: dict[str, list[int]]) -> np.ndarray | _Lists:
        size, lengths = int(column.type[1]), counts.get(column.name, [1] * len(places))
        parts = [self.data[place : place + size * length] for place, length in zip(places, lengths, strict=True)]
        values = np.frombuffer(b"".join(parts), self.order + column.type)
        return _Lists(np.array(lengths, np.int64), values) if column.count_type else values


def _struct(order: str, kind: str) -> struct.Struct:
    codes = {
        "i1": "b",
        "u1": "B",
        "i2": "h",
        "u2": "H",
        "i4": "i",
        "u4": "I",
        "i8": "q",
        "u8": "Q",
        "f4": "f",
        "f8": "d",
    }
    return struct.Struct(order + codes.get(kind, "e"))


def _as_bytes(values: np.ndarray, column: _Property) -> np.ndarray:
    """Numbers of a text as they are, but bytes as bytes: a colour of 0 and 1 is black, no share of 1."""
    return np.clip(np.nan_to_num(values), 0, 255).astype(np.uint8) if column.type == "u1" else values


def _gather(values: np.ndarray, starts: list[int], counts: list[int]) -> _Lists:
    """Lists of the lengths `counts` that begin at `starts`."""
    lengths, begins = np.array(counts, np.int64), np.array(starts, np.int64)
    inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return _Lists(lengths, values[np.repeat(begins, lengths) + inside])


def _empty(column: _Property) -> np.ndarray | _Lists:
    return _Lists(np.zeros(0, np.int64), np.zeros(0)) if column.count_type else np.zeros(0)


def _cut_off(element: _Element, row: int) -> MeshFileError:
    name = {"vertex": "vertices", "face": "faces"}.get(element.name, f"rows of {element.name}")
    return MeshFileError(f"{row} {name} found, the header promises {element.rows}", _DAMAGED)


# ---- what the tables mean ----


def _indices(table: _Table) -> _Lists:
    """The lists of vertex indices, whatever their name; empty without such."""
    lists = {name: column for name, column in table.items() if isinstance(column, _Lists) and name != "texcoord"}
    found = next((lists[name] for name in (*_INDICES, *lists) if name in lists), None)
    if found is None:
        return _Lists(np.zeros(0, np.int64), np.zeros(0, np.int64))
    values = found.values
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            if not ((values == np.rint(values)) & (np.abs(values) < 2**53)).all():
                raise MeshFileError("vertex indices that are no whole numbers", _DAMAGED)
    return _Lists(found.counts, values.astype(np.int64))


def _strip_triangles(strips: _Lists) -> np.ndarray:
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


def _columns(table: _Table, names: tuple[tuple[str, ...], ...]) -> np.ndarray | None:
    """The columns of the first names that are all there, side by side."""
    for some in names:
        found = [column for name in some if isinstance(column := table.get(name), np.ndarray)]
        if len(found) == len(some):
            return np.stack(found, axis=1)
    return None


def _colors(table: _Table) -> np.ndarray | None:
    """(n, 3) uint8; of 0..255 where they are bytes or above 1, else of 0..1."""
    colors = _columns(table, _COLORS)
    if colors is None or colors.dtype == np.uint8:
        return colors
    return (
        (colors >> 8).astype(np.uint8)
        if colors.dtype.kind == "u" and colors.dtype.itemsize == 2
        else to_uint8_colors(colors)
    )


def _corner_uvs(wedges: _Lists, counts: np.ndarray) -> np.ndarray:
    """(C, 2), one per corner of the polygons; (0, 0) for polygons that have none."""
    has = wedges.counts > 0
    if (wedges.counts[has] != 2 * counts[has]).any():
        raise MeshFileError("texcoord lists that do not hold two numbers per corner", _DAMAGED)
    uvs = np.zeros((counts.sum(), 2))
    uvs[np.repeat(has, counts)] = wedges.values.reshape(-1, 2)
    return uvs


def _texture(names: list[str], numbers: np.ndarray | _Lists | None) -> dict:
    """The texture's name, of several that of most faces."""
    if len(names) < 2:
        return {"texture_name": (names[0] or None) if names else None}
    number = 0
    if (
        isinstance(numbers, np.ndarray)
        and len(numbers)
        and (inside := numbers[(numbers >= 0) & (numbers < len(names))]).size
    ):
        number = int(np.bincount(inside.astype(np.int64)).argmax())
    return {"texture_name": names[number] or None, "notes": ["several textures, only that of most faces is used"]}
