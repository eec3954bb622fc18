"""Builders to run in tests, and a made-up morphable face in ICT-FaceKit's layout, small enough to render often."""

import contextlib
import functools
import importlib

import numpy as np
import pytest

from dataset_scripts import build_ict_facekit
from dataset_scripts.common import building
from dataset_scripts.recorded import scan_sets, scans
from dataset_scripts.synthetic.recipes import SHAPES
from dataset_scripts.synthetic.synthesis import BuildSettings, build_heads
from processing.rendering_mvfer import RenderSettings

GRID = 33
PLACES = {
    "mouth": (0.35, -0.45),
    "brow": (0.35, 0.55),
    "eye": (0.35, 0.3),
    "cheek": (0.5, -0.1),
    "nose": (0.1, 0.0),
    "jaw": (0.0, -0.8),
}


def write_obj(path, vertices, polygons):
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices] + ["vt 0 0"]
    lines += ["f " + " ".join(f"{corner + 1}/1" for corner in polygon) for polygon in polygons]
    path.write_text("\n".join(lines) + "\n")


@contextlib.contextmanager
def killed_in_the_third_shard():
    """A build within is interrupted after two shards; that it was is checked."""
    original, calls = building._build_shard, []

    def killed(shard, folder):
        calls.append(shard)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(shard, folder)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(building, "_build_shard", killed)
        yield


def half_egg(grid=GRID):
    """A face-like bulge with a nose, looking towards +z: vertices `(N, 3)` and quads."""
    u, v = np.meshgrid(np.linspace(-1, 1, grid), np.linspace(-1.2, 1.2, grid))
    z = 1.2 * np.sqrt(np.clip(1 - 0.9 * (u**2 + (v / 1.25) ** 2), 0, None))
    z += 0.45 * np.exp(-((u / 0.12) ** 2) - (v / 0.2) ** 2)
    index = np.arange(grid * grid).reshape(grid, grid)
    quads = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], -1).reshape(-1, 4)
    return np.stack([u, v, z], -1).reshape(-1, 3) * 8, quads


@pytest.fixture(scope="session")
def face_folder(tmp_path_factory):
    """A folder like FaceXModel: the neutral mesh, three identity shapes, one OBJ per expression shape."""
    folder = tmp_path_factory.mktemp("FaceXModel")
    neutral, quads = half_egg()
    write_obj(folder / "generic_neutral_mesh.obj", neutral, quads)
    x, y, _ = neutral.T / 8
    for i in range(3):
        slow = np.stack([np.sin((i + 1) * x), np.cos((i + 1) * y), np.sin(x + (i + 1) * y)], 1)
        write_obj(folder / f"identity{i:03d}.obj", neutral + 0.3 * slow, quads)
    for number, shape in enumerate(SHAPES):
        for name in build_ict_facekit.shape_files(shape):
            part = next(p for p in PLACES if name.startswith(p))
            px, py = PLACES[part]
            sides = {"_L": (px,), "_R": (-px,)}.get(name[-2:], (px, -px))  # the subject's left is +x
            bump = sum(np.exp(-((x - s) ** 2 + (y - py) ** 2) / 0.03) for s in sides)
            direction = np.array([0.0, np.cos(number), 1.0])
            write_obj(folder / f"{name}.obj", neutral + 1.2 * bump[:, None] * direction, quads)
    return folder


@pytest.fixture
def framed_once(monkeypatch):
    """Scans of a build in this process are framed as its first one: where pictures do not matter, that saves most of the time."""
    first, original = [], scans.frame_mesh

    def frame(mesh):
        first.append(first[0] if first else original(mesh))
        return first[-1]

    monkeypatch.setattr(scans, "frame_mesh", frame)


@pytest.fixture
def build_faces(face_folder):
    """Build a data set of made-up faces: `build_faces(folder, subjects=(2, 1, 1), ...)` -> its info."""
    load = functools.partial(build_ict_facekit.load_head, str(face_folder))

    def run(folder, *, num_proc=1, **settings):
        settings = {"subjects": (2, 1, 1), "random_per_subject": 1, "render": RenderSettings(size_px=24)} | settings
        return build_heads(
            load, build_ict_facekit.source(face_folder), BuildSettings(**settings), folder, num_proc=num_proc
        )

    return run


@pytest.fixture
def build(tmp_path):
    """`build("bu3dfe", source, ...)` runs the builder's command line and returns the folder it wrote."""

    def run(name, source, *flags, out="out", status=0):
        module = importlib.import_module(f"dataset_scripts.build_{name}")
        scan_set = next(v for v in vars(module).values() if isinstance(v, scan_sets.ScanSet))
        common = ["--source", source, "--out", tmp_path / out, "--size_px", 24, "--num_proc", 1]
        common += ["--key_file", tmp_path / "key"]
        assert scan_sets.main(scan_set, [str(flag) for flag in [*common, *flags]]) == status
        return tmp_path / out

    return run
