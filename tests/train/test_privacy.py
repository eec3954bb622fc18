"""Differentially private fine-tuning: what a step does with a person's scans, what is spent, not told, and refused."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import train
from mvfer.hub.push import is_private
from mvfer.training.config import TrainConfig
from mvfer.training.privacy import PrivateSteps, check_batch_norm

pytest.importorskip("opacus")

from .test_finetune import arguments, results_of  # noqa: E402  # a tenth of a second is nothing beside opacus
from .test_train import log_of  # noqa: E402

PRIVATE = ["--method", "probe", "--dp_epsilon", 8, "--scans_per_subject", 3, "--ema_decay", 0]


@pytest.fixture
def run(small_run, toy_data, tmp_path):
    """`run(*flags)`: fine-tune with privacy in `tmp_path / "run"`; returns the exit status."""
    return lambda *flags: train.main(arguments(small_run, toy_data, tmp_path / "run", *PRIVATE, *flags))


def steps_of(people: int = 8, **settings) -> PrivateSteps:
    """Steps for people with three rows each."""
    settings = {
        "stage": "finetune",
        "model": "somewhere",
        "dp_epsilon": 8.0,
        "scans_per_subject": 3,
        "steps": 20,
    } | settings
    return PrivateSteps(TrainConfig(**settings), [f"p{row // 3}" for row in range(3 * people)], batch_size=12)


def test_everybody_moves_the_weights_by_the_clipping_norm_at_most_and_all_are_summed():
    steps, weight = steps_of(dp_epsilon=math.inf, clip_norm=0.5), torch.nn.Parameter(torch.zeros(3))
    steps.use(torch.optim.SGD([weight], lr=1.0), torch.device("cpu"))
    gradients = [torch.tensor([0.3, 0.0, 0.0]), torch.tensor([0.0, 40.0, 0.0]), torch.tensor([0.0, 3.0, 4.0])]
    steps.step([{"gradient": one} for one in gradients], lambda gradient: weight @ gradient, torch.Tensor.backward)
    clipped = torch.tensor([0.3, 0.5 + 0.3, 0.4])  # the first is short enough, the others keep their direction
    torch.testing.assert_close(weight.detach(), -clipped / (steps.sample_rate * 8))


def test_the_noise_is_as_wide_as_the_account_says_also_where_nobody_is_drawn_and_new_in_every_run():
    steps, weight = steps_of(clip_norm=2.0), torch.nn.Parameter(torch.zeros(20_000))
    steps.use(torch.optim.SGD([weight], lr=1.0), torch.device("cpu"))
    steps.step([], lambda: None, torch.Tensor.backward)
    found = weight.detach() * steps.sample_rate * 8
    assert (
        found.std().item() == pytest.approx(2.0 * steps.noise_multiplier, rel=0.05) and abs(found.mean().item()) < 0.1
    )
    other = torch.nn.Parameter(torch.zeros(20_000))
    torch.manual_seed(0)
    again = steps_of(clip_norm=2.0)
    again.use(torch.optim.SGD([other], lr=1.0), torch.device("cpu"))
    again.step([], lambda: None, torch.Tensor.backward)
    assert not torch.equal(other, weight)
    assert steps.accountant.history == [(steps.noise_multiplier, steps.sample_rate, 1)]


def test_a_step_draws_every_person_with_the_same_chance_and_gives_each_a_batch_of_their_own_scans():
    steps = steps_of(scans_per_subject=2)
    assert steps.sample_rate == 12 / (2 * 8)
    batches = steps.batches(_Rows(), list, num_workers=0, start=0)
    drawn = np.zeros(8)
    for _ in range(400):
        people = next(batches)
        rows = [{row // 3 for row in person} for person in people]
        assert all(len(person) == 2 and len(owners) == 1 for person, owners in zip(people, rows, strict=True))
        for owners in rows:
            drawn[owners.pop()] += 1
    assert np.abs(drawn / 400 - 0.75).max() < 0.1


class _Rows(torch.utils.data.Dataset):
    def __getitem__(self, place: tuple[int, int]) -> int:
        return place[1]


def test_what_is_promised_is_what_all_steps_spend_and_more_noise_promises_more():
    steps = steps_of()
    for _ in range(20):
        steps.accountant.step(noise_multiplier=steps.noise_multiplier, sample_rate=steps.sample_rate)
    assert 7.9 < steps.epsilon <= 8
    assert steps_of(dp_epsilon=1.0).noise_multiplier > 3 * steps.noise_multiplier


def test_a_private_run_says_what_it_spent_and_nothing_of_its_losses(run, tmp_path):
    assert run("--steps", 4, "--eval_every", 2, "--learning_rate", 0.02) == 0
    folder = tmp_path / "run"
    spent = {line["step"]: line["epsilon"] for line in log_of(folder) if "epsilon" in line}
    assert sorted(spent) == [0, 1, 2, 3, 4] and spent[0] == 0 and spent[2] < spent[4] <= 8
    assert not {key for line in log_of(folder) for key in line} & {"loss", "gradient_norm"}
    privacy = results_of(folder)["training"]["privacy"]
    assert privacy["epsilon"] == pytest.approx(spent[4], abs=1e-6)
    assert (privacy["unit"], privacy["people"], privacy["steps"]) == ("person", 8, 4)
    assert "familiarity" not in results_of(folder)["calibration"] and is_private(folder)
    card = (folder / "README.md").read_text()
    assert f"epsilon {spent[4]:.2f}, delta 1e-05, for each of 8 training people" in card


def test_adapters_learn_privately_too(run, tmp_path, small_run):
    pytest.importorskip("peft")
    assert run("--method", "lora", "--steps", 1, "--head", "random") == 0
    start, tuned = (load_file(folder / "model.safetensors") for folder in (small_run, tmp_path / "run"))
    moved = {name for name in start.keys() & tuned.keys() if not torch.equal(start[name], tuned[name])}
    assert moved and all(name.startswith(("vision_model.", "visual_projection.")) for name in moved)


def test_a_stopped_private_run_goes_on_with_its_account_and_with_no_other(run, small_run, toy_data, tmp_path):
    plain = arguments(small_run, toy_data, tmp_path / "run", "--method", "probe", "--steps", 4)
    assert run("--steps", 4, "--checkpoint_every", 2, "--eval_every", 2) == 0
    with pytest.raises(ValueError, match="other people, noise or batches"):
        run("--steps", 6, "--resume", "step-0000002")
    with pytest.raises(ValueError, match="was made with --dp_epsilon"):
        train.main([*plain, "--resume", "step-0000002"])
    assert run("--steps", 4, "--checkpoint_every", 2, "--eval_every", 2, "--resume", "step-0000002") == 0
    assert results_of(tmp_path / "run")["training"]["privacy"]["steps"] == 4


def test_people_whom_the_start_knows_are_not_promised_anything(small_run, toy_data, tmp_path):
    plain = arguments(small_run, toy_data, tmp_path / "plain", "--method", "probe", "--steps", 1)
    assert train.main(plain) == 0
    seen = json.loads((tmp_path / "plain" / "subjects_seen.json").read_text())
    start = tmp_path / "start"
    start.mkdir()
    for path in small_run.iterdir():
        (start / path.name).write_bytes(path.read_bytes())
    (start / "subjects_seen.json").write_text(json.dumps(seen))
    with pytest.raises(ValueError, match="has learnt from 8 of these people without noise"):
        train.main(arguments(start, toy_data, tmp_path / "run", *PRIVATE, "--steps", 1))


def test_trained_batch_norm_is_refused_with_the_remedy(toy_data, tmp_path):
    flags = arguments("small", toy_data, tmp_path / "run", "--dp_epsilon", 8, "--steps", 1)
    with pytest.raises(ValueError, match="batch norm that would be trained.*--method probe or lora"):
        train.main(flags)
    layers = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    check_batch_norm(layers.eval())
    with pytest.raises(ValueError, match="1 is a batch norm"):
        check_batch_norm(layers.train())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"stage": "pretrain"}, "is for --stage finetune"),
        ({"dp_epsilon": 0.0}, "dp_epsilon must be positive"),
        ({"dp_delta": 1.0}, "dp_delta in"),
        ({"class_weights": "balanced"}, "--class_weights none alone"),
        ({"labels_per_class": 2}, "--labels_per_class 0 alone"),
        ({"gradient_accumulation": 2}, "--gradient_accumulation 1 alone"),
        ({"resume_on_other_data": True}, "--resume_on_other_data False alone"),
    ],
)
def test_settings_that_would_break_the_promise_are_refused(flags, words):
    with pytest.raises(ValueError, match=words):
        TrainConfig(**{"stage": "finetune", "model": "somewhere", "dp_epsilon": 8.0} | flags)


def test_a_delta_that_gives_somebody_away_is_refused():
    with pytest.raises(ValueError, match="no promise to 8 people"):
        steps_of(dp_delta=0.2)
