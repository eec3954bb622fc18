"""`train.py --render_on_the_fly`: resumed, on two ranks, with labels, on sequences, and on data that cannot be rendered."""

import json
import shutil

import pytest
import torch

import train
from mvfer.training import learner

from .test_train import arguments, assert_same_state, launch, log_of
from .toy import write_toy_data

FLY = ("--render_on_the_fly", "--view_dropout", 0.3)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    return str(write_toy_data(tmp_path_factory.mktemp("data") / "toy", geometry=True))


@pytest.fixture
def batches_seen(monkeypatch) -> list[dict]:
    """Everything that the loader gives."""
    seen, original = [], train.Pretraining.collate

    def collate(self, samples):
        seen.append(original(self, samples))
        return seen[-1]

    monkeypatch.setattr(train.Pretraining, "collate", collate)
    return seen


def test_four_steps_equal_two_and_two_bit_for_bit(data, tmp_path):
    settings = ("--steps", 4, "--checkpoint_every", 2, *FLY)
    assert train.main(arguments(data, tmp_path / "whole", *settings)) == 0
    step = "checkpoints/step-000000{}"
    shutil.copytree(tmp_path / "whole" / step.format(2), tmp_path / "resumed" / step.format(2))
    train.main(arguments(data, tmp_path / "resumed", *settings, "--resume", "last"))
    assert_same_state(tmp_path / "resumed" / step.format(4), tmp_path / "whole" / step.format(4))
    recipe = json.loads((tmp_path / "whole" / "train_config.json").read_text())
    assert recipe["render_on_the_fly"] is True and recipe["view_range_deg"] == [60.0, 15.0]


def test_the_model_is_told_angles_in_the_range_and_tested_on_the_stored_views(data, tmp_path, batches_seen):
    argv = arguments(data, tmp_path / "run", "--steps", 2, "--render_on_the_fly", "--view_range_deg", 20, 5)
    assert train.main(argv) == 0
    angles = torch.cat([batch["view_angles_deg"] for batch in batches_seen]).reshape(-1, 2)
    assert (angles.abs() <= torch.tensor([20.0, 5.0])).all() and len(angles.unique(dim=0)) == len(angles) == 2 * 6 * 3
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results["zero_shot_by_view"]) == {"front", "left_30", "right_30"}


def test_batches_rendered_on_the_training_device_are_those_of_the_loader(data, tmp_path, batches_seen, monkeypatch):
    monkeypatch.setattr("processing.rendering_numba_mvfer.njit", None)  # a GPU renders with torch
    train.main(arguments(data, tmp_path / "loader", "--steps", 2, *FLY))
    monkeypatch.setattr(learner, "renders_here", lambda config, device: True)
    train.main(arguments(data, tmp_path / "device", "--steps", 2, *FLY))
    assert len(batches_seen) == 4
    for one, other in zip(batches_seen[:2], batches_seen[2:], strict=True):
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_fine_tuning_renders_as_well(data, tmp_path, monkeypatch):
    monkeypatch.setattr(learner, "renders_here", lambda config, device: True)  # labels travel with the drafts
    assert train.main(arguments(data, tmp_path, "--stage", "finetune", "--steps", 2, *FLY)) == 0


def test_sequences_are_rendered(tmp_path):
    folder = write_toy_data(tmp_path / "data", frames=3, geometry=True)
    assert train.main(arguments(str(folder), tmp_path / "run", "--steps", 1, "--num_frames", 2, *FLY)) == 0


@pytest.mark.slow
def test_two_ranks_see_the_batch_and_the_loss_of_one(data, tmp_path):
    shared = ("--steps", 3, "--learning_rate", 1e-4, "--mixed_precision", "no", *FLY)
    process = launch(arguments(data, tmp_path / "two", *shared), ranks=2)
    assert process.wait() == 0, process.stdout.read()
    train.main(arguments(data, tmp_path / "one", *shared, "--batch_size", 12))
    for two, one in zip(log_of(tmp_path / "two"), log_of(tmp_path / "one"), strict=True):
        assert two == pytest.approx(one, rel=2e-3, abs=1e-4)


def test_data_without_geometry_and_a_range_without_cameras_are_refused_before_training(data, toy_data, tmp_path):
    with pytest.raises(ValueError, match=f"{toy_data}: holds views only.*build it with --keep_geometry"):
        train.main(
            ["--dataset", data, toy_data, "--output_dir", str(tmp_path / "run"), "--steps", "1", "--render_on_the_fly"]
        )
    with pytest.raises(ValueError, match="view_range_deg: expected"):
        train.main(arguments(data, tmp_path / "run", "--render_on_the_fly", "--view_range_deg", 60))
    assert not (tmp_path / "run").exists()
