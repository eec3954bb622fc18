"""Time our readers of OBJ, VRML, BNT and ABS files next to what one would use instead: `python -m benchmarks.readers [--json]`.

trimesh reads OBJ alone of these; for the others the peer is what a user would write in an afternoon (`np.fromstring` on the
arrays between brackets, `np.fromfile`, `np.loadtxt`), which checks nothing and drops no depth jumps. Files are made here in the
sizes of their data sets. The candidates take turns, and what counts is processor time, which other programs disturb least: read
the ratios. All must find the same number of triangles; textures are not read.
"""

import argparse
import json
import re
import struct
import tempfile
import time
from pathlib import Path

import numpy as np
import trimesh

from benchmarks.render import interleaved, synthetic_head
from processing.meshes_mvfer import load_mesh


def head_with_uvs(triangles: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices `(N, 3)` in millimetres, faces `(M, 3)`, texture coordinates `(N, 2)`."""
    vertices, faces = synthetic_head(triangles)
    uvs = (vertices[:, :2] - vertices[:, :2].min(0)) / np.ptp(vertices[:, :2], axis=0)
    return 100 * vertices, faces, uvs


def range_image(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """x, y, z `(3, rows, columns)` in millimetres, the first row at the top, and which points are on the face."""
    y, x = np.meshgrid(np.linspace(120, -120, rows), np.linspace(-100, 100, columns), indexing="ij")
    inside = 1 - (x / 85) ** 2 - (y / 110) ** 2
    return np.stack([x, y, 90 * np.clip(inside, 0, None) - 1500]), inside > 0


def write_obj(path: Path, triangles: int) -> None:
    vertices, faces, uvs = head_with_uvs(triangles)
    lines = ["v {:.6f} {:.6f} {:.6f}".format(*vertex) for vertex in vertices.tolist()]
    lines += ["vt {:.6f} {:.6f}".format(*uv) for uv in uvs.tolist()]
    lines += ["f {0}/{0} {1}/{1} {2}/{2}".format(*face) for face in (faces + 1).tolist()]
    path.write_text("\n".join(lines) + "\n")


def write_wrl(path: Path, triangles: int) -> None:
    vertices, faces, uvs = head_with_uvs(triangles)
    points = ",\n".join("{:.6f} {:.6f} {:.6f}".format(*vertex) for vertex in vertices.tolist())
    places = ",\n".join("{:.6f} {:.6f}".format(*uv) for uv in uvs.tolist())
    index = "\n".join("{}, {}, {}, -1,".format(*face) for face in faces.tolist())
    path.write_text(
        "#VRML V2.0 utf8\nShape { geometry IndexedFaceSet {\n"
        f"coord Coordinate {{ point [ {points} ] }}\ncoordIndex [ {index} ]\n"
        f"texCoord TextureCoordinate {{ point [ {places} ] }}\ntexCoordIndex [ {index} ]\n}} }}\n"
    )


def write_bnt(path: Path, rows: int, columns: int) -> None:
    points, on_face = range_image(rows, columns)
    points[:, ~on_face] = -1e9
    uvs = np.stack(np.meshgrid(np.linspace(1, 0, rows), np.linspace(0, 1, columns), indexing="ij"))[::-1]
    data = np.concatenate([points[:, ::-1], uvs])  # rows from the bottom
    header = struct.pack("<HHdH", rows, columns, -1e9, 8) + b"face.png" + struct.pack("<I", data.size)
    path.write_bytes(header + data.astype("<f8").tobytes())


def write_abs(path: Path, rows: int, columns: int) -> None:
    points, on_face = range_image(rows, columns)
    points[:, ~on_face] = -999999
    blocks = [" ".join(str(int(flag)) for flag in on_face.ravel())]
    blocks += [" ".join(f"{value:.6f}" for value in block.ravel().tolist()) for block in points]
    head = f"{rows} rows\n{columns} columns\npixels (flag X Y Z):\n"
    path.write_text(head + "\n".join(blocks) + "\n")


def plain_wrl(path: Path) -> tuple[np.ndarray, np.ndarray]:
    text = path.read_text()
    points, _ = (np.array(re.sub(r",", " ", found).split(), float) for found in re.findall(r"point \[([^]]*)\]", text))
    index = np.array(re.search(r"coordIndex \[([^]]*)\]", text)[1].replace(",", " ").split(), int)
    return points.reshape(-1, 3), index.reshape(-1, 4)[:, :3]


def plain_grid(points: np.ndarray, on_face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two triangles per cell whose corners are all on the face."""
    index = np.arange(on_face.size).reshape(on_face.shape)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, 1:].ravel(), index[1:, :-1].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return points.reshape(3, -1).T, faces[on_face.ravel()[faces].all(1)]


def plain_bnt(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open("rb") as file:
        rows, columns, background, length = struct.unpack("<HHdH", file.read(14))
        file.seek(length + 4, 1)
        points = np.fromfile(file, "<f8").reshape(5, rows, columns)[:3]
    return plain_grid(points, points[2] > background)


def plain_abs(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open() as file:
        rows, columns = int(file.readline().split()[0]), int(file.readline().split()[0])
        flags, *points = np.loadtxt(file, skiprows=1).reshape(4, rows, columns)
    return plain_grid(np.stack(points), flags == 1)


def with_trimesh(path: Path) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.load_mesh(path, process=False)
    return mesh.vertices, mesh.faces


def ours(path: Path) -> tuple[np.ndarray, np.ndarray]:
    mesh = load_mesh(path)
    return mesh.vertices, mesh.faces


TASKS = {  # name of the file: what writes it, the peer, the peer's name
    "BU-3DFE, 20k triangles.wrl": (lambda path: write_wrl(path, 20_000), plain_wrl, "str.split"),
    "BP4D, 30k triangles.obj": (lambda path: write_obj(path, 30_000), with_trimesh, "trimesh"),
    "FaceScape, 50k triangles.obj": (lambda path: write_obj(path, 50_000), with_trimesh, "trimesh"),
    "Bosphorus, 225 x 185.bnt": (lambda path: write_bnt(path, 225, 185), plain_bnt, "np.fromfile"),
    "FRGC, 480 x 640.abs": (lambda path: write_abs(path, 480, 640), plain_abs, "np.loadtxt"),
}


def main(argv=None) -> dict:
    parser = argparse.ArgumentParser(description="Time our readers of mesh files next to others; read the ratios.")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args(argv)
    report = {}
    for name, (write, peer, peer_name) in TASKS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            write(path)
            found = [len(read(path)[1]) for read in (ours, peer)]
            if found[0] != found[1]:
                raise ValueError(f"{name}: we find {found[0]} triangles, {peer_name} {found[1]}")
            times = interleaved({"ours": ours, "peer": peer}, options.repeats, path, clock=time.process_time)
            report[name] = {
                "megabytes": round(path.stat().st_size / 1e6, 2),
                "triangles": found[0],
                "ours_ms": round(times["ours"], 1),
                "peer": peer_name,
                "peer_ms": round(times["peer"], 1),
                "times_faster": round(times["peer"] / times["ours"], 2),
            }
    print(json.dumps(report, indent=2) if options.json else as_table(report))
    return report


def as_table(report: dict) -> str:
    lines = [f"{'file':30}{'MB':>7}{'triangles':>11}{'ours ms':>9}  {'peer':12}{'peer ms':>9}{'x faster':>10}"]
    for name, row in report.items():
        numbers = f"{row['megabytes']:7.2f}{row['triangles']:11d}{row['ours_ms']:9.1f}"
        lines.append(f"{name:30}{numbers}  {row['peer']:12}{row['peer_ms']:9.1f}{row['times_faster']:10.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
