"""One temperature: what `mvfer evaluate --calibrate` stores is what both pipelines divide by, unless asked otherwise."""

import numpy as np
import pytest
import torch

from modeling_mvfer import MVFERForFaceClassification
from modeling_mvfer.classification_pipeline_mvfer import CLASSIFICATION_TASK, MeshClassificationPipeline
from modeling_mvfer.classifier_mvfer import Classifier
from modeling_mvfer.pipeline_mvfer import TASK, ZeroShotMeshClassificationPipeline
from modeling_mvfer.zeroshot_mvfer import class_embeddings, prompts_key
from mvfer.hub.run_folder import set_calibration

LABELS = ["happiness", "sadness", "surprise"]


@pytest.fixture
def pipelines(small_model, small_processor):
    """`pipelines(temperature, threshold)`: the zero-shot and the fine-tuned one, calibrated; the second starts as the first."""
    prompts = small_processor.prompts_for(LABELS, kinds=small_model.config.prompt_kinds)
    embeds = class_embeddings(small_model, small_processor.tokenizer, prompts)

    def build(temperature, threshold):
        tuned = MVFERForFaceClassification.from_zero_shot(small_model, embeds)
        found = {"temperature": temperature, "abstain_below": threshold}
        set_calibration(tuned.config, found)
        set_calibration(small_model.config, found | {"prompts_key": prompts_key(prompts)})
        shared = {"processor": small_processor, "device": "cpu"}
        texts = ZeroShotMeshClassificationPipeline(model=small_model, task=TASK, **shared)
        head = MeshClassificationPipeline(model=tuned, task=CLASSIFICATION_TASK, **shared)
        return lambda face, **options: [texts(face, candidate_labels=LABELS, **options), head(face, **options)]

    yield build
    set_calibration(small_model.config, {"not_calibrated": "the test is over"})


def scores(rows):
    return np.array([{row["label"]: row["score"] for row in rows}[label] for label in LABELS])


def test_the_stored_temperature_is_the_default_of_both_pipelines(pipelines, face_obj):
    ask = pipelines(2.0, 0.999)
    for plain, stored in zip(ask(face_obj, temperature=1.0), ask(face_obj), strict=True):
        expected = np.sqrt(scores(plain))  # softmax(logits / 2)
        np.testing.assert_allclose(scores(stored), expected / expected.sum(), rtol=1e-4)
        assert {row["abstain"] for row in stored} == {True}
        assert {row["abstain"] for row in plain} == {None}  # at another temperature no threshold is known
    texts, head = ask(face_obj)
    np.testing.assert_allclose(scores(texts), scores(head), rtol=1e-4)


def test_reading_fewer_views_uses_the_same_temperature(pipelines, face_obj):
    ask = pipelines(3.0, 0.0)
    for all_views, staged, one in zip(
        ask(face_obj), ask(face_obj, adaptive_views=0.0), ask(face_obj, adaptive_views=1.0), strict=True
    ):
        np.testing.assert_allclose(scores(staged), scores(all_views), rtol=1e-4)
        assert not np.allclose(scores(one), scores(all_views), rtol=1e-4)
        assert {row["abstain"] for row in one} == {False}


def test_a_classifier_does_not_inherit_the_calibration_of_prompts(pipelines, small_model):
    pipelines(2.0, 0.5)
    config = MVFERForFaceClassification.from_model(small_model, LABELS).config
    assert small_model.config.calibration is not None and config.calibration is None


@torch.no_grad()
@pytest.mark.parametrize(
    "fields", [{"temporal_layers": 1}, {"fusion": "text", "fusion_prompt_ids": [[0, 5, 1], [0, 1]]}]
)
def test_every_way_of_fusing_views_serves_classifiers_and_fewer_views(tiny_model, fields, tmp_path):
    from modeling_mvfer.adaptive_views_mvfer import adaptive_logits

    model = tiny_model(trained=True, **fields)
    torch.manual_seed(0)
    classes = {name: torch.nn.functional.normalize(torch.randn(2, model.config.projection_dim)) for name in LABELS}
    tuned = MVFERForFaceClassification.from_zero_shot(model, {k: v.to(model.device) for k, v in classes.items()})
    batch = {"pixel_values": torch.randn(2, 3, 2, 3, 16, 16)}
    expected = model.get_image_features(**batch).pooler_output
    torch.testing.assert_close(tuned.get_image_features(**batch).pooler_output, expected)
    staged = adaptive_logits(Classifier.from_head(tuned), batch, threshold=0.0)
    torch.testing.assert_close(staged.logits, tuned(**batch).logits, rtol=1e-4, atol=1e-4)
    tuned.save_pretrained(tmp_path)
    again = MVFERForFaceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(again(**batch).logits, tuned(**batch).logits)
    assert not any(p.requires_grad for name, p in tuned.named_parameters() if name.startswith("text_"))
