"""Compiled loops and the code that they stand in for: the same bits."""

import numpy as np
import pytest
import torch

from processing.channels_mvfer import CHANNELS, compose_channels
from processing.compiled_mvfer import LOOPS
from processing.depth_maps_mvfer import DepthMap
from processing.obj_mvfer import MeshFileError, parse_obj
from processing.rendering_mvfer import RenderSettings, render_scan, render_views, resolve_backend, vertex_normals
from tests.processing.heads import head

pytest.importorskip("numba")
HEAD = head(rows=50, columns=70)


@pytest.fixture
def both(monkeypatch):
    """Calls a function with the loops and without them."""
    resolve_backend("numba")
    loops = dict(LOOPS)

    def call(function, *arguments, **options):
        results = []
        for some in (loops, {}):
            LOOPS.clear()
            LOOPS.update(some)
            try:
                results.append(function(*arguments, **options))
            except MeshFileError as error:
                results.append(str(error))
        LOOPS.update(loops)
        return results

    yield call
    LOOPS.update(loops)


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="torch's loops fuse nothing here")
class TestSameBits:
    def test_vertex_normals(self, both):
        vertices, faces = (torch.as_tensor(array) for array in HEAD)
        frames = torch.stack([vertices, 1.3 * vertices.flip(1)]).float()
        assert torch.equal(*both(vertex_normals, frames, faces))

    @pytest.mark.parametrize("size_px, supersampling", [(8, 3), (33, 1), (64, 2), (150, 1)])
    def test_channels(self, both, size_px, supersampling):
        """Of two frames, one of which is cut by the image's edge; and of their insides, and of nothing."""
        vertices, faces = torch.as_tensor(HEAD[0]).float(), torch.as_tensor(HEAD[1])
        frames = torch.stack([vertices, 1.6 * vertices + torch.tensor([0.3, 0.2, 0.0])])
        colors = np.random.default_rng(0).integers(0, 256, vertices.shape, dtype=np.uint8)
        look = {"view_angles_deg": [(-30, 0), (60, 20)], "size_px": size_px, "supersampling": supersampling}
        for corners in (faces, faces.flip(1)):
            buffers = render_views(frames, corners, vertex_colors=colors, **look)
            for first in range(0, len(CHANNELS), 3):
                assert torch.equal(*both(compose_channels, buffers, CHANNELS[first : first + 3]))
        nothing = {name: torch.zeros_like(buffer) for name, buffer in buffers.items()}
        assert not torch.stack(both(compose_channels, nothing, ("clay", "curvature", "depth"))).any()

    def test_depth_map(self, both):
        vertices, faces = torch.as_tensor(HEAD[0]).float(), torch.as_tensor(HEAD[1])
        low, high = vertices.amin(0), vertices.amax(0)
        for extent in (0.5, 2.0):
            look = (vertices, faces, (low + high) / 2, extent, (float(low[2]), float(high[2])))
            first, second = both(DepthMap.look, *look)
            assert np.isfinite(first.depth).any()
            assert np.array_equal(first.depth, second.depth, equal_nan=True)

    def test_views(self, both):
        settings = RenderSettings(size_px=48, supersampling=2)
        assert np.array_equal(*both(render_scan, *HEAD, settings))


LINES = (
    *(
        "# a comment",
        "v 1.5 -2.25 3",
        "v 0.1 .2 3.",
        "v -0 0 -0.0",
        "v 12345678.123456 1 1",
        "vt 1 2",
        "vn 1 2 3",
        "f 1 2 3",
    ),
    *(
        "f 2//1 3//1 4//1",
        "f 1/1 2/1 3/1",
        "f 1/1/1 2/1/1 4/1/1",
        "o x",
        "usemtl y",
        "  v 1 2 3",
        "\tf 1 2 3",
        "",
        "l 1 2",
    ),
    *(
        "v 1 2 3 1 1 1",
        "v 1 2 3 4",
        "f 1 2 3 4",
        "f -1 -2 -3",
        "v 1e3 2 3",
        "v 1 2",
        "f 1 2",
        "f 0 1 2",
        "v a b c",
        "f 1/ 2 3",
    ),
    *(
        "f /1 2 3",
        "f 1/2/3/4 1 2",
        "f 1//  2 3",
        "v 1 2 3 # c",
        "f 1 2 3 # c",
        "v +1 2 3",
        "v 1.2.3 2 3",
        "v 9007199254740993 1 2",
    ),
    *(
        "v 0.12345678901234567890 1 2",
        "v 1- 2 3",
        "v -",
        "v",
        "f",
        "vp 1",
        "v 1 2 3\\",
        "f 1 2 3\\",
        "v nan 1 2",
        "f  1\t2  3 \t",
    ),
)


def test_plain_obj_files_are_read_as_others_and_all_else_is_left_to_the_reader_of_all(both):
    rng = np.random.default_rng(0)
    usual, read = 15, 0
    for _ in range(1500):
        lines = ["v 1 2 3"] * int(rng.choice([0, 4])) + list(rng.choice(LINES[:usual], int(rng.integers(1, 8))))
        if rng.random() < 0.3:
            lines.insert(int(rng.integers(len(lines) + 1)), str(rng.choice(LINES)))
        text = str(rng.choice(["\n", "\r\n", "\n\n", "\r"], p=[0.6, 0.2, 0.1, 0.1])).join(lines)
        data = (b"\xef\xbb\xbf" if rng.random() < 0.05 else b"") + text.encode() + bytes(rng.choice([b"", b"\n"]))
        first, second = both(parse_obj, data, geometry_only=True)
        if isinstance(first, str):
            assert first == second
            continue
        read += 1
        for name in ("vertices", "faces"):
            assert first[name].tobytes() == np.ascontiguousarray(second[name]).tobytes(), data
    assert read > 300
