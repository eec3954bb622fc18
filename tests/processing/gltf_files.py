"""glTF scenes that tests make byte by byte."""

import json
import struct
from io import BytesIO

import numpy as np
from PIL import Image

from processing.meshes_mvfer import load_mesh

from .mesh_files import save

CODES = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
SHAPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.5]], np.float32)
TWO = np.array([0, 1, 2, 0, 2, 3])


class Gltf:
    """A scene under construction; `with_square` gives it a mesh of two triangles, drawn by node 0."""

    def __init__(self, **document):
        self.document = {"asset": {"version": "2.0"}, "accessors": [], "bufferViews": [], **document}
        self.body = b""

    @classmethod
    def with_square(cls, **document):
        scene = cls(nodes=[{"mesh": 0}], scenes=[{"nodes": [0]}], meshes=[{"primitives": [{}]}], **document)
        scene.primitive.update(attributes={"POSITION": scene.array(SQUARE)}, indices=scene.array(TWO, "u2"))
        return scene

    @property
    def primitive(self):
        return self.document["meshes"][0]["primitives"][0]

    def view(self, data, **fields):
        self.body += b"\0" * (-len(self.body) % 4)
        self.document["bufferViews"].append(
            {"buffer": 0, "byteOffset": len(self.body), "byteLength": len(data), **fields}
        )
        self.body += data
        return len(self.document["bufferViews"]) - 1

    def array(self, values, dtype="f4", *, sparse=None, **fields):
        """An accessor of `(n,)` or `(n, width)` values; `sparse` are rows that replace some: {row: values}."""
        values = np.asarray(values)
        width = values.shape[1] if values.ndim == 2 else 1
        accessor = {"componentType": CODES[dtype], "type": SHAPES[width], "count": len(values), **fields}
        if "bufferView" not in fields and fields.pop("data", True):
            accessor["bufferView"] = self.view(values.astype(f"<{dtype}").tobytes())
        accessor.pop("data", None)
        if sparse:
            rows = self.view(np.array(list(sparse), "<u2").tobytes())
            new = self.view(np.array(list(sparse.values()), f"<{dtype}").tobytes())
            indices = {"bufferView": rows, "componentType": CODES["u2"]}
            accessor["sparse"] = {"count": len(sparse), "indices": indices, "values": {"bufferView": new}}
        self.document["accessors"].append(accessor)
        return len(self.document["accessors"]) - 1

    def paint(self, picture, uvs, *, texture=None, sampler=None, name="TEXCOORD_0", primitive=None):
        """Give a primitive a texture."""
        lists = [self.document.setdefault(key, []) for key in ("images", "textures", "materials", "samplers")]
        images, textures, materials, samplers = lists
        images.append({"bufferView": self.view(png(picture)), "mimeType": "image/png"})
        samplers.append(sampler or {})
        textures.append({"source": len(images) - 1, "sampler": len(samplers) - 1})
        info = {"index": len(textures) - 1, **(texture or {})}
        materials.append({"pbrMetallicRoughness": {"baseColorTexture": info}})
        primitive = primitive or self.primitive
        primitive["attributes"][name] = self.array(uvs)
        primitive["material"] = len(materials) - 1
        return self

    def glb(self):
        self.document["buffers"] = [{"byteLength": len(self.body)}]
        text = json.dumps(self.document).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        chunks += struct.pack("<I4s", len(self.body), b"BIN\0") + self.body
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks

    def load(self, folder, **options):
        return load_mesh(save(folder / "scene.glb", self.glb()), **options)


def png(pixels):
    stream = BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(stream, "PNG")
    return stream.getvalue()
