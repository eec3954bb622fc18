"""Files that are small or plain, and cost a careless reader gigabytes or minutes.

In: a bomb's name and a folder. Out: the file, and what `load_mesh` makes of it, measured in a process of its own.

    python -m tests.bombs           # all, each up to 64 MiB: peak memory, seconds, the reason of the refusal
"""

from __future__ import annotations

import gzip
import io
import json
import re
import resource
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from processing.meshes_mvfer import load_mesh

from .fuzz import RSS_UNIT
from .processing.gltf_files import SQUARE, Gltf

SIZE = 60 * 2**20  # of text
MAX_BYTES, MAX_SECONDS = 2 * 2**30, 20.0
ROOT = Path(__file__).parents[1]
GRID = "".join(f"v {i % 100} {i // 100 % 100} {i % 7}\n" for i in range(1000)).encode()
WRL = b"#VRML V2.0 utf8\nShape { geometry IndexedFaceSet { coord Coordinate { point [ %s ] } coordIndex [ %s ] } }\n"
TRIANGLE = WRL % (b"0 0 0 1 0 0 0 1 0", b"0 1 2 -1")


def fill(unit: bytes, head: bytes = b"", tail: bytes = b"") -> bytes:
    return head + unit * (SIZE // len(unit)) + tail


def ply(faces: int, kind: str = "ascii", row: str = "property list uchar int vertex_indices\n") -> bytes:
    head = f"ply\nformat {kind} 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    return (head + f"element face {faces}\n{row}end_header\n").encode()


def png(width: int, height: int, mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height), 0).save(buffer, "PNG", compress_level=9)
    return buffer.getvalue()


def painted(pictures: list[bytes], *, gloss: bool = False, wrap: int = 10497, spread: float = 1.0) -> bytes:
    """A GLB of one square for each picture."""
    scene = Gltf.with_square()
    uv, position = scene.array(SQUARE[:, :2] * spread), scene.primitive["attributes"]["POSITION"]
    document = scene.document
    document["images"], document["materials"], primitives = [], [], []
    for number, data in enumerate(pictures):
        document["images"].append({"bufferView": scene.view(data), "mimeType": "image/png"})
        info = {"index": number}
        look = {"extensions": {"KHR_materials_pbrSpecularGlossiness": {"diffuseTexture": info}}}
        document["materials"].append(look if gloss else {"pbrMetallicRoughness": {"baseColorTexture": info}})
        part = {"attributes": {"POSITION": position, "TEXCOORD_0": uv}, "material": number}
        primitives.append(scene.primitive | part)
    document["samplers"] = [{"wrapS": wrap, "wrapT": wrap}]
    document["textures"] = [{"source": number, "sampler": 0} for number in range(len(pictures))]
    document["meshes"][0]["primitives"] = primitives
    return scene.glb()


def progressive(scans: int) -> bytes:
    """A JPEG of 4096 x 4096 that goes over its pixels many times."""
    buffer = io.BytesIO()
    Image.new("L", (4096, 4096)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rfind(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + b"\xff\xd9"


def glb(accessors: list[dict], views: list[dict], meshes: list[dict], body: bytes, uses: int = 1, **more) -> bytes:
    document = {"asset": {"version": "2.0"}, "scenes": [{"nodes": list(range(uses))}], "nodes": [{"mesh": 0}] * uses}
    document |= {"meshes": meshes, "accessors": accessors, "bufferViews": views, "buffers": [{"byteLength": len(body)}]}
    text = json.dumps(document | more).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIII4s", b"glTF", 2, 28 + len(text) + len(body), len(text), b"JSON")
    return head + text + struct.pack("<I4s", len(body), b"BIN\0") + body


def soup(nodes: int) -> bytes:
    """As many triangles as fit, of points that are all different, used several times."""
    count = SIZE // 36 * 3
    body = np.random.default_rng(0).random((count, 3), np.float32).tobytes()
    accessor = {"bufferView": 0, "componentType": 5126, "count": count, "type": "VEC3"}
    view = {"buffer": 0, "byteOffset": 0, "byteLength": len(body)}
    return glb([accessor], [view], [{"primitives": [{"attributes": {"POSITION": 0}}]}], body, nodes)


def zeros() -> bytes:
    """Arrays without bytes, and one that is read for each of many joints."""
    body = bytes(36 * 2**17)
    position = {"bufferView": 0, "componentType": 5126, "count": 3 * 2**17, "type": "VEC3"}
    attributes = {"POSITION": 0} | {
        f"{kind}_{k}": 1 + (kind == "WEIGHTS") for kind in ("JOINTS", "WEIGHTS") for k in range(8)
    }
    joints = [{"componentType": kind, "count": 3 * 2**17, "type": "VEC4"} for kind in (5121, 5126)]
    view = {"buffer": 0, "byteOffset": 0, "byteLength": len(body)}
    mesh = {"primitives": [{"attributes": attributes}] * 40}
    return glb([position, *joints], [view], [mesh], body, skins=[{"joints": [0]}], nodes=[{"mesh": 0, "skin": 0}])


def binary_ply(row: bytes, faces: str) -> bytes:
    count = SIZE // len(row)
    return ply(count, "binary_little_endian", faces) + struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0) + row * count


def mixed_ply() -> bytes:
    rows = SIZE // 18
    return ply(2 * rows) + b"0 0 0\n1 0 0\n0 1 0\n" + b"3 0 1 2\n4 0 1 2 0\n" * rows


def range_image(side: int) -> bytes:
    return f"{side} rows\n{side} columns\npixels (flag X Y Z):\n".encode() + b"1 " * (4 * side * side)


def off(row: bytes, count: int) -> bytes:
    return b"OFF\n%d %d 0\n" % (1000, count) + GRID.replace(b"v ", b"") + row * count


POLYGON = b"f " + b"1 2 3 4 " * 10_000 + b"\n"
OFF_POLYGON = b"40000 " + b"1 2 3 4 " * 10_000 + b"\n"
STL = b"facet\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendfacet\n"
PAINT = {
    "two 8192 px pictures.glb": lambda: painted([png(8192, 8192), png(8192, 8191)]),
    "forty 7000 px pictures.glb": lambda: painted([png(7000, 7000)] * 40),
    "a tall and a wide picture.glb": lambda: painted([png(1, 60_000), png(60_000, 1)]),
    "gloss of 8192 px.glb": lambda: painted([png(8192, 8192, "RGBA")], gloss=True),
    "gloss of 16 bits.glb": lambda: painted([png(8192, 8192, "I;16")], gloss=True),
    "gloss of 9400 px.glb": lambda: painted([png(9400, 9400, "RGBA")], gloss=True),
    "mirrored 8000 px.glb": lambda: painted([png(8000, 8000)], wrap=33648, spread=9.0),
    "repeated 4000 px.glb": lambda: painted([png(4000, 4000)] * 3, spread=9.0),
    "a JPEG of 60000 scans.glb": lambda: painted([progressive(60_000)]),
}
BOMBS: dict[str, Callable[[], bytes]] = PAINT | {
    "4000 x 4000.abs.gz": lambda: gzip.compress(range_image(4000), 9),
    "2048 x 2048.abs.gz": lambda: gzip.compress(range_image(2048), 9),
    "blanks.abs.gz": lambda: gzip.compress(range_image(2) + b" " * 500 * 2**20, 9),
    "mixed corners.obj": lambda: fill(b"f 1 2/2 3//3\n", GRID, b"vt 0 0\nvt 0 1\n"),
    "triangles.obj": lambda: fill(b"f 1 2 3\n", GRID),
    "one polygon.obj": lambda: fill(b"1 2 3 4 ", GRID + b"f ", b"\n"),
    "polygons.obj": lambda: fill(POLYGON, GRID),
    "polygons of corners with uvs.obj": lambda: fill(b"f 1/1 2/1 3/1 4/1 5/1 6/1 7/1 8/1 9/1\n", GRID + b"vt 0 0\n"),
    "continuations.obj": lambda: fill(b"f 1 2 3\\\n", GRID, b"\n"),
    "continued triangles.obj": lambda: fill(b"f 1 2\\\n 3\n", GRID),
    "empty lines.obj": lambda: fill(b"\n", GRID, b"f 1 2 3\n"),
    "comments.obj": lambda: fill(b"#\n", GRID, b"f 1 2 3\n"),
    "indented.obj": lambda: fill(b" v 0 0 0\n", GRID, b"f 1 2 3\n"),
    "vertices.obj": lambda: fill(b"v 0 0 0\n", GRID, b"f 1 2 3\n"),
    "materials.obj": lambda: fill(b"usemtl a\n", GRID, b"f 1 2 3\n"),
    "empty groups.wrl": lambda: fill(b"Group{}", TRIANGLE),
    "single values.wrl": lambda: fill(b"1 ", b"#VRML V2.0 utf8\nX { a ", b"}\n" + TRIANGLE[16:]),
    "strings.wrl": lambda: fill(b'"s" ', b"#VRML V2.0 utf8\nX { a [ ", b"] }\n" + TRIANGLE[16:]),
    "comments.wrl": lambda: fill(b'"a"#b\n', b"#VRML V2.0 utf8\nX { a [ ", b"] }\n" + TRIANGLE[16:]),
    "short comments.wrl": lambda: fill(b"#\n", TRIANGLE),
    "triangles.wrl": lambda: WRL % (b"0 0 0 1 0 0 0 1 0", fill(b"0 1 2 -1 ")),
    "points.wrl": lambda: WRL % (fill(b"0 0 1 "), b"0 1 2"),
    "shapes.wrl": lambda: fill(TRIANGLE[16:], b"#VRML V2.0 utf8\n"),
    "USE.wrl": lambda: b"#VRML V2.0 utf8\nDEF A " + TRIANGLE[16:] + fill(b"USE A "),
    "triangles.off": lambda: off(b"3 0 1 2\n", SIZE // 8),
    "polygons.off": lambda: off(OFF_POLYGON, SIZE // len(OFF_POLYGON)),
    "triangles.stl": lambda: fill(STL, b"solid a\n", b"endsolid\n"),
    "binary.stl": lambda: b"x" * 80 + struct.pack("<I", SIZE // 50) + np.random.default_rng(0).bytes(SIZE // 50 * 50),
    "triangles.ply": lambda: ply(SIZE // 8) + fill(b"3 0 1 2\n", b"0 0 0\n1 0 0\n0 1 0\n"),
    "mixed.ply": mixed_ply,
    "bytes.ply": lambda: binary_ply(b"\3\0\1\2", "property list uchar uchar vertex_indices\n"),
    "walked.ply": lambda: binary_ply(b"\3\0\1\2\4\0\1\2\0", "property list uchar uchar vertex_indices\n"),
    "empty lists.ply": lambda: binary_ply(b"\0", "property list uchar uchar vertex_indices\n") + b"\3\0\1\2",
    "header.ply": lambda: fill(b"comment a\n", b"ply\nformat ascii 1.0\n", ply(1)[21:] + b"0 0 0 1 0 0 0 1 0 3 0 1 2"),
    "triangles.glb": partial(soup, 1),
    "triangles three times.glb": partial(soup, 3),
    "triangles twelve times.glb": partial(soup, 12),
    "arrays of zeros.glb": zeros,
    "objects.gltf": lambda: fill(b"{},", b'{"asset":{"version":"2.0"},"nodes":[', b"{}]}"),
    "nodes.gltf": lambda: b'{"asset":{"version":"2.0"},"nodes":[%s{}]}' % (b"{}," * 500_000),
}


def write(name: str, folder: Path) -> Path:
    path = folder / ("bomb" + name[name.index(".") :])
    path.write_bytes(BOMBS[name]())
    return path


def measure(path: Path) -> dict:
    """Load a file in a process of its own: `bytes` at its peak, `seconds` of CPU, and what came of it."""
    command = [sys.executable, "-m", "tests.bombs", "--load", str(path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    if ended.returncode:
        return {"bytes": MAX_BYTES, "seconds": 0.0, "said": f"status {ended.returncode}: {ended.stderr[-300:]}"}
    return json.loads(ended.stdout)


def peak_bytes() -> int:
    """Of this process alone; `ru_maxrss` begins with what its parent had."""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT


def _load(path: Path) -> dict:
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30,) * 2)
    begin = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            said = f"read, {len(load_mesh(path).faces)} faces"
    except ValueError as error:
        said = str(error).removeprefix(f"{path}: ")
    return {"bytes": peak_bytes(), "seconds": time.process_time() - begin, "said": said}


def main() -> int:
    if sys.argv[1:2] == ["--load"]:
        print(json.dumps(_load(Path(sys.argv[2]))))
        return 0
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in BOMBS:
            if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
                continue
            path = write(name, Path(folder))
            found = measure(path)
            over = found["bytes"] >= MAX_BYTES or found["seconds"] > MAX_SECONDS
            failed += over
            size, peak = path.stat().st_size / 2**20, found["bytes"] / 2**20
            print(
                f"{'OVER ' * over}{name:36} {size:6.2f} MiB {peak:6.0f} MiB {found['seconds']:5.1f} s  {found['said'][:90]}",
                flush=True,
            )
            path.unlink()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
