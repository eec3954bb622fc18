"""Pictures enter by one door, which starts no program, asks no address, waits for no pipe, and looks at the size first."""

import ast
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from processing import MVFERImageProcessor
from processing.images_mvfer import PictureError, as_rgb, read_picture, upright_rgb
from processing.meshes_mvfer import load_mesh
from tests.bombs import painted, png, progressive
from tests.test_imports import PYTHON, name_of
from tests.witnesses import EPS, FakeGhostscript, watched, web_server

from .mesh_files import VT, save

OPENERS = ("imread", "mimread", "imopen", "load_image", "load_images", "fetch_images", "read_image", "decode_image")
OPENERS += ("decode_png", "decode_jpeg", "decode_example", "VideoCapture", "read_video")
DOOR = "processing/images_mvfer.py"
WITHOUT_THE_PACKAGE = "examples/onnx_predict.py"  # opens PNG files alone


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A fake one; Pillow looks for it anew."""
    fake = FakeGhostscript(tmp_path / "bin")
    monkeypatch.setenv("PATH", fake.path)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    return fake


def test_the_witness_sees_what_pillow_does_without_the_door(ghostscript):
    with watched() as seen, pytest.raises(Exception, match=".*"):  # the fake draws nothing
        Image.open(io.BytesIO(EPS)).load()
    assert ghostscript.was_run and any("gs" in event for event in seen)


def openers_in(text: str) -> list[str]:
    """Calls in Python code that open or decode pictures, under whatever names the modules were imported."""
    names, found, tree = {}, [], ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {(one.asname or one.name).partition(".")[0]: one.name for one in node.names if one.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, _, rest = ast.unparse(node.func).partition(".")
            called = f"{names.get(first, first)}.{rest}".rstrip(".")
            is_pillows = called.startswith("PIL.") and called.rpartition(".")[2] in ("open", "frombuffer")
            if is_pillows or called.rpartition(".")[2] in OPENERS or called.endswith("ImageFile.Parser"):
                found.append(f"{node.lineno} {called}")
    return found


@pytest.mark.parametrize("code", [
    "from PIL import Image\nImage.open(x)",
    "from PIL import Image as P\nP.open(x)",
    "import PIL.Image\nPIL.Image.open(x)",
    "import PIL.Image as pictures\npictures.open(x)",
    "from PIL.Image import open as look\nlook(x)",
    "import matplotlib.image as m\nm.imread(x)",
    "from transformers.image_utils import load_image as l\nl(x)",
    "import cv2\ncv2.VideoCapture(x)",
    "datasets.Image().decode_example(x)",
])  # fmt: skip
def test_the_search_for_other_doors_finds_them_under_any_name(code):
    assert len(openers_in(code)) == 1 and openers_in("open(x)\npath.open()\nos.open(x, 0)") == []


def test_nothing_but_the_door_opens_pictures():
    files = [path for path in PYTHON if not name_of(path).startswith("tests/")]
    found = {name_of(path): openers_in(path.read_text(encoding="utf-8")) for path in files}
    assert [name for name, calls in found.items() if calls] == sorted((WITHOUT_THE_PACKAGE, DOOR)), found


def test_postscript_that_is_called_a_picture_runs_nowhere(tmp_path, ghostscript):
    (tmp_path / "skin.png").write_bytes(EPS)
    (tmp_path / "a.glb").write_bytes(painted([EPS]))
    save(tmp_path / "m.mtl", "newmtl skin\nmap_Kd skin.png\n")
    save(tmp_path / "m.obj", f"mtllib m.mtl\nusemtl skin\n{VT}f 1/1 2/2 3/3\n")
    doors = {
        "GLB": lambda: load_mesh(tmp_path / "a.glb"),
        "OBJ": lambda: load_mesh(tmp_path / "m.obj"),
        "photo": lambda: MVFERImageProcessor()(images=[str(tmp_path / "skin.png")]),
        "film": lambda: MVFERImageProcessor()(sequences=[{"frames": [str(tmp_path / "skin.png")]}]),
        "opened by others": lambda: upright_rgb(Image.open(tmp_path / "skin.png")),
        "texture of others": lambda: as_rgb(Image.open(tmp_path / "skin.png")),
        "bytes": lambda: read_picture(EPS),
    }
    for name, door in doors.items():
        with watched() as seen, pytest.raises(ValueError, match="no picture of a known kind|kind EPS"):
            door()
        assert seen == [] and not ghostscript.was_run, name


def test_addresses_are_refused_and_not_asked():
    with web_server() as (address, asked), watched() as seen:
        for name in (f"{address}/x.png", "https://example.org/x.png", "file:///etc/hostname"):
            with pytest.raises(ValueError, match="nothing is fetched; download the photo"):
                MVFERImageProcessor()(images=[name])
    assert asked == [] and seen == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_photo_that_is_a_pipe_a_device_or_a_folder_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "empty.png").touch()
    for name in ("pipe", "folder", "zero", "loop", "empty", "missing"):
        with pytest.raises(ValueError, match=rf"{name}\.png: not readable as a photo \(.*\); export it as PNG or JPEG"):
            MVFERImageProcessor()(images=[tmp_path / f"{name}.png"])


@pytest.mark.parametrize("data, reason", [
    (png(9000, 8000, "1"), "9000 x 8000 pixels, more than 67108864"),
    (png(13_300, 13_300, "1"), "13300 x 13300 pixels, more than"),
    (png(20_000, 20_000, "1"), "DecompressionBombError"),
    (progressive(100), r"a JPEG of 1\d\d scans over 4096 x 4096 pixels"),
    (png(8, 8)[:40], "."),
    (b"", "no picture"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pictures_too_large_or_damaged_are_refused_before_they_are_decoded(data, reason):
    with pytest.raises(PictureError, match=reason):
        read_picture(data)


def test_pictures_of_each_kind_are_read():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    for kind in ("PNG", "BMP", "TIFF", "TGA", "WEBP"):
        Image.fromarray(pixels).save(buffer := io.BytesIO(), kind, lossless=True)
        np.testing.assert_array_equal(np.asarray(read_picture(buffer.getvalue())), pixels, err_msg=kind)
    for kind in ("JPEG", "GIF"):
        Image.fromarray(pixels).save(buffer := io.BytesIO(), kind)
        assert read_picture(buffer.getvalue()).size == (8, 9)


def test_a_large_photo_may_be_decoded_at_a_fraction_of_its_size(tmp_path):
    Image.new("L", (9000, 9000)).save(tmp_path / "large.jpg")
    with pytest.raises(PictureError, match="9000 x 9000 pixels"):
        read_picture(tmp_path / "large.jpg")
    assert read_picture(Path(tmp_path / "large.jpg"), at_least_px=200).size == (1125, 1125)
