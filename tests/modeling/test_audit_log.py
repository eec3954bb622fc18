"""Every answer has a line, and every change of a line is found."""
# ruff: noqa: F811  (fixtures are imported, then named as arguments)

import json
import multiprocessing
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from modeling_mvfer.audit_log_mvfer import AuditLog, model_hash, verify
from modeling_mvfer.pipeline_mvfer import TASK, ZeroShotMeshClassificationPipeline
from mvfer.cli.main import main
from tests.tiny import face_obj, small_model, small_processor, small_run  # noqa: F401


@pytest.fixture
def log(tmp_path):
    return AuditLog(tmp_path / "audit.jsonl", user="ward 3", key_file=tmp_path / "key")


def write(log, *numbers):
    for number in numbers:
        log.write(
            command="predict",
            model="m",
            source=np.full(3, number),
            settings={"labels": ["喜び", "a\nb"]},
            answer={"喜び": number / 10},
            abstain=None,
        )


def lines_of(log):
    return [json.loads(line) for line in log.path.read_text().splitlines()]


def test_lines_say_who_when_what_and_are_chained(log):
    write(log, 1, 2, 1)
    first, second, third = lines_of(log)
    assert first["user"] == "ward 3" and first["time"].endswith("+00:00") and first["answer"] == {"喜び": 0.1}
    assert first["input"] == third["input"] != second["input"] and second["previous"] == first["hash"]
    assert verify(log.path, log.path.with_name("key")) == (3, third["hash"], [])


def edited(lines):
    lines[1] = lines[1].replace('"ward 3"', '"ward 4"')


def removed(lines):
    del lines[1]


def swapped(lines):
    lines[1], lines[2] = lines[2], lines[1]


def repeated(lines):
    lines.insert(2, lines[1])


def cut_off(lines):
    del lines[-1]


def rubbish(lines):
    lines.insert(1, "no JSON")


@pytest.mark.parametrize("change", [edited, removed, swapped, repeated, cut_off, rubbish])
def test_every_change_is_found(log, change, capsys):
    write(log, *range(5))
    lines = log.path.read_text().splitlines()
    change(lines)
    log.path.write_text("\n".join(lines) + "\n")
    assert verify(log.path, log.path.with_name("key")).faults
    key = str(log.path.with_name("key"))
    assert main(["audit", "verify", str(log.path), "--audit_key", key]) == 1
    assert "audit.jsonl" in capsys.readouterr().out


def test_who_has_no_key_cannot_write_a_line_that_fits(log, tmp_path):
    write(log, 1, 2)
    for name in ("audit.jsonl", "audit.jsonl.head"):
        shutil.copy(tmp_path / name, tmp_path / f"kept-{name}")
    (tmp_path / "key2").write_text("another key of enough bytes")
    other = AuditLog(log.path, user="mallory", key_file=tmp_path / "key2")
    with pytest.raises(ValueError, match="written with another key"):
        write(other, 3)
    (tmp_path / "audit.jsonl.head").unlink()  # with which the end could be cut off unseen
    assert "is missing" in verify(log.path, tmp_path / "key").faults[0]
    with pytest.raises(ValueError, match="is missing"):
        write(log, 3)


def test_full_files_are_numbered_and_the_chain_goes_on(tmp_path):
    log = AuditLog(tmp_path / "a[1].jsonl", user="me", key_file=tmp_path / "key", max_bytes=1200)
    write(log, *range(9))
    parts = sorted(path.name for path in tmp_path.iterdir() if path.suffix[1:].isdigit())
    assert parts[:2] == ["a[1].jsonl.0001", "a[1].jsonl.0002"]
    assert verify(log.path, tmp_path / "key")[::2] == (9, [])
    (tmp_path / parts[1]).unlink()
    assert verify(log.path, tmp_path / "key").faults


def test_what_a_killed_process_left_is_taken_up(log):
    write(log, 1)
    head = log.path.with_name("audit.jsonl.head")
    before = head.read_bytes()
    write(log, 2)
    head.write_bytes(before)  # killed between the line and the head
    with log.path.open("a") as stream:
        stream.write('{"number": 3, "ti')  # killed within a line
    write(log, 3)
    assert verify(log.path, log.path.with_name("key"))[::2] == (3, [])


def _write_many(path, key, user):
    write(AuditLog(path, user=user, key_file=key, max_bytes=20_000), *range(40))


def test_processes_take_turns(tmp_path):
    context = multiprocessing.get_context("fork")
    users = [f"user {number}" for number in range(4)]
    processes = [context.Process(target=_write_many, args=(tmp_path / "a", tmp_path / "key", user)) for user in users]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert verify(tmp_path / "a", tmp_path / "key")[::2] == (160, [])


def test_inputs_are_known_again_by_their_content_alone(log, tmp_path):
    (tmp_path / "anna.obj").write_text("v 0 0 0")
    (tmp_path / "ben.obj").write_text("v 0 0 0")
    assert log.input_hash(str(tmp_path / "anna.obj")) == log.input_hash(tmp_path / "ben.obj")
    photo = Image.new("RGB", (4, 4), "red")
    assert log.input_hash(photo) == log.input_hash(photo.copy()) != log.input_hash(Image.new("RGB", (4, 4), "blue"))
    assert log.input_hash({"frames": [photo], "fps": 25.0}) != log.input_hash({"frames": [photo], "fps": 24.0})
    other = AuditLog(tmp_path / "b", user="me", key_file=tmp_path / "key2")
    assert log.input_hash(photo) != other.input_hash(photo)
    assert (tmp_path / "key2").stat().st_mode & 0o77 == 0


def test_another_weight_is_another_model(small_model):
    before = model_hash(small_model)
    assert model_hash(small_model) == before
    with torch.no_grad():
        small_model.logit_scale.add_(1)
    after = model_hash(small_model)
    with torch.no_grad():
        small_model.logit_scale.sub_(1)
    assert after != before


def test_predict_watch_and_the_pipeline_write_lines_that_hold_no_name(
    small_run, small_model, small_processor, face_obj, tmp_path, capsys
):
    anna = shutil.copy(face_obj, tmp_path / "anna_meier.obj")
    path, key = tmp_path / "audit.jsonl", tmp_path / "key"
    flags = [
        "--model",
        str(small_run),
        "--labels",
        "happiness",
        "sadness",
        "--audit_log",
        str(path),
        "--audit_key",
        str(key),
    ]
    assert main(["predict", str(anna), *flags]) == 2 and "--audit_user" in capsys.readouterr().err
    flags += ["--audit_user", "ward 3", "--json"]
    assert main(["predict", str(anna), str(tmp_path / "lost_ben.obj"), *flags]) == 1
    row = json.loads(capsys.readouterr().out.splitlines()[0])
    assert main(["watch", str(anna), *flags]) == 0
    classify = ZeroShotMeshClassificationPipeline(model=small_model, processor=small_processor, task=TASK, device="cpu")
    log = AuditLog(path, user="ward 3", key_file=key)
    labels = ["happiness", "sadness"]
    answers = classify([str(anna), str(face_obj)], candidate_labels=labels, audit_log=log)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["command"] for line in lines] == ["predict", "predict", "watch", TASK, TASK]
    assert lines[0]["answer"] == {item["label"]: round(item["score"], 6) for item in row["scores"]}
    assert lines[1]["answer"] == {"error": True} and lines[3]["answer"]["sadness"] == pytest.approx(
        {item["label"]: item["score"] for item in answers[0]}["sadness"], abs=1e-6
    )
    assert lines[0]["settings"]["labels"] == labels and len({line["model"] for line in lines}) == 1
    assert len({line["input"] for line in lines}) == 2  # one of them was lost
    text = path.read_text().lower()
    assert "anna" not in text and "ben" not in text and str(tmp_path) not in text
    assert main(["audit", "verify", str(path), "--audit_key", str(key)]) == 0


def test_no_answer_goes_out_without_its_line(small_run, face_obj, tmp_path, capsys):
    (tmp_path / "audit.jsonl").mkdir()
    flags = ["--audit_log", str(tmp_path / "audit.jsonl"), "--audit_user", "me", "--audit_key", str(tmp_path / "key")]
    assert main(["predict", face_obj, "--model", str(small_run), *flags]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "audit" in printed.err
