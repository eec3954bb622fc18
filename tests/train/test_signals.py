"""A run that is asked to stop, or loses one of its processes, at any moment: it ends soon, with the reason, and can go on."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

import train
from mvfer.hub.load import load_run
from mvfer.training.checkpoints import complete_checkpoints
from mvfer.training.pretraining import Pretraining

from .test_train import arguments, launch, log_of

MOMENTS = {
    "checkpoint": (train, "save_checkpoint"),
    "validation": (train.Learner, "score"),
    "export": (Pretraining, "export"),
}
SIGNALS = [name for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]


def signalled(function, name: str, *, times: list):
    """The function; at its first call this process gets a signal."""

    def call(*arguments, **options):
        if not times:
            times.append(name)
            signal.raise_signal(getattr(signal, name))
        return function(*arguments, **options)

    return call


@pytest.fixture
def heard():
    """Every signal is heard as by default; a shell may have told us to ignore some."""
    before = {name: signal.signal(getattr(signal, name), signal.SIG_DFL) for name in SIGNALS}
    yield
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.slow
def test_a_signal_leaves_a_folder_that_can_be_resumed(toy_data, tmp_path, monkeypatch, capsys, heard, moment, name):
    number = getattr(signal, name)
    argv, times = arguments(toy_data, tmp_path / "run", "--steps", 3, "--checkpoint_every", 2, "--eval_every", 2), []
    where, attribute = MOMENTS[moment]
    with monkeypatch.context() as patch:
        patch.setattr(where, attribute, signalled(getattr(where, attribute), name, times=times))
        assert train.main(argv) == 143
    assert times == [name] and "--resume last" in capsys.readouterr().out
    assert signal.getsignal(number) is signal.SIG_DFL  # as before
    assert complete_checkpoints(tmp_path / "run" / "checkpoints")
    assert train.main([*argv, "--resume", "last"]) == 0
    load_run(tmp_path / "run")
    assert not list((tmp_path / "run").glob(".saving-*"))


@pytest.mark.parametrize("what_follows", ["another error", "nothing"])
@pytest.mark.slow
def test_a_signal_that_a_library_swallows_during_the_export_still_stops_the_run(
    toy_data, tmp_path, monkeypatch, capsys, heard, what_follows
):
    """`fsspec` asks whether a file exists, and takes every exception, also our interrupt, for a no."""
    argv, export = arguments(toy_data, tmp_path / "run", "--steps", 2), Pretraining.export

    def swallow(*arguments, **options):
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGTERM)
        if what_follows == "another error":
            raise FileNotFoundError("Unable to find 'train-00000-of-00001.parquet'")
        return export(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Pretraining, "export", swallow)
        assert train.main(argv) == 143
    said = capsys.readouterr().out
    assert "--resume last" in said and "model folder" not in said
    assert train.main([*argv, "--resume", "last"]) == 0
    load_run(tmp_path / "run")


def test_a_hangup_that_nohup_ignores_stays_ignored(heard):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with train.StopSignal(None) as stop:
        signal.raise_signal(signal.SIGHUP)
        assert not stop.asked
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.slow
def test_a_signal_to_all_processes_of_a_run_lets_it_save(toy_data, tmp_path, heard, name):
    """As a cluster sends it, or a terminal: to the loaders too."""
    few = ("--steps", 100_000, "--checkpoint_every", 100_000, "--num_workers", 2)
    process = launch(arguments(toy_data, tmp_path / "run", *few))
    try:
        for _ in range(1200):
            if (tmp_path / "run" / "metrics.jsonl").is_file() and len(log_of(tmp_path / "run")) >= 2:
                break
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.1)
        os.killpg(process.pid, getattr(signal, name))
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143, said
    assert "--resume last" in said and "Traceback" not in said, said
    assert complete_checkpoints(tmp_path / "run" / "checkpoints")


@pytest.mark.slow
def test_when_one_process_is_killed_the_others_end_within_a_minute_and_say_why(toy_data, tmp_path):
    process = launch(arguments(toy_data, tmp_path / "run", "--steps", 100_000, "--checkpoint_every", 2), ranks=2)
    try:
        for _ in range(1200):
            if (tmp_path / "run" / "metrics.jsonl").is_file() and len(log_of(tmp_path / "run")) >= 4:
                break
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.1)
        ranks = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
        victim = max(map(int, ranks.stdout.split()))
        begin = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode != 0 and time.monotonic() - begin < 60
    assert "another process of this run has ended" in said and "--resume last" in said
    assert complete_checkpoints(Path(tmp_path / "run" / "checkpoints"))
