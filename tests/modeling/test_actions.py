"""Facial actions: what is read of phrases and views, its calibration, and what is stored of both."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from modeling_mvfer.actions_mvfer import ActionEvidence, ActionReader, grade, side_embeds
from modeling_mvfer.actions_pipeline_mvfer import ACTIONS_TASK, MeshActionUnitsPipeline
from modeling_mvfer.configuration_mvfer import ActionCalibration, Calibration, MVFERConfig
from modeling_mvfer.modeling_mvfer import MVFERImageOutput
from modeling_mvfer.zeroshot_mvfer import prompts_key
from processing.facs_phrases_mvfer import ACTION_PHRASES


@pytest.fixture(scope="module")
def reader(small_model, small_processor):
    return ActionReader.build(small_model, small_processor)


def evidence_like(reader, *values) -> ActionEvidence:
    return ActionEvidence(*(torch.full((1, len(reader.units)), value) for value in values))


def test_every_unit_with_a_phrase_is_read_and_sides_where_phrases_have_them(reader):
    assert len(reader.units) == 26 and set(reader.phrases) == set(ACTION_PHRASES)
    assert [unit for unit in reader.units if reader.has_sides(unit)] == [
        unit for unit in reader.units if unit + "R" in ACTION_PHRASES
    ]


def test_a_unit_s_logit_is_that_of_the_phrase_term_in_training(reader, small_model):
    embeds = normalize(torch.randn(3, small_model.config.projection_dim), dim=-1)
    found = reader.evidence(embeds, torch.zeros(3, 2, embeds.shape[1]))
    objective, column = small_model.objective, reader.units.index("12")
    cosines = embeds @ reader.phrase_embeds["12"].T  # (3, wordings)
    logits = objective.phrase_log_scale.exp() * cosines + objective.phrase_bias
    expected = logits.exp().mean(-1).log()  # the mean likelihood of the wordings
    torch.testing.assert_close(found.logits[:, column], expected, rtol=1e-4, atol=1e-4)
    assert not found.view_lean.any() and not found.phrase_lean[:, reader.units.index("1")].any()


def test_views_from_a_side_speak_for_it_and_mirrored_views_for_the_other():
    views = torch.eye(3).view(1, 1, 3, 3)
    output = MVFERImageOutput(
        view_features=views, view_mask=torch.ones(1, 1, 3, dtype=torch.bool), frame_weights=torch.ones(1, 1)
    )
    sides = side_embeds(output, torch.tensor([[[-30.0, 0.0], [0.0, 0.0], [30.0, 0.0]]]))
    assert sides[0].tolist() == [[0, 0, 1], [1, 0, 0]]  # left, right
    mirrored = side_embeds(output, torch.tensor([[[30.0, 0.0], [0.0, 0.0], [-30.0, 0.0]]]))
    torch.testing.assert_close(mirrored, sides.flip(1))
    assert not side_embeds(
        output, torch.tensor([[[-30.0, 0.0], [0.0, 0.0], [5.0, 0.0]]])
    ).any()  # not seen from the left


def test_sides_mirror_each_other_and_units_without_sides_have_none(reader):
    left, right = (reader.decide(evidence_like(reader, 1.0, lean, 0.5 * lean)) for lean in (2.0, -2.0))
    torch.testing.assert_close(left.sides[..., [1, 0, 2]], right.sides)
    torch.testing.assert_close(left.sides.sum(-1), torch.ones(1, len(reader.units)))
    by_unit = {row["unit"]: row for row in reader.rows(left)[0]}
    assert by_unit["12"]["side"] == "left" and by_unit["12"]["left"] > by_unit["12"]["right"]
    assert not {"side", "left", "right"} & set(by_unit["1"])


def test_calibrated_scores_are_the_stored_curves_and_rise_with_the_logit(reader):
    units = {
        unit: [2.0, -1.0, 0.5, 0.25, 0.7, 0.0, 1.0, 3.0][: 8 if reader.has_sides(unit) else 5] for unit in reader.units
    }
    calibrated = dataclasses.replace(reader, calibration=ActionCalibration("key", units))
    low, high = (calibrated.decide(evidence_like(reader, logit, 0.0, 0.0)) for logit in (0.5, 1.5))
    assert low.probabilities[0].tolist() == pytest.approx([0.5] * 26)
    assert high.probabilities[0].tolist() == pytest.approx([1 / (1 + np.exp(-2.0))] * 26)
    assert low.intensities[0].tolist() == pytest.approx([1 / (1 + np.exp(-0.5))] * 26)
    assert (high.intensities > low.intensities).all() and high.seen.all() and not low.seen.any()


def test_a_calibration_for_other_phrases_is_not_used(small_model, small_processor):
    phrases = small_processor.action_phrases(wordings=small_model.config.prompt_wordings)
    units = {unit: [1.0, 0.0, 1.0, 0.0, 0.5] for unit in ("1", "12")}
    try:
        for key, expected in ((prompts_key(phrases), True), ("of others", False)):
            small_model.config.calibration = Calibration(1.0, actions={"phrases_key": key, "units": units})
            found = ActionReader.build(small_model, small_processor)
            assert (found.calibration is not None) == expected and (found.warning is None) == expected
    finally:
        small_model.config.calibration = None


def test_a_calibration_of_actions_survives_a_configuration_file(tiny_config, tmp_path):
    actions = {"phrases_key": "0123", "units": {"12": [1.0, 0.0, 1.0, 0.0, 0.5, 0.0, 1.0, 2.0]}}
    familiarity = {"directions": "AAAAAA==", "centre": [0.0], "spread": [1.0, 0.0], "unlike_above": 1.5}
    config = tiny_config(calibration={"temperature": 1.5, "actions": actions, "familiarity": familiarity})
    config.save_pretrained(tmp_path)
    again = MVFERConfig.from_pretrained(tmp_path).calibration
    assert again == config.calibration and dataclasses.asdict(again.actions) == actions
    with pytest.raises(ValueError, match="unit 12: expected 5 or 8 numbers"):
        ActionCalibration("0123", {"12": [-1.0, 0.0, 1.0, 0.0, 0.5]})
    with pytest.raises(ValueError, match="unknown"):
        Calibration(1.0, actions=actions | {"shapes": 3})


@pytest.mark.parametrize("intensity, letter", [(0.0, None), (0.09, None), (0.2, "A"), (0.61, "C"), (1.0, "E")])
def test_grades_are_fifths(intensity, letter):
    assert grade(intensity) == letter


def test_the_pipeline_says_what_the_reader_says(reader, small_model, small_processor, face_obj):
    read = MeshActionUnitsPipeline(model=small_model, processor=small_processor, task=ACTIONS_TASK, device="cpu")
    rows = reader.rows(reader(small_processor(meshes=[face_obj], return_tensors="pt")))[0]
    for found in (read(face_obj), *read([face_obj, face_obj], batch_size=2)):
        assert [row["unit"] for row in found] == reader.units
        assert json.loads(json.dumps(found[0])).keys() >= {"phrase", "score", "intensity", "grade", "abstain", "reason"}
        assert [row["score"] for row in found] == pytest.approx([row["score"] for row in rows], abs=1e-5)
        assert {row["abstain"] for row in found} == {None}
    assert read([]) == []


def test_a_fine_tuned_classifier_reads_no_actions(small_model, small_processor):
    from modeling_mvfer import MVFERForFaceClassification

    tuned = MVFERForFaceClassification.from_model(small_model, ["happiness", "sadness"])
    with pytest.raises(ValueError, match="compares no texts"):
        ActionReader.build(tuned, small_processor)


def test_a_saved_model_brings_the_pipeline_along(small_run):
    served = json.loads((small_run / "config.json").read_text(encoding="utf-8"))["custom_pipelines"][ACTIONS_TASK]
    assert served["impl"] == "actions_pipeline_mvfer.MeshActionUnitsPipeline" and served["pt"] == ["AutoModel"]
    assert (small_run / "actions_pipeline_mvfer.py").is_file() and (small_run / "familiarity_mvfer.py").is_file()


def test_an_input_that_cannot_be_read_is_one_row_where_asked(small_model, small_processor, face_obj):
    read = MeshActionUnitsPipeline(model=small_model, processor=small_processor, task=ACTIONS_TASK, device="cpu")
    lost, found = read(["nowhere.obj", face_obj], on_error="skip", batch_size=2)
    assert list(lost[0]) == ["error"] and len(found) == 26
