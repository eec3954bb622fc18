"""What was committed is there after whatever happened; nothing else is."""

import errno
import os

import pytest

from mvfer.data.journal import Journal

QUESTION = {"model": "a", "labels": ["x", "y"]}


def opened(path, question=QUESTION, **options) -> Journal:
    return Journal(path, question, remedy="pass --overwrite", **options)


def write(path, *keys) -> None:
    with opened(path) as journal:
        for key in keys:
            journal.add("row", key, "1", [key, 0.5])
        journal.commit()


def test_what_was_committed_is_found_again_by_key_and_stamp(tmp_path):
    path = tmp_path / "new" / "a.part"
    write(path, "a", "b")
    write(path, "c")
    with opened(path) as journal:
        assert journal.get("row", "b", "1") == ["b", 0.5] and journal.get("row", "c", "1") == ["c", 0.5]
        assert journal.has("row", "a", "1") and not journal.has("row", "a", "2") and not journal.has("mean", "a", "1")
        assert journal.get("row", "a", "2") is None
        journal.add("row", "a", "2", "newer")
        journal.commit()
        assert journal.get("row", "a", "2") == "newer"
        journal.remove()
    assert not path.exists()


def test_a_torn_end_and_what_was_not_committed_are_forgotten(tmp_path):
    path = tmp_path / "a.part"
    write(path, "a")
    whole = path.read_bytes()
    for torn in (b'["row", "b', b'["row", "b", "1", 2]\n', b'["row", "b", "1", 2]\n["ro', b"\xff\n", b"tru"):
        path.write_bytes(whole + torn)
        with opened(path) as journal:
            assert journal.has("row", "a", "1") and not journal.has("row", "b", "1")
        assert path.read_bytes() == whole
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with opened(path) as journal:
            assert journal.get("row", "a", "1") is None
        write(path, "a")
        assert path.read_bytes() == whole


def test_another_question_is_refused_by_name_unless_it_is_to_begin_anew(tmp_path):
    path, other = tmp_path / "a.part", {"model": "b", "labels": ["x", "y"]}
    with opened(path):
        pass
    assert not path.exists(), "it held nothing"
    path.write_bytes(b'{"model": "b"}\n')
    with opened(path):  # nothing is lost by it
        pass
    write(path, "a")
    with pytest.raises(ValueError, match="begun with another model; pass --overwrite"):
        opened(path, other)
    with opened(path) as journal:
        assert journal.has("row", "a", "1")
    with opened(path, other, anew=True) as journal:
        assert not journal.has("row", "a", "1")


def test_two_processes_do_not_write_one_journal(tmp_path):
    pytest.importorskip("fcntl")
    with opened(tmp_path / "a.part"), pytest.raises(ValueError, match="another process"):
        opened(tmp_path / "a.part")


def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.part"
    write(path, "a")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with opened(path) as journal:
        journal.add("row", "b", "1", 2)
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ValueError, match="No space left.*start again"):
            journal.commit()
    monkeypatch.undo()
    with opened(path) as journal:
        assert journal.has("row", "a", "1")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="a.part: cannot be written"):
        opened(tmp_path / "file" / "a.part")
