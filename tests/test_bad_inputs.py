"""One bad file does not lose a batch, one bad frame does not lose a film: a row says why, the next one follows."""

import dataclasses
import json
import os
import shutil
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from modeling_mvfer import MVFERStream
from modeling_mvfer.classifier_mvfer import Classifier
from modeling_mvfer.pipeline_mvfer import TASK, ZeroShotMeshClassificationPipeline
from mvfer.cli.main import main
from mvfer.cli.predicted_rows import RowMaker
from processing.meshes_mvfer import load_mesh
from tests.bombs import painted, png
from tests.endurance import MAX_GROWTH_BYTES, Course, pushed
from tests.endurance import watched as film_watched
from tests.tiny import face_obj, small_model, small_processor, small_run
from tests.witnesses import EPS, FakeGhostscript, watched, web_server

__all__ = ["face_obj", "small_model", "small_processor", "small_run"]  # fixtures
LABELS = ["--labels", "happiness", "sadness"]


def rows_of(capsys, argv) -> tuple[int, list[dict]]:
    status = main([*map(str, argv), "--json"])
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def write_bad_meshes(folder) -> list:
    """What a folder may hold under names that end in .obj or .glb."""
    os.mkfifo(folder / "pipe.obj")
    (folder / "folder.obj").mkdir()
    (folder / "device.obj").symlink_to("/dev/zero")
    (folder / "loop.obj").symlink_to("loop.obj")
    (folder / "empty.obj").touch()
    (folder / "text.obj").write_text("hello")
    (folder / "eps.glb").write_bytes(painted([EPS]))
    (folder / "bomb.glb").write_bytes(painted([png(9000, 9000)]))
    (folder / "forged.stl").write_bytes(b"x" * 80 + struct.pack("<I", 2**32 - 1))
    (folder / "a\tb\x1b[2J.obj").write_text("v 0 0 0")
    return [*sorted(folder.iterdir()), folder / "missing.obj", folder / "x.unknown"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_predict_answers_for_every_file_in_order(small_run, face_obj, tmp_path, capsys):
    bad = write_bad_meshes(tmp_path)
    inputs = [face_obj, *bad[:6], face_obj, *bad[6:], face_obj]
    status, rows = rows_of(capsys, ["predict", *inputs, "--model", small_run, *LABELS])
    assert status == 1 and [row["input"] for row in rows] == [str(name) for name in inputs]
    good = [row for row in rows if row["input"] == face_obj]
    assert len(good) == 3 and all(row["scores"] == good[0]["scores"] for row in good)
    squares = [row for row in rows if row["input"].endswith(".glb")]  # whose pictures a model of geometry does not read
    assert len(squares) == 2 and all(row["abstain"] and row["reason"] == "not a face" for row in squares)
    assert all("error" in row for row in rows if row["input"] != face_obj and row not in squares)


def test_predict_goes_on_after_whatever_a_file_does(small_run, face_obj, monkeypatch, capsys):
    original, calls = RowMaker._row, []

    def fail_on_the_second(self, item, read, found, number, angles):
        calls.append(len(found.abstain))
        if len(calls) in (2, 4):  # of the batch, and of those that are asked one by one
            raise RuntimeError("surprise")
        return original(self, item, read, found, number, angles)

    monkeypatch.setattr(RowMaker, "_row", fail_on_the_second)
    status, rows = rows_of(capsys, ["predict", *[face_obj] * 3, "--model", small_run, *LABELS])
    assert status == 1 and [row.get("error") for row in rows] == [None, "RuntimeError: surprise", None]
    assert calls == [3, 3, 1, 1, 1]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bad_frame_does_not_lose_the_rest_of_a_film(small_run, tmp_path, capsys, monkeypatch):
    ghostscript = FakeGhostscript(tmp_path / "bin")
    monkeypatch.setenv("PATH", ghostscript.path)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    ok = tmp_path / "ok.png"
    Image.new("RGB", (64, 64), (120, 90, 80)).save(ok)
    (tmp_path / "eps.png").write_bytes(EPS)
    (tmp_path / "cut.png").write_bytes(ok.read_bytes()[:60])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "large.png").write_bytes(png(9000, 9000))
    (tmp_path / "bomb.png").write_bytes(png(20_000, 20_000, "1"))
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    with web_server() as (address, asked), watched() as seen:
        bad = ["eps", "cut", "empty", "text", "large", "bomb", "folder", "pipe", "missing"]
        names = [str(tmp_path / f"{name}.png") for name in bad] + [f"{address}/x.png"]
        frames = [str(ok)] + [name for one in names for name in (one, str(ok))]
        argv = ["watch", *frames, "--order", "given", "--model", small_run, *LABELS]
        status, rows = rows_of(capsys, argv)
    assert status == 1 and [row["input"] for row in rows] == frames
    assert all(("error" in row) == (row["input"] != str(ok)) for row in rows)
    assert seen == [] and asked == [] and not ghostscript.was_run


def test_the_stream_is_as_before_after_a_bad_frame(small_model, small_processor, tmp_path):
    stream, plain = (MVFERStream(small_model, small_processor, ["happiness", "sadness"]) for _ in range(2))
    frames = [Image.new("RGB", (32, 32), (shade, 90, 80)) for shade in (50, 120, 200)]
    (tmp_path / "text.png").write_text("hello")
    for number, frame in enumerate(frames):
        with pytest.raises(ValueError, match="not readable as a photo"):
            stream.push(tmp_path / "text.png", number + 0.5)
        step, expected = stream.push(frame, number + 0.6), plain.push(frame, number + 0.6)
        assert step.probabilities == expected.probabilities and step.frame_times_s == expected.frame_times_s


needs_linux = pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="asks Linux for the memory held")


@needs_linux
@pytest.mark.parametrize("pushes", [300, pytest.param(4000, marks=pytest.mark.slow)])
def test_a_stream_of_many_frames_keeps_its_memory_and_its_pace(small_model, small_processor, pushes):
    course = pushed(small_model, small_processor, pushes)
    assert len(course.seconds) == 10 and course.growth_bytes < MAX_GROWTH_BYTES, course
    assert pushes < 1000 or course.is_constant, course


@needs_linux
@pytest.mark.parametrize("frames", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_film_of_many_frames_keeps_its_memory_and_its_pace(small_run, tmp_path, frames):
    course = film_watched(small_run, tmp_path, frames)
    assert len(course.seconds) == 10 and course.growth_bytes < MAX_GROWTH_BYTES, course
    assert frames < 1000 or course.is_constant, course


def test_work_that_grows_or_slows_down_is_told():
    steady = Course([100] * 10, [0.01] * 10)
    assert steady.is_constant and "0.0 MiB" in str(steady)
    assert not Course([100 + 2**22 * number for number in range(10)], [0.01] * 10).is_constant
    assert not Course([100] * 10, [0.01 * (1 + number / 5) for number in range(10)]).is_constant


@pytest.mark.parametrize("shared", ["classifier", "pipeline"])
def test_four_threads_that_share_a_model_get_the_answers_of_one(small_model, small_processor, face_obj, shared):
    labels = ["happiness", "sadness"]
    classifier = Classifier.from_prompts(small_model, small_processor, labels)
    pipe = ZeroShotMeshClassificationPipeline(model=small_model, processor=small_processor, task=TASK, device="cpu")
    face = load_mesh(face_obj)
    meshes = [dataclasses.replace(face, vertices=face.vertices * np.float32([1, 1 + k / 10, 1])) for k in range(4)]

    def ask(mesh):
        if shared == "pipeline":
            return [row["score"] for row in sorted(pipe(mesh, candidate_labels=labels), key=lambda row: row["label"])]
        return classifier(small_processor(meshes=[mesh], return_tensors="pt")).probabilities[0]

    expected = [ask(mesh) for mesh in meshes]
    barrier = threading.Barrier(4)

    def ask_at_once(mesh):
        barrier.wait()
        return [ask(mesh) for _ in range(3)]

    with ThreadPoolExecutor(4) as pool:
        for alone, together in zip(expected, pool.map(ask_at_once, meshes), strict=True):
            assert all(np.allclose(alone, one, atol=1e-6) for one in together)


@pytest.mark.parametrize("count, bad", [(30, 3), pytest.param(1000, 10, marks=pytest.mark.slow)])
def test_of_many_inputs_all_good_ones_are_answered_in_order(small_run, face_obj, tmp_path, capsys, count, bad):
    shutil.copyfile(face_obj, tmp_path / "0000.obj")
    names = [tmp_path / f"{number:04d}.obj" for number in range(count)]
    step = count // bad
    for number, name in enumerate(names[1:], 1):
        if number % step == step // 2:
            name.write_text("v 0 0 0\n")
        else:
            os.link(names[0], name)
    status, rows = rows_of(capsys, ["predict", *names, "--model", small_run, *LABELS])
    assert status == 1 and [row["input"] for row in rows] == [str(name) for name in names]
    assert sum("scores" in row for row in rows) == count - bad
    assert [number for number, row in enumerate(rows) if "error" in row] == list(range(step // 2, count, step))
