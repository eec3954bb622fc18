"""A few damaged files of every format; `python -m tests.fuzz` makes thousands, and CI new ones for two minutes."""

import json
import os
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.bombs import BOMBS as LARGE_BOMBS
from tests.bombs import MAX_BYTES, MAX_SECONDS, measure
from tests.bombs import write as write_bomb
from tests.damage import SEEDS
from tests.fuzz import Report, fuzz, fuzz_for, judge, main
from tests.witnesses import EPS


@pytest.mark.parametrize("reader", SEEDS)
def test_damaged_files_give_a_checked_mesh_or_one_error_that_names_the_file(reader, tmp_path):
    report = fuzz(reader, count=60, seed=0, keep=tmp_path)
    assert report.findings == []
    assert report.read > 0 and report.refused > 0 and report.read + report.refused == 60


def test_new_damage_is_found_as_long_as_there_is_time():
    """CI sets both: other files at every run, which a finding names so that they can be made again."""
    seconds, seed = float(os.environ.get("MVFER_FUZZ_SECONDS", "4")), int(os.environ.get("MVFER_FUZZ_SEED", "1"))
    assert fuzz_for(seconds, seed=seed) == [], f"repeat with: python -m tests.fuzz --seed {seed}"


def test_a_reader_that_starts_a_program_is_a_finding(tmp_path, monkeypatch):
    def start(path):
        from subprocess import run

        if path.parent.name == "case":
            run(["true"], check=False)
        raise ValueError(f"{path}: refused")

    monkeypatch.setattr("tests.fuzz.load_mesh", start)
    report = Report("obj")
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "a.obj").write_bytes(EPS)
    assert "subprocess.Popen" in judge(tmp_path / "case" / "a.obj", report)


LIGHT = ("a tall and a wide picture.glb", "gloss of 9400 px.glb", "a JPEG of 60000 scans.glb", "4000 x 4000.abs.gz")
HEAVY = [name for name in LARGE_BOMBS if name not in LIGHT]


@pytest.fixture(scope="module")
def weighed(request, tmp_path_factory):
    """What comes of every bomb that was chosen, each in a process of its own, as many at once as there are cores."""

    def weigh(name: str) -> dict:
        path = write_bomb(name, tmp_path_factory.mktemp("bomb"))
        found = measure(path) | {"size": path.stat().st_size}
        path.unlink()
        return found

    chosen = [item for item in request.session.items if "weighed" in getattr(item, "fixturenames", ())]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {name: pool.submit(weigh, name) for name in (item.callspec.params["name"] for item in chosen)}


@pytest.mark.parametrize("name", [*LIGHT, *(pytest.param(name, marks=pytest.mark.slow) for name in HEAVY)])
def test_any_file_of_64_mb_takes_less_than_2_gb_and_20_seconds(name, weighed):
    found = weighed[name].result()
    assert found["size"] <= 64 * 2**20
    assert found["bytes"] < MAX_BYTES and found["seconds"] < MAX_SECONDS, found


def test_a_reader_that_fails_is_a_finding_with_its_seed_and_its_file(tmp_path, monkeypatch, capsys):
    def fail(path):
        if path.parent.name == "case":
            raise KeyError("surprise")

    monkeypatch.setattr("tests.fuzz.load_mesh", fail)
    assert main(["--reader", "abs", "--count", "2", "--seed", "7", "--keep", str(tmp_path)]) == 1
    assert "abs, seed [7, 1]: KeyError" in capsys.readouterr().out
    assert (tmp_path / "abs-7-1" / "seed.abs").is_file()


SHAPE = "Shape {{ geometry IndexedFaceSet {{ coord Coordinate {{ point [ {} ] }} coordIndex [ 0 1 2 ] }} }}\n"
TRIANGLE = "0 0 0 1 0 0 0 1 0 "
DOUBLINGS = "".join(f"DEF A{i} Group {{ children [ USE A{i - 1} USE A{i - 1} ] }}\n" for i in range(1, 40))
OBJ = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n"
PLY = """ply
format ascii 1.0
{}
element vertex 3
property float x
property float y
property float z
element face 1
property list uchar int vertex_indices
end_header
0 0 0
1 0 0
0 1 0
3 0 1 2
"""


def glb(nodes=1, triangles=1, accessors=()):
    document = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": list(range(nodes))}],
        "nodes": [{"mesh": 0}] * nodes,
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3 * triangles, "type": "VEC3"}, *accessors],
        "bufferViews": [{"buffer": 0, "byteOffset": 0, "byteLength": 36 * triangles}],
        "buffers": [{"byteLength": 36 * triangles}],
    }
    text, body = json.dumps(document).encode(), struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0) * triangles
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIII4s", b"glTF", 2, 28 + len(text) + len(body), len(text), b"JSON")
    return head + text + struct.pack("<I4s", len(body), b"BIN\0") + body


ZEROS = {"componentType": 5126, "count": 50_000, "type": "MAT4"}
BOMBS = {  # small files that took minutes or gigabytes: (name, content, whether it is a mesh)
    "USE of USE of a shape": ("a.wrl", "DEF A0 " + SHAPE.format(TRIANGLE) + DOUBLINGS, False),
    "USE of USE of nothing": ("a.wrl", "DEF A0 Group { children [ ] }\n" + DOUBLINGS, False),
    "USE of many points": ("a.wrl", "DEF A " + SHAPE.format(TRIANGLE * 20_000) + "USE A " * 2000, False),
    "an open string of quotes": ("a.wrl", '"' + '\\"' * 100_000 + "#", False),
    "one material file, many times": ("a.obj", "mtllib m.mtl\n" * 200 + OBJ, True),
    "one material file, many names": ("a.obj", "".join(f"mtllib {'./' * i}m.mtl\n" for i in range(200)) + OBJ, True),
    "blanks in a comment": ("a.ply", PLY.format(f"comment texturefile a{' ' * 50_000}b{' ' * 50_000}c"), True),
    "arrays of zeros": ("a.glb", glb(accessors=[ZEROS] * 8000), False),
    "copies of a mesh": ("a.glb", glb(nodes=2000, triangles=20_000), False),
}


@pytest.mark.parametrize("name, content, is_mesh", BOMBS.values(), ids=BOMBS)
def test_a_small_file_takes_little_time_and_memory(name, content, is_mesh, tmp_path):
    if name.endswith(".wrl"):
        content = "#VRML V2.0 utf8\n" + content
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "m.mtl").write_bytes(b"newmtl a\nmap_Kd a.png\n" * 50_000)
    report = Report(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert judge(tmp_path / name, report) is None
    assert (report.read, report.refused) == (is_mesh, not is_mesh)


def test_use_of_a_shape_and_copies_of_a_mesh_are_fine_in_moderation(tmp_path):
    report = Report("moderate")
    (tmp_path / "a.wrl").write_text("#VRML V2.0 utf8\nDEF A " + SHAPE.format(TRIANGLE * 1000) + "USE A " * 50)
    (tmp_path / "a.glb").write_bytes(glb(nodes=20, triangles=100))
    assert [judge(tmp_path / name, report) for name in ("a.wrl", "a.glb")] == [None, None]
    assert report.read == 2
