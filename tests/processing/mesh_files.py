"""Small mesh files that several tests write, and what every refusal of one must say."""

import pytest

from processing.meshes_mvfer import load_mesh

V = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"
VT = V + "vt 0 0\nvt 1 0\nvt 0 1\n"
SHAPE = "Shape {{ geometry IndexedFaceSet {{ coord Coordinate {{ point [{0}] }} coordIndex [{1}] }} }}"
POINTS = "0 0 0, 1 0 0, 0 1 0"
PLY = "ply\nformat {0} 1.0\nelement vertex {1}\nproperty float x\nproperty float y\nproperty float z\n"
PLY_FACES = "element face {0}\nproperty list uchar int vertex_indices\n"


def ply(body, *, kind="ascii", vertices=3, faces=1):
    header = PLY.format(kind, vertices) + PLY_FACES.format(faces) + "end_header\n"
    return header.encode() + (body.encode() if isinstance(body, str) else body)


def wrl(points=POINTS, index="0 1 2 -1"):
    return "#VRML V2.0 utf8\n" + SHAPE.format(points, index)


def save(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def assert_refused(path, reason):
    """`load_mesh` says which file, why (a regular expression), and what to do."""
    with pytest.raises(ValueError, match=reason) as caught:
        load_mesh(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "; " in message, "a remedy follows the reason"
    assert caught.value.__cause__ is not None
