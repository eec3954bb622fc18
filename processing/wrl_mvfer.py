"""VRML 2.0 (`.wrl`) scans to triangles, as BU-3DFE, BU-4DFE and 3D scanners write them.

In: the bytes of a file. Out: a dict of the fields of a `Mesh`. The text is read as a tree of nodes, where arrays of
numbers stay bytes until numpy converts them; all IndexedFaceSet nodes that are shown are joined, under their Transform nodes.
Separators may be commas, blanks or both, polygons of any size end with -1, the last -1 may be missing.
"""

from __future__ import annotations

import codecs
import re

import numpy as np

from .names_mvfer import decode, printable
from .obj_mvfer import MeshFileError, fan_triangles, parse_numbers, to_uint8_colors

_WORD = re.compile(rb'(?s)[\s,]*("(?:[^"\\]|\\.)*"|[{}\[\]]|[^\s,{}\[\]"]+)')
_VALUED = (b"field", b"exposedField", b"initializeOnly", b"inputOutput")  # what a Script may declare: with a value,
_DECLARATIONS = (
    b"eventIn",
    b"eventOut",
    b"inputOnly",
    b"outputOnly",
    *_VALUED,
)  # or without; the last two words are X3D's
_FOREIGN_GEOMETRY = (
    "Box",
    "Cone",
    "Cylinder",
    "ElevationGrid",
    "Extrusion",
    "Sphere",
    "Text",
)  # surfaces, but no face sets
_DAMAGED = "the file looks truncated or damaged: copy or export it again"
_MAX_DEPTH, _MAX_WORDS = 100, 2**21  # words: outside arrays of numbers
_FREE_BYTES, _REUSE = 2 * 2**20, 8  # USE may multiply a scene to _FREE_BYTES + _REUSE x its text


def parse_wrl(data: bytes, *, geometry_only: bool = False) -> dict:
    """Read a VRML 2.0 file.

    Returns:
        `dict`: `vertices` (N, 3), `faces` (M, 3), `vertex_colors` (N, 3) uint8 or None, `uvs` (U, 2) and `uv_faces`
        (M, 3) or None, `texture_name`: the image of the shape with most triangles, as named in the file, or None;
        `notes`: what was left out, in words. Of a Switch only its `whichChoice` is shown, of a LOD its first level.
        Without `coordIndex` the faces are those of `texCoordIndex`, as BU-4DFE's readers do.
    Raises:
        MeshFileError: if the text is no VRML 2.0, ends inside a node, or its arrays do not fit each other.
    """
    data = data.removeprefix(codecs.BOM_UTF8)
    if data[:10].upper().startswith(b"#VRML V1"):
        raise MeshFileError("VRML 1.0, expected VRML 2.0", "convert it to .ply or .obj, with MeshLab for instance")
    if b"\0" in data:
        raise MeshFileError("binary data, not VRML text", "check the file's extension, or export it as VRML 2.0")
    if data.startswith(b"#"):  # the first line; most files have no other comment
        data = re.sub(rb"\A[^\n\r]*", b"", data)
    if b"#" in data:  # in a string it is no comment
        if data.count(b"#") + data.count(b'"') > _MAX_WORDS:
            raise MeshFileError(f"more than {_MAX_WORDS} comments and strings", "export plain geometry, or .ply")
        data = re.sub(rb'(?s)("(?:[^"\\]|\\.)*"?)|#[^\n\r]*', lambda match: match[1] or b"", data)
    scene = _Scene(geometry_only, _FREE_BYTES + _REUSE * len(data))
    for node in _Reader(data).scene():
        scene.collect(node, np.eye(4), 0)
    if not scene.shapes:
        left_out = f" that is shown; left out: {scene.left_out}" if scene.left_out else ""
        raise MeshFileError(
            f"no IndexedFaceSet with faces in it{left_out}", "export a triangle mesh as VRML 2.0, or as .ply"
        )
    notes = [f"only IndexedFaceSet nodes that are shown are read; left out: {scene.left_out}"] if scene.left_out else []
    return _join(scene.shapes) | {"notes": notes}


class _Reader:
    """Turns text into nodes: dicts of fields, with the type under the key "". Arrays of numbers stay bytes."""

    def __init__(self, data: bytes):
        self.data, self.at, self.named, self.depth, self.words = data, 0, {}, 0, 0

    def scene(self) -> list[dict]:
        nodes = []
        while (word := self._next_or_end()) is not None:
            node = self._statement(word)
            if isinstance(node, dict):
                nodes.append(node)
        return nodes

    def _next(self) -> bytes:
        match = _WORD.match(self.data, self.at)
        if match is None:
            raise MeshFileError("the VRML text ends inside a node", _DAMAGED)
        self.at, self.words = match.end(), self.words + 1
        if self.words > _MAX_WORDS:
            raise MeshFileError(f"more than {_MAX_WORDS} words outside arrays", "export plain geometry, or .ply")
        return match[1]

    def _next_or_end(self) -> bytes | None:
        is_end = _WORD.match(self.data, self.at) is None and not self.data[self.at :].strip(b" \t\r\n,")
        return None if is_end else self._next()

    def _peek(self) -> bytes:
        match = _WORD.match(self.data, self.at)
        return match[1] if match else b""

    def _statement(self, word: bytes):
        """A node, from its first word on."""
        if word == b"ROUTE":
            for _ in range(3):
                self._next()
            return None
        if word in (b"PROTO", b"EXTERNPROTO"):
            raise MeshFileError("VRML PROTO definitions are not supported", "export plain geometry, or .ply")
        if word == b"NULL":
            return None
        if word == b"USE":
            return self.named.get(self._next())
        if word == b"DEF":
            name = self._next()
            self.named[name] = node = self._statement(self._next())
            return node
        if self._peek() != b"{":
            raise MeshFileError(
                f"{printable(decode(word[:40]))!r} is no VRML 2.0 node", "check that this is a VRML 2.0 file"
            )
        self._next()
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise MeshFileError(f"VRML nodes nested more than {_MAX_DEPTH} deep", "export plain geometry, or .ply")
        node = {"": word.decode("latin-1")}
        while (field := self._next()) != b"}":
            if field in (b"ROUTE", b"PROTO", b"EXTERNPROTO"):
                self._statement(field)
            elif word == b"Script" and field in _DECLARATIONS:
                self._declaration(has_value=field in _VALUED)
            elif field in (b"{", b"[", b"]"):
                raise MeshFileError(f"misplaced {field.decode()!r} in a VRML {node['']} node", _DAMAGED)
            else:
                node[field.decode("latin-1")] = self._value()
        self.depth -= 1
        return node

    def _declaration(self, *, has_value: bool) -> None:
        """A field or an event that a Script declares: a type, a name, and of a field its value."""
        for _ in range(2):
            if self._next() in (b"{", b"}", b"[", b"]"):
                raise MeshFileError("a VRML Script declares something without a type and a name", _DAMAGED)
        if has_value:
            self._value()

    def _value(self):
        """A node, a list of nodes or strings, an array as bytes, or the bytes of single values."""
        word = self._next()
        if word == b"[":
            return self._array()
        if word in (b"{", b"}", b"]"):
            raise MeshFileError(f"a VRML field without a value before {word.decode()!r}", _DAMAGED)
        if not _is_number(word):
            return word if word.startswith(b'"') or word in (b"TRUE", b"FALSE") else self._statement_or_word(word)
        numbers = [word]
        while _is_number(self._peek()):
            numbers.append(self._next())
        return b" ".join(numbers)

    def _statement_or_word(self, word: bytes):
        is_node = word in (b"DEF", b"USE", b"NULL") or self._peek() == b"{"
        return self._statement(word) if is_node else word

    def _array(self):
        end = self.data.find(b"]", self.at)
        if end < 0:
            raise MeshFileError("a VRML array without its ']'", _DAMAGED)
        if not any(self.data.find(mark, self.at, end) >= 0 for mark in (b'"', b"{", b"U")):  # U: USE
            text = self.data[self.at : end]
            self.at = end + 1
            return text
        items = []
        while (word := self._next()) != b"]":
            items.append(word if word.startswith(b'"') else self._statement(word))
        return items


def _is_number(word: bytes) -> bool:
    return word[:1] in b"+-.0123456789" and word != b""


class _Scene:
    """The face sets below nodes. Small texts hold huge scenes, since USE of USE doubles: `bytes_left` is the bound."""

    def __init__(self, geometry_only: bool, bytes_left: int):
        self.geometry_only, self.bytes_left, self.shapes = geometry_only, bytes_left, []
        self._left_out: set[str] = set()

    @property
    def left_out(self) -> str:
        return ", ".join(sorted(self._left_out))

    def collect(self, node, matrix: np.ndarray, depth: int) -> None:
        """Append the face sets below a node, moved by the Transforms above them."""
        if isinstance(node, list):
            for item in node:
                self.collect(item, matrix, depth)
            return
        if not isinstance(node, dict):
            return
        if depth > _MAX_DEPTH:
            raise MeshFileError(f"VRML nodes nested more than {_MAX_DEPTH} deep", "export plain geometry, or .ply")
        self._pay(node)
        if node[""] == "Shape":
            self._add(node.get("geometry"), matrix, node.get("appearance"))
        elif node[""] == "IndexedFaceSet":  # not in a Shape: wrong, but its meaning is clear
            self._add(node, matrix, None)
        elif node[""] == "LOD":
            levels = node.get("level")
            self.collect(levels[:1] if isinstance(levels, list) else levels, matrix, depth + 1)
        elif node[""] == "Switch":
            self.collect(self._chosen(node), matrix, depth + 1)
        elif node[""] == "Inline":
            self._left_out.add("Inline (another file)")
        else:
            matrix = matrix @ _transform(node) if node[""] == "Transform" else matrix
            self.collect(node.get("children"), matrix, depth + 1)

    def _chosen(self, switch: dict):
        """The child that a Switch shows; None if that is none, as where `whichChoice` is absent."""
        children = switch.get("choice", switch.get("children"))
        children = children if isinstance(children, list) else [children]
        number = switch.get("whichChoice", b"-1")
        try:
            number = int(number)
        except (TypeError, ValueError):
            raise MeshFileError("a Switch whose whichChoice is no number", _DAMAGED) from None
        if 0 <= number < len(children):
            return children[number]
        if any(isinstance(child, dict) for child in children):
            self._left_out.add(f"Switch with whichChoice {number}")
        return None

    def _add(self, faces, matrix: np.ndarray, appearance) -> None:
        if isinstance(faces, dict) and faces[""] in _FOREIGN_GEOMETRY:
            self._left_out.add(faces[""])
        if isinstance(faces, dict) and faces[""] == "IndexedFaceSet":
            self._pay(faces)
            shape = _face_set(faces, matrix, self.geometry_only)
            if shape is not None:
                self.shapes.append({**shape, "texture_name": _texture_name(appearance)})

    def _pay(self, node: dict) -> None:
        """100 bytes for the node, and the texts of its fields and its children's, which are converted at each use."""
        values = [*node.values()]
        for child in node.values():
            values += child.values() if isinstance(child, dict) else ()
        self.bytes_left -= 100 + sum(len(value) for value in values if isinstance(value, bytes))
        if self.bytes_left < 0:
            raise MeshFileError("USE repeats its nodes too often", "export plain geometry, or .ply")


def _face_set(node: dict, matrix: np.ndarray, geometry_only: bool) -> dict | None:
    points = _rows(node.get("coord"), "point", 3)
    index, uv_index = _indices(node.get("coordIndex")), _indices(node.get("texCoordIndex"))
    index = uv_index if index is None else index
    if points is None or index is None:
        return None
    corners, counts = _polygons(index, "coordIndex")
    fan = fan_triangles(counts)
    if node.get("ccw") == b"FALSE":
        fan = fan[:, ::-1]
    shape = {"vertices": points @ matrix[:3, :3].T + matrix[:3, 3], "faces": corners[fan]}
    if geometry_only:
        return shape
    uvs = _rows(node.get("texCoord"), "point", 2)
    if uvs is not None:
        uv_corners, uv_counts = (corners, counts) if uv_index is None else _polygons(uv_index, "texCoordIndex")
        if not np.array_equal(counts, uv_counts):
            raise MeshFileError("coordIndex and texCoordIndex have different polygons", _DAMAGED)
        shape.update(uvs=uvs, uv_faces=uv_corners[fan])
    colors = _rows(node.get("color"), "color", 3)
    if colors is not None and node.get("colorPerVertex") != b"FALSE":
        shape["vertex_colors"] = _vertex_colors(colors, len(points), corners, _indices(node.get("colorIndex")))
    return shape


def _vertex_colors(colors, count: int, corners: np.ndarray, index: np.ndarray | None) -> np.ndarray | None:
    """(count, 3) uint8. With a colorIndex of its own, a vertex takes the colour of its last corner."""
    colors = to_uint8_colors(colors)
    if index is None or not index.size:
        return colors if len(colors) == count else None
    chosen = index[index >= 0]
    if len(chosen) != len(corners) or chosen.max() >= len(colors) or not 0 <= corners.min() <= corners.max() < count:
        raise MeshFileError("colorIndex does not fit coordIndex and the colours", _DAMAGED)
    result = np.full((count, 3), 128, np.uint8)
    result[corners] = colors[chosen]
    return result


def _rows(node, field: str, width: int) -> np.ndarray | None:
    """An array of points or colours, (n, width)."""
    text = node.get(field) if isinstance(node, dict) else None
    if not isinstance(text, bytes) or not text.strip(b" \t\r\n,"):
        return None
    what = f"{node['']} {field}"
    values = parse_numbers(text.replace(b",", b" "), np.float64, what)
    if len(values) % width:
        raise MeshFileError(f"{what}: {len(values)} numbers, expected a multiple of {width}", _DAMAGED)
    return values.reshape(-1, width)


def _indices(text) -> np.ndarray | None:
    if not isinstance(text, bytes) or not text.strip(b" \t\r\n,"):
        return None
    return parse_numbers(text.replace(b",", b" "), np.int64, "an index array")


def _polygons(index: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Indices with -1 after each polygon -> all corners (C,), corners per polygon (P,)."""
    if index.min() < -1:
        raise MeshFileError(f"{what} holds the index {index.min()}", "only -1, the end of a polygon, may be negative")
    ends = np.flatnonzero(index < 0)
    if index[-1] >= 0:
        ends = np.append(ends, len(index))
    counts = np.diff(ends, prepend=-1) - 1
    counts = counts[counts > 0]
    if not len(counts) or counts.min() < 3:
        least = counts.min() if len(counts) else 0
        raise MeshFileError(f"{what} has a polygon of {least} corners, expected 3 or more", _DAMAGED)
    return index[index >= 0], counts


def _texture_name(appearance) -> str | None:
    texture = appearance.get("texture") if isinstance(appearance, dict) else None
    url = texture.get("url") if isinstance(texture, dict) else None
    url = url[0] if isinstance(url, list) and url else url
    if not isinstance(url, bytes) or not url.strip(b'" '):
        return None
    return decode(re.sub(rb"\\(.)", rb"\1", url.strip(b'"')) if b'\\"' in url else url.strip(b'"'))


def _transform(node: dict) -> np.ndarray:
    """The 4 x 4 matrix of a Transform: translation, center, rotation, scaleOrientation, scale (VRML97, 6.52)."""

    def numbers(field: str, default: tuple[float, ...]) -> np.ndarray:
        text = node.get(field)
        values = parse_numbers(text, np.float64, field) if isinstance(text, bytes) else np.array(default, float)
        if len(values) != len(default):
            raise MeshFileError(f"a Transform's {field} has {len(values)} numbers, not {len(default)}", _DAMAGED)
        return values

    center, skew = numbers("center", (0, 0, 0)), _rotation(numbers("scaleOrientation", (0, 0, 1, 0)))
    linear = _rotation(numbers("rotation", (0, 0, 1, 0))) @ skew @ np.diag(numbers("scale", (1, 1, 1))) @ skew.T
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = numbers("translation", (0, 0, 0)) + center - linear @ center
    return matrix


def _rotation(axis_angle: np.ndarray) -> np.ndarray:
    axis, angle = axis_angle[:3], axis_angle[3]
    length = np.linalg.norm(axis)
    if not length or not angle:
        return np.eye(3)
    x, y, z = axis / length
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _join(shapes: list[dict]) -> dict:
    """One mesh of all shapes; uvs and colours only if all shapes have them."""
    largest = max(shapes, key=lambda shape: len(shape["faces"]))
    if len(shapes) == 1:
        return largest
    offsets = np.cumsum([0] + [len(shape["vertices"]) for shape in shapes])
    for shape, offset, count in zip(shapes, offsets, np.diff(offsets), strict=False):
        if shape["faces"].max() >= count:
            raise MeshFileError(f"index {shape['faces'].max()} in faces is out of range for {count} vertices", _DAMAGED)
        shape["faces"] = shape["faces"] + offset
    joined = {"texture_name": largest.get("texture_name")}
    if all("uvs" in shape for shape in shapes):
        uv_offsets = np.cumsum([0] + [len(shape["uvs"]) for shape in shapes])
        joined["uvs"] = np.concatenate([shape["uvs"] for shape in shapes])
        pairs = zip(shapes, uv_offsets, strict=False)
        joined["uv_faces"] = np.concatenate([shape["uv_faces"] + offset for shape, offset in pairs])
    for field in ("vertices", "faces", "vertex_colors"):
        if all(shape.get(field) is not None for shape in shapes):
            joined[field] = np.concatenate([shape[field] for shape in shapes])
    return joined
