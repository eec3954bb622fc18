"""A scan's frames go forward in time, and are sampled by it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from dataset_scripts.recorded.scans import Scan
from dataset_scripts.synthetic.scan_disturbances import NO_FACES, Head
from dataset_scripts.validate import validate
from mvfer.data import schema
from processing.framing_mvfer import frame_upright
from processing.meshes_mvfer import load_mesh

from .layouts import rows_of, write_plain_obj


def scan(*times_s):
    return Scan(subject="a", name="smile", frames=tuple(Path(f"{n}.obj") for n in range(len(times_s))), times_s=times_s)


@pytest.mark.parametrize(
    "times_s", [(0, 0.1, 0.1), (0, 0.2, 0.1), (0, 0.1, float("nan")), (0, 0.1, float("inf")), (0, 1e9, 1e9 + 1)]
)
def test_frames_at_one_time_or_backwards_are_refused(times_s):
    with pytest.raises(ValueError, match=r"smile: times go from .* s to .* s at frame 2, not forward"):
        scan(*times_s)


def test_times_of_a_clock_are_compared_with_the_first():
    assert scan(1.7e9, 1.7e9 + 0.04).times_s == (1.7e9, 1.7e9 + 0.04)  # which 32 bits would not tell apart


def test_frames_are_sampled_by_their_times_not_by_their_numbers():
    uneven = scan(0.0, 0.1, 0.2, 0.3, 0.4, 4.0, 8.0)
    assert uneven.sampled(3).times_s == (0.0, 4.0, 8.0)
    assert [path.stem for path in uneven.sampled(3).frames] == ["0", "5", "6"]
    assert uneven.sampled(1).times_s == (4.0,) and uneven.sampled(0) is uneven and uneven.sampled(7) is uneven
    assert scan(*(t / 25 for t in range(9))).sampled(5).times_s == pytest.approx([0, 0.08, 0.16, 0.24, 0.32])


def test_a_row_of_a_table_that_goes_back_in_time_is_rejected_with_its_reason(build, tmp_path):
    lines = []
    for person, times in (
        ("anna", (0.0, 0.1, 0.3)),
        ("bert", (0.0, 0.2, 0.2)),
        ("carl", (0.0, 0.2, 0.1)),
        ("dora", (0, 1, 2)),
    ):
        for frame, time_s in enumerate(times):
            write_plain_obj(tmp_path / "own" / person / f"{frame}.obj", frame / 10)
            line = {
                "file_name": f"{person}/{frame}.obj",
                "subject": person,
                "label": "joy",
                "moment": "m",
                "frame": frame,
            }
            lines.append(line | {"time_s": time_s, "split": "train"})
    (tmp_path / "own" / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    out = build("folder", tmp_path / "own")
    assert sorted(tuple(row["frame_times_s"]) for row in rows_of(out)) == [
        (0, pytest.approx(0.1), pytest.approx(0.3)),
        (0, 1, 2),
    ]
    reasons = [item["reason"] for item in schema.read_rejected_file(out)]
    assert sum("times go from 0.2 s to 0.2 s at frame 2" in reason for reason in reasons) == 3  # one of each file
    assert sum("times go from 0.2 s to 0.1 s at frame 2" in reason for reason in reasons) == 3


def test_scans_without_a_face_are_kept_and_listed_unless_the_set_calls_them_hidden(build, tmp_path, capsys):
    mesh = load_mesh(Path(__file__).parents[2] / "examples" / "neutral.ply")
    vertices = frame_upright(mesh.vertices, mesh.faces).apply(mesh.vertices).astype(float)
    head, rng = Head(vertices, mesh.faces, np.zeros((4, 3))), np.random.default_rng(0)
    lines = []
    for name in ("face", "back", "crown", "body", "teapot"):
        shown = head if name == "face" else NO_FACES[name](head, rng)
        path = tmp_path / "own" / name / "scan.ply"
        path.parent.mkdir(parents=True)
        trimesh.Trimesh(shown.vertices, shown.faces, process=False).export(path)
        lines.append({"file_name": f"{name}/scan.ply", "subject": name, "label": "joy", "split": "train"})
    (tmp_path / "own" / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    out = build("folder", tmp_path / "own")
    assert len(rows_of(out)) == 5
    doubted = schema.read_rejected_file(out)
    assert len(doubted) == 4 and all(one["kept"] for one in doubted)
    assert all("no face is found in it (face-likeness 0." in one["reason"] for one in doubted)
    info = schema.dataset_info(out)
    assert (info["rejected"], info["doubtful"]) == (0, 4) and "look like no face: 4" in (out / "README.md").read_text()
    assert "4 scans were kept" in capsys.readouterr().out
    assert any("no face is found in 4 of the scans" in warning for warning in validate(out).warnings)
    hidden = replace(scan(0), columns={"pose": "frontal", "occlusion": "hand"})
    assert hidden.is_partial and not scan(0).is_partial
    assert not replace(hidden, columns={"pose": None, "occlusion": "none"}).is_partial
