import copy
import dataclasses
import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, CLIPConfig, CLIPTextConfig
from transformers.pipelines import clean_custom_task

from modeling_mvfer import Calibration, MVFERConfig, MVFERModel, ObjectiveConfig
from modeling_mvfer.configuration_mvfer import PARTS
from mvfer.training.presets import small_config


def test_configuration_survives_saving(tiny_config, tmp_path):
    config = tiny_config(fusion="mean", view_angles_deg=[(-45, 0), (45, 10)], cross_view_weight=0.25)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is MVFERConfig
    assert loaded.view_angles_deg == [[-45.0, 0.0], [45.0, 10.0]]
    assert loaded.fusion == "mean"
    assert loaded.objective == config.objective and loaded.objective.cross_view_weight == 0.25
    assert loaded.calibration is None
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["objective"] == dataclasses.asdict(config.objective) and stored["calibration"] is None
    assert stored.items() >= config.to_diff_dict().items() and not hasattr(loaded, "cross_view_weight")


def test_parts_are_given_as_objects_as_dictionaries_or_by_their_fields(tiny_config, tmp_path):
    objective = ObjectiveConfig(phrase_weight=0, contrastive_form="sigmoid")
    fields = dataclasses.asdict(objective)
    found = Calibration(2.0, abstain_below=0.4, prompts_key="0123456789abcdef")
    config = tiny_config(projector_size=512, objective=objective, calibration=found)
    assert config == tiny_config(**fields, calibration=dataclasses.asdict(found))
    config.save_pretrained(tmp_path)
    for again in (MVFERConfig.from_pretrained(tmp_path), copy.deepcopy(config)):
        assert (again.objective, again.calibration) == (objective, found)
    changed = MVFERConfig.from_pretrained(tmp_path, objective={"phrase_weight": 0.5})
    assert changed.objective == ObjectiveConfig(phrase_weight=0.5) and changed.calibration == found
    changed = MVFERConfig.from_pretrained(tmp_path, triplet_weight=0.5)
    assert changed.objective == dataclasses.replace(objective, triplet_weight=0.5)


EARLIER = {
    "contrastive_form": "sigmoid",
    "contrastive_weight": 0.9,
    "view_contrastive_weight": 0.8,
    "phrase_weight": 0.7,
    "cross_view_weight": 0.6,
    "cross_view_form": "barlow",
    "cross_view_lambda": 0.02,
    "cross_modal_weight": 0.05,
    "cross_modal_lambda": 0.03,
    "cross_modal_form": "full",
    "margin_contrast_weight": 0.1,
    "triplet_weight": 0.2,
    "consistency_weight": 0.3,
    "projector_size": 24,
}


def write_earlier(folder, config, **keys):
    """The `config.json` of an earlier version, whose keys were all at the top."""
    config.save_pretrained(folder)
    path = folder / "config.json"
    stored = {key: value for key, value in json.loads(path.read_text()).items() if key not in PARTS}
    path.write_text(json.dumps(stored | keys))


def test_the_flat_keys_of_earlier_versions_are_read(tiny_config, tmp_path):
    calibration = {"score_temperature": 1.5, "abstain_below": 0.25, "calibrated_prompts": "0123456789abcdef"}
    write_earlier(tmp_path, tiny_config(), **EARLIER, **calibration)
    for config in (AutoConfig.from_pretrained(tmp_path), MVFERConfig.from_pretrained(tmp_path)):
        expected = {key: value for key, value in EARLIER.items() if key != "cross_view_form"} | {"side_weight": 0.0}
        assert dataclasses.asdict(config.objective) == expected
        assert config.calibration == Calibration(1.5, 0.25, "0123456789abcdef")
        assert not {*EARLIER, *calibration} & config.to_dict().keys()
    write_earlier(tmp_path, tiny_config(), **EARLIER, **dict.fromkeys(calibration))
    assert MVFERConfig.from_pretrained(tmp_path).calibration is None


def test_a_form_that_is_no_more_is_refused_with_the_remedy(tiny_config, tmp_path):
    write_earlier(tmp_path, tiny_config(), **EARLIER | {"cross_view_form": "vicreg"})
    with pytest.raises(ValueError, match="cross_view_form: 'vicreg'.*\"barlow\""):
        MVFERConfig.from_pretrained(tmp_path)


def test_weights_saved_with_an_earlier_configuration_load_whole(tiny_model, tiny_batch, tmp_path):
    model = tiny_model(trained=True, temporal_layers=1, margin_contrast_weight=0.1)
    model.save_pretrained(tmp_path)
    names = set(load_file(tmp_path / "model.safetensors"))
    layer = "temporal_transformer.layers.0."
    kept = {"view_fusion.place.weight", "frame_fusion.value.weight", f"{layer}place.weight", f"{layer}change.weight"}
    kept |= {"objective.projector.first.weight", "objective.margin_logit", "objective.phrase_log_scale"}
    assert names >= kept  # as earlier versions called them
    fields = dataclasses.asdict(model.config.objective)
    write_earlier(tmp_path, model.config, **fields, cross_view_form="barlow")
    loaded, report = MVFERModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    batch = tiny_batch(frames=2) | {"return_loss": True}
    torch.testing.assert_close(loaded(**batch).loss, model(**batch).loss, rtol=0, atol=0)


@pytest.mark.parametrize(
    "fields",
    [
        {"fusion": "sum"},
        {"vision_stem": "linear"},
        {"contrastive_form": "triplet"},
        {"cross_modal_form": "diagonal"},
        {"cross_view_form": "triplet"},
        {"objective": {"phrase_weight": -1}},
        {"objective": {"cross_view_form": "barlow"}},
        {"calibration": {"temperature": 1, "threshold": 0.5}},
        {"fusion": "text"},
        {"fusion": "text", "fusion_prompt_ids": [[]]},
        {"triplet_weight": -1},
        {"cross_view_weight": -0.1},
        {"phrase_weight": float("nan")},
        {"contrastive_weight": "much"},
        {"projector_size": 0},
        {"score_temperature": 0},
        {"abstain_below": 1.5},
        {"score_temperature": 1, "abstain_below": 1.5},
        {"view_angles_deg": [1, 2]},
        {"view_angles_deg": []},
        {"view_angles_deg": [(float("inf"), 0)]},
        {"vision_stem": "convolution", "stem_channels": [8, 16]},
        {"vision_stem": "convolution", "stem_channels": [8, 16, 32], "stem_blocks": [1]},
    ],
)
def test_bad_values_are_refused(tiny_config, fields):
    with pytest.raises(ValueError):
        tiny_config(**fields)


def test_a_part_that_went_bad_is_not_saved(tiny_config, tmp_path):
    for part, field in (("objective", "triplet_weight"), ("calibration", "temperature")):
        config = tiny_config(calibration={"temperature": 1.0})
        setattr(getattr(config, part), field, -1)
        with pytest.raises(StrictDataclassError, match=field):
            config.save_pretrained(tmp_path)


def test_plain_clip_configuration_becomes_ours(tmp_path):
    CLIPConfig(projection_dim=24).save_pretrained(tmp_path)
    config = MVFERConfig.from_pretrained(tmp_path, fusion="mean")
    assert (config.model_type, config.projection_dim, config.fusion) == ("mvfer", 24, "mean")


def test_a_configuration_can_be_shown_and_saved_after_a_pipeline_was_made_by_it(tiny_config, tmp_path):
    config = tiny_config()
    config.custom_pipelines = {"a-task": {"impl": "a_mvfer.A", "pt": ["AutoModel"], "type": "multimodal"}}
    named = config.to_dict()
    clean_custom_task(config.custom_pipelines["a-task"])  # as `transformers.pipeline` does
    assert config.custom_pipelines["a-task"]["pt"] == (AutoModel,)
    assert config.to_dict() == named and "AutoModel" in repr(config)
    config.save_pretrained(tmp_path)
    assert MVFERConfig.from_pretrained(tmp_path).custom_pipelines == named["custom_pipelines"]


def test_another_kind_of_model_is_refused(tmp_path):
    CLIPTextConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="clip_text_model"):
        MVFERModel.from_pretrained(tmp_path)


def test_small_fits_its_stem_and_takes_the_tokenizers_ids():
    config = small_config(vocab_size=77, image_size=96, eos_token_id=5, pad_token_id=0, fusion="mean")
    assert (config.text_config.vocab_size, config.text_config.eos_token_id) == (77, 5)
    assert (config.vision_config.image_size, config.vision_stem, config.fusion) == (96, "convolution", "mean")
    with pytest.raises(ValueError, match="special meaning"):
        small_config(eos_token_id=2)
    with pytest.raises(ValueError, match="image_size"):
        small_config(image_size=60)
