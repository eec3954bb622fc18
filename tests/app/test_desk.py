"""What the app says of an upload, without its page."""

import json
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

import mvfer
from modeling_mvfer import AuditLog, Classifier, MVFERConfig, MVFERModel, MVFERStream
from modeling_mvfer.audit_log_mvfer import model_hash, verify
from mvfer.app.desk import SMILE, Desk
from mvfer.app.examples import SMILE_FRAMES, heads, write_smile
from mvfer.app.seeing import see
from mvfer.app.telling import MAX_LABELS, parse_labels, tell, where
from mvfer.app.uploads import Upload
from processing.framing_mvfer import frame_face

EXAMPLES = Path(__file__).parents[2] / "examples"
LABELS = ["neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise"]
TYPED = "\n".join(LABELS)


@pytest.fixture(scope="module")
def desk() -> Desk:
    """With the bundled model, drawn coarsely to be quick."""
    model, processor = mvfer.load_run(mvfer.model())
    return Desk(model, processor, LABELS, is_bundled=True)


def without_baselines(model: MVFERModel) -> MVFERModel:
    """The same weights, but for what takes baselines."""
    bare = MVFERModel(MVFERConfig.from_dict(model.config.to_dict() | {"baseline": False}))
    bare.load_state_dict(model.state_dict(), strict=False)
    return bare.eval()


@pytest.fixture(autouse=True)
def left_behind(tmp_path, monkeypatch):
    """The folder of temporary files, which every test leaves empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture(scope="module")
def classifier(desk) -> Classifier:
    return Classifier.from_prompts(desk.model, desk.processor, LABELS)


@pytest.fixture(scope="module")
def smile(desk, tmp_path_factory):
    """A sequence of seven frames, and what was seen of it."""
    paths = write_smile(tmp_path_factory.mktemp("smile"))[:9:2]
    return paths, see(Upload("meshes", paths, "smile"), desk.model, desk.processor, fps=10)


def ball(folder: Path) -> str:
    trimesh.creation.icosphere(subdivisions=3).export(folder / "ball.ply")
    return str(folder / "ball.ply")


def test_a_mesh_is_told_as_the_classifier_tells_it(desk, classifier):
    path = str(EXAMPLES / "happiness.ply")
    told = tell(see(Upload("meshes", [path], "x"), desk.model, desk.processor), classifier, desk.processor)
    found = classifier(desk.processor(meshes=[path], return_tensors="pt"))
    expected = dict(zip(LABELS, found.probabilities[0].tolist(), strict=True))
    assert told.probabilities == pytest.approx(expected, abs=1e-5) and told.best == "happiness"
    assert told.view_weights == pytest.approx(found.features.view_weights[0, 0].tolist(), abs=1e-5)
    assert (told.abstain, told.doubts, told.notes, told.timeline) == (False, [], [], {})
    assert told.view_names == ["right_30", "front", "left_30"] and told.views.shape == (3, 64, 64, 3)


def test_what_a_scan_does_not_show_is_noted(desk, classifier, tmp_path):
    head = trimesh.load(EXAMPLES / "happiness.ply", process=False)
    framed = frame_face(head.vertices, head.faces).apply(head.vertices)
    tip = framed[np.abs(framed[:, :2]).max(1) < 0.4].max(0)[2]  # of the nose, farthest in front
    gone = np.linalg.norm(framed - framed[framed[:, 2] == tip][0], axis=1) < 0.18
    trimesh.Trimesh(head.vertices, head.faces[~gone[head.faces].any(1)], process=False).export(tmp_path / "hole.ply")
    told = tell(
        see(Upload("meshes", [str(tmp_path / "hole.ply")], "x"), desk.model, desk.processor), classifier, desk.processor
    )
    assert told.notes == [
        "The scan does not show the tip of the nose and enough of the face; the face was placed by the rest of it, "
        "perhaps a twentieth of its size off."
    ]


def test_a_sequence_is_told_as_pipeline_and_stream_tell_it(desk, classifier, smile):
    paths, seen = smile
    told = tell(seen, classifier, desk.processor)
    sequence = {"frames": paths, "frame_times_s": told.times_s}
    found = classifier(desk.processor(sequences=[sequence], return_tensors="pt"))
    assert list(told.probabilities.values()) == pytest.approx(sorted(found.probabilities[0].tolist())[::-1], abs=1e-4)
    stream = MVFERStream(desk.model, desk.processor, LABELS)
    steps = [stream.push(path, time_s).probabilities for path, time_s in zip(paths, told.times_s, strict=True)]
    for label in LABELS:
        assert told.timeline[label] == pytest.approx([step[label] for step in steps], abs=1e-4)
    assert "read as a sequence in the order of the numbers in their names, at 10 frames per second" in told.notes[0]


def test_a_frame_that_cannot_be_read_leaves_a_gap_and_is_named(desk, classifier, smile, tmp_path):
    paths = []
    for number, path in enumerate(smile[0][:3]):
        paths.append(tmp_path / f"f{number}.ply")
        paths[-1].write_bytes(b"ply\nbroken" if number == 1 else Path(path).read_bytes())
    seen, shown = desk.read(paths, TYPED, "10")
    assert seen.times_s[0].tolist() == pytest.approx([0, 0.2])
    assert "Left out, as unreadable: f1.ply: " in shown and str(tmp_path) not in shown


def test_what_is_no_face_is_left_to_people_and_it_says_why(desk, tmp_path):
    seen, shown = desk.read([ball(tmp_path)], TYPED)
    assert "The model abstains." in shown and "No face was found in this scan (face-likeness 0." in shown
    assert seen.doubts and 'class="best"' not in shown


def test_below_its_threshold_the_model_abstains_and_says_why(desk, classifier, smile):
    least = replace(classifier.calibration, abstain_below=1.0)
    told = tell(smile[1], replace(classifier, calibration=least), desk.processor)
    assert told.abstain and told.doubts[0].endswith("Below 1.00, this model leaves a scan to people.")


def test_photos_of_one_moment_are_views_and_a_model_of_shape_does_not_know_them(desk, tmp_path):
    for camera in range(3):
        Image.linear_gradient("L").rotate(20 * camera).convert("RGB").save(tmp_path / f"cam{camera}.png")
    seen, shown = desk.read(sorted(tmp_path.glob("*.png")), TYPED)
    assert seen.views.shape == (1, 3, 64, 64, 3) and shown.count("<figure>") == 3 and "photo 3<br>weight" in shown
    assert "learnt from drawings of shape, not from photos" in shown and "The model abstains." in shown


def test_other_labels_are_told_of_what_was_seen_and_not_calibrated(desk):
    seen, _ = desk.read_example("surprise", TYPED)
    shown = desk.retell(seen, "open: mouth wide open; jaw dropped\nlip corners pulled up", None)
    assert shown.index(">open<") < shown.index(">lip corners pulled up<")
    assert "calibrated for other classes or prompts" in shown and "calibrate it" not in shown
    assert desk.retell(None, TYPED, None) == desk.retell(None, "other", None), "nothing was dropped yet"


def test_labels_are_typed_one_a_line_with_descriptions():
    assert parse_labels("happy\n\n smirk : left lip corner pulled up; cheeks raised;\nhappy\n: x") == (
        ["happy", "smirk"],
        {"smirk": ["left lip corner pulled up", "cheeks raised"]},
    )
    for text, reason in (
        ("\n ", "no label"),
        ("x\ny" * 4000, "more than"),
        ("\n".join(map(str, range(MAX_LABELS + 1))), "41"),
    ):
        with pytest.raises(ValueError, match=reason):
            parse_labels(text)


def test_errors_name_the_file_and_no_folder_of_the_machine(desk, tmp_path, left_behind):
    (tmp_path / "bad.obj").write_text("no mesh")
    (tmp_path / "bad.txt").write_text("no mesh")
    for file, reason in (("bad.obj", "bad.obj: "), ("bad.txt", "bad.txt: nothing in it that can be read")):
        seen, shown = desk.read([tmp_path / file], TYPED)
        assert seen is None and reason in shown and str(tmp_path) not in shown
    assert "fps &gt; 0" in desk.read([EXAMPLES / "neutral.ply"], TYPED, "x")[1]
    assert "no label" in desk.read_example("neutral", " ")[1]


def test_what_users_write_is_no_html(desk, tmp_path):
    path = tmp_path / "<img src=x onerror=alert(1)>.ply"
    path.write_bytes((EXAMPLES / "neutral.ply").read_bytes())
    seen, shown = desk.read([path], "<b>bold</b>\nhappiness")
    assert "<b>" not in shown and "<img src=x" not in shown and "&lt;b&gt;bold" in shown
    assert "<b>" not in desk.where(seen, "<b>bold</b>\nhappiness", None)


def test_where_it_was_read_colours_the_views_of_the_best_label(desk, classifier, monkeypatch):
    seen, _ = desk.read_example("happiness", TYPED)
    told = tell(seen, classifier, desk.processor)
    calls = []
    monkeypatch.setattr(
        "mvfer.app.telling.attribute_views",
        lambda classifier, inputs, label: calls.append(label) or (inputs["pixel_values"][0] > 0).float(),
    )
    colored = where(seen, told, classifier, desk.processor)
    assert calls == ["happiness"] and colored.shape == (3, 64, 64, 3) and (colored.std(axis=-1) > 5).any()
    assert "one label alone" in desk.where(seen, "happiness", None) and desk.where(None, TYPED, None) == ""


def test_the_smile_rises_and_falls(desk):
    seen, shown = desk.read_example(SMILE, TYPED)
    assert seen.features.shape[1] == SMILE_FRAMES and "<polyline" in shown and f"Example: {SMILE}" in shown
    alone = [
        Classifier.from_prompts(desk.model, desk.processor, LABELS)
        .tempered(
            torch.nn.functional.normalize(
                desk.model.fuse_views(
                    seen.features[:, [t]], seen.mask[:, [t]], seen.angles_deg, torch.zeros(1, 1)
                ).pooler_output,
                dim=-1,
            )
        )
        .softmax(-1)[0, LABELS.index("happiness")]
        .item()
        for t in (0, SMILE_FRAMES // 2, SMILE_FRAMES - 1)
    ]
    assert alone[1] > 0.9 > alone[0] and alone[0] == pytest.approx(alone[2], abs=1e-3)
    assert set(desk.examples) == {*heads(), SMILE}


def test_a_model_without_baselines_says_so_and_one_with_them_tells_relative_to_them(desk, classifier):
    files = [EXAMPLES / "neutral.ply", EXAMPLES / "surprise.ply"]
    bare = Desk(without_baselines(desk.model), desk.processor, LABELS, is_bundled=False)
    found, shown = bare.take_baseline(files, True)
    assert found is None and "has not learnt" in shown and not bare.takes_baselines
    relative = desk
    own, shown = relative.take_baseline(files, False)
    inputs = desk.processor(meshes=[str(file) for file in files], return_tensors="pt")
    expected = Classifier.from_prompts(relative.model, desk.processor, LABELS).baseline_of(inputs)
    torch.testing.assert_close(own.mean, expected.mean, atol=1e-4, rtol=1e-4)
    assert own.count.item() == 2 and not own.at_rest.item() and "relative to 2 scans" in shown
    seen, plain = relative.read_example("happiness", TYPED)
    moved = relative.retell(seen, TYPED, own)
    assert ", relative to 2 scans of the same person" in moved and moved.count("%") == plain.count("%")
    assert relative.take_baseline([EXAMPLES / "README.md"], True)[0] is None


def test_a_baseline_without_a_face_is_refused(desk, tmp_path):
    found, shown = desk.take_baseline([ball(tmp_path)], True)
    assert found is None and "ball.ply: no face found in it; leave it out" in shown


def test_a_model_of_dynamic_images_is_refused(desk, monkeypatch):
    monkeypatch.setattr(desk.processor.image_processor, "frames", "rank_pooled")
    with pytest.raises(ValueError, match="needs a model that reads frames"):
        Desk(desk.model, desk.processor, LABELS, is_bundled=False)


def test_several_visitors_at_once_get_their_own_answers(desk):
    expected = {name: desk.read_example(name, TYPED)[1] for name in heads()}
    got: dict[int, tuple[str, str]] = {}

    def visit(number: int) -> None:
        name = list(heads())[number % 3]
        got[number] = name, desk.read_example(name, TYPED)[1]

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 10 and all(shown == expected[name] for name, shown in got.values())
    assert len(set(expected.values())) == 3


@pytest.fixture
def logged(desk, tmp_path):
    """A desk with a log, and what gives the lines of that."""
    log = AuditLog(tmp_path / "log" / "audit.jsonl", user="ward 3", key_file=tmp_path / "key")
    desk = Desk(desk.model, desk.processor, LABELS, is_bundled=True, log=log)
    return desk, lambda: [json.loads(line) for line in log.path.read_text().splitlines()]


def test_with_a_log_every_answer_has_its_line_and_nothing_of_the_upload_is_in_it(logged, tmp_path):
    desk, lines = logged
    anna = tmp_path / "anna.ply"
    anna.write_bytes((EXAMPLES / "happiness.ply").read_bytes())
    (tmp_path / "ben.ply").write_bytes(b"ply\nbroken")
    seen, _ = desk.read([anna], TYPED)
    desk.retell(seen, "smile: lip corners pulled up\nsurprise", None)
    desk.retell(seen, " ", None)  # no label, so no answer
    assert desk.read([tmp_path / "ben.ply"], TYPED)[0] is None
    first, second, third = lines()
    classify = Classifier.from_prompts(desk.model, desk.processor, LABELS)
    found = classify(desk.processor(meshes=[str(anna)], return_tensors="pt"))
    assert first["answer"] == pytest.approx(dict(zip(LABELS, found.probabilities[0].tolist(), strict=True)), abs=1e-5)
    assert first["abstain"] is False and first["model"] == model_hash(desk.model) and first["command"] == "app"
    assert (
        first["input"] == second["input"] == desk.log.input_hash(str(anna)) != third["input"]
    )  # as `mvfer predict` has it
    assert second["settings"] == {"labels": ["smile", "surprise"], "prompts": {"smile": ["lip corners pulled up"]}}
    assert third["answer"] == {"error": True} and third["user"] == "ward 3"
    text = desk.log.path.read_text()
    assert "anna" not in text and "ben" not in text and str(tmp_path) not in text
    assert verify(desk.log.path, tmp_path / "key").faults == []


def test_with_a_log_a_baseline_is_told_of_by_its_hash(logged):
    desk, lines = logged
    relative = Desk(desk.model, desk.processor, LABELS, is_bundled=False, log=desk.log)
    own, _ = relative.take_baseline([EXAMPLES / "neutral.ply"], True)
    relative.read([EXAMPLES / "surprise.ply"], TYPED, baseline=own)
    (line,) = lines()
    told = line["settings"]["baseline"]
    assert (told["scans"], told["at_rest"], len(told["hash"])) == (1, True, 32)


def test_without_its_line_no_answer_is_shown_and_visitors_see_no_path(logged, tmp_path, capsys):
    desk, lines = logged
    seen, _ = desk.read([EXAMPLES / "neutral.ply"], TYPED)
    desk.log.path.unlink()
    desk.log.path.mkdir()
    (tmp_path / "bad.obj").write_text("no mesh")
    for shown in (desk.retell(seen, TYPED, None), desk.read([tmp_path / "bad.obj"], TYPED)[1]):
        assert "the audit log cannot be written" in shown and "%" not in shown and str(tmp_path) not in shown
    assert str(desk.log.path) in capsys.readouterr().err
