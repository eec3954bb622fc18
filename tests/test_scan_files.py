"""What folders, patterns and names of files stand for, before anything of them is read."""

from pathlib import Path

import pytest

from mvfer.cli.scan_files import find_items, stamp


@pytest.fixture
def scans(tmp_path) -> Path:
    """Scans of two people, a moment of three cameras, loose photos, a texture, and what systems leave behind."""
    names = [*(f"anna/s{number}.ply" for number in (10, 2, 1)), "anna/skin.jpg", "ben/deep/f.obj", "ben/._f.obj"]
    names += [f"photos/m1/cam{number}.jpg" for number in range(3)] + ["photos/a.png", "photos/notes.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


def names_of(items, folder: Path) -> list[str]:
    return [Path(item.name).relative_to(folder).as_posix() for item in items]


def test_a_folder_stands_for_all_scans_below_in_natural_order(scans):
    items = find_items([str(scans)])
    assert names_of(items, scans) == [
        *("anna/s1.ply", "anna/s2.ply", "anna/s10.ply"),
        "ben/deep/f.obj",
        "photos/a.png",
        "photos/m1",
    ]
    assert [Path(path).name for path in items[-1].paths] == ["cam0.jpg", "cam1.jpg", "cam2.jpg"]
    assert [item.is_photos for item in items] == [False] * 4 + [True] * 2


def test_arguments_keep_their_order_and_tables_have_each_file_once(scans):
    asked = [str(scans / name) for name in ("anna/s10.ply", "anna/s2.ply", "anna/s10.ply", "gone.obj")]
    assert [item.name for item in find_items(asked)] == asked
    assert names_of(find_items(asked, as_given=False), scans) == ["anna/s2.ply", "anna/s10.ply", "gone.obj"]


def test_patterns_are_filled_in_and_those_without_a_match_are_names(scans, monkeypatch):
    found = find_items([str(scans / "**" / "s*.ply"), str(scans / "a?na"), "no*.obj"])
    assert names_of(found[:3], scans) == ["anna/s1.ply", "anna/s2.ply", "anna/s10.ply"] == names_of(found[3:6], scans)
    assert [item.name for item in found[6:]] == ["no*.obj"]
    (scans / "s[1].ply").write_text("x")
    assert names_of(find_items([str(scans / "s[1].ply")]), scans) == ["s[1].ply"]


def test_an_empty_folder_is_an_item_that_says_so(tmp_path):
    (item,) = find_items([str(tmp_path)])
    assert item.name == str(tmp_path) and "no meshes or photos" in item.problem


def test_files_of_one_folder_are_frames_of_one_sequence(scans):
    items = find_items([str(scans / "anna"), str(scans / "ben")], sequences=True, fps=10)
    assert names_of(items, scans) == ["anna/s1.ply", "anna/s2.ply", "anna/s10.ply", "ben/deep/f.obj"]
    assert [(item.frame, item.time_s) for item in items] == [(0, 0.0), (1, 0.1), (2, 0.2), (None, None)]
    (whole, _) = find_items([str(scans / "anna"), str(scans / "ben")], sequences=True, whole=True, fps=10)
    assert whole.is_whole and len(whole.paths) == 3 and whole.name == str(scans / "anna")


def test_a_stamp_changes_with_the_file_and_its_place(scans):
    first, second = find_items([str(scans / "anna" / "s1.ply"), str(scans / "anna" / "s2.ply")], sequences=True)
    (alone,) = find_items([first.name])
    assert len({stamp(first), stamp(second), stamp(alone)}) == 3 and stamp(alone) == stamp(find_items([first.name])[0])
    before = stamp(alone)
    Path(first.name).write_text("longer")
    assert stamp(alone) != before
    Path(first.name).unlink()
    assert "none" in stamp(alone)
