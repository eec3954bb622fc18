"""Made-up scans in the layouts of licensed sets: the mean face of framing's template, written as each set writes its files."""

import gzip
import struct
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image
from scipy.ndimage import distance_transform_edt

from mvfer.data import schema
from processing.face_template_mvfer import MEAN, MODES, VALID

GRID, REACH = 33, 1.28  # the template's cells, and four more around it
RATES = 20 * np.sqrt([2, 3, 5, 7, 11, 13, 17, 19])  # at which scans differ


def face(shift: float = 0.0):
    """Vertices `(N, 3)`, quads `(Q, 4)` and uvs `(N, 2)`; `shift` makes scans differ, as people do."""
    steps = np.linspace(-REACH, REACH, GRID)
    x, y = np.meshgrid(steps, steps)
    margin = (GRID - len(MEAN)) // 2
    depths = MEAN + np.einsum("k,kij->ij", np.sin(RATES * shift + 1), MODES[: len(RATES)])
    is_known, depths = (np.pad(grid, margin)[::-1] for grid in (VALID, depths))  # rows from the bottom to the top
    rows, columns = distance_transform_edt(~is_known, return_distances=False, return_indices=True)
    z = depths[rows, columns] - 3 * np.hypot(x - steps[columns], y - steps[rows])  # the face turns away there
    index = np.arange(GRID * GRID).reshape(GRID, GRID)
    quads = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], -1).reshape(-1, 4)
    vertices = 80 * np.stack([x, y, z], -1).reshape(-1, 3)
    uvs = (vertices[:, :2] - vertices[:, :2].min(0)) / np.ptp(vertices[:, :2], axis=0)
    return vertices, quads, uvs


def triangles(shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The same in metres, in triangles: vertices `(N, 3)` float32 and faces `(M, 3)`."""
    vertices, quads, _ = face(shift)
    return (vertices / 1000).astype(np.float32), quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)


def write_picture(path: Path, size: int = 16) -> None:
    """Red on the left, blue on the right."""
    pixels = np.zeros((size, size, 3), np.uint8)
    pixels[:, : size // 2, 0] = 255
    pixels[:, size // 2 :, 2] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_wrl(path: Path, shift: float = 0.0, *, separator: str = ", ") -> None:
    """VRML 2.0 as BU-3DFE and BU-4DFE have it: quads, `texCoordIndex`, and separators that vary."""
    vertices, quads, uvs = face(shift)
    points = separator.join(f"{x:.4f} {y:.4f} {z:.4f}" for x, y, z in vertices)
    places = separator.join(f"{u:.4f} {v:.4f}" for u, v in uvs)
    index = " ".join(f"{a}, {b}, {c}, {d}, -1," for a, b, c, d in quads)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "#VRML V2.0 utf8\nShape { geometry IndexedFaceSet {\n"
        f"coord Coordinate {{ point [ {points} ] }}\ncoordIndex [ {index} ]\n"
        f"texCoord TextureCoordinate {{ point [ {places} ] }}\ntexCoordIndex [ {index} ]\n}} }}\n"
    )


def write_textured_obj(path: Path, shift: float = 0.0) -> None:
    """OBJ with MTL and a picture of the same name."""
    vertices, quads, uvs = face(shift)
    lines = [f"mtllib {path.stem}.mtl", "usemtl skin"]
    lines += [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in vertices] + [f"vt {u:.4f} {v:.4f}" for u, v in uvs]
    lines += ["f " + " ".join(f"{i + 1}/{i + 1}" for i in quad) for quad in quads]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    path.with_suffix(".mtl").write_text(f"newmtl skin\nmap_Kd {path.stem}.png\n")
    write_picture(path.with_suffix(".png"))


def write_plain_obj(path: Path, shift: float = 0.0) -> None:
    vertices, quads, _ = face(shift)
    lines = [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in vertices]
    lines += ["f " + " ".join(str(i + 1) for i in quad) for quad in quads]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def write_ply(path: Path, shift: float = 0.0) -> None:
    vertices, quads, _ = face(shift)
    header = (
        f"ply\nformat ascii 1.0\nelement vertex {len(vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
    )
    header += f"element face {len(quads)}\nproperty list uchar int vertex_indices\nend_header\n"
    body = "".join(f"{x:.4f} {y:.4f} {z:.4f}\n" for x, y, z in vertices)
    body += "".join("4 " + " ".join(map(str, quad)) + "\n" for quad in quads)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(header + body)


def write_bnt(path: Path, shift: float = 0.0) -> None:
    """A range image: rows from bottom to top, x, y, z, u, v each as a block; v is 0 at the top of the picture."""
    vertices, _, uvs = face(shift)
    x, y, z = (vertices[:, i].reshape(GRID, GRID) for i in range(3))
    z = z.copy()
    z[0] = -1e9  # background
    blocks = np.stack([x, y, z, uvs[:, 0].reshape(GRID, GRID), 1 - uvs[:, 1].reshape(GRID, GRID)])
    blocks = blocks.astype("<f8")
    name = b"face.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        struct.pack("<HHdH", GRID, GRID, -1e9, len(name)) + name + struct.pack("<I", blocks.size) + blocks.tobytes()
    )


def bu3dfe(folder, people=("F0001", "F0002", "M0001", "M0044"), levels=(1, 4)):
    for person in people:
        number = int(person[1:]) / 50 + (person[0] == "M") / 3
        write_wrl(folder / person / f"{person}_NE00WH_F3D.wrl", number)
        write_picture(folder / person / f"{person}_NE00WH_F3D.bmp")
        for code in ("AN", "HA"):
            for level in levels:
                path = folder / person / f"{person}_{code}{level:02d}WH_F3D.wrl"
                write_wrl(path, number + level / 8, separator=", " if code == "AN" else ",\n ")
                write_picture(path.with_name(path.name.replace("F3D.wrl", "F3D.bmp")))
    return folder


def rows_of(folder):
    return [row for split in schema.load_splits(folder).values() for row in split]


def write_abs(path: Path, shift: float = 0.0) -> None:
    """A range image of FRGC, gzipped: flags, x, y, z, each as a block, rows from the top."""
    vertices, _, _ = face(shift)
    blocks = [np.ones((GRID, GRID)), *(vertices[:, i].reshape(GRID, GRID)[::-1] for i in range(3))]
    text = f"{GRID} rows\n{GRID} columns\npixels (flag X Y Z):\n"
    text += "\n".join(
        " ".join(f"{value:.4f}" if i else "1" for value in block.ravel()) for i, block in enumerate(blocks)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()))


def write_glb(path: Path, shift: float = 0.0) -> None:
    vertices, quads, _ = face(shift)
    path.parent.mkdir(parents=True, exist_ok=True)
    trimesh.Trimesh(vertices, quads[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3), process=False).export(path)


def write_litter(folder: Path) -> None:
    """What macOS leaves in an archive: a file of its own beside every file and folder, and folders of such files."""
    for path in [path for path in sorted(folder.rglob("*")) if path.is_file()]:
        for twin in (path.with_name(f"._{path.name}"), folder / "__MACOSX" / path.relative_to(folder)):
            twin.parent.mkdir(parents=True, exist_ok=True)
            twin.write_bytes(b"\0\5\x16\7")
        (path.parent / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
