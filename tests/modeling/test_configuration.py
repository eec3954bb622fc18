import pytest
from transformers import AutoConfig, CLIPConfig, CLIPTextConfig

from modeling_mvfer import MVFERConfig, MVFERModel


def test_configuration_survives_saving(tiny_config, tmp_path):
    config = tiny_config(fusion="mean", view_angles_deg=[(-45, 0), (45, 10)], cross_view_weight=0.25)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is MVFERConfig
    assert loaded.view_angles_deg == [[-45.0, 0.0], [45.0, 10.0]]
    assert (loaded.fusion, loaded.cross_view_weight) == ("mean", 0.25)


@pytest.mark.parametrize(
    "fields",
    [
        {"fusion": "sum"},
        {"vision_stem": "linear"},
        {"contrastive_form": "triplet"},
        {"cross_modal_form": "diagonal"},
        {"cross_view_form": "triplet"},
        {"fusion": "text"},
        {"fusion": "text", "fusion_prompt_ids": [[]]},
        {"triplet_weight": -1},
        {"cross_view_weight": -0.1},
        {"phrase_weight": float("nan")},
        {"contrastive_weight": "much"},
        {"projector_size": 0},
        {"score_temperature": 0},
        {"abstain_below": 1.5},
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


def test_plain_clip_configuration_becomes_ours(tmp_path):
    CLIPConfig(projection_dim=24).save_pretrained(tmp_path)
    config = MVFERConfig.from_pretrained(tmp_path, fusion="mean")
    assert (config.model_type, config.projection_dim, config.fusion) == ("mvfer", 24, "mean")


def test_another_kind_of_model_is_refused(tmp_path):
    CLIPTextConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="clip_text_model"):
        MVFERModel.from_pretrained(tmp_path)


def test_small_fits_its_stem_and_takes_the_tokenizers_ids():
    config = MVFERConfig.small(vocab_size=77, image_size=96, eos_token_id=5, pad_token_id=0, fusion="mean")
    assert (config.text_config.vocab_size, config.text_config.eos_token_id) == (77, 5)
    assert (config.vision_config.image_size, config.vision_stem, config.fusion) == (96, "convolution", "mean")
    with pytest.raises(ValueError, match="special meaning"):
        MVFERConfig.small(eos_token_id=2)
    with pytest.raises(ValueError, match="image_size"):
        MVFERConfig.small(image_size=60)
