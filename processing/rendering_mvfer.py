"""Render faces from several angles in plain torch. In: vertices and faces. Out: normals, depth, colour, and images.

`render_scan` frames, renders and composes, and is what nearly everybody wants; `render_views` is the renderer under
it, and `rasterizer_mvfer` fills its pixels. Nothing is built beforehand, so a sequence costs no more per frame than a
single scan. The result is bit-identical over runs, threads and chunk sizes, and the same code runs on CUDA tensors. A
worker process should use one torch thread: two on busy cores are far slower.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from .cameras_mvfer import DEFAULT_VIEW_ANGLES_DEG, check_view_angles, world_to_camera
from .channels_mvfer import COLOR_CHANNELS, DEFAULT_LIGHT_DEG, check_channels, compose_channels
from .compiled_mvfer import LOOPS
from .framing_mvfer import FaceFrame, frame_face
from .rasterizer_mvfer import Paint, mean_over_pixels, rasterize
from .vertices_mvfer import Origin, origin_of

BACKENDS = ("torch", "numba", "auto")
MAX_SIZE = 4096  # samples along an axis: pixel numbers stay exact in float32
CUDA_CHUNK = 32  # images rasterised together on a GPU; one at a time is fastest on a CPU


@dataclass(frozen=True)
class RenderSettings:
    """What a rendered scan looks like; it travels with the processor and with every data set.

    Args:
        view_angles_deg: (yaw, pitch) of every camera, see `cameras_mvfer`.
        size_px: height and width of the images.
        supersampling: samples per pixel along each axis; 2 smooths the edges at about twice the time.
        channels: three names, see `channels_mvfer.CHANNELS`.
        backend: "torch" (the reference), "numba" (`pip install "mvfer[fast]"`), or "auto" (numba where installed).
        aim_y: how far above the tip of the nose the cameras look, in framed units (1 is half of the image).
    """

    view_angles_deg: tuple[tuple[float, float], ...] = DEFAULT_VIEW_ANGLES_DEG
    size_px: int = 224
    supersampling: int = 1
    channels: tuple[str, ...] = ("clay", "curvature", "depth")
    backend: str = "torch"
    aim_y: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "view_angles_deg", check_view_angles(self.view_angles_deg))
        object.__setattr__(self, "channels", check_channels(self.channels))
        _check_sizes(self.size_px, self.supersampling)
        if self.backend not in BACKENDS:
            raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {self.backend!r}")
        if not isinstance(self.aim_y, int | float) or not abs(self.aim_y) <= 1:
            raise ValueError(f"aim_y: expected a number in [-1, 1], got {self.aim_y!r}")

    def to_dict(self) -> dict:
        """Plain lists and numbers, ready for JSON."""
        values = asdict(self)
        values["view_angles_deg"] = [list(angles) for angles in self.view_angles_deg]
        values["channels"] = list(self.channels)
        return values

    @classmethod
    def from_dict(cls, values: Mapping) -> "RenderSettings":
        """The inverse of `to_dict`; unknown keys raise a ValueError."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"unknown render settings {unknown}; known are {known}")
        return cls(**values)


def render_scan(
    vertices,
    faces,
    settings: RenderSettings | None = None,
    *,
    uvs=None,
    uv_faces=None,
    texture=None,
    vertex_colors=None,
    frame: FaceFrame | None = None,
    light_deg=None,
) -> np.ndarray:
    """Frame, render and compose a scan, or a sequence of scans with the same faces.

    Args:
        vertices (`(N, 3)` or `(F, N, 3)`, numpy or torch): any unit, y up, face towards +z. CUDA tensors stay there.
        faces (`(M, 3)` integers).
        settings: `RenderSettings()` if absent.
        uvs, uv_faces, texture, vertex_colors: as in `render_views`; used when a colour channel is asked for.
        frame: how to frame; by default `frame_face` of the first frame, used for all frames.
        light_deg: (yaw, pitch) of the key light, to vary it in training.
    Returns:
        `numpy.ndarray` of shape `(F, V, H, W, 3)`, uint8, background 0; F is 1 for a single scan.
    Raises:
        ValueError: if shapes or values make no sense, or a colour channel is asked of a scan without colours.
    """
    settings = settings or RenderSettings()
    vertices, origin = _near(torch.as_tensor(vertices))
    vertices = vertices[None] if vertices.ndim == 2 else vertices
    faces = torch.as_tensor(faces).to(vertices.device, torch.int64)
    _check_geometry(vertices, faces)
    if frame is None:
        frame = frame_face(vertices[0].cpu().numpy(), faces.cpu().numpy())
    else:
        frame = moved_frame(frame, [-x for x in origin])
    colors = {}
    if set(settings.channels) & set(COLOR_CHANNELS):
        colors = dict(uvs=uvs, uv_faces=uv_faces, texture=texture, vertex_colors=vertex_colors)
    images = []
    step = 1 if vertices.device.type == "cpu" else CUDA_CHUNK
    for part in vertices.split(step):
        buffers = render_views(
            frame.apply(part),
            faces,
            view_angles_deg=settings.view_angles_deg,
            size_px=settings.size_px,
            supersampling=settings.supersampling,
            backend=settings.backend,
            aim_y=settings.aim_y,
            **colors,
        )
        part = compose_channels(buffers, settings.channels, light_deg=light_deg or DEFAULT_LIGHT_DEG)
        images.append(part.permute(0, 1, 3, 4, 2).cpu().numpy())
    return np.concatenate(images)


def render_mesh(
    mesh, settings: RenderSettings | None = None, *, frame: FaceFrame | None = None, light_deg=None
) -> np.ndarray:
    """Render a `Mesh`, or a sequence of them that shares one frame.

    Args:
        mesh: a `Mesh` (with `vertices`, `faces`, and `uvs`, `uv_faces`, `texture`, `vertex_colors` or None), or a list.
        frame: how to frame, in the coordinates of the files; by default `frame_mesh` of the first mesh.
    Returns:
        `numpy.ndarray` of shape `(F, V, H, W, 3)`, uint8; F is 1 for a single mesh.
    """
    meshes = list(mesh) if isinstance(mesh, Sequence) else [mesh]
    if not meshes:
        raise ValueError("render_mesh: expected a mesh or a non-empty list of meshes, got an empty list")
    frame = frame or frame_mesh(meshes[0])
    names = ("uvs", "uv_faces", "texture", "vertex_colors")
    images = [
        render_scan(
            one.vertices,
            one.faces,
            settings,
            frame=moved_frame(frame, [-x for x in getattr(one, "origin", ())]),
            light_deg=light_deg,
            **{name: getattr(one, name, None) for name in names},
        )
        for one in meshes
    ]
    return np.concatenate(images)


def frame_mesh(mesh, *, orientation: str = "y") -> FaceFrame:
    """`frame_face` of a `Mesh`, in the coordinates of its file: it fits other meshes of one sequence."""
    found = frame_face(mesh.vertices, mesh.faces, orientation=orientation)
    return moved_frame(found, getattr(mesh, "origin", ()))


def framed_vertices(mesh, frame: FaceFrame) -> np.ndarray:
    """The vertices `(N, 3)` of a `Mesh` in framed coordinates; the frame is in those of its file, as of `frame_mesh`."""
    return moved_frame(frame, [-x for x in getattr(mesh, "origin", ())]).apply(mesh.vertices)


def moved_frame(frame: FaceFrame, by) -> FaceFrame:
    """The frame of the same face moved by three numbers, in float64."""
    if not any(by):
        return frame
    x, y, z = (float(a) + float(b) for a, b in zip(frame.center, by, strict=True))
    return replace(frame, center=(x, y, z))


def _near(vertices: Tensor) -> tuple[Tensor, Origin]:
    """Arrays of float64 as float32, brought to the origin if they are far away, and from where."""
    origin: Origin = (0.0, 0.0, 0.0)
    if vertices.dtype == torch.float64 and vertices.numel() and vertices.shape[-1] == 3:
        points = vertices.reshape(-1, 3).cpu().numpy()
        origin = origin_of(points) if np.isfinite(points).all() else origin  # else for `_check_geometry` to refuse
        vertices = vertices - torch.tensor(origin, dtype=torch.float64, device=vertices.device)
    return vertices.to(torch.float32), origin


@torch.no_grad()
def render_views(
    vertices: Tensor,
    faces: Tensor,
    *,
    view_angles_deg,
    size_px: int,
    supersampling: int = 1,
    uvs=None,
    uv_faces=None,
    texture=None,
    vertex_colors=None,
    backend: str = "torch",
    aim_y: float = 0.0,
    chunk: int | None = None,
) -> dict[str, Tensor]:
    """Rasterise framed meshes from every camera.

    Args:
        vertices (`torch.Tensor` of shape `(F, N, 3)`, float): framed coordinates.
        faces (`torch.Tensor` of shape `(M, 3)`, int64): the same for all frames.
        view_angles_deg (`(V, 2)` numbers): one camera each. aim_y: how far above the origin they look.
        uvs (`(U, 2)`), uv_faces (`(M, 3)`), texture (`(h, w, 3)` uint8): texture coordinates with the origin at the
            lower left, and the picture. Absent `uv_faces` means `faces`.
        vertex_colors (`(N, 3)` uint8): used when there is no texture.
        chunk: images rasterised together; changes speed and memory, never a bit of the result.
    Returns:
        dict of float32 tensors on the vertices' device: `normal (F, V, 3, H, W)` unit length in the camera frame,
        `depth (F, V, 1, H, W)` along the camera's axis, `mask (F, V, 1, H, W)` coverage in [0, 1], and with colours
        `color (F, V, 3, H, W)` in [0, 1]. With supersampling, means over the covered samples. Background 0.
    Raises:
        ValueError: if shapes, sizes or indices make no sense.
    """
    _check_sizes(size_px, supersampling)
    _check_geometry(vertices, faces)
    vertices = vertices.to(torch.float32)
    paint = Paint.choose(uvs, uv_faces, texture, vertex_colors, vertices, faces)
    cameras = world_to_camera(view_angles_deg, aim_y).to(vertices.device)  # (V, 4, 4)
    F, V = len(vertices), len(cameras)
    normals = vertex_normals(vertices, faces)
    if resolve_backend(backend, vertices.device.type) == "numba":
        from .rendering_numba_mvfer import draw_views

        images = draw_views(vertices, normals, faces, cameras, size_px, supersampling, paint)
    else:
        images = _draw_views(vertices, normals, faces, cameras, size_px, supersampling, paint, chunk)
    images = images.unflatten(1, (F, V)).permute(1, 2, 0, 3, 4)  # (F, V, C, H, W)
    buffers = {"normal": images[:, :, :3], "depth": images[:, :, 3:4], "mask": images[:, :, 4:5]}
    return buffers | ({"color": images[:, :, 5:]} if paint else {})


def _draw_views(
    vertices, normals, faces, cameras, size_px: int, supersampling: int, paint, chunk: int | None
) -> Tensor:
    """F frames `(F, N, 3)` with faces `(M, 3)` from V cameras `(V, 4, 4)`: means of samples `(C, F V, size_px, size_px)`."""
    F, V, size = len(vertices), len(cameras), size_px * supersampling
    chunk = chunk or (1 if vertices.device.type == "cpu" else CUDA_CHUNK)
    points = vertices.transpose(1, 2).contiguous()  # (F, 3, N)
    normals = normals.transpose(1, 2).contiguous()
    corners = faces.t().contiguous()  # (3, M)
    images = vertices.new_zeros(5 + 3 * bool(paint), F * V, size_px, size_px)
    for start in range(0, F * V, chunk):
        index = torch.arange(start, min(start + chunk, F * V), device=vertices.device)
        frame, camera = index // V, cameras[index % V]
        points_seen = _transform(camera, points[frame])
        normals_seen = _transform(camera, normals[frame], rotate_only=True)
        samples = rasterize(points_seen, normals_seen, corners, size, paint)
        images[:, start : start + len(index)] = mean_over_pixels(samples, supersampling)
    return images


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Area-weighted vertex normals, `(F, N, 3)`, from `(F, N, 3)` vertices and `(M, 3)` faces.

    The sum runs in 64-bit fixed point, scaled by the largest face of the frame: integers add up to the same in any
    order, so the result depends neither on threads nor on the other frames. Vertices without faces get a zero normal.
    """
    if vertices.device.type == "cpu" and (loop := LOOPS.get("vertex_normals")):
        return _vertex_normals_in(loop, vertices.contiguous(), faces.contiguous())
    F, N, _ = vertices.shape
    offset = torch.arange(F, device=vertices.device)[:, None] * N
    corners = (faces.t().reshape(1, -1) + offset).view(-1)  # (F 3 M,)
    a, b, c = vertices.reshape(-1, 3).index_select(0, corners).view(F, 3, -1, 3).unbind(1)  # (F, M, 3)
    crosses = torch.linalg.cross(b - a, c - a)
    exponent = torch.frexp(crosses.abs().amax((1, 2), keepdim=True)).exponent
    scale = torch.ldexp(torch.ones_like(exponent, dtype=torch.float32), 48 - exponent)
    crosses = (crosses * scale).to(torch.int64)  # below 2 ** 48: sums of 2 ** 14 faces still fit
    total = torch.zeros(F * N, 3, dtype=torch.int64, device=vertices.device)
    total.index_add_(0, corners, crosses[:, None].expand(-1, 3, -1, -1).reshape(-1, 3))
    total = total.to(torch.float32)
    x, y, z = total.unbind(1)
    inverse_length = (x * x + y * y + z * z).clamp_min_(1e-30).rsqrt_()
    return total.mul_(inverse_length[:, None]).view(F, N, 3)


def _vertex_normals_in(loop, vertices: Tensor, faces: Tensor) -> Tensor:
    normals, corners = torch.empty_like(vertices), faces.numpy().view(np.uint64)
    crosses, total = np.empty(corners.shape, np.float32), np.empty(vertices.shape[1:], np.int64)
    for points, found in zip(vertices.numpy(), normals.numpy(), strict=True):
        loop(points, corners, crosses, total, found)
    return normals


def resolve_backend(backend: str, device_type: str = "cpu") -> str:
    """The backend that "auto" stands for here: "numba" on a CPU where it is installed, otherwise "torch"."""
    if backend not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {backend!r}")
    if backend == "torch" or device_type != "cpu":
        return "torch"
    from .numba_mvfer import numba_is_installed

    if numba_is_installed():
        from .loops_numba_mvfer import load_loops

        load_loops()
        return "numba"
    if backend == "numba":
        raise ValueError('backend "numba" is not installed; install it with: pip install "mvfer[fast]"')
    return "torch"


def _transform(cameras: Tensor, vectors: Tensor, *, rotate_only: bool = False) -> Tensor:
    """Apply `(n, 4, 4)` cameras to `(n, 3, N)` vectors; written out, because the bits of a matmul vary with n."""
    x, y, z = vectors[:, None].unbind(2)  # (n, 1, N)
    matrix = cameras[:, :3, :, None]  # (n, 3, 4, 1)
    moved = (matrix[:, :, 0] * x).add_(matrix[:, :, 1] * y).add_(matrix[:, :, 2] * z)
    return moved if rotate_only else moved.add_(matrix[:, :, 3])


def _check_sizes(size_px: int, supersampling: int) -> None:
    integers = isinstance(size_px, int) and isinstance(supersampling, int)
    if not (integers and size_px >= 8 and 1 <= supersampling <= 8 and size_px * supersampling <= MAX_SIZE):
        raise ValueError(
            f"expected integers size_px >= 8 and supersampling in [1, 8] with a product of at most {MAX_SIZE}, "
            f"got size_px={size_px!r}, supersampling={supersampling!r}"
        )


def _check_geometry(vertices: Tensor, faces: Tensor) -> None:
    if vertices.ndim != 3 or vertices.shape[2] != 3 or 0 in vertices.shape:
        raise ValueError(f"vertices: expected (F, N, 3) numbers, got shape {tuple(vertices.shape)}")
    if faces.ndim != 2 or faces.shape[1] != 3 or len(faces) == 0:
        raise ValueError(f"faces: expected (M, 3) integers, got shape {tuple(faces.shape)}")
    low, high = int(faces.min()), int(faces.max())
    if not 0 <= low <= high < vertices.shape[1]:
        raise ValueError(f"faces: indices must lie in [0, {vertices.shape[1]}), got {low}..{high}")
    if not bool(vertices.isfinite().all()):
        raise ValueError("vertices: expected finite numbers, got NaN or infinity")
