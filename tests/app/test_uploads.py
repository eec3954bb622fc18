"""What somebody may drop on the app: kinds, zip files that lie, and bounds."""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from PIL import Image

from mvfer.app import uploads
from mvfer.app.uploads import gather, unpack


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def png(width: int = 4, height: int = 4) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def inside(tmp_path):
    """The folder of an upload, within one that shows what was written beside it."""
    (tmp_path / "upload").mkdir()
    return tmp_path / "upload"


def names(upload) -> list[str]:
    return [Path(path).name for path in upload.paths]


def test_a_zip_of_frames_is_a_sequence_and_what_systems_add_is_left_out(tmp_path, inside):
    frames = {f"walk/{n}.ply": b"ply" for n in (2, 10, 1)}
    extra = {"__MACOSX/walk/._1.ply": b"x", "walk/.hidden.ply": b"x", "walk/notes.txt": b"x", "walk/skin.png": png()}
    found = gather([write_zip(tmp_path / "walk.zip", frames | extra)], inside)
    assert (found.kind, found.name, sorted(names(found))) == ("meshes", "walk.zip", ["1.ply", "10.ply", "2.ply"])
    assert sorted(path.name for path in inside.rglob("*.*")) == ["1.ply", "10.ply", "2.ply", "skin.png"]


def test_photos_alone_are_one_moment_and_beside_a_mesh_its_textures(tmp_path, inside):
    for name in ("left.png", "front.png"):
        (tmp_path / name).write_bytes(png())
    (tmp_path / "face.obj").write_bytes(b"v 0 0 0")
    photos = [tmp_path / "left.png", tmp_path / "front.png"]
    assert names(gather(photos, inside)) == ["front.png", "left.png"]
    other = inside / "other"
    other.mkdir()
    found = gather([*photos, tmp_path / "face.obj"], other)
    assert (found.kind, names(found), found.name) == ("meshes", ["face.obj"], "left.png and 2 more")
    assert (other / "left.png").is_file()


def test_files_of_the_same_name_are_all_kept(tmp_path, inside):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "face.ply").write_text(folder)
    found = gather([tmp_path / "a" / "face.ply", tmp_path / "b" / "face.ply"], inside)
    assert sorted(Path(path).read_text() for path in found.paths) == ["a", "b"]


@pytest.mark.parametrize(
    "entry", ["../evil.ply", "a/../../evil.ply", "/evil.ply", "..\\evil.ply", "C:\\evil.ply", "\\evil.ply"]
)
def test_a_zip_that_names_places_outside_is_refused_and_writes_nothing(entry, tmp_path, inside):
    hostile = write_zip(tmp_path / "hostile.zip", {"good.ply": b"ply", entry: b"evil"})
    with pytest.raises(ValueError, match="hostile.zip: it names .*outside of itself; do not trust it"):
        gather([hostile], inside)
    assert list(inside.rglob("*")) == [] and not list(tmp_path.rglob("evil*"))


def test_a_zip_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path, inside, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_BYTES", 2**20)
    bomb = write_zip(tmp_path / "bomb.zip", {f"{n}.ply": bytes(2**19) for n in range(3)})
    assert bomb.stat().st_size < 10_000
    with pytest.raises(ValueError, match="bomb.zip, unpacked, have 2 MiB, more than 1; simplify"):
        gather([bomb], inside)
    assert list(inside.rglob("*")) == []


def test_a_zip_that_claims_to_be_smaller_than_it_is_gives_no_more_than_it_claims(tmp_path, inside):
    data = bytearray(write_zip(tmp_path / "liar.zip", {"face.ply": bytes(2**20)}).read_bytes())
    central = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, central + 24, 100)
    struct.pack_into("<I", data, 22, 100)
    (tmp_path / "liar.zip").write_bytes(data)
    with pytest.raises(ValueError, match="liar.zip: not readable as a zip"):
        gather([tmp_path / "liar.zip"], inside)
    assert sum(path.stat().st_size for path in inside.rglob("*.ply")) <= 100


def test_an_encrypted_a_damaged_and_a_fake_zip_are_refused_by_name(tmp_path, inside):
    data = bytearray(write_zip(tmp_path / "good.zip", {"face.ply": b"ply" * 99}).read_bytes())
    (tmp_path / "cut.zip").write_bytes(data[: len(data) // 2])
    (tmp_path / "fake.zip").write_text("not a zip")
    data[6] |= 1  # flags of the file
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(data)
    for name, reason in (("cut", "not readable as a zip"), ("fake", "not readable as a zip"), ("locked", "encrypted")):
        with pytest.raises(ValueError, match=f"{name}.zip: {reason}"):
            unpack(tmp_path / f"{name}.zip", inside / name)


def test_too_many_files_and_nothing_to_read_are_refused(tmp_path, inside, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_FILES", 3)
    with pytest.raises(ValueError, match="4 files in many.zip, more than 3"):
        gather([write_zip(tmp_path / "many.zip", {f"{n}.ply": b"x" for n in range(4)})], inside)
    with pytest.raises(ValueError, match="notes.zip: nothing in it that can be read; drop meshes"):
        gather([write_zip(tmp_path / "notes.zip", {"notes.txt": b"x"})], inside)
    with pytest.raises(ValueError, match="no file; drop meshes"):
        gather([], inside)
    monkeypatch.setattr(uploads, "MAX_FRAMES", 2)
    with pytest.raises(ValueError, match="3 meshes, more than 2"):
        gather([write_zip(tmp_path / "long.zip", {f"{n}.ply": b"x" for n in range(3)})], inside)
    monkeypatch.setattr(uploads, "MAX_PHOTOS", 2)
    with pytest.raises(ValueError, match="3 photos, more than 2; drop those of one moment"):
        gather([write_zip(tmp_path / "photos.zip", {f"{n}.png": png() for n in range(3)})], inside / "b")


def test_a_photo_whose_header_claims_too_many_pixels_is_not_unpacked(tmp_path, inside):
    data = bytearray(png())
    struct.pack_into(">II", data, 16, 9000, 9000)
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    (tmp_path / "large.png").write_bytes(data)
    with pytest.raises(ValueError, match="9000 x 9000 pixels, more than"):
        gather([tmp_path / "large.png"], inside)
    (inside / "large.png").unlink()
    (tmp_path / "bad.png").write_text("no photo")
    with pytest.raises(ValueError, match="bad.png: not readable as a photo"):
        gather([tmp_path / "bad.png"], inside)
