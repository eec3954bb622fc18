"""A build goes on, whatever lies in its source: each file is a row or has one reason, and memory stays small."""

import json
import os
import weakref
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from PIL import Image

from dataset_scripts.common import building
from dataset_scripts.recorded import scan_sets, scans
from mvfer.data import schema
from tests.fuzz_build import RUNS, accounts, write_tree
from tests.processing.gltf_files import Gltf

from .layouts import bu3dfe, rows_of, triangles, write_picture, write_plain_obj, write_textured_obj, write_wrl


@pytest.mark.parametrize("run", RUNS)
def test_every_file_of_a_hostile_folder_is_a_row_or_has_one_reason(build, tmp_path, run):
    files = write_tree(tmp_path / "source", 60, seed=1) + 2  # its meshes are no faces
    for number in range(2):
        write_plain_obj(tmp_path / "source" / "happy" / f"face{number}.obj", number / 9)
    out = build("folder", tmp_path / "source", *RUNS[run])
    rows, rejected = accounts(out)
    assert rows + len(rejected) == files and rows > 0 and schema.dataset_info(out)["rejected"] == len(rejected)
    written = (out / schema.REJECTED_FILE).read_text()
    assert str(tmp_path) not in written and "skin.png" not in written


def test_the_first_scan_may_be_damaged_and_a_texture_too(build, tmp_path):
    source = bu3dfe(tmp_path / "BU_3DFE")
    (source / "F0001" / "F0001_AN01WH_F3D.wrl").write_text("#VRML V2.0 utf8\n")
    (source / "F0002" / "F0002_AN01WH_F3D.bmp").write_text("no picture")
    out = build("bu3dfe", source)
    assert len(rows_of(out)) == 18 and schema.dataset_info(out)["channels"] == ["red", "green", "blue"]
    reasons = sorted(item["reason"] for item in schema.read_rejected_file(out))
    assert reasons[0].startswith("the file: its texture '...' is not readable (no picture of a known kind")
    assert "no IndexedFaceSet" in reasons[1] and not any("F000" in reason for reason in reasons)


def test_a_build_of_which_nothing_is_left_fails_and_says_where_the_reasons_are(build, tmp_path, capsys):
    for name in "abc":
        path = tmp_path / "source" / "happy" / f"{name}.obj"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("v 0 0 0\n")
    build("folder", tmp_path / "source", status=1)
    assert "not one scan could be used; see rejected.jsonl" in capsys.readouterr().err
    assert len(schema.read_rejected_file(tmp_path / "out")) == 3


def test_a_photo_may_be_no_program_and_no_pipe(tmp_path):
    (tmp_path / "program.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    os.mkfifo(tmp_path / "pipe.png")
    for name, reason in (("program", "no picture of a known kind"), ("pipe", "not a regular file")):
        with pytest.raises(ValueError, match=rf"{name}\.png: not readable as a photo \({reason}.*; export"):
            scans.read_photo(tmp_path / f"{name}.png", 24)


def test_photos_of_16_bits_of_floats_and_lying_on_their_side_become_the_same_view(tmp_path):
    gray = np.random.default_rng(0).integers(0, 256, (24, 24), dtype=np.uint8)
    Image.fromarray(gray).save(tmp_path / "8.png")
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray(gray / np.float32(255)).save(tmp_path / "f.tif")
    lying = Image.fromarray(np.rot90(gray).copy())
    exif = lying.getexif()
    exif[0x0112] = 6  # orientation: turn clockwise to look at it
    lying.save(tmp_path / "lying.png", exif=exif)
    expected = scans.read_photo(tmp_path / "8.png", 24)
    np.testing.assert_array_equal(expected, np.repeat(gray[..., None], 3, -1))
    for name in ("16.png", "f.tif", "lying.png"):
        np.testing.assert_array_equal(scans.read_photo(tmp_path / name, 24), expected, err_msg=name)


def test_a_folder_of_glb_and_gltf_files_is_built_as_their_scenes_show(build, tmp_path):
    for subject in range(3):
        folder = tmp_path / "source" / "happiness" / f"anna{subject}"
        vertices, faces = triangles()
        scene = Gltf.with_square()
        scene.primitive.update(attributes={"POSITION": scene.array(vertices)}, indices=scene.array(faces.ravel(), "u4"))
        scene.primitive["targets"] = [{"POSITION": scene.array(vertices * [0.04 * subject, 0, 0])}]
        scene.document["meshes"][0]["weights"] = [1.0]
        folder.parent.mkdir(parents=True, exist_ok=True)
        if subject:
            folder.with_suffix(".glb").write_bytes(scene.glb())
        else:
            scene.glb()
            scene.document["buffers"][0]["uri"] = "anna.bin"
            folder.with_name("anna.bin").write_bytes(scene.body)
            folder.with_suffix(".gltf").write_text(json.dumps(scene.document))
    rows = rows_of(build("folder", tmp_path / "source"))
    views = [schema.view_arrays(row) for row in rows]
    assert len(rows) == 3 and all(view.any() for view in views)
    assert not np.array_equal(views[0], views[1]) and not np.array_equal(views[1], views[2])


def test_photos_in_a_set_of_geometry_are_rejected_and_pictures_beside_meshes_are_textures(build, tmp_path, capsys):
    for number in range(3):
        write_plain_obj(tmp_path / "source" / "happy" / f"{number}.obj", number / 10)
        write_picture(tmp_path / "source" / "happy" / f"{number}-diffuse.png")
        write_picture(tmp_path / "source" / "sad" / f"{number}.jpg")
    out = build("folder", tmp_path / "source")
    assert len(rows_of(out)) == 3 and "taken for their textures: 3" in capsys.readouterr().err
    assert {item["reason"] for item in schema.read_rejected_file(out)} == {
        "a photo, which has colours only; this set shows clay, curvature, depth"
    }


def test_files_named_after_people_do_not_name_them_in_the_data_set(build, tmp_path):
    for number, person in enumerate(("anna", "ben", "cleo")):
        for label in ("happy", "sad"):
            write_plain_obj(tmp_path / "source" / label / f"{person}.obj", number / 10)
    apart = rows_of(build("folder", tmp_path / "source", out="apart"))
    assert len({row["subject"] for row in apart}) == 6
    known = rows_of(build("folder", tmp_path / "source", "--subject_pattern", ".*", out="known"))
    assert len(known) == 6 and len({row["subject"] for row in known}) == 3
    assert not any(name in row["id"] for row in (*apart, *known) for name in ("anna", "ben", "cleo"))


def test_every_line_of_a_hostile_table_is_a_row_or_has_one_reason(build, tmp_path):
    own = tmp_path / "own"
    for number in range(3):
        write_plain_obj(own / f"{number}.obj", number / 10)
    (own / "loop.obj").symlink_to("loop.obj")
    lines = [{"file_name": f"{number}.obj", "label": "happy"} for number in range(3)]
    for name in ("/etc/passwd.obj", "../0.obj", "loop.obj", "a\0.obj", "gone.obj", "x" * 3000 + ".obj", "notes.txt"):
        lines.append({"file_name": name})
    for column, value in (("frame", "x"), ("time_s", "nan"), ("split", "all"), ("action_units", "smile")):
        write_plain_obj(own / f"{column}.obj", 0.5)
        lines.append({"file_name": f"{column}.obj", column: value})
    (own / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rows, rejected = accounts(build("folder", own))
    assert rows == 3 and len(rejected) == 7 + 4
    reasons = "\n".join(item["reason"] for item in rejected)
    assert "frame is 'x', expected a number" in reasons and "time_s is 'nan'" in reasons and "no such file" in reasons


def test_a_pattern_that_is_none_is_told(build, tmp_path, capsys):
    write_plain_obj(tmp_path / "source" / "happy" / "a.obj")
    build("folder", tmp_path / "source", "--subject_pattern", "([a-z", status=1)
    assert "is no regular expression" in capsys.readouterr().err


def test_a_sequence_is_streamed_and_never_lies_in_memory_as_meshes(build, tmp_path, monkeypatch):
    for person, count in (("F001", 30), ("F002", 1), ("M001", 1)):
        for number in range(count):
            write_wrl(tmp_path / "BU_4DFE" / person / "Happy" / f"{number:03d}.wrl", number / 100)
    loaded, most = [], 0

    def load(path, **options):
        nonlocal most
        mesh = original(path, **options)
        loaded.append(weakref.ref(mesh))
        most = max(most, sum(ref() is not None for ref in loaded))
        return mesh

    original = scans.load_mesh
    monkeypatch.setattr(scans, "load_mesh", load)
    rows = rows_of(build("bu4dfe", tmp_path / "BU_4DFE", "--num_frames", 0, "--geometry_only"))
    assert sorted(len(row["frame_times_s"]) for row in rows) == [1, 1, 30]
    assert len(loaded) == 32 and most <= 2


def test_a_process_that_is_killed_is_told_with_what_to_do(build, tmp_path, monkeypatch, capsys):
    class Pool:
        def __init__(self, *arguments):
            pass

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda *arguments: None  # noqa: E731

        def submit(self, *arguments):
            future = Future()
            future.set_exception(BrokenProcessPool("killed"))
            return future

    monkeypatch.setattr(building, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(scan_sets, "FRAMES_PER_SHARD", 1)
    for number in range(3):
        write_textured_obj(tmp_path / "source" / "happy" / f"{number}.obj", number / 10)
    build("folder", tmp_path / "source", "--num_proc", 2, status=1)
    assert "was killed, most likely for memory; run the same command again" in capsys.readouterr().err
