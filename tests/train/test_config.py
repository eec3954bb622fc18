import dataclasses
import json

import pytest
import torch

import train
from modeling_mvfer import ObjectiveConfig
from mvfer.training.config import GROUPS, TrainConfig
from mvfer.training.parse_config import parse_config
from mvfer.training.presets import PRESETS


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"dataset": ["a", "b"], "steps": 7, "learning_rate": 0.5}))
    config = parse_config(["--config", str(recipe), "--steps", "9"])
    assert (config.dataset, config.steps, config.learning_rate) == (["a", "b"], 9, 0.5)
    assert config.batch_size == TrainConfig().batch_size


def test_the_saved_recipe_gives_the_same_config(tmp_path):
    config = parse_config(["--dataset", "a", "--fusion", "mean", "--frame_fusion", "attention", "--seed", "3"])
    config.save(tmp_path / "train_config.json")
    assert parse_config(["--config", str(tmp_path / "train_config.json")]) == config
    private = ["--stage", "finetune", "--model", "runs/first", "--dataset", "a", "--dp_epsilon", "inf"]
    (config := parse_config(private)).save(tmp_path / "train_config.json")
    assert parse_config(["--config", str(tmp_path / "train_config.json")]) == config and config.dp_epsilon == float(
        "inf"
    )


def test_flags_win_over_the_preset_and_the_preset_over_an_earlier_recipe(tmp_path):
    config = parse_config(["--dataset", "a", "--preset", "facetvlm", "--consistency_weight", "0.2"])
    assert (config.fusion, config.phrase_weight, config.consistency_weight) == ("text", 0.0, 0.2)
    config.save(tmp_path / "train_config.json")
    again = ["--config", str(tmp_path / "train_config.json")]
    assert parse_config(again) == config
    assert parse_config([*again, "--preset", "mvcnn"]).fusion == "max"
    part = tmp_path / "part.json"
    part.write_text('{"dataset": ["a"], "preset": "affectvlm", "triplet_weight": 2}')
    config = parse_config(["--config", str(part)])
    assert (config.triplet_weight, config.margin_contrast_weight, config.fusion) == (2, 0.5, "mean")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_recipe(name, tmp_path):
    config = parse_config(["--dataset", "a", "--preset", name, "--model", "runs/first"])
    assert {key: getattr(config, key) for key in PRESETS[name]} == PRESETS[name]
    assert config.preset == name and config.phrase_weight == 0


def test_pseudo_prompts_bring_view_dropout_unless_something_else_is_said():
    pseudo = ["--dataset", "a", "--supervision", "pseudo", "--model", "runs/first"]
    assert parse_config(pseudo).view_dropout == 0.5
    assert parse_config([*pseudo, "--view_dropout", "0"]).view_dropout == 0
    assert parse_config(pseudo[:2]).view_dropout == 0


@pytest.mark.parametrize(
    "flags, remedy",
    [
        (["--preset", "multiviewvlm"], "--model runs/first"),
        (["--supervision", "pseudo", "--model", "clip", "--contrastive_form", "sigmoid"], "infonce"),
        (["--supervision", "pseudo", "--model", "clip", "--confidence", "2"], "confidence"),
        (["--frozen_towers"], "--method probe"),
        (["--tower_batch", "-1"], "tower_batch"),
        (["--co2_per_hour_g", "-1"], "zero or more grams"),
    ],
)
def test_pretraining_that_cannot_work_is_refused_with_the_remedy(flags, remedy):
    with pytest.raises(ValueError, match=remedy):
        parse_config(["--dataset", "a", *flags])


def test_an_unknown_key_fails_and_names_the_nearest(tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"dataset": ["a"], "learning_rte": 1}')
    with pytest.raises(ValueError, match=r"unknown key 'learning_rte'; did you mean 'learning_rate'"):
        parse_config(["--config", str(recipe)])


def test_a_recipe_of_an_earlier_version_is_read_without_what_was_removed(tmp_path):
    recipe = tmp_path / "recipe.json"
    old = {"dataset": ["a"], "steps": 7, "render_on_the_fly": False, "view_range_deg": [60.0, 15.0]}
    recipe.write_text(json.dumps(old))
    assert parse_config(["--config", str(recipe)]) == parse_config(["--dataset", "a", "--steps", "7"])
    recipe.write_text(json.dumps(old | {"render_on_the_fly": True}))
    with pytest.raises(
        ValueError, match="recipe.json: render_on_the_fly is True; on-the-fly rendering was removed in 0.2"
    ):
        parse_config(["--config", str(recipe)])
    recipe.write_text(json.dumps(old | {"view_range_deg": [20, 5]}))
    with pytest.raises(ValueError, match=r"recipe.json: view_range_deg is \[20, 5\]; .* take the key out"):
        parse_config(["--config", str(recipe)])


def test_a_recipe_with_a_form_that_is_no_more_is_read_where_the_form_was_off(tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"dataset": ["a"], "cross_view_form": "barlow", "cross_view_weight": 0.1}')
    assert parse_config(["--config", str(recipe)]).objective.cross_view_weight == 0.1
    recipe.write_text('{"dataset": ["a"], "cross_view_form": "vicreg"}')
    with pytest.raises(ValueError, match="recipe.json: cross_view_form is 'vicreg'; this form was removed in 0.2"):
        parse_config(["--config", str(recipe)])


def test_every_setting_is_a_flag_of_one_group_and_the_objective_brings_its_own(capsys):
    with pytest.raises(SystemExit):
        parse_config(["--help"])
    shown = capsys.readouterr().out
    groups = [group._argument_group_name for group in GROUPS]
    places = [
        shown.index(f"\n{name}:\n  {group.__doc__.splitlines()[0]}") for name, group in zip(groups, GROUPS, strict=True)
    ]
    assert places == sorted(places) and groups[5] == "objective"
    objective = shown[places[5] : places[6]]
    for f in dataclasses.fields(ObjectiveConfig):
        assert f"--{f.name}" in objective and " ".join(f.metadata["help"].split()[:2]) in " ".join(objective.split())
    assert sum(len(dataclasses.fields(group)) for group in GROUPS) == len(dataclasses.fields(TrainConfig))
    assert shown.count("\n  accelerate launch train.py --") == 3  # examples, one a line


def test_the_objective_is_checked_when_flags_are_read():
    config = parse_config(["--dataset", "a", "--triplet_weight", "0.5", "--projector_size", "64"])
    assert config.objective == ObjectiveConfig(triplet_weight=0.5, projector_size=64)
    with pytest.raises(ValueError, match="triplet_weight must be a number, zero or more, got -1"):
        parse_config(["--dataset", "a", "--triplet_weight", "-1"])


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
    "flag, value",
    [("--view_dropout", "1"), ("--steps", "0"), ("--ema_decay", "1"), ("--learning_rate", "0"), ("--num_frames", "0")],
)
def test_values_without_meaning_are_refused(flag, value):
    with pytest.raises(ValueError, match=flag[2:]):
        parse_config(["--dataset", "a", flag, value])


def test_precision_is_bf16_only_where_the_device_is_fast_in_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True, "avx512_bf16": False})
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    assert train.fastest_precision() == "bf16"
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert train.fastest_precision() == "no"
    for name in ("amx_bf16", "avx512_bf16"):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda name=name: {name: True})
        assert train.fastest_precision() == "bf16"


def test_the_learning_rate_suits_what_is_trained_and_is_written_down(tmp_path):
    def rate(*flags):
        return parse_config(["--dataset", "a", *flags]).learning_rate

    tune = ("--stage", "finetune", "--model", "runs/first")
    assert (rate(), rate("--stage", "finetune"), rate(*tune), rate(*tune, "--method", "lora")) == (
        1e-3,
        1e-3,
        1e-5,
        3e-4,
    )
    assert rate(*tune, "--learning_rate", "0.5") == 0.5
    parse_config(["--dataset", "a", *tune]).save(tmp_path / "recipe.json")
    assert json.loads((tmp_path / "recipe.json").read_text())["learning_rate"] == 1e-5


@pytest.mark.parametrize("tracker", ["trackio", "tensorboard", "wandb"])
def test_a_tracker_that_is_not_installed_is_named_with_the_command(tracker, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "find_spec", lambda name: None)
    config = parse_config(["--dataset", str(tmp_path), "--report_to", tracker])
    with pytest.raises(ValueError, match=f"pip install {tracker}"):
        train.build_accelerator(config)
