"""glTF 2.0 (`.glb`, `.gltf`) to arrays: the scene as a viewer shows it at rest.

In: the bytes of a file. Out: a dict of the fields of a `Mesh`. A face in a glTF file is often not in its vertex array
alone: morph weights make the expression, joints open the jaw, a node hides a second head. All of these are applied;
of an animation, the first frame of the first one. Materials and textures are in `gltf_paint_mvfer.py`.

Source: Khronos Group, "glTF 2.0 Specification", 2021: 3.5 nodes, 3.7.2 morph targets, 3.7.3 skins, 3.11 animations;
KHR_node_visibility.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from .gltf_file_mvfer import COPY_AGAIN, DAMAGED, DRACO, GltfFile, compressed
from .gltf_paint_mvfer import Paint, Painter, Part, join_paint
from .names_mvfer import printable
from .obj_mvfer import FROM_POINTS, MeshFileError
from .vertices_mvfer import merge_equal_vertices

_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_MAX_SETS = 8  # of four joints each
_ROWS = 2**16  # vertices that are skinned at a time, for memory


def parse_gltf(data: bytes, path: Path, *, geometry_only: bool = False, max_bytes: int) -> dict:
    """Read a `.glb` or `.gltf` file. Equal vertices are merged, so that normals are smooth across seams.

    Args:
        data: the file's bytes; path: where it lies, for what it refers to; max_bytes: refuse larger files beside it.
    Raises:
        MeshFileError: if it is damaged, has no triangles, or needs what is not supported: Draco, meshopt, extensions
            that it requires and that are not known.
    """
    kind = "GLB's" if path.suffix.lower() == ".glb" else "glTF file's"
    try:
        parts, points = Scene(GltfFile(path, data, max_bytes=max_bytes), geometry_only).parts()
        if not parts and points:
            raise MeshFileError(f"{points} vertices but no faces: a point cloud", FROM_POINTS)
        if not parts:
            raise MeshFileError("no triangles found in it", "check that the scene shows the mesh, or " + COPY_AGAIN)
        starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
        mesh = {
            "vertices": np.concatenate([part.vertices for part in parts]),
            "faces": np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)]),
        }
        return merge_equal_vertices(mesh if geometry_only else mesh | join_paint(parts))
    except MeshFileError:
        raise
    except DAMAGED as error:
        raise MeshFileError(f"the {kind} JSON is damaged ({type(error).__name__}: {error})", COPY_AGAIN) from error


class Scene:
    """The nodes of a file, each with its transform to the scene.

    `drawn` are the nodes that are seen; of a primitive, `positions` and `faces` are its own, and `placed` brings them to
    the scene.
    """

    def __init__(self, file: GltfFile, geometry_only: bool):
        self.file, self.painter = file, None if geometry_only else Painter(file)
        self.nodes = file.entries("nodes")
        for node in self.nodes:
            _check(isinstance(node, dict), "a node that is no object")
        self._set_first_frame()
        self.to_world = self._to_world()  # (4, 4) float64 of each node

    def parts(self) -> tuple[list[Part], int]:
        """What is drawn, and how many vertices are drawn as points or lines."""
        meshes = self.file.entries("meshes")
        if self.nodes:
            shown = [(meshes[node["mesh"]], self.to_world[n], node) for n, node in self.drawn() if "mesh" in node]
        else:  # nothing places the meshes
            shown = [(mesh, np.eye(4), {}) for mesh in meshes]
        parts, points = [], 0
        for mesh, matrix, node in shown:
            weights = np.asarray(node.get("weights", mesh.get("weights", [])), np.float64)
            for primitive in mesh["primitives"]:
                vertices = self.positions(primitive, weights)
                faces = self.faces(primitive, len(vertices))
                if faces is None or not len(faces):
                    points += len(vertices)
                    continue
                vertices, faces = self.placed(vertices, faces, primitive["attributes"], matrix, node)
                paint = self.painter.paint_of(primitive, len(vertices)) if self.painter else Paint()
                parts.append(Part(vertices, faces, paint))
        return parts, points

    def placed(self, vertices: np.ndarray, faces: np.ndarray, attributes: dict, matrix: np.ndarray, node: dict):
        """Vertices and faces in the scene: by the skin if there is one, else by where the node stands."""
        if "skin" in node and "JOINTS_0" in attributes:
            return self._skinned(vertices, attributes, self.file.entries("skins")[node["skin"]]), faces
        if np.array_equal(matrix, np.eye(4)):
            return vertices, faces
        is_mirrored = np.linalg.det(matrix[:3, :3]) < 0
        return vertices @ matrix[:3, :3].T + matrix[:3, 3], faces[:, ::-1] if is_mirrored else faces

    def _set_first_frame(self) -> None:
        """Put the first key of the first animation into the nodes."""
        animations = self.file.entries("animations")
        if not animations:
            return
        for channel in animations[0]["channels"]:
            target, sampler = channel["target"], animations[0]["samplers"][channel["sampler"]]
            if "node" not in target or target["path"] not in ("translation", "rotation", "scale", "weights"):
                continue
            keys, values = self.file.array(sampler["input"]), self.file.array(sampler["output"])
            _check(
                len(keys) > 0 and len(values) % len(keys) == 0, "an animation whose keys and values differ in number"
            )
            values = values.reshape(len(keys), -1, values.shape[1])
            is_cubic = sampler.get("interpolation") == "CUBICSPLINE"  # of tangent, value, tangent
            first = np.split(values[0], 3)[1] if is_cubic else values[0]
            self.nodes[target["node"]][target["path"]] = first.reshape(-1).tolist()
        warnings.warn(f"{printable(str(self.file.path))}: animated; its first frame is read", UserWarning, stacklevel=7)

    def _to_world(self) -> dict[int, np.ndarray]:
        parent = {child: n for n, node in enumerate(self.nodes) for child in node.get("children", [])}
        children = sum(len(node.get("children", [])) for node in self.nodes)
        _check(len(parent) == children, "a node with two parents")
        world: dict[int, np.ndarray] = {}
        stack = [n for n in range(len(self.nodes)) if n not in parent]
        while stack:
            n = stack.pop()
            local = _matrix(self.nodes[n])
            world[n] = world[parent[n]] @ local if n in parent else local
            stack += self.nodes[n].get("children", [])
        return world

    def drawn(self) -> list[tuple[int, dict]]:
        """The nodes of the scene that are visible, in the file's order of depth."""
        scenes = self.file.entries("scenes")
        if scenes:
            roots = scenes[self.file.document.get("scene", 0)].get("nodes", [])
        else:
            below = {child for node in self.nodes for child in node.get("children", [])}
            roots = [n for n in range(len(self.nodes)) if n not in below]
        drawn, seen, stack = [], set(), list(reversed(roots))
        while stack:
            n = stack.pop()
            node = self.nodes[n]
            _check(n in self.to_world and n not in seen, "nodes in a loop, or twice in its scene")
            seen.add(n)
            if node.get("extensions", {}).get("KHR_node_visibility", {}).get("visible", True):
                drawn.append((n, node))
                stack += reversed(node.get("children", []))
        return drawn

    def positions(self, primitive: dict, weights: np.ndarray) -> np.ndarray:
        """`(N, 3)`: the base, and the targets times their weights."""
        number = primitive["attributes"]["POSITION"]
        accessor = self.file.entries("accessors")[number]
        if "bufferView" not in accessor and DRACO in primitive.get("extensions", {}):
            raise compressed(DRACO)
        base = self.file.array(number)
        _check(base.shape[1] == 3, "positions that are no VEC3")
        targets = primitive.get("targets", [])
        for target, weight in zip(targets, weights.tolist(), strict=False):
            if weight and "POSITION" in target:
                base = base + weight * self.file.array(target["POSITION"]).astype(np.float64)
        return base

    def faces(self, primitive: dict, count: int) -> np.ndarray | None:
        """`(M, 3)` int64; None for points and lines."""
        mode = primitive.get("mode", _TRIANGLES)
        if mode not in (_TRIANGLES, _STRIP, _FAN):
            return None
        if "indices" in primitive:
            corners = self.file.array(primitive["indices"])[:, 0]
            _check(corners.dtype.kind == "u", "indices that are no whole numbers")
            corners = corners.astype(np.int64)
        else:
            corners = np.arange(count)
        if len(corners) and corners.max() >= count:
            raise MeshFileError(f"index {corners.max()} in faces is out of range for {count} vertices", COPY_AGAIN)
        if mode == _TRIANGLES:
            _check(len(corners) % 3 == 0, f"{len(corners)} corners of triangles")
            return corners.reshape(-1, 3)
        if mode == _FAN:
            return np.stack([corners[1:-1], corners[2:], np.broadcast_to(corners[:1], corners[2:].shape)], 1)
        faces = np.stack([corners[:-2], corners[1:-1], corners[2:]], 1)
        faces[1::2] = faces[1::2][:, [0, 2, 1]]  # every other triangle of a strip is the other way round
        return faces

    def _skinned(self, vertices: np.ndarray, attributes: dict, skin: dict) -> np.ndarray:
        """The vertices moved by their joints; where the node itself stands does not count."""
        moves = np.stack([self.to_world[joint] for joint in skin["joints"]])  # (J, 4, 4)
        if "inverseBindMatrices" in skin:
            inverse = self.file.array(skin["inverseBindMatrices"]).astype(np.float64)
            moves = moves @ inverse[: len(moves)].reshape(-1, 4, 4).transpose(0, 2, 1)  # stored by columns
        sets = range(len([name for name in attributes if name.startswith("JOINTS_")]))
        _check(len(sets) <= _MAX_SETS, f"{len(sets)} sets of joints")
        joints = np.concatenate([self.file.array(attributes[f"JOINTS_{k}"]) for k in sets], axis=1)  # (N, 4 sets)
        weights = np.concatenate([self.file.array(attributes[f"WEIGHTS_{k}"]) for k in sets], axis=1).astype(np.float64)
        _check(joints.dtype.kind == "u" and joints.shape == weights.shape, "joints and weights that differ in form")
        _check(len(joints) == len(vertices), "joints of other vertices")
        total = weights.sum(axis=1, keepdims=True)
        weights[total[:, 0] == 0, 0] = 1.0
        weights /= np.where(total == 0, 1.0, total)
        moved = np.empty((len(vertices), 3))
        for start in range(0, len(vertices), _ROWS):
            rows = slice(start, start + _ROWS)
            move = np.zeros((len(vertices[rows]), 3, 4))
            for joint, weight in zip(joints[rows].T, weights[rows].T, strict=True):
                move += moves[joint, :3] * weight[:, None, None]
            moved[rows] = np.einsum("nij,nj->ni", move[:, :, :3], vertices[rows]) + move[:, :, 3]
        return moved


def _matrix(node: dict) -> np.ndarray:
    """`(4, 4)` float64 of a node in its parent."""
    if "matrix" in node and not {"translation", "rotation", "scale"} & set(node):
        return np.array(node["matrix"], np.float64).reshape(4, 4).T  # stored by columns
    x, y, z, w = np.asarray(node.get("rotation", (0, 0, 0, 1)), np.float64) / np.linalg.norm(node.get("rotation", 1.0))
    turn = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(turn) * np.asarray(node.get("scale", (1, 1, 1)), np.float64).reshape(3)
    matrix[:3, 3] = np.asarray(node.get("translation", (0, 0, 0)), np.float64).reshape(3)
    return matrix


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise MeshFileError(f"it holds {what}", COPY_AGAIN)
