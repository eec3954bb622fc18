"""Runs of `train.py` on toy data: what a user relies on when a run is stopped, killed, spread over ranks or fed bad data."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from huggingface_hub import ModelCard
from safetensors.torch import load_file

import train
from modeling_mvfer import MVFERConfig
from mvfer.data.schema import dataset_info, load_splits, shard_path
from mvfer.training.checkpoints import complete_checkpoints
from mvfer.training.config import TrainConfig
from mvfer.training.log import MetricsLog
from mvfer.training.parse_config import parse_config
from mvfer.training.pretraining import build_processor
from processing import MVFERProcessor

from .toy import write_toy_data

ROOT = Path(__file__).parents[2]
FAST = ["--batch_size", "6", "--num_workers", "0", "--log_every", "1", "--eval_every", "100"]


def arguments(data, folder, *more) -> list[str]:
    return ["--dataset", data, "--output_dir", str(folder), *FAST, *map(str, more)]


def launch(argv, *, ranks: int = 1, limit_bytes: int | None = None) -> subprocess.Popen:
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
    command = [*(start if ranks > 1 else [sys.executable]), "train.py", *argv]

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=limit if limit_bytes else None,
    )


def log_of(folder) -> list[dict]:
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]


def assert_same_state(first: Path, second: Path) -> None:
    for name, value in load_file(first / "model.safetensors").items():
        assert torch.equal(value, load_file(second / "model.safetensors")[name]), name
    ours, theirs = (torch.load(folder / "optimizer.bin", weights_only=True)["state"] for folder in (first, second))
    for key in ours:
        assert all(torch.equal(ours[key][name], theirs[key][name]) for name in ours[key])


@pytest.fixture(scope="module")
def unbroken(toy_data, tmp_path_factory) -> Path:
    """A run of four steps with a checkpoint at every second one."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    flags = ("--steps", 4, "--checkpoint_every", 2, "--co2_per_hour_g", 60)
    assert train.main(arguments(toy_data, folder, *flags)) == 0
    return folder


def test_the_run_folder_is_the_model_folder(unbroken):
    names = {path.name for path in unbroken.iterdir()}
    assert {"model.safetensors", "config.json", "processor_config.json", "README.md", "results.json"} <= names
    assert {"train_config.json", "metrics.jsonl", "modeling_mvfer.py", "checkpoints"} <= names
    results = json.loads((unbroken / "results.json").read_text())
    assert results["test"]["accuracy"].keys() == {"mean", "low", "high"}
    assert results["training"]["steps"] == 4 and results["training"]["processes"] == 1
    assert 0 < results["training"]["co2_g"] == pytest.approx(results["training"]["seconds"] / 60, abs=2e-3)
    stated = ModelCard.load(unbroken / "README.md").data.co2_eq_emissions
    assert (stated["emissions"], stated["training_type"]) == (results["training"]["co2_g"], "pre-training")
    assert set(results["by_view"]) == {"front", "left_30", "right_30"}


def test_a_model_of_views_that_numba_drew_also_runs_where_numba_is_missing(toy_data, tmp_path):
    splits, info = load_splits(toy_data), dataset_info(toy_data)
    info["render_settings"]["backend"] = "numba"
    processor = build_processor(parse_config(arguments(toy_data, tmp_path)), [splits], [info])
    assert processor.image_processor.render_backend == "auto"


def test_the_log_has_every_term_under_its_name(unbroken):
    first = log_of(unbroken)[0]
    assert {"loss", "contrastive", "view_contrastive", "phrase", "cross_view"} <= first.keys()
    assert [line["step"] for line in log_of(unbroken) if "loss" in line] == [1, 2, 3, 4]


def test_four_steps_equal_two_and_two_bit_for_bit(toy_data, unbroken, tmp_path):
    folder = tmp_path / "resumed"
    shutil.copytree(unbroken / "checkpoints" / "step-0000002", folder / "checkpoints" / "step-0000002")
    train.main(arguments(toy_data, folder, "--steps", 4, "--checkpoint_every", 2, "--resume", "last"))
    assert_same_state(folder / "checkpoints" / "step-0000004", unbroken / "checkpoints" / "step-0000004")


class Notes(GeneralTracker):
    """A tracker that keeps what it is given."""

    name, requires_logging_directory, tracker = "notes", False, None

    def __init__(self):
        super().__init__()
        self.settings, self.lines = {}, []

    def store_init_configuration(self, values):
        self.settings = values

    def log(self, values, step, **_):
        self.lines.append({"step": step, **values})


def test_trackers_are_given_the_recipe_and_every_line_of_the_log(tmp_path):
    notes, config = Notes(), TrainConfig(dataset=["a", "b"], output_dir=str(tmp_path))
    with MetricsLog(config, Accelerator(cpu=True, log_with=notes), step=0) as log:
        log.write(1, {"loss": 0.25, "phrase": 0.5})
        log.write(2, {"validation_zero_shot": 0.75})
    assert notes.settings["dataset"] == "a b" and notes.settings["steps"] == config.steps
    assert notes.lines == log_of(tmp_path) and [line["step"] for line in notes.lines] == [1, 2]


def test_a_loss_that_is_not_finite_ends_the_run_with_the_remedy(toy_data, tmp_path):
    with pytest.raises(ValueError, match=r"the loss is (nan|inf) at step \d; lower --learning_rate"):
        train.main(arguments(toy_data, tmp_path, "--steps", 5, "--learning_rate", 1e30, "--mixed_precision", "no"))


def wait_for(condition, process, *, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_a_run_killed_and_then_terminated_ends_like_an_unbroken_one(toy_data, tmp_path):
    settings = ("--steps", 30, "--checkpoint_every", 3, "--keep_checkpoints", 100)
    train.main(arguments(toy_data, tmp_path / "whole", *settings))
    folder = tmp_path / "broken"
    checkpoints = folder / "checkpoints"

    process = launch(arguments(toy_data, folder, *settings))
    wait_for(lambda: complete_checkpoints(checkpoints), process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    killed_at = len(complete_checkpoints(checkpoints))

    process = launch(arguments(toy_data, folder, *settings, "--resume", "last"))
    wait_for(lambda: len(complete_checkpoints(checkpoints)) > killed_at, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143, process.stdout.read()

    assert train.main(arguments(toy_data, folder, *settings, "--resume", "last")) == 0
    assert_same_state(checkpoints / "step-0000030", tmp_path / "whole" / "checkpoints" / "step-0000030")
    assert log_of(folder) == log_of(tmp_path / "whole")


@pytest.mark.slow
def test_two_ranks_see_the_batch_and_the_loss_of_one(toy_data, tmp_path):
    # baselines are drawn within a rank's scans, so that they alone differ
    shared = ("--steps", 3, "--learning_rate", 1e-4, "--view_dropout", 0.3, "--mixed_precision", "no", "--baseline", 0)
    process = launch(arguments(toy_data, tmp_path / "two", *shared), ranks=2)
    assert process.wait() == 0, process.stdout.read()
    train.main(arguments(toy_data, tmp_path / "one", *shared, "--batch_size", 12))
    for two, one in zip(log_of(tmp_path / "two"), log_of(tmp_path / "one"), strict=True):
        assert two == pytest.approx(one, rel=2e-3, abs=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        ("--mixed_precision", "bf16"),
        ("--gradient_accumulation", 2),
        ("--preset", "affectvlm", "--cross_view_weight", 0.5),
        ("--preset", "facetvlm", "--contrastive_form", "sigmoid"),
    ],
)
def test_variants_of_the_recipe_run(toy_data, tmp_path, options):
    assert train.main(arguments(toy_data, tmp_path / "run", "--steps", 2, *options)) == 0


@pytest.mark.parametrize(
    "options",
    [("--frames", "rank_pooled"), ("--temporal_layers", 1, "--frame_fusion", "mean")],
    ids=["pooled", "layers"],
)
def test_runs_on_sequences_keep_how_they_read_them(tmp_path, options):
    data = write_toy_data(tmp_path / "data", frames=6, build={"magnification": 3.0})
    assert train.main(arguments(str(data), tmp_path / "run", "--steps", 2, "--num_frames", 4, *options)) == 0
    processor = MVFERProcessor.from_pretrained(tmp_path / "run").image_processor
    assert (processor.num_frames, processor.magnification) == (4, 3.0)
    assert processor.frames == ("rank_pooled" if "rank_pooled" in options else "sequence")
    config = MVFERConfig.from_pretrained(tmp_path / "run")
    assert (config.temporal_layers, config.frame_fusion) == ((1, "mean") if 1 in options else (0, None))


def test_frozen_towers_stay_as_they_were_bit_for_bit(tmp_path):
    scans, films = write_toy_data(tmp_path / "scans"), write_toy_data(tmp_path / "films", frames=3)
    train.main(arguments(str(scans), tmp_path / "start", "--steps", 2))
    options = ("--model", tmp_path / "start", "--frozen_towers", "--temporal_layers", 1, "--steps", 3)
    train.main(arguments(str(films), tmp_path / "run", *options))
    last = Path("run") / "checkpoints" / "step-0000003"  # what is exported is the best step, which may be the start
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("start", last))
    towers = ("vision_model.", "visual_projection.", "text_model.", "text_projection.")
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same >= {name for name in before if name.startswith(towers)}
    assert "frame_fusion.score.weight" not in same


def test_sets_of_different_magnification_are_not_mixed(tmp_path):
    data = [write_toy_data(tmp_path / str(m), frames=2, build={"magnification": m}) for m in (1.0, 3.0)]
    with pytest.raises(ValueError, match="different --magnification"):
        train.main(
            ["--dataset", *map(str, data), "--output_dir", str(tmp_path / "run"), "--steps", "1", "--batch_size", "6"]
        )


def test_no_improvement_stops_the_run_early(toy_data, tmp_path):
    train.main(
        arguments(toy_data, tmp_path, "--steps", 50, "--eval_every", 1, "--patience", 2, "--learning_rate", 1e-9)
    )
    assert max(line["step"] for line in log_of(tmp_path)) == 3


@pytest.mark.slow
def test_a_full_disk_while_saving_names_the_remedy_and_keeps_what_was_there(toy_data, unbroken, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    before = {path.name: path.read_bytes() for path in (folder / "checkpoints" / "step-0000002").iterdir()}
    shutil.rmtree(folder / "checkpoints" / "step-0000004")
    argv = arguments(toy_data, folder, "--steps", 4, "--checkpoint_every", 1, "--resume", "last")
    process = launch(argv, limit_bytes=2_000_000)  # no file may grow beyond it, as on a disk without space
    output = process.communicate()[0]
    assert process.returncode == 1
    assert "could not write below" in output and "--resume last" in output and "Traceback" not in output
    assert complete_checkpoints(folder / "checkpoints") == [folder / "checkpoints" / "step-0000002"]
    assert {path.name: path.read_bytes() for path in (folder / "checkpoints" / "step-0000002").iterdir()} == before


def rewritten(tmp_path, change, split="train") -> str:
    """Toy data with `change(rows)` applied to one split."""
    import pyarrow.parquet as pq

    folder = write_toy_data(tmp_path / "data")
    path = shard_path(folder, split, 0, 1)
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(table.from_pylist(rows, schema=table.schema), path)
    return str(folder)


@pytest.mark.parametrize(
    ("sources", "kinds"),
    [
        (["captions", "none"], ["actions"]),
        (["label_prompts"], ["names"]),
        (["captions", "label_prompts"], ["actions", "names"]),
    ],
)
def test_a_model_is_asked_with_the_kind_of_text_that_it_learnt_from(tmp_path, sources, kinds):
    def change(rows):
        for number, row in enumerate(rows):
            row["caption_source"] = sources[number % len(sources)]

    train.main(arguments(rewritten(tmp_path, change), tmp_path / "run", "--steps", 1))
    assert MVFERConfig.from_pretrained(tmp_path / "run").prompt_kinds == kinds
    assert json.loads((tmp_path / "run" / "results.json").read_text())["prompt_kinds"] == kinds


def set_all(name, value):
    def change(rows):
        for row in rows:
            row[name] = value

    return change


def uncaption_all_but_one_person(rows):
    for row in rows:
        row["captions"] = row["captions"] if row["subject"] == "toy-000" else []


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        (uncaption_all_but_one_person, []),
        (set_all("captions", []), [*"--contrastive_weight 0 --view_contrastive_weight 0 --phrase_weight 0".split()]),
    ],
)
def test_scans_without_a_caption_are_learnt_from_by_their_views(tmp_path, change, flags):
    data = rewritten(tmp_path, change)
    assert train.main(arguments(data, tmp_path / "run", "--steps", 4, "--cross_view_weight", 0.5, *flags)) == 0
    steps = [row for row in log_of(tmp_path / "run") if "loss" in row]
    assert len(steps) == 4 and all(row["cross_view"] > 0 for row in steps)
    assert ("contrastive" in steps[0]) == (not flags)
    assert flags or all(row["contrastive"] > 0 for row in steps)


def break_view(rows):
    rows[5]["views"][0][1]["bytes"] = b"no picture"


@pytest.mark.parametrize(
    "change, split, message",
    [
        (set_all("captions", []), "train", "no training row has a caption"),
        (set_all("expression", 4), "validation", "validation rows show 1 of the expressions"),
        (set_all("expression", -1), "test", "test rows show 0 of the expressions"),
        (set_all("subject", "toy-000"), "validation", "toy-000.* are in several splits"),
        (break_view, "train", "row 5: the views cannot be read"),
    ],
)
def test_unfit_data_is_refused_before_training(tmp_path, change, split, message):
    data = rewritten(tmp_path, change, split)
    with pytest.raises(ValueError, match=message):
        train.main(arguments(data, tmp_path / "run", "--steps", 1))
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    "change, message",
    [(None, "expected a split 'test'"), (set_all("expression", -1), "split 'test' has no labelled rows")],
)
def test_a_transfer_set_that_cannot_be_tested_is_refused_before_training(toy_data, tmp_path, change, message):
    other = Path(rewritten(tmp_path, change or (lambda rows: None), "test"))
    if change is None:
        shard_path(other, "test", 0, 1).unlink()
    with pytest.raises(ValueError, match=message):
        train.main(arguments(toy_data, tmp_path / "run", "--steps", 1, "--also_test", other))
    assert not (tmp_path / "run").exists()


def test_a_missing_checkpoint_is_named(toy_data, tmp_path):
    with pytest.raises(ValueError, match="no complete checkpoint"):
        train.main(arguments(toy_data, tmp_path, "--steps", 1, "--resume", "last"))


def test_towers_of_a_small_model_cannot_work_in_parts(toy_data, tmp_path):
    with pytest.raises(ValueError, match="--tower_batch: the batch norm of a small model"):
        train.main(arguments(toy_data, tmp_path / "run", "--steps", 1, "--tower_batch", 2))
