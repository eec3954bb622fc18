"""A build is of what lies in its source: what was edited since is refused, not mixed; a folder has one writer."""

import os
import signal
import subprocess
import sys

import pytest
from PIL import Image

from dataset_scripts.recorded import scan_sets
from dataset_scripts.recorded.contents import file_digest
from mvfer.data.fingerprint import fingerprint
from mvfer.data.folder_lock import LOCK_FILE, folder_lock

from .conftest import killed_in_the_third_shard
from .layouts import rows_of, write_textured_obj

PEOPLE = ("anna", "ben", "cleo", "dora")


@pytest.fixture
def source(tmp_path, monkeypatch, framed_once):
    """Four people, two scans each, with a table; a shard per person."""
    monkeypatch.setattr(scan_sets, "FRAMES_PER_SHARD", 1)
    lines = ["file_name,subject,label"]
    for number, person in enumerate(PEOPLE):
        for label in ("happy", "sad"):
            write_textured_obj(tmp_path / "source" / f"{person}_{label}.obj", number / 10 + (label == "sad") / 30)
            lines.append(f"{person}_{label}.obj,{person},{label}")
    (tmp_path / "source" / "metadata.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "source"


def edit(path, old: bytes, new: bytes):
    """Change a file in place, keeping its size and its time."""
    assert len(old) == len(new) and old in (data := path.read_bytes())
    status = path.stat()
    with path.open("r+b") as stream:
        stream.write(data.replace(old, new, 1))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def swap_labels(source):
    table = source / "metadata.csv"
    table.write_text(
        table.read_text().replace(",happy\n", ",TMP\n").replace(",sad\n", ",happy\n").replace(",TMP\n", ",sad\n")
    )


def edit_meshes(source):
    for path in source.glob("*_happy.obj"):
        first = next(line for line in path.read_bytes().splitlines() if line.startswith(b"v "))
        edit(path, first, first[:-1] + (b"7" if first[-1:] != b"7" else b"8"))


def edit_textures(source):
    for path in source.glob("*.png"):
        Image.new("RGB", (16, 16), "green").save(path)


def edit_materials(source):
    for path in source.glob("*.mtl"):
        edit(path, b"newmtl skin", b"newmtl SKIN")


@pytest.mark.parametrize("change", [swap_labels, edit_meshes, edit_textures, edit_materials])
@pytest.mark.parametrize("finished", [True, False])
def test_what_was_edited_since_is_refused_and_built_anew_on_request(build, source, capsys, change, finished):
    if finished:
        out = build("folder", source)
    else:
        with killed_in_the_third_shard():
            build("folder", source)
        out = source.parent / "out"
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    change(source)
    build("folder", source, status=1)
    assert "--overwrite" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    anew = build("folder", source, "--overwrite")
    fresh = build("folder", source, out="fresh")
    assert {path.name: path.read_bytes() for path in anew.iterdir()} == {
        path.name: path.read_bytes() for path in fresh.iterdir()
    }


def test_a_finished_build_of_the_same_files_is_kept_also_when_they_were_copied(build, source):
    out = build("folder", source)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    for path in source.iterdir():
        path.touch()
    build("folder", source)
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")} == before


def test_a_file_that_could_not_be_read_is_tried_again_once_it_is_mended(build, source, capsys):
    (source / "anna_sad.obj").write_text("v 0 0 0\n")
    build("folder", source)
    write_textured_obj(source / "anna_sad.obj")
    build("folder", source, status=1)
    assert "have changed since" in capsys.readouterr().err
    assert len(rows_of(build("folder", source, "--overwrite"))) == 8


def test_overwriting_takes_nothing_but_the_build(build, source):
    out = build("folder", source)
    (out / "notes.txt").write_text("mine")
    build("folder", source, "--overwrite")
    assert (out / "notes.txt").read_text() == "mine"
    (source.parent / "other").mkdir()
    (source.parent / "other" / "README.md").write_text("mine as well")
    (source.parent / "other" / "train-00000-of-00009.parquet").write_text("whose?")
    build("folder", source, out="other", status=1)


def test_large_and_irregular_files_are_not_read(tmp_path):
    with (tmp_path / "sparse.ply").open("wb") as file:
        file.truncate(2**40)
    os.mkfifo(tmp_path / "pipe.obj")
    assert file_digest(tmp_path / "sparse.ply").startswith("unread") and file_digest(tmp_path / "gone").startswith(
        "unread"
    )
    assert file_digest(tmp_path / "pipe.obj").startswith("unread")


def test_the_fingerprint_of_a_set_is_that_of_its_content(build, source):
    one, two = build("folder", source), build("folder", source, out="two")
    assert fingerprint(one) == fingerprint(two)
    other_split = build("folder", source, "--seed", 3, out="three")
    edit_meshes(source)
    assert len({fingerprint(one), fingerprint(other_split), fingerprint(build("folder", source, out="four"))}) == 3


def test_a_second_build_in_a_folder_is_refused_while_the_first_goes_on(build, source, tmp_path, capsys):
    with folder_lock(tmp_path / "out", "a build"):
        build("folder", source, status=1)
        assert "a build is going on in it" in capsys.readouterr().err
    build("folder", source)
    assert not (tmp_path / "out" / LOCK_FILE).exists()


def test_parts_of_a_shared_build_go_on_together_and_each_but_once(tmp_path):
    with folder_lock(tmp_path, "a build", part="0-of-2"), folder_lock(tmp_path, "a build", part="1-of-2"):
        for part in ("0-of-2", ""):
            with pytest.raises(ValueError, match="in another process"), folder_lock(tmp_path, "a build", part=part):
                pass
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_no_lock(tmp_path):
    code = "import sys, time\nfrom mvfer.data.folder_lock import folder_lock\n"
    code += "with folder_lock(sys.argv[1], 'a build'):\n    print('held', flush=True)\n    time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(ValueError, match="wait for its end"), folder_lock(tmp_path, "a build"):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / LOCK_FILE).exists()
    with folder_lock(tmp_path, "a build"):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["build", "train", "predict"])
def test_what_is_killed_anywhere_ends_as_if_it_had_not_been(kind):
    done = subprocess.run([sys.executable, "-m", "tests.kills", kind, "--kills", "8"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
