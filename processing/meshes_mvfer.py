"""One mesh type and the one door every scan enters by.

In: a file (`MESH_SUFFIXES`), arrays, or a trimesh object. Out: a checked `Mesh`
in the package's coordinates: right-handed, y up, the face looking towards +z, x to the viewer's right. Everything that
is wrong with a file is a ValueError `"<path>: <reason>; <remedy>"`; sizes claimed by a header are compared with the
file's size before anything is allocated; textures are only read from the mesh's own folder.
"""

from __future__ import annotations

import codecs
import dataclasses
import os
import stat
import sys
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .abs_mvfer import parse_abs
from .bnt_mvfer import parse_bnt
from .gltf_mvfer import parse_gltf
from .names_mvfer import printable
from .obj_mvfer import FROM_POINTS, MeshFileError, check_triangles, parse_obj
from .off_mvfer import parse_off
from .orientation_mvfer import rotation_of
from .ply_mvfer import parse_ply
from .textures_mvfer import existing_name, name_from_materials, name_of_same_base, read_texture
from .trimesh_mvfer import fields_of_trimesh, parse_stl
from .vertices_mvfer import Origin, bounds, origin_of, to_float32, used_vertices
from .wrl_mvfer import parse_wrl

MESH_SUFFIXES = (".obj", ".ply", ".off", ".stl", ".glb", ".gltf", ".wrl", ".bnt", ".abs", ".abs.gz")
_CONVERT_SCENE = "convert it to .glb, with Blender"
_CONVERSIONS = {
    ".fbx": "convert it to .glb, with Blender or FBX2glTF",
    ".vrm": "it is a GLB: name it .glb",
    **dict.fromkeys((".blend", ".dae", ".3ds", ".usd", ".usda", ".usdc", ".usdz", ".x3d"), _CONVERT_SCENE),
    **dict.fromkeys((".xyz", ".pcd", ".pts", ".ptx", ".las", ".laz", ".e57"), "a point cloud: " + FROM_POINTS),
}
_PARSERS = {".obj": parse_obj, ".ply": parse_ply, ".off": parse_off, ".stl": parse_stl, ".wrl": parse_wrl}
_PARSERS |= {".bnt": parse_bnt, ".abs": parse_abs, ".abs.gz": parse_abs}
_MAX_COORDINATE = 1e9
_FIRST_FACES, _MOST_FACES = 2**6, 2**16  # that are looked at together
_EXPORT = "export the mesh again"
_GZIP = b"\x1f\x8b"
_MAX_UNPACKED_BYTES = 128 * 2**20  # gzip makes a thousand bytes of one; the largest .abs files have 20 MB


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh, with uvs, a texture and colours where the scan has them.

    Attributes:
        vertices (`np.ndarray` of shape `(N, 3)`, float32): any unit.
        faces (`np.ndarray` of shape `(M, 3)`, int64): vertex indices.
        uvs (`np.ndarray` of shape `(U, 2)`, float32, *optional*): origin at the lower left of the texture.
        uv_faces (`np.ndarray` of shape `(M, 3)`, int64, *optional*): uv indices of the same corners as `faces`.
        texture (`np.ndarray` of shape `(h, w, 3)`, uint8, *optional*): RGB, first row at the top.
        vertex_colors (`np.ndarray` of shape `(N, 3)`, uint8, *optional*): RGB.
        source (`str`): the file it came from, "" if it was made in memory.
        origin (three `float`s): where the file has what is (0, 0, 0) here. All zero, but for scans far away from it, whose
            coordinates float32 would round to steps.
    """

    vertices: np.ndarray
    faces: np.ndarray
    uvs: np.ndarray | None = None
    uv_faces: np.ndarray | None = None
    texture: np.ndarray | None = None
    vertex_colors: np.ndarray | None = None
    source: str = ""
    origin: Origin = (0.0, 0.0, 0.0)


def load_mesh(
    path: str | os.PathLike, *, up_axis: str = "y", geometry_only: bool = False, max_bytes: int = 512 * 2**20
) -> Mesh:
    """Read a mesh file.

    Args:
        path (`str` or `os.PathLike`): .obj (with .mtl and texture), .ply, .off, .stl, .glb or .gltf (as the scene shows it
            at rest, or at the first frame of its animation), .wrl (VRML 2.0, as BU-3DFE and BU-4DFE), .bnt (Bosphorus),
            .abs or .abs.gz (FRGC, UND). Equal vertices of .stl and .glb are merged, so that normals are smooth.
        up_axis (`str`, defaults to "y"): the file's up axis, "y", "z", "x" or the same with "-"; "y" is ours, the face
            towards +z; "z" has the face towards -y, "-y" towards -z, "-z" towards +y, "x" and "-x" towards +z. Or both
            axes, up and where the face looks, such as "y/-z", also with "/mirrored", see `orientation_mvfer`.
        geometry_only (`bool`, defaults to `False`): skip uvs, texture and colours.
        max_bytes (`int`, defaults to 512 MiB): refuse larger files. What .abs.gz unpacks to has at most 128 MiB.
    Returns:
        `Mesh`: checked. A texture that is named but absent is left out, with a warning.
    Raises:
        ValueError: `"<path>: <reason>; <remedy>"` for whatever is wrong with the file, its absence included, and for a
            texture outside the mesh's folder.
    """
    rotation = rotation_of(up_axis, "up_axis")
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ValueError(f"expected the path of a mesh file, got {path!r}")
    path = Path(os.fsdecode(path))
    try:
        mesh = _read(path, _read_bytes(path, max_bytes), geometry_only, max_bytes)
        mesh = Mesh(**mesh, source=str(path))
        if up_axis != "y":
            mesh = dataclasses.replace(mesh, vertices=np.asarray(mesh.vertices, np.float64) @ rotation.T)
        return _checked(mesh)
    except MeshFileError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:
        detail = f"{type(error).__name__}: {error}".rstrip(": ")
        raise ValueError(f"{path}: not readable as {_suffix(path)} ({detail}); {_EXPORT}") from error


def as_mesh(obj) -> Mesh:
    """A path, a `Mesh`, a `trimesh.Trimesh` or a dict of a `Mesh`'s fields, as a checked `Mesh`.

    Raises:
        ValueError: if it is none of these, or what `load_mesh` and `check_mesh` refuse.
    """
    if isinstance(obj, Mesh):
        return check_mesh(obj)
    if isinstance(obj, str | os.PathLike):
        return load_mesh(obj)
    if isinstance(obj, dict):
        known = {field.name for field in dataclasses.fields(Mesh)}
        if not {"vertices", "faces"} <= set(obj) <= known:
            raise ValueError(f"expected a dict of vertices, faces and no other than {sorted(known)}, got {sorted(obj)}")
        return check_mesh(Mesh(**obj))
    trimesh = sys.modules.get("trimesh")  # whoever has such an object has imported it
    if trimesh is not None and isinstance(obj, trimesh.Trimesh):
        try:
            return _checked(Mesh(**fields_of_trimesh(obj)))
        except MeshFileError as error:
            raise ValueError(f"mesh: {error}") from error
    raise ValueError(f"expected a path, a Mesh, a trimesh.Trimesh or a dict, got {type(obj).__name__}")


def check_mesh(mesh: Mesh) -> Mesh:
    """The mesh with its arrays in the promised types.

    Raises:
        ValueError: if it is empty, has no area, a coordinate that is not finite or beyond 1e9, an index out of range,
            or an array of another shape than `Mesh` says.
    """
    try:
        return _checked(mesh)
    except MeshFileError as error:
        raise ValueError(f"{mesh.source or 'mesh'}: {error}") from error


def _checked(mesh: Mesh) -> Mesh:
    remedy = _EXPORT if mesh.source else "check the arrays"
    exact = _array(mesh.vertices, "vertices", 3, "floating", remedy)
    faces = np.ascontiguousarray(_array(mesh.faces, "faces", 3, "integer", remedy), np.int64)
    if not len(exact):
        raise MeshFileError("empty, no vertices", remedy)
    if not len(faces):
        raise MeshFileError(f"{len(exact)} vertices but no faces: a point cloud", FROM_POINTS)
    _check_range(faces, len(exact), "faces", "vertices", remedy)
    used = used_vertices(faces, len(exact))
    vertices, origin = _settled(exact, used, remedy)
    points = vertices if used.all() else vertices[used]
    low, high = bounds(points)
    extent = float((high - low).max())
    check_triangles(len(faces))
    if not extent or not _has_area((vertices - low) / extent, faces):
        raise MeshFileError("the faces have no area", "the mesh is collapsed to a line or a point: " + remedy)
    if any(origin):
        x, y, z = (old + new for old, new in zip(mesh.origin, origin, strict=True))
        mesh = dataclasses.replace(mesh, origin=(x, y, z))
    uvs, uv_faces, texture, colors = mesh.uvs, mesh.uv_faces, mesh.texture, mesh.vertex_colors
    if (uvs is None) != (uv_faces is None):
        raise MeshFileError("uvs and uv_faces must be given together", remedy)
    if uvs is not None:
        uvs = to_float32(_array(uvs, "uvs", 2, "floating", remedy))
        uv_faces = np.ascontiguousarray(_array(uv_faces, "uv_faces", 3, "integer", remedy), np.int64)
        if uv_faces.shape != faces.shape:
            raise MeshFileError(f"{len(uv_faces)} uv_faces for {len(faces)} faces", remedy)
        _check_range(uv_faces, len(uvs), "uv_faces", "uvs", remedy)
        used = used_vertices(uv_faces, len(uvs))
        if not np.isfinite(uvs[used]).all():
            raise MeshFileError("uvs are not finite (NaN or infinity)", remedy)
        uvs = uvs if used.all() else np.nan_to_num(uvs, posinf=0, neginf=0)  # no face uses what this changes
    if texture is not None:
        texture = np.asarray(texture)
        if texture.ndim != 3 or texture.shape[2] != 3 or texture.dtype != np.uint8 or not texture.size:
            raise MeshFileError(
                f"texture {texture.shape} {texture.dtype}, expected (h, w, 3) uint8", "convert it to RGB"
            )
    if colors is not None:
        colors = np.asarray(colors)
        if colors.shape != vertices.shape or colors.dtype != np.uint8:
            raise MeshFileError(
                f"vertex_colors {colors.shape} {colors.dtype}, expected {vertices.shape} uint8", "convert them to RGB"
            )
    return Mesh(vertices, faces, uvs, uv_faces, texture, colors, mesh.source, mesh.origin)


def _has_area(vertices: np.ndarray, faces: np.ndarray) -> bool:
    """Whether the sum of the triangles' squared (doubled) areas is above 1e-16; mostly a few of them tell."""
    total, start, count = 0.0, 0, _FIRST_FACES
    while start < len(faces) and total <= 1e-16:
        first, second, third = vertices[faces[start : start + count].T]
        total += float(np.square(np.cross(second - first, third - first)).sum())
        start, count = start + count, min(2 * count, _MOST_FACES)
    return total > 1e-16


def _settled(exact: np.ndarray, used: np.ndarray, remedy: str) -> tuple[np.ndarray, Origin]:
    """Vertices as float32 near an origin, and that origin. Only vertices that a face uses count."""
    points = exact if used.all() else exact[used]
    largest = max(-points.min(), points.max())
    if not largest <= np.finfo(np.float32).max:  # NaN too
        finite = np.abs(exact) <= np.finfo(np.float32).max
        bad = int(np.flatnonzero(used & ~finite.all(axis=1))[0])
        raise MeshFileError(f"vertex {bad} is not finite (NaN or infinity)", f"remove such points, then {remedy}")
    if largest > _MAX_COORDINATE:
        raise MeshFileError(f"coordinates up to {largest:.3g}, beyond 1e9", "scale the mesh to mm, cm or m")
    origin = origin_of(points)
    vertices = to_float32(exact, origin)
    if points is not exact:
        lost = ~(np.abs(vertices) <= 2 * _MAX_COORDINATE).all(axis=1)
        if lost.any():  # no part of the surface; the rest of the package counts on numbers
            vertices = np.where(lost[:, None], vertices[used.argmax()], vertices)
    return vertices, origin


def _array(values, name: str, width: int, kind: str, remedy: str) -> np.ndarray:
    """(n, width), of numbers as they are."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise MeshFileError(f"{name} is no array ({error})", remedy) from error
    wanted = np.number if kind == "floating" else np.integer
    if array.ndim != 2 or array.shape[1] != width or not np.issubdtype(array.dtype, wanted):
        if array.size:
            raise MeshFileError(f"{name} {array.shape} {array.dtype}, expected (n, {width}) {kind}", remedy)
        array = np.zeros((0, width))
    if np.issubdtype(array.dtype, np.complexfloating):
        raise MeshFileError(f"{name} are complex numbers", remedy)
    return array


def _check_range(index: np.ndarray, count: int, name: str, of: str, remedy: str) -> None:
    low, high = int(index.min()), int(index.max())
    if low < 0 or high >= count:
        bad = low if low < 0 else high
        raise MeshFileError(f"index {bad} in {name} is out of range for {count} {of}", remedy)


def _read_bytes(path: Path, max_bytes: int) -> bytes:
    if _suffix(path) not in MESH_SUFFIXES:
        remedy = _CONVERSIONS.get(_suffix(path), f"expected one of {', '.join(MESH_SUFFIXES)}: convert it to .ply")
        raise MeshFileError(f"unknown kind of file {path.suffix!r}", remedy)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise MeshFileError("a directory", "give the path of one mesh file")
        if not stat.S_ISREG(status.st_mode):
            raise MeshFileError("not a regular file", "give the path of a mesh file on disk")
        if status.st_size == 0:
            raise MeshFileError("an empty file, 0 bytes", "copy or download it again")
        if status.st_size > max_bytes:
            raise MeshFileError(
                f"{status.st_size} bytes, more than max_bytes={max_bytes}", "simplify it or raise max_bytes"
            )
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise MeshFileError("no such file", "check the path") from error
    except PermissionError as error:
        raise MeshFileError("no permission to read it", "change the file's permissions") from error
    except OSError as error:
        reason = "a loop of symbolic links" if "symbolic links" in str(error) else f"the system says {error.strerror}"
        raise MeshFileError(reason, "check the path") from error
    except ValueError as error:
        if isinstance(error, MeshFileError):
            raise
        raise MeshFileError(f"not a path ({error})", "check the path") from error
    is_packed = _suffix(path) == ".abs.gz"
    if is_packed and data.startswith(_GZIP):
        data = _unpack(data, min(max_bytes, _MAX_UNPACKED_BYTES))
        is_packed = False
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        raise MeshFileError("a web page (HTML), not a mesh", "download the raw file instead of the page that shows it")
    if head.startswith(b"version https://git-lfs"):
        raise MeshFileError("a Git LFS pointer, not the mesh", "fetch the content with `git lfs pull`")
    if head.startswith((_GZIP, b"pk\x03\x04")):
        raise MeshFileError("compressed (gzip or zip)", "unpack it first")
    if _was_read_as_text(data[:65536]):
        raise MeshFileError(
            "a binary file that was read and written as UTF-8 text: its bytes are lost (EF BF BD in their place)",
            "copy or download it again, in binary mode",
        )
    if is_packed:
        raise MeshFileError("not gzip data", "copy it again, or name it .abs if it is unpacked already")
    return data


def _was_read_as_text(head: bytes) -> bool:
    """Whether a binary file holds nothing but UTF-8, with the sign for what was none."""
    if b"\xef\xbf\xbd" not in head or b"\0" not in head:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # may end within a character
    except UnicodeDecodeError:
        return False
    return True


def _suffix(path: Path) -> str:
    """Lower case, `.abs.gz` whole."""
    return ".abs.gz" if path.name.lower().endswith(".abs.gz") else path.suffix.lower()


def _unpack(data: bytes, max_bytes: int) -> bytes:
    """The content of a gzip file, never more than max_bytes + 1 of it in memory."""
    inflater = zlib.decompressobj(wbits=31)  # a gzip header and checksum
    try:
        content = inflater.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise MeshFileError(f"damaged gzip data ({error})", "copy or download it again") from error
    if len(content) > max_bytes:
        raise MeshFileError(f"unpacks to more than {max_bytes} bytes", "unpack it, and see whether it is a scan")
    if not inflater.eof:
        raise MeshFileError("the gzip data is cut off", "copy or download it again")
    if inflater.unused_data.strip(b"\0"):
        raise MeshFileError(f"{len(inflater.unused_data)} bytes after the gzip data", "pack the .abs file again")
    return content


def _read(path: Path, data: bytes, geometry_only: bool, max_bytes: int) -> dict:
    """The fields of the mesh, its texture included. No parser returns uvs if `geometry_only`."""
    suffix = _suffix(path)
    if suffix in (".glb", ".gltf"):
        return parse_gltf(data, path, geometry_only=geometry_only, max_bytes=max_bytes)
    mesh = _PARSERS[suffix](data, geometry_only=geometry_only)
    name = mesh.pop("texture_name", None)
    for note in mesh.pop("notes", ()):
        warnings.warn(f"{printable(str(path))}: {note}", UserWarning, stacklevel=4)
    material_files, materials = mesh.pop("material_files", []), mesh.pop("materials", {})
    if mesh.get("uvs") is None:
        return mesh
    if suffix == ".obj":
        name = name_from_materials(path, material_files, materials)
    elif suffix == ".wrl":
        name = existing_name(path, name) or name_of_same_base(path) or name
    elif suffix == ".bnt":
        name = name_of_same_base(path)
    if name:
        mesh["texture"] = read_texture(path, name)
    return mesh
