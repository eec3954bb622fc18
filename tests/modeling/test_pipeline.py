import logging
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import pipeline

from modeling_mvfer import pipeline_mvfer
from modeling_mvfer.pipeline_mvfer import TASK, ZeroShotMeshClassificationPipeline
from modeling_mvfer.zeroshot_mvfer import prompts_key
from mvfer.hub.run_folder import set_calibration
from processing import load_mesh

LABELS = ["happiness", "sadness", "surprise"]


@pytest.fixture(scope="module")
def classify(small_model, small_processor):
    return ZeroShotMeshClassificationPipeline(model=small_model, processor=small_processor, task=TASK, device="cpu")


def scores(rows):
    return {row["label"]: row["score"] for row in rows}


def photos(count, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (count, 32, 32, 3), dtype=np.uint8)
    return [Image.fromarray(image) for image in pixels]


def test_probabilities_sum_to_one_and_the_best_comes_first(classify, face_obj):
    rows = classify(face_obj, candidate_labels=LABELS)
    values = [row["score"] for row in rows]
    assert {row["label"] for row in rows} == set(LABELS)
    assert sum(values) == pytest.approx(1) and values == sorted(values, reverse=True)


def test_a_path_a_mesh_and_its_arrays_are_one_input(classify, face_obj):
    mesh = load_mesh(face_obj)
    expected = scores(classify(face_obj, candidate_labels=LABELS))
    for same in (mesh, {"vertices": mesh.vertices, "faces": mesh.faces}):
        assert scores(classify(same, candidate_labels=LABELS)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_a_list_gives_one_result_per_input_in_order(classify, face_obj, batch_size):
    inputs = [face_obj, {"images": photos(2)}, {"frames": [face_obj] * 3, "fps": 5.0}, {"images": photos(3, seed=1)}]
    together = classify(inputs, candidate_labels=LABELS, batch_size=batch_size)
    alone = [classify(one, candidate_labels=LABELS) for one in inputs]
    assert len(together) == 4
    for some, one in zip(together, alone, strict=True):
        assert scores(some) == pytest.approx(scores(one), abs=1e-4)


def test_a_sequence_of_one_still_face_is_the_scan(classify, face_obj):
    still = classify({"frames": [face_obj, face_obj], "fps": 25.0}, candidate_labels=LABELS)
    assert scores(still) == pytest.approx(scores(classify(face_obj, candidate_labels=LABELS)), abs=1e-4)


def test_a_photo_is_one_view(classify):
    (photo,) = photos(1)
    one = classify({"images": [photo], "view_angles_deg": [[0.0, 0.0]]}, candidate_labels=LABELS)
    assert scores(classify(photo, candidate_labels=LABELS)) == pytest.approx(scores(one), abs=1e-5)


def test_own_prompts_replace_the_processor_s(classify, face_obj):
    default = scores(classify(face_obj, candidate_labels=["a", "b"]))
    same = scores(classify(face_obj, candidate_labels=["a", "b"], prompts={"a": ["jaw dropped"], "b": ["jaw dropped"]}))
    assert same == pytest.approx({"a": 0.5, "b": 0.5})
    assert default != pytest.approx(same)


def test_an_empty_list_gives_an_empty_list(classify):
    assert classify([], candidate_labels=LABELS) == []


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (7, {"candidate_labels": LABELS}, "expected a mesh"),
        ({"images": [], "fps": 3}, {"candidate_labels": LABELS}, "unknown keys"),
        ("missing.obj", {"candidate_labels": LABELS}, "missing.obj"),
        ("face.obj", {"candidate_labels": []}, "candidate_labels"),
        ("face.obj", {"candidate_labels": ["a", "a"]}, "different labels"),
        ("face.obj", {"candidate_labels": ["a"], "prompts": {"b": ["x"]}}, "not among"),
    ],
)
def test_bad_input_is_named(classify, inputs, options, message):
    with pytest.raises(ValueError, match=message):
        classify(inputs, **options)


def test_the_saved_folder_gives_the_same_pipeline(classify, small_run, face_obj):
    loaded = pipeline(TASK, model=str(small_run), trust_remote_code=True, device="cpu")
    expected = scores(classify(face_obj, candidate_labels=LABELS))
    assert scores(loaded(face_obj, candidate_labels=LABELS)) == pytest.approx(expected, abs=1e-5)


@pytest.fixture
def calibration(small_model, small_processor):
    """`calibration(temperature, threshold)`: calibrate the model for LABELS, until the test is over."""

    def calibrate(temperature, threshold):
        key = prompts_key(small_processor.prompts_for(LABELS, kinds=small_model.config.prompt_kinds))
        set_calibration(
            small_model.config, {"temperature": temperature, "abstain_below": threshold, "prompts_key": key}
        )

    yield calibrate
    set_calibration(small_model.config, {"not_calibrated": "the test is over"})


def test_calibrated_scores_are_softened_and_weak_ones_abstain(classify, face_obj, calibration):
    plain = classify(face_obj, candidate_labels=LABELS)
    assert {row["abstain"] for row in plain} == {None}
    calibration(2.0, 0.999)
    soft = classify(face_obj, candidate_labels=LABELS[::-1])  # the same classes in another order
    assert {row["abstain"] for row in soft} == {True}
    expected = np.array([scores(plain)[row["label"]] for row in soft]) ** 0.5  # softmax(logits / 2)
    np.testing.assert_allclose([row["score"] for row in soft], expected / expected.sum(), rtol=1e-4)
    calibration(2.0, 0.0)
    assert {row["abstain"] for row in classify(face_obj, candidate_labels=LABELS)} == {False}
    calibration(2.0, None)  # no threshold reached the target
    assert {row["abstain"] for row in classify(face_obj, candidate_labels=LABELS)} == {None}


@pytest.mark.parametrize(
    "asked",
    [
        {"candidate_labels": ["happiness", "sadness"]},
        {"candidate_labels": LABELS, "language": "ja"},
        {"candidate_labels": LABELS, "prompts": {"sadness": ["lip corners pulled down"]}},
    ],
)
def test_other_classes_or_prompts_are_not_called_calibrated(classify, face_obj, calibration, asked, caplog):
    plain = scores(classify(face_obj, **asked))
    calibration(2.0, 0.5)
    pipeline_mvfer.logger.warning_once.cache_clear()
    with caplog.at_level("WARNING"), mock.patch.object(logging.getLogger("transformers"), "propagate", True):
        rows = classify(face_obj, **asked)
    assert {row["abstain"] for row in rows} == {None} and scores(rows) == pytest.approx(plain)
    assert "calibrated for other classes or prompts" in caplog.text


def test_only_the_best_labels_are_given_if_asked_for(classify, face_obj):
    rows = classify(face_obj, LABELS)
    assert classify(face_obj, LABELS, top_k=2) == rows[:2]
    with pytest.raises(ValueError, match="top_k: expected a whole number"):
        classify(face_obj, LABELS, top_k=0)


def test_a_template_is_the_text_of_labels_without_prompts(classify, face_obj):
    own = {"sadness": ["lip corners pulled down"]}
    found = classify(face_obj, LABELS, hypothesis_template="a face with {}", prompts=own)
    texts = {label: [f"a face with {label}"] for label in LABELS} | own
    assert scores(found) == pytest.approx(scores(classify(face_obj, LABELS, prompts=texts)))
    with pytest.raises(ValueError, match="hypothesis_template"):
        classify(face_obj, LABELS, hypothesis_template="a face")


def test_a_photo_may_be_an_image_an_array_or_a_file(classify, tmp_path):
    (photo,) = photos(1)
    photo.save(tmp_path / "photo.png")
    expected = scores(classify(photo, LABELS))
    for same in (np.asarray(photo), tmp_path / "photo.png", str(tmp_path / "photo.png")):
        assert scores(classify(same, LABELS)) == pytest.approx(expected, abs=1e-5)


def test_a_column_of_a_data_set_is_a_batch(classify):
    datasets = pytest.importorskip("datasets")
    images = photos(2)
    column = datasets.Dataset.from_dict({"image": images}, features=datasets.Features({"image": datasets.Image()}))
    found = classify(column["image"], LABELS)
    assert [scores(rows) for rows in found] == [pytest.approx(scores(classify(one, LABELS))) for one in images]


@pytest.mark.parametrize("count", [pipeline_mvfer.LONG - 1, pipeline_mvfer.LONG])
def test_long_lists_show_progress_on_a_terminal(classify, monkeypatch, count):
    shown = []
    monkeypatch.setattr(pipeline_mvfer.logging, "tqdm", lambda results, **options: shown.append(options) or results)
    (photo,) = photos(1)
    assert len(classify([photo] * count, LABELS, batch_size=count)) == count
    is_long = count == pipeline_mvfer.LONG
    assert [(bar["total"], bar["disable"]) for bar in shown] == [(count, None if is_long else True)]


def test_an_address_is_refused_with_the_reason(classify):
    with pytest.raises(ValueError, match="https://x.org/face.png: addresses are not fetched; download the file"):
        classify("https://x.org/face.png", LABELS)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_bad_file_does_not_lose_the_batch_if_errors_are_skipped(classify, face_obj, tmp_path, batch_size):
    bad = tmp_path / "bad.obj"
    bad.write_text("v 1 2\n")
    files = [face_obj, str(bad), face_obj]
    found = classify(files, LABELS, on_error="skip", batch_size=batch_size)
    expected = scores(classify(face_obj, LABELS))
    assert [scores(found[0]), scores(found[2])] == [pytest.approx(expected, abs=1e-5)] * 2
    assert [list(row) for row in found[1]] == [["error"]] and "bad.obj" in found[1][0]["error"]
    assert "bad.obj" in classify(str(bad), LABELS, on_error="skip")[0]["error"]
    with pytest.raises(ValueError, match="bad.obj"):
        classify(files, LABELS)
    with pytest.raises(ValueError, match="on_error: expected one of raise, skip"):
        classify(files, LABELS, on_error="ignore")


def test_texts_are_encoded_once_for_calls_alike_and_again_when_the_weights_change(classify, monkeypatch):
    (photo,) = photos(1)
    calls, encode = [], pipeline_mvfer.class_embeddings
    monkeypatch.setattr(pipeline_mvfer, "class_embeddings", lambda *args: calls.append(1) or encode(*args))
    classify._kept = (None, None)
    first = classify(photo, LABELS)
    assert classify(photo, LABELS) == first and len(calls) == 1
    classify(photo, LABELS[:2])
    assert len(calls) == 2
    weight = classify.model.text_projection.weight
    with torch.no_grad():
        weight.mul_(-1)
    turned = classify(photo, LABELS[:2])
    with torch.no_grad():
        weight.mul_(-1)
    assert len(calls) == 3 and scores(turned) != pytest.approx(scores(classify(photo, LABELS[:2])))


def test_a_saved_pipeline_brings_its_processor(classify, tmp_path):
    classify.save_pretrained(tmp_path)
    (photo,) = photos(1)
    loaded = pipeline("zero-shot-image-classification", model=str(tmp_path), trust_remote_code=True, device="cpu")
    assert type(loaded).__name__ == "ZeroShotMeshClassificationPipeline"
    assert scores(loaded(photo, LABELS)) == pytest.approx(scores(classify(photo, LABELS)), abs=1e-5)
