import json

import pytest
import torch

import train
from training.config import TrainConfig, parse_config


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"dataset": ["a", "b"], "steps": 7, "learning_rate": 0.5}))
    config = parse_config(["--config", str(recipe), "--steps", "9"])
    assert (config.dataset, config.steps, config.learning_rate) == (["a", "b"], 9, 0.5)
    assert config.batch_size == TrainConfig().batch_size


def test_the_saved_recipe_gives_the_same_config(tmp_path):
    config = parse_config(["--dataset", "a", "--fusion", "mean", "--seed", "3"])
    config.save(tmp_path / "train_config.json")
    assert parse_config(["--config", str(tmp_path / "train_config.json")]) == config


def test_an_unknown_key_fails_and_names_the_nearest(tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"dataset": ["a"], "learning_rte": 1}')
    with pytest.raises(ValueError, match=r"unknown key 'learning_rte'; did you mean 'learning_rate'"):
        parse_config(["--config", str(recipe)])


@pytest.mark.parametrize("text", ["", "[1]", '{"steps": "many"}', "<html>"])
def test_a_broken_recipe_is_named(tmp_path, text):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(text)
    with pytest.raises(ValueError, match="recipe.json"):
        parse_config(["--config", str(recipe), "--dataset", "a"])


def test_no_data_set_tells_how_to_build_one():
    with pytest.raises(ValueError, match="dataset_scripts.build_anny"):
        parse_config([])


@pytest.mark.parametrize(
    "flag, value", [("--view_dropout", "1"), ("--steps", "0"), ("--ema_decay", "1"), ("--learning_rate", "0")]
)
def test_values_without_meaning_are_refused(flag, value):
    with pytest.raises(ValueError, match=flag[2:]):
        parse_config(["--dataset", "a", flag, value])


def test_precision_is_bf16_only_where_the_device_is_fast_in_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "amx_bf16": False})
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    assert train.fastest_precision() == "bf16"
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert train.fastest_precision() == "no"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert train.fastest_precision() == "bf16"


def test_the_learning_rate_suits_what_is_trained_and_is_written_down(tmp_path):
    def rate(*flags):
        return parse_config(["--dataset", "a", *flags]).learning_rate

    tune = ("--stage", "finetune", "--model", "runs/first")
    assert (rate(), rate("--stage", "finetune"), rate(*tune), rate(*tune, "--method", "lora")) == (
        1e-3,
        1e-3,
        1e-5,
        1e-4,
    )
    assert rate(*tune, "--learning_rate", "0.5") == 0.5
    parse_config(["--dataset", "a", *tune]).save(tmp_path / "recipe.json")
    assert json.loads((tmp_path / "recipe.json").read_text())["learning_rate"] == 1e-5
