"""Damage that keeps a file's form and lies within it: counts, offsets, nesting, the kinds of its pictures.

In: the files of a seed of `damage` and a generator of random numbers. Out: the files, one of them changed. `damage.py` breaks
bytes, which most readers refuse early; what is changed here still parses, and reaches what stands behind the parser.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import zlib

import numpy as np
from PIL import Image

from .witnesses import EPS

Files = dict[str, bytes]
HOSTILE = [
    None,
    True,
    -1,
    0,
    1,
    2,
    3,
    7,
    255,
    65535,
    2**31 - 1,
    2**31,
    2**32,
    2**53,
    2**63,
    -(2**31),
    0.5,
    1e9,
    1e38,
    1e308,
]
HOSTILE += [
    "",
    "x",
    "../a.bin",
    "/etc/passwd",
    "https://example.org/a.bin",
    "data:,",
    "data:;base64,!",
    [],
    {},
    [[[]]],
    [0] * 50,
]
HOSTILE += [
    "data:image/png;base64,AAAA",
    [1e30] * 16,
    {"": {}},
    "\x1b[2J",
    "a\nb\tc",
    "$_{",
    float("nan"),
    float("inf"),
]
SCALARS = ("char", "uchar", "short", "ushort", "int", "uint", "float", "double", "int64", "uint64", "float16", "list")


def pick(rng, items):
    return items[int(rng.integers(len(items)))]


# ---- pictures ----


def hostile_picture(rng) -> bytes:
    """A picture of another kind, of a forged size, cut off, or no picture at all."""
    kind = pick(rng, "EPS TIFF GIF WEBP BMP TGA JPEG PPM ICO PDF forged cut svg 16 1 P".split())
    pixels = Image.fromarray(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8))
    if kind == "EPS":
        return EPS
    if kind == "svg":
        return b'<svg xmlns="http://www.w3.org/2000/svg"><image href="https://example.org/a.png"/></svg>'
    if kind in ("16", "1", "P"):
        deep = Image.fromarray(rng.integers(0, 65536, (6, 7), dtype=np.uint16))
        pixels = deep if kind == "16" else pixels.convert(kind)
    buffer = io.BytesIO()
    pixels.save(buffer, "PNG" if kind in ("forged", "cut", "16", "1", "P") else kind)
    data = buffer.getvalue()
    if kind == "cut":
        return data[: int(rng.integers(len(data)))]
    return _forged(data, rng) if kind == "forged" else data


def _forged(data: bytes, rng) -> bytes:
    """A PNG whose header claims another size, depth or colour, with the right checksum."""
    sides = [int(pick(rng, (0, 1, 7, 60_000, 2**20, 2**31 - 1))) for _ in range(2)]
    head = b"IHDR" + struct.pack(
        ">IIBBBBB", *sides, pick(rng, (1, 8, 16)), pick(rng, (0, 2, 3, 4, 6)), 0, 0, pick(rng, (0, 1))
    )
    return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]


# ---- trees of JSON ----


def places(value, found: list | None = None) -> list:
    """All (container, key) of a tree."""
    found = [] if found is None else found
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(min(len(value), 50)):
            if len(found) < 2000:  # what is repeated need not be changed everywhere
                found.append((value, key))
                places(value[key], found)
    return found


def change_tree(document, rng) -> None:
    """One change somewhere: a hostile value, nothing, a number off by one, many of it, another part of the tree."""
    found = places(document)
    if not found:
        return
    container, key = pick(rng, found)
    old, way = container[key], pick(rng, ("value", "value", "drop", "near", "many", "swap", "nest", "copy"))
    if way == "drop":
        del container[key]
    elif way == "near" and isinstance(old, int) and not isinstance(old, bool):
        container[key] = old + pick(rng, (-1, 1, 4, -4, 1000))
    elif way == "many" and isinstance(old, list):
        container[key] = (old * pick(rng, (2, 3, 100, 2000)))[:5000]
    elif way == "swap":
        other, place = pick(rng, found)
        container[key], other[place] = _copied(other[place]), _copied(old)
    elif way == "nest":
        for _ in range(pick(rng, (1, 5, 200))):
            old = [old] if pick(rng, (True, False)) else {"children": old}
        container[key] = old
    elif way == "copy":
        container[key] = _copied(pick(rng, found)[0])
    else:
        container[key] = _copied(pick(rng, HOSTILE))


def _copied(value):
    return json.loads(json.dumps(value))


def change_glb(data: bytes, rng) -> bytes:
    json_end = 20 + struct.unpack_from("<I", data, 12)[0]
    document, body = json.loads(data[20:json_end]), data[json_end + 8 :]
    if document.get("images") and rng.random() < 0.3:
        body, picture = body + b"\0" * (-len(body) % 4), hostile_picture(rng)
        document["bufferViews"].append({"buffer": 0, "byteOffset": len(body), "byteLength": len(picture)})
        pick(rng, document["images"])["bufferView"] = len(document["bufferViews"]) - 1
        body += picture
        document["buffers"][0]["byteLength"] = len(body)
    else:
        for _ in range(pick(rng, (1, 1, 2, 4))):
            change_tree(document, rng)
    text = json.dumps(document).encode()
    text, body = text + b" " * (-len(text) % 4), body + b"\0" * (-len(body) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(body), b"BIN\0") + body
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def change_gltf(data: bytes, rng) -> bytes:
    document = json.loads(data)
    for _ in range(pick(rng, (1, 1, 2, 4))):
        change_tree(document, rng)
    return json.dumps(document).encode()


# ---- texts and binary headers ----


def change_lines(data: bytes, rng) -> bytes:
    """Lines moved, repeated, left out, or their words in another order."""
    lines = data.split(b"\n")
    for _ in range(pick(rng, (1, 2, 5))):
        at, way = int(rng.integers(len(lines))), pick(rng, ("move", "repeat", "drop", "words", "more"))
        if way == "move":
            lines.insert(int(rng.integers(len(lines) + 1)), lines.pop(at))
        elif way == "repeat":
            lines[at:at] = lines[at : at + pick(rng, (1, 3, 20))] * pick(rng, (1, 2, 50))
        elif way == "drop" and len(lines) > 1:
            del lines[at : at + pick(rng, (1, 1, 3))]
            lines = lines or [b""]
        else:
            words = lines[at].split()
            rng.shuffle(words)
            lines[at] = b" ".join(words * (pick(rng, (2, 100)) if way == "more" else 1))
    return b"\n".join(lines)


def change_ply(data: bytes, rng) -> bytes:
    """Counts, types, names and the order of what a header declares, the data as they were; or their lines."""
    head, mark, body = data.partition(b"end_header\n")
    if rng.random() < 0.3 and b"ascii" in head:
        return head + mark + change_lines(body, rng)
    lines = head.decode().splitlines()
    numbers = [n for n, line in enumerate(lines) if line.startswith(("element", "property"))]
    for _ in range(pick(rng, (1, 1, 2, 3))):
        at = pick(rng, numbers)
        words = lines[at].split()
        way = pick(rng, ("count", "type", "name", "drop", "repeat", "swap"))
        if words[0] == "element" and way == "count":
            words[2] = str(pick(rng, (0, 1, 2, 3, 41, 43, 1000, 2**31, 2**62)))
        elif words[0] == "property" and way == "type":
            place = int(rng.integers(1, len(words) - 1))
            words[place] = pick(rng, SCALARS)
        elif way == "name":
            words[-1] = pick(
                rng, ("x", "y", "red", "s", "t", "texcoord", "vertex_indices", "vertex", "face", "tristrips", "n")
            )
        elif way == "drop":
            words = ["comment"]
        elif way == "repeat":
            words = [*words, "\n", *words]
        else:
            other = pick(rng, numbers)
            lines[at], lines[other] = lines[other], lines[at]
            continue
        lines[at] = " ".join(words).replace(" \n ", "\n")
    return ("\n".join(lines) + "\n").encode() + mark + body


BLOCK = re.compile(rb"[A-Za-z]+\s*\{[^{}]*\}|\[[^\[\]{}]*\]")


def change_wrl(data: bytes, rng) -> bytes:
    """A node or an array repeated, left out, wrapped, or put in the place of another."""
    for _ in range(pick(rng, (1, 2, 3))):
        blocks = list(BLOCK.finditer(data))
        if not blocks:
            break
        block, other = pick(rng, blocks), pick(rng, blocks)
        wrapped = b"Transform { scale 1e30 0 -1 children [ %s ] }" % block[0]
        using = b"DEF N%d %s USE N%d" % (len(data) % 7, block[0], int(rng.integers(7)))
        new = pick(rng, (b"", block[0] * pick(rng, (2, 50)), wrapped, other[0], using, b"[ " + block[0] + b" ]"))
        data = data[: block.start()] + new + data[block.end() :]
    return data


def change_bnt(data: bytes, rng) -> bytes:
    rows, columns, background, length = struct.unpack_from("<HHdH", data)
    values = [rows, columns, background, length]
    for _ in range(pick(rng, (1, 2))):
        place = int(rng.integers(4))
        new = (0.0, np.nan, np.inf, -np.inf, 1e308) if place == 2 else (0, 1, rows, columns, 65535)
        values[place] = pick(rng, new)
    count = pick(rng, (5 * values[0] * values[1], 2**32 - 1, 5 * rows * columns)) % 2**32
    body = bytearray(data[14 + length + 4 :])
    if body and rng.random() < 0.5:
        struct.pack_into(
            "<d", body, 8 * int(rng.integers(len(body) // 8)), pick(rng, (np.nan, np.inf, 1e308, -1e9, 0.0))
        )
    return struct.pack("<HHdH", *values) + data[14 : 14 + length] + struct.pack("<I", count) + bytes(body)


def change_abs(data: bytes, rng) -> bytes:
    """Another grid, with or without the numbers for it."""
    rows, columns = (int(pick(rng, (0, 1, 2, 6, 7, 42, 3000, 10**8))) for _ in range(2))
    numbers = data.split(b"\n", 3)[3].split()
    if rng.random() < 0.5 and rows * columns < 1000:
        numbers = (numbers * (4 * rows * columns // len(numbers) + 1))[: 4 * rows * columns]
    return b"%d rows\n%d columns\npixels (flag X Y Z):\n" % (rows, columns) + b" ".join(numbers) + b"\n"


CHANGES = {
    "glb": change_glb,
    "gltf": change_gltf,
    "ply": change_ply,
    "wrl": change_wrl,
    "bnt": change_bnt,
    "abs": change_abs,
}


def restructured(files: Files, reader: str, rng) -> Files:
    """The files with one change: to a picture beside the mesh, or to the mesh itself."""
    files = dict(files)
    mesh, *beside = files
    pictures = [name for name in beside if name.endswith(".png")]
    if pictures and rng.random() < 0.2:
        files[pick(rng, pictures)] = hostile_picture(rng)
    elif reader == "abs.gz":
        files[mesh] = gzip.compress(change_abs(gzip.decompress(files[mesh]), rng), mtime=0)
    else:
        is_binary = reader == "stl" and b"\0" in files[mesh]
        change = CHANGES.get(reader, _change_stl if is_binary else change_lines)
        files[mesh] = change(files[mesh], rng)
    return files


def _change_stl(data: bytes, rng) -> bytes:
    """Another number of triangles, with as many, or not; numbers that are none."""
    count, rows = struct.unpack_from("<I", data, 80)[0], bytearray(data[84:])
    for _ in range(pick(rng, (1, 5))):
        place = 50 * int(rng.integers(count)) + 4 * int(rng.integers(12))
        struct.pack_into("<f", rows, place, pick(rng, (np.nan, np.inf, 3e38, 0.0)))
    claimed = pick(rng, (0, 1, count - 1, count, count + 1, 2**32 - 1))
    kept = bytes(rows[: 50 * min(claimed, count)]) if rng.random() < 0.7 else bytes(rows)
    return data[:80] + struct.pack("<I", claimed) + kept
