"""What goes wrong with scans, in five grades: a table of named corruptions before rendering.

In: a framed scan (`Scene`), a severity 1 to 5 and a random generator. Out: another. The corrupted scan is framed anew, as a
user's would be. Glasses, masks and hands are rough meshes that cover what such things cover. They lie at places in framed
coordinates (`cameras_mvfer`), where every face's nose, eyes and mouth lie about the same; their depths follow the face at
hand. What happens to finished pictures is in `view_corruptions`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import maximum_filter

from mvfer.data.geometry import merge_neighbors, rotation
from mvfer.evaluation.audits.view_corruptions import NEEDS_COLOR, Needs
from processing.channels_mvfer import DEFAULT_LIGHT_DEG
from processing.framing_mvfer import FRAMED, FaceFrame, frame_face
from processing.meshes_mvfer import Mesh
from processing.rendering_mvfer import RenderSettings, frame_mesh, framed_vertices, render_scan, vertex_normals

THING = 90  # grey of glasses, masks and hands where scans have colours
EYE = (0.42, 0.57)  # framed x (of the subject's left eye) and y
BROAD = 0.12  # how far around a place its depth is looked for

Part = tuple[np.ndarray, np.ndarray]  # vertices (N, 3) float32, faces (M, 3) int64


@dataclass(frozen=True)
class Scene:
    """A scan and how it is looked at.

    Attributes:
        vertices (`(N, 3)` float32, framed), faces (`(M, 3)` int64).
        zoom, shift: error of the framing: factor, and framed units to the right and up.
        camera_yaw_deg: by how much all cameras have moved; the model is told.
        light_deg: (yaw, pitch) of the key light.
        colors (`(N, 3)` uint8, *optional*): of the vertices, where the model sees colours.
    """

    vertices: np.ndarray
    faces: np.ndarray
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    camera_yaw_deg: float = 0.0
    light_deg: tuple[float, float] = DEFAULT_LIGHT_DEG
    colors: np.ndarray | None = None


def framed_scene(mesh: Mesh, frame: FaceFrame | None = None) -> Scene:
    """A scan in any unit, y up, as a scene; its texture becomes colours of its vertices, which survive other corruptions."""
    vertices = framed_vertices(mesh, frame or frame_mesh(mesh))
    return Scene(vertices, np.asarray(mesh.faces, dtype=np.int64), colors=_vertex_colors(mesh))


def _vertex_colors(mesh: Mesh) -> np.ndarray | None:
    """`(N, 3)` uint8: the texture's pixel at each vertex, or the scan's own colours, if any."""
    if mesh.texture is None or mesh.uvs is None:
        return mesh.vertex_colors
    places = np.zeros((len(mesh.vertices), 2), np.float32)
    places[mesh.faces] = mesh.uvs[mesh.uv_faces]
    height, width = mesh.texture.shape[:2]
    column = (places[:, 0] * width).astype(int).clip(0, width - 1)
    row = ((1 - places[:, 1]) * height).astype(int).clip(0, height - 1)  # v runs upwards
    return mesh.texture[row, column]


def render_scene(scene: Scene, settings: RenderSettings) -> tuple[np.ndarray, np.ndarray]:
    """Frame the scene anew, with its error, and render it.

    Returns:
        views (`(V, H, W, 3)` uint8), view_angles_deg (`(V, 2)` float32).
    """
    angles = [(yaw + scene.camera_yaw_deg, pitch) for yaw, pitch in settings.view_angles_deg]
    vertices = frame_face(scene.vertices, scene.faces).apply(scene.vertices) * scene.zoom
    vertices = vertices + np.array([*scene.shift, 0.0])
    moved = replace(settings, view_angles_deg=tuple(angles))
    views = render_scan(
        vertices, scene.faces, moved, frame=FRAMED, light_deg=scene.light_deg, vertex_colors=scene.colors
    )
    return views[0], np.asarray(angles, dtype=np.float32)


def noise(scene: Scene, severity: int, rng: np.random.Generator) -> Scene:
    """Sensor noise along the normals, 0.002 to 0.03 framed units (about 0.2 to 3 mm) in standard deviation."""
    sigma = (0.002, 0.005, 0.01, 0.02, 0.03)[severity - 1]
    vertices = torch.from_numpy(scene.vertices)[None]
    normals = vertex_normals(vertices, torch.from_numpy(scene.faces))[0].numpy()
    heights = rng.normal(0, sigma, (len(scene.vertices), 1)).astype(np.float32)
    return replace(scene, vertices=scene.vertices + heights * normals)


def holes(scene: Scene, severity: int, rng: np.random.Generator) -> Scene:
    """Two to 16 holes of radius 0.03 to 0.12 in the face."""
    middles = scene.vertices[scene.faces].mean(1)
    front = scene.faces[(np.abs(middles[:, :2]).max(1) < 0.8) & (middles[:, 2] > -0.5)]
    front = front if len(front) else scene.faces
    corners = front[rng.integers(len(front), size=(2, 4, 8, 12, 16)[severity - 1]), 0]
    gone = np.zeros(len(scene.vertices), bool)
    for corner, radius in zip(corners, rng.uniform(0.03, 0.12, len(corners)), strict=True):
        gone |= np.linalg.norm(scene.vertices - scene.vertices[corner], axis=1) < radius
    kept = scene.faces[~gone[scene.faces].any(1)]
    return replace(scene, faces=kept if len(kept) else scene.faces)


def decimation(scene: Scene, severity: int, rng: np.random.Generator) -> Scene:
    """A coarser mesh: 0.03 to 0.15 framed units between vertices."""
    spacing = (0.03, 0.05, 0.07, 0.1, 0.15)[severity - 1]
    cluster = merge_neighbors(scene.vertices, scene.faces, spacing, rng)
    count = np.bincount(cluster)[:, None]

    def merge(values: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(cluster, values[:, axis]) for axis in range(3)], 1) / count

    colors = None if scene.colors is None else merge(scene.colors).round().astype(np.uint8)
    faces = cluster[scene.faces]
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    return replace(scene, vertices=merge(scene.vertices).astype(np.float32), faces=faces, colors=colors)


def pose(scene: Scene, severity: int, rng: np.random.Generator) -> Scene:
    """The head turned by 5 to 30 degrees to a side, and half of that up or down; the model is not told."""
    angle = (5, 10, 15, 20, 30)[severity - 1]
    yaw, pitch = (angle * sign for sign in rng.choice([-1, 1], 2))
    turn = rotation(float(yaw), float(pitch) / 2, 0.0).numpy()
    return replace(scene, vertices=(scene.vertices @ turn.T).astype(np.float32))


def framing(scene: Scene, severity: int, rng: np.random.Generator) -> Scene:
    """Framed 3 to 20 % too large or too small, and as much aside."""
    amount = (0.03, 0.06, 0.1, 0.15, 0.2)[severity - 1]
    angle = rng.uniform(0, 2 * np.pi)
    zoom = 1 + amount if rng.random() < 0.5 else 1 - amount
    return replace(scene, zoom=zoom, shift=(amount * np.cos(angle), amount * np.sin(angle)))


def unseen_angles(scene: Scene, severity: int, rng: np.random.Generator) -> Scene:
    """All cameras moved by 5 to 30 degrees around the head; the model is told."""
    angle = (5, 10, 15, 20, 30)[severity - 1]
    return replace(scene, camera_yaw_deg=float(angle * rng.choice([-1, 1])))


def light(scene: Scene, severity: int, rng: np.random.Generator) -> Scene:
    """The key light moved by 20 to 100 degrees around the head."""
    yaw, pitch = scene.light_deg
    return replace(scene, light_deg=(float(yaw + 20 * severity * rng.choice([-1, 1])), pitch))


def texture(scene: Scene, severity: int, rng: np.random.Generator) -> Scene:
    """Colours fade by a fifth per grade to one grey, the scan's own brightness, until no texture is left."""
    colors = scene.colors.astype(float)  # type: ignore[union-attr]  # asked of scans with colours alone
    return replace(scene, colors=(colors + severity / 5 * (colors.mean() - colors)).round().astype(np.uint8))


def glasses(vertices: np.ndarray, severity: int, rng: np.random.Generator) -> Part:
    """Rims around the eyes, thicker with every grade; from grade 4 on dark lenses, at 5 large ones."""
    rim = (0.02, 0.035, 0.05, 0.05, 0.06)[severity - 1]
    size = 1.3 if severity == 5 else 1.0
    bridge = _depth(vertices, 0.0, EYE[1]) + 0.03
    parts = []
    for side in (-1, 1):
        angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
        x, y = side * EYE[0] + 0.27 * size * np.cos(angle), EYE[1] + 0.2 * size * np.sin(angle)
        ring = np.stack([x, y, bridge - 0.4 * x**2], 1)
        parts.append(_tube(ring, rim, closed=True))
        if severity >= 4:
            parts.append(_fan(ring))
    x = np.linspace(-0.16, 0.16, 5)
    parts.append(_tube(np.stack([x, np.full(5, EYE[1] + 0.05), bridge - 0.4 * x**2 + 0.02], 1), rim, closed=False))
    return join(parts)


def mask(vertices: np.ndarray, severity: int, rng: np.random.Generator) -> Part:
    """A sheet over the lower face: from the chin up to below the mouth (1), over the mouth (2), to the nose (5)."""
    top = (-0.4, -0.1, 0.1, 0.25, 0.4)[severity - 1]
    x, y = np.meshgrid(np.linspace(-0.6, 0.6, 15), np.linspace(-0.85, top, 15))
    depth = np.array([_depth(vertices, *place) for place in zip(x.ravel(), y.ravel(), strict=True)]).reshape(x.shape)
    return _grid(np.stack([x, y, maximum_filter(depth, 3) + 0.05], -1))


def hand(vertices: np.ndarray, severity: int, rng: np.random.Generator) -> Part:
    """A palm and four fingers before one half of the face, larger and nearer to its middle with every grade."""
    size = (0.5, 0.7, 0.9, 1.1, 1.3)[severity - 1]
    side = 1 if rng.random() < 0.5 else -1
    middle = np.array([side * (0.75 - 0.1 * severity), rng.uniform(-0.5, 0.1)])
    front = _depth(vertices, *middle) + 0.15
    parts = [_ellipsoid((*middle, front), (0.26 * size, 0.26 * size, 0.1))]
    for finger in range(4):
        x = middle[0] + size * 0.13 * (finger - 1.5)
        parts.append(_ellipsoid((x, middle[1] + 0.42 * size, front), (0.065 * size, 0.28 * size, 0.08)))
    return join(parts)


def join(parts: list[Part]) -> Part:
    """Several meshes as one."""
    counts = np.cumsum([0] + [len(vertices) for vertices, _ in parts])
    faces = [faces + start for (_, faces), start in zip(parts, counts, strict=False)]
    return np.concatenate([vertices for vertices, _ in parts]).astype(np.float32), np.concatenate(faces)


def _depth(vertices: np.ndarray, x: float, y: float) -> float:
    """How far forward the face reaches about a place; 0 where there is none."""
    near = np.abs(vertices[:, :2] - [x, y]).max(1) < BROAD
    return float(vertices[near, 2].max()) if near.any() else 0.0


def _tube(path: np.ndarray, radius: float, *, closed: bool) -> Part:
    """A tube along a path `(P, 3)` that runs across the view."""
    ahead = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    across = np.cross(ahead, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    third = np.cross(across, ahead)
    angle = np.linspace(0, 2 * np.pi, 8, endpoint=False)[:, None, None]
    rings = path + radius * (np.cos(angle) * across + np.sin(angle) * third)  # (8, P, 3)
    return _grid(rings, wrap_rows=True, wrap_columns=closed)


def _ellipsoid(center, radii, *, steps: int = 12) -> Part:
    up = np.linspace(-np.pi / 2, np.pi / 2, steps)[:, None]
    around = np.linspace(0, 2 * np.pi, 2 * steps, endpoint=False)[None]
    points = np.stack([np.cos(up) * np.sin(around), np.sin(up) + 0 * around, np.cos(up) * np.cos(around)], -1)
    return _grid(np.asarray(center) + points * np.asarray(radii), wrap_columns=True)


def _fan(ring: np.ndarray) -> Part:
    """A disc with a rim `(P, 3)` that runs against the clock, as the viewer sees it."""
    P = len(ring)
    faces = np.stack([np.full(P, P), np.arange(P), (np.arange(P) + 1) % P], 1)
    return np.concatenate([ring, ring.mean(0, keepdims=True)]), faces


def _grid(points: np.ndarray, *, wrap_rows: bool = False, wrap_columns: bool = False) -> Part:
    """Two triangles per cell of `(R, C, 3)` points; with rows upwards and columns to the right it faces the viewer."""
    R, C = points.shape[:2]
    row, column = np.meshgrid(
        np.arange(R if wrap_rows else R - 1), np.arange(C if wrap_columns else C - 1), indexing="ij"
    )
    a, b = row * C + column, row * C + (column + 1) % C
    c, d = (row + 1) % R * C + column, (row + 1) % R * C + (column + 1) % C
    faces = np.concatenate([np.stack([a, b, d], -1).reshape(-1, 3), np.stack([a, d, c], -1).reshape(-1, 3)])
    return points.reshape(-1, 3), faces.astype(np.int64)


def _with(thing) -> Callable[[Scene, int, np.random.Generator], Scene]:
    def add(scene: Scene, severity: int, rng: np.random.Generator) -> Scene:
        part = thing(scene.vertices, severity, rng)
        vertices, faces = join([(scene.vertices, scene.faces), part])
        colors = None
        if scene.colors is not None:
            colors = np.concatenate([scene.colors, np.full(part[0].shape, THING, np.uint8)])
        return replace(scene, vertices=vertices, faces=faces, colors=colors)

    return add


MESH_CORRUPTIONS: dict[str, Callable[[Scene, int, np.random.Generator], Scene]] = {
    **{one.__name__: one for one in (noise, holes, decimation, pose, framing, unseen_angles, light)},
    **{thing.__name__: _with(thing) for thing in (glasses, mask, hand)},
    "texture": texture,
}
MESH_NEEDS: Needs = {
    "light": (frozenset({"clay", "clay_curvature"}), "the model sees no shading"),
    "texture": NEEDS_COLOR,
}
