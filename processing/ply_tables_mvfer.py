"""The tables of a PLY file, text or binary, in numpy.

In: the bytes of a file. Out: its tables, each a dict of columns that its header names; a column holds numbers, or lists of
them. Lists of equal lengths are read by one numpy call, unequal ones by a walk over the rows. What the header claims is
compared with the bytes that are there before anything is allocated. `ply_mvfer.py` knows what the tables mean.
"""

from __future__ import annotations

import codecs
import re
import struct
from typing import NamedTuple

import numpy as np

from .names_mvfer import decode
from .obj_mvfer import MeshFileError, check_size, parse_numbers

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
_MAX_HEADER_BYTES = 2**20
_MAX_WALK = 2**23  # numbers and lists of a table that is read row by row
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


class Lists(NamedTuple):
    """A column of lists: how long each is `(n,)`, and all of them joined."""

    counts: np.ndarray
    values: np.ndarray


Table = dict[str, "np.ndarray | Lists"]


def read_ply(data: bytes) -> tuple[dict[str, Table], list[str]]:
    """The tables of a PLY file by name, and the names of its textures, as its comments have them.

    Raises:
        MeshFileError: if the header makes no sense, or promises more than the file holds.
    """
    order, elements, names, begin = _header(data)
    return _tables(data, begin, order, elements), names


# ---- the header ----


def _header(data: bytes) -> tuple[str, list[_Element], list[str], int]:
    """The order of bytes ("" for text), the tables, the textures' names, and where the data begin."""
    end = re.search(rb"[\r\n][ \t]*end_header[ \t]*", data[:_MAX_HEADER_BYTES])
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


def _tables(data: bytes, begin: int, order: str, elements: list[_Element]) -> dict[str, Table]:
    if not order:
        text = data[begin:]
        return _read_tables(_Numbers(parse_numbers(text, np.float64, "the PLY file's numbers")), elements)
    readings: list[tuple[bool, dict[str, Table]]] = []
    problems: list[MeshFileError] = []
    for start in range(begin, begin + 1 + data.startswith(b"\n", begin)):  # it may be a blank line after the header
        source = _Bytes(data, start, order)
        try:
            tables = _read_tables(source, elements)
            readings.append((source.at == len(data), tables))
        except MeshFileError as error:
            problems.append(error)
    if not readings:
        raise problems[0]
    return max(readings, key=lambda reading: reading[0])[1]  # the one that ends where the file ends, else the first


def _read_tables(source: _Numbers | _Bytes, elements: list[_Element]) -> dict[str, Table]:
    tables = {}
    for element in elements:
        table = source.uniform(element)
        tables[element.name] = source.walk(element) if table is None else table
    return tables


class _Numbers:
    """The numbers of a text, in order."""

    def __init__(self, values: np.ndarray):
        self.values, self.at = values, 0

    def uniform(self, element: _Element) -> Table | None:
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
        table: Table = {}
        for column, width, start in zip(element.properties, widths, np.cumsum([0, *widths]), strict=False):
            if column.count_type is None:
                table[column.name] = _as_bytes(rows[:, start], column)
            elif (rows[:, start] == width - 1).all():
                counts = np.full(element.rows, width - 1)
                table[column.name] = Lists(counts, rows[:, start + 1 : start + width].ravel())
            else:
                return None
        self.at += total
        return table

    def walk(self, element: _Element) -> Table:
        """The next table, row by row."""
        _check_walk(element)
        values, place = np.ascontiguousarray(self.values).data, self.at  # whose items are Python's numbers
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

    def uniform(self, element: _Element) -> Table | None:
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
            column.name: Lists(np.full(element.rows, lists[number]), rows[str(number)].ravel())
            if number in lists
            else rows[str(number)]
            for number, column in enumerate(element.properties)
        }

    def walk(self, element: _Element) -> Table:
        """The next table, row by row."""
        _check_walk(element)
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

    def _column(self, column: _Property, places: list[int], counts: dict[str, list[int]]) -> np.ndarray | Lists:
        size, lengths = int(column.type[1]), counts.get(column.name, [1] * len(places))
        parts = [self.data[place : place + size * length] for place, length in zip(places, lengths, strict=True)]
        values = np.frombuffer(b"".join(parts), self.order + column.type)
        return Lists(np.array(lengths, np.int64), values) if column.count_type else values


def _check_walk(element: _Element) -> None:
    if element.rows * len(element.properties) > _MAX_WALK:
        raise MeshFileError(f"{element.rows} rows of {element.name} with lists of unequal lengths", "export triangles")


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


def _gather(values: np.ndarray, starts: list[int], counts: list[int]) -> Lists:
    """Lists of the lengths `counts` that begin at `starts`."""
    lengths, begins = np.array(counts, np.int64), np.array(starts, np.int64)
    inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return Lists(lengths, values[np.repeat(begins, lengths) + inside])


def _empty(column: _Property) -> np.ndarray | Lists:
    return Lists(np.zeros(0, np.int64), np.zeros(0)) if column.count_type else np.zeros(0)


def _cut_off(element: _Element, row: int) -> MeshFileError:
    name = {"vertex": "vertices", "face": "faces"}.get(element.name, f"rows of {element.name}")
    return MeshFileError(f"{row} {name} found, the header promises {element.rows}", _DAMAGED)
