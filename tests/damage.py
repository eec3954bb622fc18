"""Small whole files of every mesh format, and ways to damage them.

In: the name of a reader and a random generator. Out: the bytes of a mesh and of what lies beside it, damaged as disks,
downloads, careless exporters and attackers damage files: cut, flipped, spliced, with absurd numbers and names, nested, packed.
"""

from __future__ import annotations

import gzip
import json
import re
import struct
from collections.abc import Callable
from io import BytesIO

import numpy as np
import trimesh
from PIL import Image

from .processing.gltf_files import SQUARE, Gltf
from .structures import restructured

Files = dict[str, bytes]  # the mesh comes first, then what lies beside it


# ---- whole files, the mesh and what lies beside it ----


def sphere() -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=1)  # 42 vertices, 80 faces
    mesh.visual.vertex_colors = np.arange(42 * 4, dtype=np.uint8).reshape(42, 4)
    return mesh


def image() -> Image.Image:
    return Image.fromarray(np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3))


def png() -> bytes:
    stream = BytesIO()
    image().save(stream, "PNG")
    return stream.getvalue()


def lines(table, form: str) -> str:
    return "\n".join(form.format(*row) for row in table) + "\n"


def obj_seeds() -> list[Files]:
    mesh = sphere()
    corners = np.repeat(mesh.faces + 1, 2, axis=1)
    text = lines(mesh.vertices, "v {:.6f} {:.6f} {:.6f}") + lines(mesh.vertices[:, :2], "vt {:.4f} {:.4f}")
    text = "mtllib m.mtl\n" + text + "usemtl skin\n" + lines(corners, "f {}/{} {}/{} {}/{}")
    plain = lines(mesh.vertices, "v {} {} {} 0.5 0.5 0.5") + "f -42 -41 -40\nf 1//1 2//2 3//3\nf 1 2 3 4\n"
    beside = {"m.mtl": b"newmtl skin\nKd 1 1 1\nmap_Kd -s 1 1 1 skin.png\n", "skin.png": png()}
    name = "\u8868".encode("cp932")  # its second byte is a backslash
    odd = b"# D:\\\nmtllib\tm.mtl\t# m\nv 0 0 0\nv 1 0 \\\n 0\nv 0 1 0\nvt 0 0\nusemtl " + name
    odd += b"\nf 1/1 2/1 \\\n\t3/1\n"
    mtl = b"\tnewmtl " + name + b"\n\tmap_Kd\t" + name + b".png\n"
    strange = {"seed.obj": odd, "m.mtl": mtl, "\u8868.png": png()}
    return [{"seed.obj": text.encode(), **beside}, {"seed.obj": plain.encode()}, strange]


def ply_seeds() -> list[Files]:
    mesh = sphere()
    header = "ply\nformat ascii 1.0\ncomment TextureFile skin.png\nelement vertex 3\n"
    header += "".join(f"property float {name}\n" for name in "xyzst")
    header += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    text = header + "0 0 0 0.1 0.2\n1 0 0 0.3 0.4\n0 1 0 0.5 0.6\n3 0 1 2\n"
    plain = [{"seed.ply": mesh.export(file_type="ply", encoding=encoding)} for encoding in ("ascii", "binary")]
    return [*plain, {"seed.ply": text.encode(), "skin.png": png()}, *wedge_and_strip_seeds()]


def wedge_and_strip_seeds() -> list[Files]:
    """Binary: a quad and a triangle with uvs of their corners, and a strip."""
    points = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0, 0]], "<f4").tobytes()
    head = "ply\nformat binary_little_endian 1.0\ncomment TextureFile skin.png\nelement vertex 5\n"
    head += "".join(f"property float {name}\n" for name in "xyz")
    wedges = (
        head
        + "element face 2\nproperty list uchar int vertex_indices\nproperty list uchar float texcoord\nend_header\n"
    )
    rows = struct.pack("<B4iB8f", 4, 0, 1, 2, 3, 8, *[0.5] * 8) + struct.pack("<B3iB6f", 3, 1, 4, 2, 6, *[0.25] * 6)
    strips = head + "element tristrips 1\nproperty list int int vertex_indices\nend_header\n"
    strip = struct.pack("<9i", 8, 3, 0, 2, 1, -1, 1, 4, 2)
    beside = {"skin.png": png()}
    return [{"seed.ply": wedges.encode() + points + rows, **beside}, {"seed.ply": strips.encode() + points + strip}]


def off_seeds() -> list[Files]:
    colored = (
        "COFF # c\n4 2 0\n0 0 0 9 9 9 255\n1 0 0 9 9 9 255\n1 1 0 9 9 9 255\n0 1 0 9 9 9 255\n3 0 1 2\n4 0 1 2 3\n"
    )
    faces = "STNOFF\n3 1 0\n0 0 0 0 0 1 0 0\n1 0 0 0 0 1 1 0\n0 1 0 0 0 1 0 1\n3 0 1 2 255 0 0\n"
    return [{"seed.off": text.encode()} for text in (sphere().export(file_type="off"), colored, faces)]


def stl_seeds() -> list[Files]:
    text = sphere().export(file_type="stl_ascii").encode()
    return [{"seed.stl": sphere().export(file_type="stl")}, {"seed.stl": text}]


def glb_seeds() -> list[Files]:
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=image())
    textured = trimesh.creation.icosphere(subdivisions=1)
    textured.visual = trimesh.visual.TextureVisuals(uv=textured.vertices[:, :2], material=material)
    scene = trimesh.Scene([sphere(), sphere()])
    exported = [thing.export(file_type="glb") for thing in (sphere(), textured, scene)]
    return [{"seed.glb": data} for data in (*exported, avatar().glb())]


def gltf_seeds() -> list[Files]:
    scene = avatar()
    scene.glb()
    scene.document["buffers"][0]["uri"] = "a.bin"
    scene.document["images"] = [{"uri": "skin.png"}]
    return [{"seed.gltf": json.dumps(scene.document).encode(), "a.bin": scene.body, "skin.png": png()}]


def avatar() -> Gltf:
    """A textured square with whatever moves, hides or repeats something."""
    scene = Gltf.with_square(extensionsUsed=["KHR_node_visibility", "KHR_texture_transform"])
    scene.paint(
        np.asarray(image()), SQUARE[:, :2] * 3, texture={"extensions": {"KHR_texture_transform": {"rotation": 0.5}}}
    )
    scene.primitive["targets"] = [{"POSITION": scene.array(np.zeros((4, 3)), data=False, sparse={2: (0, 0, 1)})}]
    scene.document["meshes"][0]["weights"] = [0.5]
    scene.document["meshes"].append({"primitives": [{"attributes": {"POSITION": scene.array(SQUARE)}, "mode": 5}]})
    joints, weights = scene.array([[0, 1, 0, 0]] * 4, "u1"), scene.array([[0.5, 0.5, 0, 0]] * 4)
    scene.primitive["attributes"] |= {"JOINTS_0": joints, "WEIGHTS_0": weights}
    inverse = scene.array(np.tile(np.eye(4).reshape(1, 16), (2, 1)))
    scene.document["skins"] = [{"joints": [1, 2], "inverseBindMatrices": inverse}]
    sampler = {"input": scene.array([0.0, 1.0]), "output": scene.array([[0, 0, 0], [1, 1, 1]])}
    channel = {"sampler": 0, "target": {"node": 2, "path": "translation"}}
    scene.document["animations"] = [{"samplers": [sampler], "channels": [channel]}]
    scene.document["nodes"] = [{"mesh": 0, "skin": 0}, {"children": [2, 3]}, {"rotation": [0, 0, 0.6, 0.8]}]
    scene.document["nodes"].append({"mesh": 1, "extensions": {"KHR_node_visibility": {"visible": True}}})
    scene.document["scenes"] = [{"nodes": [0, 1]}]
    return scene


def wrl_seeds() -> list[Files]:
    mesh = sphere()
    index = lines(mesh.faces, "{}, {}, {}, -1,")
    text = f"""#VRML V2.0 utf8
# a scan
DEF HEAD Transform {{ translation 1 2 3 rotation 0 0 1 1.5 scale 2 2 2 children [ Shape {{
  appearance Appearance {{ texture ImageTexture {{ url ["skin.png"] }} }}
  geometry IndexedFaceSet {{
    coord Coordinate {{ point [ {lines(mesh.vertices, "{:.4f} {:.4f} {:.4f},")} ] }}
    texCoord TextureCoordinate {{ point [ {lines(mesh.vertices[:, :2], "{:.4f} {:.4f},")} ] }}
    color Color {{ color [ {lines(abs(mesh.vertices), "{:.2f} {:.2f} {:.2f},")} ] }}
    coordIndex [ {index} ]
    texCoordIndex [ {index} ]
  }} }} ] }}
USE HEAD
"""
    shape = (
        "Shape { geometry IndexedFaceSet { coord Coordinate { point [ 0 0 0 1 0 0 0 1 0 ] } coordIndex [ 0 1 2 ] } }"
    )
    switch = f"""#VRML V2.0 utf8
DEF S Script {{ eventIn SFTime t field SFNode n NULL field MFFloat l [ 1 2 ] url "javascript: \\"#\\" }}" }}
Switch {{ whichChoice 1 choice [ Group {{ }} {shape} ] }}
"""
    return [{"seed.wrl": text.encode(), "skin.png": png()}, {"seed.wrl": switch.encode()}]


def range_image() -> np.ndarray:
    """x, y, z (3, 6, 7) of a bump, its first row at the top."""
    y, x = np.meshgrid(np.arange(6.0)[::-1], np.arange(7.0), indexing="ij")
    return np.stack([x, y, 3 * np.exp(-((x - 3) ** 2 + (y - 3) ** 2) / 4)])


def bnt_seeds() -> list[Files]:
    x, y, z = range_image()[:, ::-1]
    points = np.stack([x, y, z, x / 6, 1 - y / 5])
    header = struct.pack("<HHdH", 6, 7, -1e9, 8) + b"skin.png" + struct.pack("<I", points.size)
    return [{"seed.bnt": header + points.tobytes(), "seed.png": png()}]


def abs_text() -> bytes:
    points = range_image()
    points[:, 0, 0] = -999999
    blocks = np.concatenate([(points[:1, :, :] > -999999).astype(float), points]).reshape(4, -1)
    return f"6 rows\n7 columns\npixels (flag X Y Z):\n{lines(blocks, '{:g} ' * 42)}".encode()


SEEDS: dict[str, Callable[[], list[Files]]] = {
    "obj": obj_seeds,
    "ply": ply_seeds,
    "off": off_seeds,
    "stl": stl_seeds,
    "glb": glb_seeds,
    "gltf": gltf_seeds,
    "wrl": wrl_seeds,
    "bnt": bnt_seeds,
    "abs": lambda: [{"seed.abs": abs_text()}],
    "abs.gz": lambda: [{"seed.abs.gz": gzip.compress(abs_text(), mtime=0)}],
}


# ---- damage ----

NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
NAME = re.compile(rb"[\w./-]+\.(?:png|mtl|bin)")
NUMBERS = (
    "0 -0 -1 1 2 3 255 256 65535 65536 2147483647 2147483648 -2147483649 4294967295 4294967296 999999999 -999999999 "
    "9223372036854775807 9223372036854775808 99999999999999999999 1e9 1e30 1e39 1e308 1e400 -1e400 1e-400 0.5 2.5 -999999"
).split()
WORDS = "nan -nan inf -inf NaN Infinity 0x10 1_0 1,5 1.2.3 . - + e 1e ' \" [ ] { } / // # \\ true null".split()
NAMES = (
    "../secret.png ../../etc/hostname /etc/hostname /etc/passwd ..\\secret.png C:\\secret.png file:///etc/hostname "
    "https://example.org/a.png . .. ./skin.png ./ /dev/zero /dev/stdin sub/../../a.png a\0.png \u9854.png " + "x" * 5000
).split(" ")
MAGIC_WORDS = (
    rb"PK\x03\x04 \x1f\x8b\x08\0 BZh9 \xfd7zXZ\0 7z\xbc\xaf\x27\x1c Rar!\x1a\x07 \x89PNG %PDF-1.7 \x7fELF MZ #! ustar"
)
MAGICS = [*MAGIC_WORDS.decode("unicode_escape").encode("latin-1").split(), b"<!DOCTYPE html>", b"\xef\xbb\xbf"]
NESTS = ("Group { children [ |] } ", "Transform { children |} ", '{"a":|}', "[|]", "{|}", "(|)")
LINES = {  # what a file of this kind may hold and a careless reader may trust
    "obj": "mtllib m.mtl|mtllib a.mtl b.mtl # c|usemtl none|usemtl|# a\\|vt 0|vn 0 0 1|f 1/1/1 2/2/2 3//3|f 1 2|l 1 2|g a|o a|\\|"
    "v 1 2 3 4 5 6 7|f 1 2 3 #",
    "ply": "element vertex 4000000000|element face 0|element other 4000000000|property list uint int more|obj_info a|"
    "property list uchar float texcoord|property int texnumber|element tristrips 1|"
    "property double x|property foo bar|format binary_big_endian 1.0|comment TextureFile a.png|end_header|property",
    "off": "OFF|COFF|STCNOFF|4OFF|3 1 0|# a|4 0 1 2 3|9999999 0 1 2|-3 0 1 2|3 1 2",
    "stl": "solid|endsolid|facet normal 0 0 1|outer loop|vertex 0 0 0|endloop|endfacet|vertex",
    "glb": '"byteStride":0,|"sparse":{"count":1},|"uri":"../secret.bin",|"byteOffset":-4,|"mode":5,|"children":[0],',
    "gltf": '"uri":"../a.bin",|"sparse":{"count":9},|"mode":6,|"children":[0],|"skin":0,|"weights":[1e30],',
    "wrl": 'ROUTE a TO b|PROTO A [ ]|DEF A|USE A|USE HEAD|NULL|"|url "../a"|ccw FALSE|whichChoice 1|'
    "whichChoice -1|eventIn SFTime t|field SFNode n NULL|Switch { choice [ USE HEAD ] whichChoice 0 }|"
    "DEF HEAD Group { children [ USE HEAD USE HEAD ] }",
    "bnt": "a.png|../a.png",
    "abs": "6 rows|7 columns|pixels (flag X Y Z):|1 1 1 1",
}


def between(rng, low: int, high: int) -> int:
    """An integer of low..high."""
    return int(rng.integers(low, high + 1))


def pick(rng, items):
    return items[between(rng, 0, len(items) - 1)]


def slice_of(data: bytes, rng) -> slice:
    begin = between(rng, 0, len(data))
    return slice(begin, min(len(data), begin + int(2 ** rng.uniform(0, 9))))


def flip_bits(data: bytes, rng, kind: str) -> bytes:
    result = bytearray(data)
    for _ in range(between(rng, 1, 8) if data else 0):
        result[between(rng, 0, len(data) - 1)] ^= 1 << between(rng, 0, 7)
    return bytes(result)


def splice(data: bytes, rng, kind: str) -> bytes:
    chunk, at = data[slice_of(data, rng)], between(rng, 0, len(data))
    return data[:at] + chunk + data[at + len(chunk) :]


def duplicate(data: bytes, rng, kind: str) -> bytes:
    """A chunk twice or more often, or not at all."""
    at = slice_of(data, rng)
    return data[: at.start] + data[at] * pick(rng, (0, 2, 2, 3, 100)) + data[at.stop :]


def truncate(data: bytes, rng, kind: str) -> bytes:
    return data[: between(rng, 0, len(data))]


def replace_match(pattern, replacements, data: bytes, rng) -> bytes:
    """One match becomes a hostile word; early ones, where the headers are, as often as all others."""
    found = list(pattern.finditer(data))
    if not found:
        return data
    match = pick(rng, found[:12] if rng.random() < 0.5 else found)
    return data[: match.start()] + pick(rng, replacements).encode() + data[match.end() :]


def replace_number(data: bytes, rng, kind: str) -> bytes:
    return replace_match(NUMBER, pick(rng, (NUMBERS, NUMBERS, WORDS)), data, rng)


def replace_name(data: bytes, rng, kind: str) -> bytes:
    return replace_match(NAME, NAMES, data, rng)


def overwrite_number(data: bytes, rng, kind: str) -> bytes:
    form = pick(rng, "HIQfd")
    extremes = (0.0, -1.0, 1e9, 1e38, np.nan, np.inf, -np.inf) if form in "fd" else (0, 1, 2**15, 2**16 - 1)
    if form in "IQ":
        extremes += (2**31 - 1, 2**31, 2**32 - 1)
    word = struct.pack("<" + form, pick(rng, extremes))
    at = between(rng, 0, min(len(data), 120) if rng.random() < 0.5 else len(data))
    return data[:at] + word + data[at + len(word) :]


def nest(data: bytes, rng, kind: str) -> bytes:
    opening, closing = pick(rng, NESTS).split("|")
    depth, at = pick(rng, (50, 500, 5000)), between(rng, 0, len(data))
    return data[:at] + (opening * depth + closing * pick(rng, (0, depth))).encode() + data[at:]


def insert_line(data: bytes, rng, kind: str) -> bytes:
    at = data.find(b"\n", between(rng, 0, min(len(data), 300) if rng.random() < 0.5 else len(data))) + 1
    return data[:at] + (pick(rng, LINES[kind].split("|")) + "\n").encode() * pick(rng, (1, 1, 2, 300)) + data[at:]


def insert_run(data: bytes, rng, kind: str) -> bytes:
    at = between(rng, 0, len(data))
    run = pick(rng, (b" ", b"\n", b"\r", b"\0", b"9", b"/", b'"', b'\\"', b"#", b",", b"\xff", b"-", b"0 ", b"\\\n"))
    return data[:at] + run * pick(rng, (1, 50, 5000, 20000)) + data[at:]


def put_magic_in_front(data: bytes, rng, kind: str) -> bytes:
    return pick(rng, MAGICS) + data


MUTATIONS = (truncate, flip_bits, splice, duplicate, duplicate, replace_number, replace_number, replace_number)
MUTATIONS += (overwrite_number, overwrite_number, replace_name, nest, insert_line, insert_run, put_magic_in_front)


def damage(data: bytes, rng, kind: str) -> bytes:
    for _ in range(pick(rng, (1, 1, 2, 3))):
        data = pick(rng, MUTATIONS)(data, rng, kind)
    return data


def damage_inside(data: bytes, rng, kind: str) -> bytes:
    """Damage behind what protects a format: the checksum of gzip, the lengths in a GLB."""
    if kind == "abs.gz":
        return gzip.compress(damage(gzip.decompress(data), rng, "abs"), mtime=0)
    json_end = 20 + struct.unpack_from("<I", data, 12)[0]
    text, body = data[20:json_end], data[json_end + 8 :]
    if rng.random() < 0.5:  # still JSON
        for _ in range(between(rng, 1, 3)):
            text = replace_match(NUMBER, NUMBERS, text, rng)
    elif rng.random() < 0.5:
        text = damage(json.dumps(json.loads(text), separators=(", ", ":")).encode(), rng, kind)
    else:
        body = damage(body, rng, kind)
    text, body = text + b" " * (-len(text) % 4), body + b"\0" * (-len(body) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(body), b"BIN\0") + body
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def mutated(seeds: list[Files], reader: str, rng) -> Files:
    """A seed with damage: half of them to bytes, half to what they mean (`structures`)."""
    files = dict(pick(rng, seeds))
    if rng.random() < 0.5:
        return restructured(files, reader, rng)
    names = list(files)
    name = pick(rng, names) if rng.random() < 0.3 else names[0]
    is_protected = reader in ("glb", "abs.gz") and rng.random() < 0.7
    kind = reader if is_protected else reader.removesuffix(".gz")
    files[name] = (damage_inside if is_protected else damage)(files[name], rng, kind)
    return files
