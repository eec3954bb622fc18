# ruff: noqa: F811  (fixtures are imported, then named as arguments)
import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from mvfer.cli.main import COMMANDS, main
from processing.framing_mvfer import FACE_LIKE
from processing.meshes_mvfer import MESH_SUFFIXES
from tests.tiny import face_obj, small_model, small_processor, small_run  # noqa: F401

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_render_writes_a_picture_and_names_the_views(face_obj, tmp_path, capsys):
    out = tmp_path / "new" / "views.png"
    assert main(["render", face_obj, "--out", str(out), "--views", "-40", "0", "--size_px", "64"]) == 0
    width, height = Image.open(out).size
    assert width > height
    assert "right_40, front" in capsys.readouterr().out


def test_an_axis_that_is_none_is_refused_with_the_axes_that_are(face_obj, capsys):
    for command in (["render", face_obj], ["predict", face_obj, "--model", "runs/none"]):
        with pytest.raises(SystemExit) as stopped:
            main([*command, "--up_axis", "up"])
        assert stopped.value.code == 2
        assert "--up_axis: expected one of y, -y, z, -z, x, -x, got 'up'" in capsys.readouterr().err


def test_an_axis_with_a_minus_is_taken_as_the_help_writes_it(tmp_path, capsys):
    mesh = trimesh.load(EXAMPLES / "neutral.ply", process=False)
    mesh.vertices = mesh.vertices * [1, -1, -1]  # y down, face towards -z
    mesh.export(tmp_path / "down.ply")
    shared = ["render", str(tmp_path / "down.ply"), "--size_px", "32", "--out", str(tmp_path / "views.png")]
    for flags in (["--up_axis", "-y"], ["--up_axis=-y"], ["--orientation", "-y/-z"], []):
        assert main([*shared, *flags]) == 0
        printed = capsys.readouterr()
        assert f"orientation {flags[-1].split('=')[-1] if flags else '-y/-z'}" in printed.out
        assert "no face" not in printed.err


def test_a_scan_without_a_face_is_said_and_left_to_people(small_run, tmp_path, capsys):
    trimesh.creation.icosphere(subdivisions=3).export(tmp_path / "ball.ply")
    assert (
        main(
            ["predict", str(tmp_path / "ball.ply"), str(EXAMPLES / "neutral.ply"), "--model", str(small_run), "--json"]
        )
        == 0
    )
    printed = capsys.readouterr()
    ball, face = map(json.loads, printed.out.splitlines())
    assert ball["abstain"] is True and ball["face_likeness"] < FACE_LIKE < face["face_likeness"]
    assert face["orientation"] == "y/z" and face["abstain"] is not True
    assert "ball.ply: no face found" in printed.err and "--orientation" in printed.err


@pytest.mark.parametrize("command", ["render", "predict"])
def test_what_the_scan_does_not_show_is_said(command, small_run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mesh = trimesh.load(EXAMPLES / "neutral.ply", process=False)
    x, y, z = (mesh.triangles_center - mesh.vertices[mesh.vertices[:, 2].argmax()]).T
    mesh.update_faces(np.hypot(x, y) > 0.1 * np.ptp(mesh.vertices[:, 1]))  # a hole where the nose is
    mesh.export("hole.ply")
    flags = {"render": ["--out", "hole.png"], "predict": ["--model", str(small_run), "--json"]}[command]
    assert main([command, "hole.ply", *flags]) == 0
    printed = capsys.readouterr()
    assert "hole.ply: the tip of the nose and enough of the face is not seen" in printed.err
    if command == "predict":
        assert json.loads(printed.out)["inferred"] == ["nose", "place"]


@pytest.mark.parametrize("command", ["render", "predict"])
def test_a_scan_that_may_be_mirrored_is_said(command, small_run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mesh = trimesh.load(EXAMPLES / "neutral.ply", process=False)
    faces = mesh.faces
    trimesh.Trimesh(mesh.vertices * [-1, 1, 1], faces, process=False).export("mirrored.ply")
    trimesh.Trimesh(mesh.vertices * [-1, 1, 1], faces[:, ::-1], process=False).export("outwards.ply")
    flags = ["--model", str(small_run)] if command == "predict" else []
    for name, is_said in (("mirrored.ply", True), ("outwards.ply", False)):
        assert main([command, name, *flags]) == 0
        assert ("--orientation y/z/mirrored" in capsys.readouterr().err) == is_said
    assert main([command, "mirrored.ply", "--orientation", "y/z/mirrored", *flags]) == 0
    assert "inwards" not in capsys.readouterr().err


def test_predict_prints_one_row_per_input_in_order_also_for_bad_ones(small_run, face_obj, tmp_path, capsys):
    broken = tmp_path / "broken.obj"
    broken.write_text("v 0 0 0\n")
    inputs = [face_obj, str(broken), "missing.obj", face_obj]
    assert main(["predict", *inputs, "--model", str(small_run), "--labels", "happiness", "winking", "--json"]) == 1
    output = capsys.readouterr()
    rows = [json.loads(line) for line in output.out.splitlines()]
    assert [row["input"] for row in rows] == inputs
    assert ["error" in row for row in rows] == [False, True, True, False]
    assert sum(item["score"] for item in rows[0]["scores"]) == pytest.approx(1)
    assert rows[0]["label"] == rows[0]["scores"][0]["label"] and rows[0]["score"] == rows[3]["score"]
    assert rows[0]["calibrated"] is False and rows[0]["abstain"] is None
    assert rows[0]["view_weights"] == pytest.approx({"right_30": 1 / 3, "front": 1 / 3, "left_30": 1 / 3})  # untrained
    first, *errors = output.err.strip().splitlines()
    assert "not calibrated" in first and len(errors) == 2


def test_predict_agrees_with_the_pipeline(small_run, small_model, small_processor, face_obj, capsys):
    from modeling_mvfer.pipeline_mvfer import TASK, ZeroShotMeshClassificationPipeline

    labels = ["happiness", "sadness"]
    assert main(["predict", face_obj, "--model", str(small_run), "--labels", *labels, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    classify = ZeroShotMeshClassificationPipeline(model=small_model, processor=small_processor, task=TASK, device="cpu")
    expected = classify(face_obj, candidate_labels=labels)
    assert {i["label"]: i["score"] for i in row["scores"]} == pytest.approx(
        {i["label"]: i["score"] for i in expected}, abs=1e-5
    )


def test_predict_tells_actions_beside_the_expressions(small_run, face_obj, capsys):
    assert main(["predict", face_obj, "--model", str(small_run), "--actions", "--json"]) == 0
    printed = capsys.readouterr()
    row = json.loads(printed.out)
    assert len(row["actions"]) == 26 and row["actions_calibrated"] is False and "not calibrated" in printed.err
    assert row["actions"][0]["phrase"] == "inner brows raised" and row["reason"] is None
    assert main(["predict", face_obj, "--model", str(small_run), "--actions"]) == 0
    told = capsys.readouterr().out.strip().split("\t")[2]
    seen = [one for one in row["actions"] if one["seen"]]
    assert len(told.split("; ")) == max(len(seen), 1) and all(one["phrase"] in told for one in seen)


def test_predict_draws_views_beside_probabilities(small_run, face_obj, tmp_path, capsys):
    picture = tmp_path / "views.png"
    assert main(["predict", face_obj, "--model", str(small_run), "--picture", str(picture)]) == 0
    assert Image.open(picture).size[0] > 600
    assert "happiness 0." in capsys.readouterr().out


def test_watch_prints_one_row_per_frame_and_goes_on_after_a_lost_one(small_run, face_obj, tmp_path, capsys):
    frames = [face_obj, str(tmp_path / "lost.obj"), face_obj]
    options = ["--model", str(small_run), "--labels", "happiness", "sadness", "--fps", "10", "--json"]
    assert main(["watch", *frames, *options]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["input"] for row in rows] == frames and "lost.obj" in rows[1]["error"]
    assert [row["time_s"] for row in rows if "time_s" in row] == [0.0, 0.2]
    assert main(["predict", face_obj, *options[:5], "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert rows[0]["scores"] == [{**item, "score": pytest.approx(item["score"], abs=1e-5)} for item in alone["scores"]]
    assert rows[2]["apex_time_s"] is None  # an untrained model weighs all frames the same


def test_watch_takes_frames_in_the_order_of_their_numbers_and_says_so(small_run, face_obj, tmp_path, capsys):
    frames = [str(tmp_path / f"f{number}.obj") for number in (1, 10, 2, 9)]
    for frame in frames:
        Path(frame).write_bytes(Path(face_obj).read_bytes())
    options = ["--model", str(small_run), "--labels", "happiness", "sadness", "--fps", "30000/1001", "--json"]
    for order, expected in (("names", [1, 2, 9, 10]), ("given", [1, 10, 2, 9])):
        assert main(["watch", *frames, *options, "--order", order]) == 0
        printed = capsys.readouterr()
        rows = [json.loads(line) for line in printed.out.splitlines()]
        assert [Path(row["input"]).stem for row in rows] == [f"f{number}" for number in expected]
        assert rows[1]["time_s"] == pytest.approx(1001 / 30000)
        assert f"mvfer: 4 frames in the order {'of the numbers' if order == 'names' else 'given'}" in printed.err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["render", "missing.obj"], "missing.obj"),
        (["predict", "face.obj", "--model", "nowhere"], "no config.json"),
        (["watch", "face.obj", "--model", "nowhere"], "no config.json"),
        (["watch", "face.obj", "--model", "nowhere", "--fps", "0"], "--fps should be positive"),
        (
            ["watch", "face.obj", "--model", "nowhere", "--fps", "fast"],
            "--fps should be positive: expected fps > 0, got 'fast'",
        ),
        (["evaluate", "--model", "nowhere", "--dataset", "x", "--out", "y"], "no config.json"),
    ],
)
def test_bad_input_is_one_line_and_status_two(argv, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("mvfer: ") and message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "argv", [["--help"], ["render", "--help"], ["predict", "--help"], ["watch", "--help"], ["evaluate", "--help"]]
)
def test_help_is_there_for_every_command(argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 0 and "usage: mvfer" in capsys.readouterr().out


def test_without_a_command_all_are_listed(capsys):
    assert main([]) == 2
    said = capsys.readouterr().err
    assert {line.split()[0] for line in said.splitlines() if line.startswith("    ")} >= {*COMMANDS}


@pytest.mark.parametrize("command", ["render", "predict", "watch", "explain"])
def test_help_names_every_suffix_of_mesh_files(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert ", ".join(MESH_SUFFIXES) in said
