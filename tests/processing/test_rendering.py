"""The renderer against slow, obvious twins: which pixel shows which point, and the same bits every time."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from processing import numba_mvfer, rasterizer_mvfer
from processing.cameras_mvfer import CAMERA_DISTANCE, DEFAULT_VIEW_ANGLES_DEG, FOCAL_LENGTH, world_to_camera
from processing.channels_mvfer import CHANNELS, compose_channels
from processing.framing_mvfer import FRAMED, FaceFrame, frame_face, frame_upright
from processing.rendering_mvfer import RenderSettings, render_mesh, render_scan, render_views, vertex_normals
from tests.processing.heads import head

VIEWS = DEFAULT_VIEW_ANGLES_DEG
NO_FRAME = FaceFrame((0.0, 0.0, 0.0), 1.0)


def framed_head(**kwargs):
    vertices, faces = head(**kwargs)
    return torch.tensor(frame_face(vertices, faces).apply(vertices))[None], torch.tensor(faces)


def views(vertices, faces, angles=VIEWS, size_px=64, **kwargs):
    return render_views(vertices, faces, view_angles_deg=angles, size_px=size_px, **kwargs)


def quad(corners):
    """Two triangles over four corners given counter-clockwise."""
    return torch.tensor([corners], dtype=torch.float32), torch.tensor([[0, 1, 2], [0, 2, 3]])


def cast_rays(vertices, faces, angle, size):
    """Float64 twin: Moeller-Trumbore of every pixel against every triangle. Returns depth (0: miss) and normals."""
    camera = world_to_camera([angle])[0].double().numpy()
    points = vertices.double().numpy() @ camera[:3, :3].T + camera[:3, 3]
    a, b, c = points[faces.numpy()].transpose(1, 0, 2)  # each (M, 3)
    crosses = np.cross(b - a, c - a)
    normals = np.zeros_like(points)
    for corner in faces.numpy().T:
        np.add.at(normals, corner, crosses)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-300)
    depth, seen = np.zeros((size, size)), np.zeros((size, size, 3))
    for row, column in np.ndindex(size, size):
        ray = np.array([(2 * column + 1) / size - 1, 1 - (2 * row + 1) / size, -FOCAL_LENGTH]) / FOCAL_LENGTH
        p = np.cross(ray, c - a)
        determinant = (p * (b - a)).sum(1)
        u = -(p * a).sum(1) / determinant
        q = np.cross(-a, b - a)
        v = q @ ray / determinant
        t = (q * (c - a)).sum(1) / determinant
        hit = (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (t > 0)
        if hit.any():
            nearest = np.where(hit, t, np.inf).argmin()
            depth[row, column] = t[nearest]
            weights = 1 - u[nearest] - v[nearest], u[nearest], v[nearest]
            normal = sum(w * normals[i] for w, i in zip(weights, faces[nearest].tolist(), strict=True))
            seen[row, column] = normal / np.linalg.norm(normal)
    return depth, seen


def assert_agrees(buffers, view, depth, normal):
    """The bounds of the renderer: mask, depth and normals against a reference."""
    mask = buffers["mask"][0, view, 0].numpy() > 0
    assert (mask != (depth > 0)).sum() <= 2
    both = mask & (depth > 0)
    error = np.abs(buffers["depth"][0, view, 0].numpy() - depth)[both] / depth[both]
    assert np.quantile(error, 0.999) <= 1e-5
    cosine = (buffers["normal"][0, view].permute(1, 2, 0).double().numpy() * normal).sum(2)[both]
    assert np.quantile(np.degrees(np.arccos(cosine.clip(-1, 1))), 0.999) <= 0.1


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_pixels_agree_with_rays_cast_in_float64(backend):
    if backend == "numba":
        pytest.importorskip("numba")
    vertices, faces = framed_head(rows=24, columns=32)
    buffers = views(vertices, faces, size_px=40, backend=backend)
    for view, angle in enumerate(VIEWS):
        assert_agrees(buffers, view, *cast_rays(vertices[0], faces, angle, 40))


def test_pixels_agree_with_embree():
    rtcore_scene = pytest.importorskip("embreex.rtcore_scene")
    from embreex.mesh_construction import TriangleMesh

    vertices, faces = framed_head()
    size, angle = 224, (30, 10)
    buffers = views(vertices, faces, angles=[angle], size_px=size)
    camera = world_to_camera([angle])[0].double().numpy()
    points = vertices[0].double().numpy() @ camera[:3, :3].T + camera[:3, 3]
    scene = rtcore_scene.EmbreeScene()
    TriangleMesh(scene, points.astype(np.float32), faces.numpy().astype(np.int32))
    x, y = np.meshgrid((2 * np.arange(size) + 1) / size - 1, 1 - (2 * np.arange(size) + 1) / size)
    rays = np.stack([x, y, np.full_like(x, -FOCAL_LENGTH)], -1).reshape(-1, 3).astype(np.float32) / np.float32(
        FOCAL_LENGTH
    )
    found = scene.run(np.zeros_like(rays), rays, output=True)
    hit = found["primID"] >= 0
    weights = np.stack([1 - found["u"] - found["v"], found["u"], found["v"]], 1)
    normals = vertex_normals(vertices, faces)[0].double().numpy() @ camera[:3, :3].T
    normal = (normals[faces.numpy()[found["primID"]]] * weights[..., None]).sum(1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True).clip(1e-12)
    depth = np.where(hit, found["tfar"], 0)
    assert_agrees(buffers, 0, depth.reshape(size, size), normal.reshape(size, size, 3))


def test_markers_land_on_known_pixels():
    """A small square at (0.5, 0.25, 0): right of the middle, above it."""
    vertices, faces = quad([(0.46, 0.22, 0), (0.54, 0.22, 0), (0.54, 0.28, 0), (0.46, 0.28, 0)])
    mask = views(vertices, faces, angles=[(0, 0)], size_px=100)["mask"][0, 0, 0]
    rows, columns = mask.nonzero().unbind(1)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (36, 38, 73, 76)
    assert mask.sum() == 12


def test_the_left_view_sees_the_subjects_left():
    """A wall at the subject's left cheek (+x) faces +x: only the view named left sees its front."""
    vertices, faces = quad([(0.5, -0.3, 0.3), (0.5, -0.3, -0.3), (0.5, 0.3, -0.3), (0.5, 0.3, 0.3)])
    normal = views(vertices, faces, angles=[(-45, 0), (45, 0)])["normal"][0, :, 2]  # (2, H, W)
    assert normal[1].max() > 0.5 and normal[0].min() < -0.5


def test_normals_are_those_of_the_camera():
    vertices, faces = quad([(-0.5, -0.5, 0), (0.5, -0.5, 0), (0.5, 0.5, 0), (-0.5, 0.5, 0)])
    buffers = views(vertices, faces, angles=[(0, 0), (30, 0), (0, 30)])
    middle = buffers["normal"][0, :, :, 32, 32]
    half, high = 0.5, 0.75**0.5
    torch.testing.assert_close(middle, torch.tensor([[0, 0, 1], [-half, 0, high], [0, -half, high]]), atol=1e-5, rtol=0)
    torch.testing.assert_close(buffers["depth"][0, 0, 0, 32, 32], torch.tensor(CAMERA_DISTANCE))


def test_the_renderer_in_numpy_of_the_examples_draws_the_same():
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "numpy_views.py"))
    vertices, faces = framed_head()
    look = {"view_angles_deg": [[-30.0, 0.0], [20.0, 15.0]], "supersampling": 2, "aim_y": 0.2}
    look["channels"] = ["clay", "curvature", "depth"]
    expected = render_scan(vertices[0], faces, RenderSettings(size_px=32, **look), frame=FRAMED)[0]
    found = example["views_of"](vertices[0].double().numpy(), faces.numpy(), look | {"crop_size": {"height": 32}})
    difference = np.abs(np.stack(found).astype(int) - expected)
    assert difference.mean() < 0.05 and np.quantile(difference, 0.999) <= 2


def test_bits_do_not_depend_on_runs_threads_or_chunks():
    vertices, faces = framed_head(rows=120, columns=160)
    vertices = torch.cat([vertices, 0.9 * vertices])
    settings = RenderSettings(size_px=96, supersampling=2)
    first = views(vertices, faces, size_px=96, supersampling=2)
    image = render_scan(vertices, faces, settings, frame=NO_FRAME)
    for chunk in (1, 4, 6):
        again = views(vertices, faces, size_px=96, supersampling=2, chunk=chunk)
        assert all(torch.equal(first[name], again[name]) for name in first)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        assert (render_scan(vertices, faces, settings, frame=NO_FRAME) == image).all()
    finally:
        torch.set_num_threads(threads)


def test_a_frame_of_a_sequence_equals_the_frame_alone():
    vertices, faces = framed_head()
    sequence = torch.cat([vertices, 50 * vertices, vertices * 1.1])
    together, alone = views(sequence, faces), views(vertices * 1.1, faces)
    assert all(torch.equal(together[name][2:], alone[name]) for name in alone)


def test_the_order_of_triangles_does_not_matter():
    vertices, faces = framed_head()
    order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))
    a, b = views(vertices, faces), views(vertices, faces[order])
    assert torch.equal(vertex_normals(vertices, faces), vertex_normals(vertices, faces[order]))
    assert (a["mask"] != b["mask"]).sum() == 0
    torch.testing.assert_close(a["depth"], b["depth"], atol=1e-5, rtol=0)


def test_drawing_in_small_parts_changes_nothing(monkeypatch):
    vertices, faces = framed_head(rows=30, columns=40)
    whole = views(vertices, faces)
    monkeypatch.setattr(rasterizer_mvfer, "MAX_SAMPLES", {"cpu": 100})
    parts = views(vertices, faces)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_triangles_that_cross_the_camera_plane_are_dropped():
    vertices, faces = framed_head(rows=30, columns=40)
    crossing = torch.tensor([[[0, 0, 0], [0.5, 0, 0], [0, 0.5, 2 * CAMERA_DISTANCE]]])
    both = torch.cat([vertices, crossing], 1)
    faces_of_both = torch.cat([faces, vertices.shape[1] + torch.tensor([[0, 1, 2]])])
    a, b = views(vertices, faces, angles=[(0, 0)]), views(both, faces_of_both, angles=[(0, 0)])
    assert torch.equal(a["depth"], b["depth"])


def test_degenerate_triangles_change_nothing():
    vertices, faces = framed_head(rows=30, columns=40)
    a, b = views(vertices, faces), views(vertices, torch.cat([faces, torch.tensor([[0, 0, 0], [5, 5, 9]])]))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_supersampling_measures_coverage():
    vertices, faces = quad([(-0.5, -0.4, 0), (0.503, -0.41, 0), (0.5, 0.4, 0), (-0.51, 0.42, 0)])
    fine = views(vertices, faces, angles=[(0, 0)], size_px=64)["mask"].mean()
    coarse = views(vertices, faces, angles=[(0, 0)], size_px=16, supersampling=4)
    torch.testing.assert_close(coarse["mask"].mean(), fine)
    covered = coarse["mask"][0, 0, 0] > 0
    torch.testing.assert_close(coarse["depth"][0, 0, 0][covered], torch.full((int(covered.sum()),), CAMERA_DISTANCE))
    lengths = coarse["normal"][0, 0].square().sum(0)[covered]
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_texture_and_vertex_colors_land_where_they_belong(backend):
    if backend == "numba":
        pytest.importorskip("numba")
    vertices, faces = quad([(-0.9, -0.9, 0), (0.9, -0.9, 0), (0.9, 0.9, 0), (-0.9, 0.9, 0)])
    red, green, blue, white = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
    texture = np.array([[red, green], [blue, white]], np.uint8).repeat(8, 0).repeat(8, 1)  # as one looks at the picture
    uvs = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])  # v runs upwards
    settings = RenderSettings(((0, 0),), 64, channels=("red", "green", "blue"), backend=backend)
    image = render_scan(vertices, faces, settings, uvs=uvs, texture=texture, frame=NO_FRAME)[0, 0]
    corners = [image[16, 16], image[16, 48], image[48, 16], image[48, 48]]
    assert np.array_equal(corners, [red, green, blue, white])
    colors = np.array([blue, white, green, red], np.uint8)
    image = render_scan(vertices, faces, settings, vertex_colors=colors, frame=NO_FRAME)[0, 0]
    corners = np.array([image[6, 6], image[6, 57], image[57, 6], image[57, 57]], np.int16)
    assert np.abs(corners - [red, green, blue, white]).max() < 32


def test_texture_is_interpolated_in_perspective():
    """On a wall that recedes, the middle of the texture lies where the middle of the wall is seen."""
    vertices, faces = quad([(-0.9, -0.5, 0), (0.6, -0.5, -4), (0.6, 0.5, -4), (-0.9, 0.5, 0)])
    texture = np.zeros((4, 64, 3), np.uint8)
    texture[:, 32:] = 255
    uvs = torch.tensor([(0.0, 0.0), (1, 0), (1, 1), (0, 1)])
    color = views(vertices, faces, angles=[(0, 0)], size_px=200, uvs=uvs, texture=texture)["color"][0, 0, 0, 100]
    x, z = -0.15, -2.0  # the middle of the wall
    expected = 100 + 100 * x * FOCAL_LENGTH / (CAMERA_DISTANCE - z)
    assert int((color > 0.5).nonzero()[0]) == pytest.approx(expected, abs=2)


def test_numba_and_torch_draw_the_same_pixels():
    pytest.importorskip("numba")
    vertices, faces = framed_head()
    a, b = (views(vertices, faces, size_px=128, backend=backend) for backend in ("torch", "numba"))
    assert (a["mask"] != b["mask"]).sum() <= 2
    assert (a["depth"] - b["depth"]).abs().flatten().quantile(0.999) <= 1e-5
    assert (a["normal"] - b["normal"]).abs().flatten().quantile(0.999) <= 1e-4


def test_absence_of_numba_is_reported_with_the_remedy(monkeypatch):
    monkeypatch.setattr(numba_mvfer, "njit", None)
    vertices, faces = framed_head(rows=30, columns=40)
    with pytest.raises(ValueError, match=r'pip install "mvfer\[fast\]"'):
        views(vertices, faces, backend="numba")
    assert torch.equal(views(vertices, faces, backend="auto")["depth"], views(vertices, faces)["depth"])


def test_where_no_folder_can_be_written_numba_compiles_without_a_cache(monkeypatch):
    caching = pytest.importorskip("numba.core.caching")
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])

    def double(number):
        return 2 * number

    assert numba_mvfer.compiled(double)(3) == 6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_draws_the_same_pixels():
    vertices, faces = framed_head()
    a, b = views(vertices, faces, size_px=224), views(vertices.cuda(), faces.cuda(), size_px=224)
    assert (a["mask"] != b["mask"].cpu()).sum() <= 2
    assert (a["depth"] - b["depth"].cpu()).abs().flatten().quantile(0.999) <= 1e-5
    settings = RenderSettings(size_px=64)
    images = render_scan(vertices.cuda(), faces, settings).astype(int) - render_scan(vertices, faces, settings)
    assert np.quantile(np.abs(images), 0.999) <= 1


def test_background_is_zero_in_every_channel():
    vertices, faces = framed_head(rows=40, columns=60)
    buffers = views(vertices, faces, vertex_colors=np.full((vertices.shape[1], 3), 90, np.uint8))
    empty = buffers["mask"][:, :, 0] == 0
    assert empty.any() and not empty.all()
    for name in CHANNELS:
        image = compose_channels(buffers, (name,) * 3)[:, :, 0]
        assert image.dtype == torch.uint8 and (image[empty] == 0).all() and image.any()


def test_channels_agree_between_sizes():
    vertices, faces = framed_head(rows=200, columns=300)
    for name in ("clay", "curvature", "depth"):
        small, large = (
            render_scan(vertices, faces, RenderSettings(size_px=size, supersampling=samples, channels=(name,) * 3))
            for size, samples in ((64, 2), (256, 1))
        )
        pooled = large.reshape(3, 64, 4, 64, 4, 3).mean((2, 4))
        inside = (large.reshape(3, 64, 4, 64, 4, 3) > 0).all((2, 4))
        assert np.abs(pooled - small[0])[inside].mean() < 4


def test_channels_agree_between_tessellations():
    heads = [head(rows=rows, columns=columns) for rows, columns in ((90, 120), (240, 320))]
    images = [render_scan(*one, RenderSettings(size_px=64), frame=frame_upright(*one))[0].astype(int) for one in heads]
    inside = (images[0] > 0).all(-1) & (images[1] > 0).all(-1)
    assert np.abs(images[0] - images[1])[inside].mean() < 4


def test_a_square_seen_from_its_edge_is_not_there():
    square, faces = quad([(0, -0.9, -0.9), (0, 0.9, -0.9), (0, 0.9, 0.9), (0, -0.9, 0.9)])
    assert not views(square, faces, angles=[(0, 0)])["mask"].any()


def test_flat_is_gray_and_convex_is_bright_in_the_curvature_channel():
    wall, wall_faces = quad([(-0.9, -0.9, 0), (0.9, -0.9, 0), (0.9, 0.9, 0), (-0.9, 0.9, 0)])
    flat = compose_channels(views(wall, wall_faces, angles=[(0, 0)]), ("curvature",) * 3)
    assert set(flat[0, 0, 0, 8:-8, 8:-8].flatten().tolist()) == {128}
    vertices, faces = framed_head()
    ball = compose_channels(views(vertices, faces, angles=[(0, 0)]), ("curvature",) * 3)
    assert ball[0, 0, 0, 24:40, 32].max() > 150  # along the nose


def test_near_is_bright_in_the_depth_channel():
    vertices, faces = framed_head()
    depth = compose_channels(views(vertices, faces, angles=[(0, 0)]), ("depth",) * 3)[0, 0, 0]
    row, column = divmod(int(depth.argmax()), 64)
    assert abs(column - 32) <= 2 and 20 <= row <= 34  # the tip of the nose


def test_an_inside_out_mesh_looks_the_same():
    vertices, faces = framed_head()
    settings = RenderSettings(size_px=64)
    a, b = (render_scan(vertices, f, settings).astype(int) for f in (faces, faces.flip(1)))
    assert np.abs(a - b).max() <= 1


def test_the_light_is_fixed_to_the_camera_and_can_be_moved():
    vertices, faces = framed_head()
    settings = RenderSettings(((0, 0),), 64, channels=("clay",) * 3)
    left, right = (render_scan(vertices, faces, settings, light_deg=(yaw, 20))[0, 0, :, :, 0] for yaw in (-60, 60))
    assert left[:, :32].mean() > left[:, 32:].mean()
    np.testing.assert_allclose(left.mean(), right.mean(), rtol=0.02)


def test_a_sequence_keeps_the_first_frames_window():
    class Scan:
        def __init__(self, **kwargs):
            self.vertices, self.faces = head(rows=60, columns=80, **kwargs)

    first, second = Scan(), Scan()
    second.vertices = second.vertices * 0.8  # as if it moved away
    settings = RenderSettings(size_px=32)
    images = render_mesh([first, second], settings)
    assert images.shape == (2, 3, 32, 32, 3)
    assert (images[1, 1] > 0).any(-1).sum() < (images[0, 1] > 0).any(-1).sum()
    stacked = np.stack([first.vertices, second.vertices])
    assert np.array_equal(images, render_scan(stacked, first.faces, settings))


def test_a_camera_that_looks_higher_shows_the_head_lower():
    vertices, faces = framed_head(rows=24, columns=32)
    level, higher = (render_scan(vertices, faces, RenderSettings(size_px=40, aim_y=y), frame=FRAMED) for y in (0, 0.2))
    assert np.abs(higher[0, 1, 4:].astype(int) - level[0, 1, :-4]).mean() < 8
    assert np.abs(higher[0, 1].astype(int) - level[0, 1]).mean() > 8


def test_settings_survive_json_and_refuse_unknown_keys():
    settings = RenderSettings(((0, 0), (20, -5)), 96, 2, ("depth", "mask", "clay"), "auto", 0.2)
    assert RenderSettings.from_dict(settings.to_dict()) == settings
    older = {name: value for name, value in settings.to_dict().items() if name != "aim_y"}
    assert RenderSettings.from_dict(older).aim_y == 0, "what was built before the setting existed"
    with pytest.raises(ValueError, match="sise_px"):
        RenderSettings.from_dict({"sise_px": 3})


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"size_px": 0}, "size_px"),
        ({"size_px": 64.0}, "size_px"),
        ({"supersampling": 99}, "supersampling"),
        ({"channels": ("clay", "depth")}, "channels"),
        ({"channels": ("clay", "depth", "smell")}, "channels"),
        ({"backend": "opengl"}, "backend"),
        ({"view_angles_deg": ()}, "view_angles_deg"),
        ({"aim_y": 2.0}, "aim_y"),
        ({"aim_y": "high"}, "aim_y"),
    ],
)
def test_bad_settings_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        RenderSettings(**kwargs)


def test_bad_geometry_is_refused():
    vertices, faces = framed_head(rows=12, columns=16)
    for bad, message in ((vertices[..., :2], "vertices"), (vertices * float("nan"), "finite")):
        with pytest.raises(ValueError, match=message):
            render_scan(bad, faces)
    for bad in (faces + 1000, -faces - 1, faces[:, :2], faces[:0]):
        with pytest.raises(ValueError, match="faces"):
            render_scan(vertices, bad)
    with pytest.raises(ValueError, match="texture or vertex colors"):
        render_scan(vertices, faces, RenderSettings(channels=("red", "green", "blue")))


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("chunk", [1, 4])
def test_frames_of_a_sequence_equal_frames_rendered_alone(backend, chunk):
    if backend == "numba" and not numba_mvfer.numba_is_installed():
        pytest.skip("numba is not installed")
    vertices, faces = framed_head(rows=40, columns=50)
    sequence = torch.cat([vertices, 1.05 * vertices])
    angles = np.array([(-50.0, 10.0), (7.5, 0.0), (60.0, 3.0)])
    together = views(sequence, faces, angles, backend=backend, chunk=chunk)
    for frame in range(2):
        alone = views(sequence[frame : frame + 1], faces, angles, backend=backend)
        assert all(torch.equal(together[name][frame], alone[name][0]) for name in alone)
