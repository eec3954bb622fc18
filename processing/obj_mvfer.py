"""Wavefront OBJ and MTL text to arrays, in numpy.

In: the bytes of a file. Out: a dict of the fields of a `Mesh` (`meshes_mvfer.py` is the door that
checks them and finds the texture). Lines are sorted into kinds and each kind is converted by one numpy
call, so a scan of 50,000 triangles takes about 20 ms. Quads and n-gons become fans of triangles.
The helpers `parse_numbers`, `find_words`, `fan_triangles` and `face_to_vertex_colors` serve other readers as well.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterator

import numpy as np

from .compiled_mvfer import LOOPS
from .names_mvfer import decode, without_options

_VERTEX, _UV, _FACE, _MATERIAL = range(4)
MAX_TRIANGLES = 2**23  # of a mesh; scans of faces have up to some millions
_MAX_CORNERS = 2**16  # of one polygon
_MAX_LINES, _MAX_MATERIAL_LINES, _MAX_CONTINUED = 2**25, 2**20, 2**20
_BLOCK_BYTES = (
    2**22
)  # of text that is converted at a time, so that memory does not grow with what numbers are written like
_MAX_PLAIN_LINES = 2**22
POWERS_OF_TEN = 10.0 ** np.arange(20)
# Lines of data go on after a backslash. In comments and names it is a folder of Windows, or half a letter of Japanese.
_CONTINUED = re.compile(rb"(?m)^[ \t]*(?:v[tnp]?|[flp])[ \t](?:[^\n#]*\\[ \t]*\n)+")


FROM_POINTS = (
    "export a triangle mesh, or make a surface of the points first (MeshLab: Screened Poisson reconstruction; Open3D: "
    "create_from_point_cloud_poisson)"
)


class MeshFileError(ValueError):
    """What is wrong with a mesh and what to do about it; the door adds the file's name."""

    def __init__(self, reason: str, remedy: str):
        super().__init__(f"{reason}; {remedy}")


def parse_obj(data: bytes, *, geometry_only: bool = False) -> dict:
    """Read an OBJ file.

    Args:
        data (`bytes`): the file. `v x y z [w]` or `v x y z r g b`, `vt u v`, and `f` with `v`, `v/t`, `v//n`,
            `v/t/n`, counted from 1, or backwards from -1. Normals, groups, lines and points are skipped.
        geometry_only (`bool`): skip colours, uvs and materials.
    Returns:
        `dict`: `vertices` (N, 3), `faces` (M, 3), `vertex_colors` (N, 3) uint8 or None, `uvs` (U, 2) and
        `uv_faces` (M, 3) or None, `material_files` (what follows each `mtllib`), `materials` (Counter: what follows `usemtl`,
        None for nothing -> polygons).
    Raises:
        MeshFileError: on a malformed or truncated line, with its number.
    """
    if geometry_only and (mesh := _plain(data)) is not None:
        return mesh
    data = _tidy(data)
    lines = _Lines(data)
    table = _table(lines, _VERTEX, b"v", 3)
    if table is None:
        raise MeshFileError("no vertices (no 'v' line)", "check that this is a complete OBJ file")
    vertices, colors = table[:, :3], None
    if table.shape[1] == 5:
        raise MeshFileError("vertex lines of 5 numbers", "write x y z, or x y z and a colour of 3 numbers")
    if table.shape[1] >= 6 and not geometry_only:
        colors = to_uint8_colors(table[:, 3:6])
    counts, corners = _faces(lines)
    if counts is None or corners is None:
        raise MeshFileError("no faces (no 'f' line): a point cloud", FROM_POINTS)
    corners[:, 0] = _from_zero(corners[:, 0], lines, _VERTEX, counts, "vertex")
    fan = fan_triangles(counts)
    mesh = {"vertices": vertices, "faces": corners[:, 0][fan], "vertex_colors": colors}
    if geometry_only:
        return mesh
    uvs = _table(lines, _UV, b"vt", 1) if corners.shape[1] == 2 else None
    if uvs is not None:
        uvs = uvs[:, :2] if uvs.shape[1] > 1 else np.pad(uvs, ((0, 0), (0, 1)))
        uv_index, without = corners[:, 1], corners[:, 1] == 0
        if without.any():  # corners without a uv share one more uv, (0, 0)
            uv_index[without] = len(uvs) + 1
        uv_index = _from_zero(uv_index, lines, _UV, counts, "texture")
        if without.any():
            uvs = np.concatenate([uvs, np.zeros((1, 2))])
        mesh.update(uvs=uvs, uv_faces=uv_index[fan])
    mesh["material_files"], mesh["materials"] = _materials(lines)
    return mesh


def _plain(data: bytes) -> dict | None:
    """The mesh of a file in which nothing is unusual, if numba is at hand to read it."""
    loop, count = LOOPS.get("plain_obj"), data.count(b"\n") + 1
    if loop is None or count > _MAX_PLAIN_LINES or b"\0" in data or data.startswith(b"\xef\xbb\xbf"):
        return None
    vertices, faces = np.empty((count, 3)), np.empty((count, 3), np.int64)
    num_vertices, num_faces = loop(np.frombuffer(data, np.uint8), vertices, faces)
    if num_vertices < 1 or num_faces < 1:
        return None
    return {"vertices": vertices[:num_vertices], "faces": faces[:num_faces], "vertex_colors": None}


def parse_mtl(data: bytes) -> dict[str, str | None]:
    """Material -> file name of its diffuse texture (`map_Kd`, else `map_Ka`; None without), both as written in the file."""
    textures: dict[str, dict[str, str]] = {}
    name = ""
    for line in decode(data.replace(b"\r", b"\n")).split("\n"):
        key, value = _key_and_value(line)
        if key == "newmtl":
            name = value
            textures.setdefault(name, {})
        elif key in ("map_kd", "map_ka") and (value := without_options(value)):
            textures.setdefault(name, {})[key] = value
    return {name: maps.get("map_kd") or maps.get("map_ka") for name, maps in textures.items()}


def _key_and_value(line: str) -> tuple[str, str]:
    """The first word, in lower case, and all that follows it after blanks or tabs."""
    words = line.split(None, 1)
    return (words[0].lower(), words[1].strip()) if len(words) == 2 else (line.strip().lower(), "")


def fan_triangles(counts: np.ndarray) -> np.ndarray:
    """(P,) corners of each polygon, all >= 3 -> (T, 3) positions in the flat list of all corners.

    Raises:
        MeshFileError: for a polygon of more than 65,536 corners, or more than 2**23 triangles in all.
    """
    check_polygons(counts)
    if (counts == 3).all():
        return np.arange(3 * len(counts)).reshape(-1, 3)
    starts, fans = np.cumsum(counts) - counts, counts - 2
    first = np.repeat(starts, fans)
    step = np.arange(fans.sum()) - np.repeat(np.cumsum(fans) - fans, fans)
    return np.stack([first, first + step + 1, first + step + 2], axis=1)


def check_polygons(counts: np.ndarray) -> None:
    """MeshFileError if polygons of so many corners have more of them, or make more triangles, than any scan of a face."""
    if len(counts) and counts.max() > _MAX_CORNERS:
        raise MeshFileError(f"a polygon of {counts.max()} corners, more than {_MAX_CORNERS}", "export triangles")
    check_triangles(int(counts.sum()) - 2 * len(counts))


def check_triangles(count: int) -> None:
    """MeshFileError if a mesh would have more triangles than any scan of a face."""
    if count > MAX_TRIANGLES:
        raise MeshFileError(
            f"{count} triangles, more than {MAX_TRIANGLES}", "simplify the mesh, with MeshLab for instance"
        )


def parse_numbers(text: bytes, dtype, what: str) -> np.ndarray:
    """All numbers of a text separated by white space; MeshFileError if anything else stands in it."""
    values = [_parse_block(block, dtype, what) for block in _blocks_of(text)]
    return values[0] if len(values) == 1 else np.concatenate(values)


def _blocks_of(text: bytes) -> Iterator[bytes]:
    """The text in blocks of some megabytes that begin and end between words; at least one."""
    begin = 0
    while len(text) - begin > _BLOCK_BYTES:
        end = max(text.rfind(blank, begin + 1, begin + _BLOCK_BYTES) for blank in (b" ", b"\n", b"\t", b"\r"))
        end = end if end > 0 else begin + _BLOCK_BYTES  # a word of megabytes is no number
        yield text[begin:end]
        begin = end
    yield text[begin:]


def _parse_block(text: bytes, dtype, what: str) -> np.ndarray:
    if not text or text.isspace():
        return np.zeros(0, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # numpy only warns of a text that is not a number
        if dtype is np.float64 and (values := _plain_decimals(text)) is not None:
            return values
        try:
            return np.fromstring(text, dtype=dtype, sep=" ")
        except (DeprecationWarning, ValueError) as error:
            raise MeshFileError(f"{what}: something that is not a number", "check the file in an editor") from error


def _plain_decimals(text: bytes) -> np.ndarray | None:
    """The same numbers, bit for bit, four times faster, if all are like `-12.345`; else None.

    Without their points they are integers; an integer below 2^53 divided by a power of ten up to 10^22 is rounded once,
    as strtod rounds.
    """
    raw = np.frombuffer(text, np.uint8)
    inside = np.concatenate([[False], raw > 32, [False]])
    begins = np.flatnonzero(inside[1:] & ~inside[:-1])
    ends = np.flatnonzero(inside[:-1] & ~inside[1:])
    points = np.flatnonzero(raw == ord("."))
    word = np.searchsorted(begins, points, side="right") - 1  # of each point
    if (np.diff(word) == 0).any() or (len(begins) and (ends - begins).max() > 19):
        return None
    try:
        values = np.fromstring(text.translate(None, b"."), np.int64, sep=" ")
    except (DeprecationWarning, ValueError):
        return None
    if len(values) != len(begins) or (len(values) and np.abs(values).max() >= 2**53):
        return None
    decimals = np.zeros(len(values), np.int64)
    decimals[word] = ends[word] - points - 1
    return values / POWERS_OF_TEN[decimals]


def to_uint8_colors(colors: np.ndarray) -> np.ndarray:
    """(N, >= 3) colours, 0..1 (or 0..255 if any is above 1) -> (N, 3) uint8."""
    colors = np.nan_to_num(np.asarray(colors, np.float64)[:, :3])
    scale = 255 if colors.size == 0 or colors.max() <= 1 else 1
    return np.clip(np.rint(colors * scale), 0, 255).astype(np.uint8)


def face_to_vertex_colors(colors: np.ndarray, faces: np.ndarray, count: int) -> np.ndarray:
    """(M, 3) colours of triangles -> (count, 3) uint8: the mean of those around each vertex, gray where there is none."""
    corners = np.clip(faces.ravel(), 0, count - 1)  # the door refuses what is out of range
    around = np.bincount(corners, minlength=count)
    sums = [np.bincount(corners, np.repeat(channel, 3), count) for channel in colors.T.astype(np.float64)]
    means = np.stack(sums, axis=1) / np.maximum(around, 1)[:, None]
    return np.where(around[:, None] > 0, np.rint(means), 128).astype(np.uint8)


def check_size(kind: str, claim: str, least: int, there: int) -> None:
    """MeshFileError if a header promises more than the file holds."""
    if least > there:
        raise MeshFileError(
            f"the {kind} header promises {claim}, at least {least} bytes, but there are {there}: truncated or forged",
            "copy or export it again",
        )


class _Lines:
    """The lines of a text by kind. `rows[kind]` are line numbers from 0; `text(kind)` their bytes, joined."""

    def __init__(self, data: bytes):
        raw, first = self._split(data)
        if ((first == ord(" ")) | (first == ord("\t"))).any():  # indented lines
            raw, first = self._split(_unindented(data))
        second = raw[np.minimum(self.starts + 1, len(raw) - 1)]
        third = raw[np.minimum(self.starts + 2, len(raw) - 1)]
        is_v, alone = first == ord("v"), second <= 32
        self.rows = {
            _VERTEX: np.flatnonzero(is_v & alone),
            _UV: np.flatnonzero(is_v & (second == ord("t")) & (third <= 32)),
            _FACE: np.flatnonzero((first == ord("f")) & alone),
            _MATERIAL: np.flatnonzero((first == ord("u")) | (first == ord("m"))),
        }

    def _split(self, data: bytes) -> tuple[np.ndarray, np.ndarray]:
        raw = np.frombuffer(data, np.uint8)
        self.data, self.ends = data, np.flatnonzero(raw == 10) + 1
        self.starts = np.concatenate([[0], self.ends[:-1]])
        return raw, raw[self.starts]

    def text(self, kind: int) -> bytes:
        rows = self.rows[kind]
        cut = np.flatnonzero(np.diff(rows) != 1) + 1  # neighbouring lines are copied as one run
        begin = self.starts[rows[np.concatenate([[0], cut])]]
        end = self.ends[rows[np.concatenate([cut - 1, [len(rows) - 1]])]]
        return b"".join([self.data[a:b] for a, b in zip(begin.tolist(), end.tolist(), strict=True)])

    def offsets(self, kind: int) -> np.ndarray:
        """Where each line begins in `text(kind)`."""
        rows = self.rows[kind]
        return np.concatenate([[0], np.cumsum(self.ends[rows] - self.starts[rows])[:-1]])


def _unindented(data: bytes) -> bytes:
    """The lines without blanks before them, some megabytes at a time."""
    parts, begin = [], 0
    while begin < len(data):
        end = data.find(b"\n", begin + _BLOCK_BYTES) + 1 or len(data)
        parts.append(re.sub(rb"(?m)^[ \t]+", b"", data[begin:end]))
        begin = end
    return b"".join(parts)


def _tidy(data: bytes) -> bytes:
    """One statement per line, the last line ended."""
    if b"\0" in data:
        raise MeshFileError("binary data, not OBJ text", "check the file's extension, or export it as UTF-8 OBJ")
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if b"\\" in data:
        if data.count(b"\\") > _MAX_CONTINUED:
            raise MeshFileError(f"more than {_MAX_CONTINUED} backslashes", "export it with whole lines")
        data = _CONTINUED.sub(lambda match: re.sub(rb"\\[ \t]*\n", b" ", match[0]), data)
    if not data.endswith(b"\n"):
        data += b"\n"
    if data.count(b"\n") > _MAX_LINES:
        raise MeshFileError(f"more than {_MAX_LINES} lines", "simplify the mesh, or export it as binary .ply")
    return data


def find_words(text: bytes, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the words of a text (W,), and how many each line has (L,). Lines begin at `offsets`."""
    inside = np.frombuffer(text, np.uint8) > 32
    begins = inside.copy()
    begins[1:] &= ~inside[:-1]
    words = np.flatnonzero(begins)
    width, rest = divmod(len(words), len(offsets))
    if rest == 0 and width:  # the usual case: all lines have equally many
        table = words.reshape(-1, width)
        if (table[:, 0] >= offsets).all() and (table[:-1, -1] < offsets[1:]).all():
            return words, np.full(len(offsets), width)
    return words, np.diff(np.searchsorted(words, np.append(offsets, len(text))))


def _block(lines: _Lines, kind: int, keyword: bytes) -> bytes:
    """The text of all lines of a kind with the keyword blanked and comments removed, lengths unchanged."""
    text = lines.text(kind)
    if b"#" in text:
        text = re.sub(rb"#[^\n]*", lambda match: b" " * len(match[0]), text)
    return text.translate(bytes.maketrans(keyword, b" " * len(keyword)))


def _table(lines: _Lines, kind: int, keyword: bytes, least: int) -> np.ndarray | None:
    """All lines of a kind as a table (L, C), C the fewest numbers on any line; None without lines."""
    rows = lines.rows[kind]
    if not len(rows):
        return None
    text, offsets = _block(lines, kind, keyword), lines.offsets(kind)
    _, counts = find_words(text, offsets)
    width = int(counts.min())
    if width < least:
        row = rows[counts.argmin()] + 1
        raise MeshFileError(
            f"line {row}: '{keyword.decode()}' with {width} numbers, expected {least} or more",
            "the file looks truncated or damaged: copy or export it again",
        )
    values = parse_numbers(text, np.float64, f"'{keyword.decode()}' lines")
    if len(values) != counts.sum():
        raise MeshFileError(f"'{keyword.decode()}' lines hold something that is not a number", "export it again")
    if (counts == width).all():
        return values.reshape(-1, width)
    return values[(np.cumsum(counts) - counts)[:, None] + np.arange(min(width, 3))]  # colours on some lines only


def _faces(lines: _Lines) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Corners per polygon (P,), and per corner the indices (C, 1 or 2) as written: vertex, and uv (0 = none)."""
    rows = lines.rows[_FACE]
    if not len(rows):
        return None, None
    text = _block(lines, _FACE, b"f")
    words, counts = find_words(text, lines.offsets(_FACE))
    if counts.min() < 3:
        row = rows[counts.argmin()] + 1
        raise MeshFileError(
            f"line {row}: a face of {counts.min()} corners, expected 3 or more",
            "the file looks truncated or damaged: copy or export it again",
        )
    check_polygons(counts)
    slashes = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("/"))
    width, rest = divmod(len(slashes), len(words))
    form = slashes.reshape(-1, width) if rest == 0 and width in (1, 2) else None
    uniform = form is not None and (form[:, 0] > words).all() and (form[:-1, -1] < words[1:]).all()
    if len(slashes) and not uniform:
        return counts, _mixed_corners(text)
    if width == 2 and form is not None and (form[:, 1] == form[:, 0] + 1).all():  # v//n
        width, without_uv = 1, True
    else:
        without_uv = width == 0
    values = parse_numbers(text.replace(b"/", b" "), np.int64, "'f' lines")
    if len(values) != len(words) * (width + 1):
        return counts, _mixed_corners(text)
    values = values.reshape(len(words), width + 1)
    return counts, values[:, :1] if without_uv else values[:, :2]


def _mixed_corners(text: bytes) -> np.ndarray:
    """The slower way, for files that mix `v`, `v/t`, `v//n` and `v/t/n`."""
    return np.concatenate([_mixed_block(block) for block in _blocks_of(text)])


def _mixed_block(text: bytes) -> np.ndarray:
    raw = np.frombuffer(text, np.uint8)
    inside, slash = raw > 32, raw == ord("/")
    begins = inside.copy()
    begins[1:] &= ~inside[:-1]
    word = np.cumsum(begins) - 1  # of each byte
    before = np.cumsum(slash) - slash
    place = before - before[begins][word] if begins.any() else before  # slashes before it within its word
    corners = np.zeros((int(begins.sum()), 2), np.int64)
    for part in (0, 1):  # the vertex, and the uv where there is one
        is_part = inside & ~slash & (place == part)
        starts = is_part.copy()
        starts[1:] &= ~is_part[:-1]
        values = parse_numbers(np.where(is_part, raw, 32).astype(np.uint8).tobytes(), np.int64, "'f' lines")
        owners = word[starts]
        if len(values) != len(owners) or (part == 0 and len(owners) != len(corners)):
            raise MeshFileError("'f' lines hold something that is not an index", "export it again")
        corners[owners, part] = values
    return corners


def _from_zero(index: np.ndarray, lines: _Lines, kind: int, counts: np.ndarray, what: str) -> np.ndarray:
    """Indices from 1, or backwards from the last line above the face, to indices from 0."""
    if index.min() > 0:
        return index - 1
    if (index == 0).any():
        raise MeshFileError(f"{what} index 0 in a face", "OBJ counts from 1: export the file again")
    above = np.searchsorted(lines.rows[kind], lines.rows[_FACE])  # lines of this kind before each face
    last = np.repeat(above, counts)
    absolute = np.where(index < 0, last + index, index - 1)
    if absolute.min() < 0:
        raise MeshFileError(
            f"{what} index {index.min()} reaches back before the first one", "the file is damaged: export it again"
        )
    return absolute


def _materials(lines: _Lines) -> tuple[list[str], Counter]:
    """What follows `mtllib`, and how many polygons follow each `usemtl`."""
    files: list[str] = []
    used: Counter = Counter()
    name, begin = None, 0
    faces = lines.rows[_FACE]
    if len(lines.rows[_MATERIAL]) > _MAX_MATERIAL_LINES:
        raise MeshFileError(f"more than {_MAX_MATERIAL_LINES} lines of materials", "export it with one material")
    for row in lines.rows[_MATERIAL].tolist():
        key, value = _key_and_value(decode(lines.data[lines.starts[row] : lines.ends[row]]))
        if key == "mtllib":
            files.append(value)
        elif key == "usemtl":
            here = int(np.searchsorted(faces, row))
            used[name] += here - begin
            name, begin = value or None, here
    used[name] += len(faces) - begin
    return files, used
