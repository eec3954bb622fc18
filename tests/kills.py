"""What is stopped (`kill -9`, or another signal) at random moments, again and again, ends as if it had not been.

In: what to do, how often, and a seed. Out: a report, and exit status 1 if an end differs. Every try is a fork of this process,
which has imported everything and done nothing, so a try costs little more than its work.

    python -m tests.kills build --kills 30 --seed 0
    python -m tests.kills train --kills 30 --seed 0 --signal TERM
    python -m tests.kills export --kills 30 --seed 0
    python -m tests.kills predict --kills 30 --seed 0
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import train
from dataset_scripts import build_folder
from dataset_scripts.recorded import scan_sets, scans
from mvfer.cli.main import main as mvfer
from mvfer.data.folder_lock import LOCK_FILE
from mvfer.training.checkpoints import complete_checkpoints
from tests.data.layouts import write_plain_obj
from tests.train.toy import write_toy_data

PEOPLE, STEPS = 12, 8


def tried(
    work: Callable[[], int], log: Path, *, kill_after_s: float | None = None, by: int = signal.SIGKILL
) -> tuple[int, float]:
    """Exit status (-9: killed) and seconds of `work` in a process of its own, which gets a signal after a while."""
    start, pid = time.monotonic(), os.fork()
    if pid == 0:
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        status = 99
        try:
            status = work()
        except (ValueError, OSError) as error:
            print(f"refused: {error}")
        except KeyboardInterrupt:
            status = 128 + signal.SIGINT
        finally:
            os._exit(status)
    ended, status = 0, 0
    while kill_after_s is not None and not ended and time.monotonic() - start < kill_after_s:
        ended, status = os.waitpid(pid, os.WNOHANG)
        time.sleep(0.005)
    if not ended:
        if kill_after_s is not None:
            os.kill(pid, by)
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), time.monotonic() - start


class Building:
    """A build of a dozen people, a shard each."""

    def __init__(self, folder: Path):
        self.folder = folder
        for number in range(PEOPLE):
            for label in ("happy", "sad"):
                write_plain_obj(folder / "source" / label / f"p{number:02d}_1.obj", number / 20 + (label == "sad") / 50)

    def __call__(self, out: Path) -> int:
        scan_sets.FRAMES_PER_SHARD = 1
        first = min((self.folder / "source").rglob("*.obj"))
        frame = scans.frame_mesh(scans.load_mesh(first))  # of all, whichever shard a process begins with

        def framed_once(mesh):
            time.sleep(0.05)
            return frame

        scans.frame_mesh = framed_once
        argv = ["--source", str(self.folder / "source"), "--out", str(out), "--subject_pattern", "^(p[0-9]+)_"]
        return scan_sets.main(
            build_folder.FOLDER, [*argv, "--size_px", "24", "--num_proc", "1", "--key_file", str(self.folder / "key")]
        )

    def end(self, out: Path) -> dict[str, str]:
        return hashes(path for path in out.iterdir() if path.name != LOCK_FILE)


class Training:
    """A run of a few steps on toy data, with its tests and its export."""

    def __init__(self, folder: Path):
        self.data = str(write_toy_data(folder / "data"))

    def __call__(self, out: Path) -> int:
        torch.set_num_threads(1)
        argv = ["--dataset", self.data, "--output_dir", str(out), "--steps", str(STEPS), "--checkpoint_every", "1"]
        argv += ["--batch_size", "6", "--num_workers", "0", "--log_every", "1", "--eval_every", "3"]
        argv += ["--resume", "last"] if complete_checkpoints(out / "checkpoints") else []
        argv += ["--overwrite"] if not complete_checkpoints(out / "checkpoints") and out.exists() else []
        return train.main(argv)

    def end(self, out: Path) -> dict[str, str]:
        names = ("model.safetensors", "config.json", "metrics.jsonl")
        found = {str(path.relative_to(out)): "there" for path in out.rglob("*") if path.name != LOCK_FILE}
        return found | hashes(out / name for name in names)


class Exporting(Training):
    """Tests and export of a run whose steps are done."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.done = folder / "done"
        status, _ = tried(lambda: Training.__call__(self, self.done), folder / "log")
        assert status == 0, (folder / "log").read_text()

    def __call__(self, out: Path) -> int:
        if not out.exists():
            partial = out.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(self.done, partial)
            for path in partial.iterdir():
                if path.is_file() and path.name not in ("metrics.jsonl", "train_config.json"):
                    path.unlink()
            partial.rename(out)
        return super().__call__(out)


class Predicting:
    """A table of a dozen scans, three at a time."""

    def __init__(self, folder: Path):
        self.source = folder / "scans"
        self.source.mkdir()
        heads = sorted((Path(__file__).parents[1] / "examples").glob("*.ply"))
        for number in range(12):
            shutil.copy(heads[number % len(heads)], self.source / f"s{number}.ply")

    def __call__(self, out: Path) -> int:
        torch.set_num_threads(1)
        if (out / "faces.csv").exists():  # whole, as it is moved there at the end; asked again, it would refuse
            return 0
        return mvfer(["predict", str(self.source), "--out", str(out / "faces.csv"), "--batch_size", "3"])

    def end(self, out: Path) -> dict[str, str]:
        return hashes(out.iterdir())


def hashes(files) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in files}


def campaign(kind: type, kills: int, seed: int, by: int = signal.SIGKILL) -> tuple[int, int, list[str]]:
    """How often it was stopped, how often it came to its end before, and what differs at the end from a whole one's."""
    stopped = (-by, 128 + by, 128 + signal.SIGTERM)  # by the signal, or by itself because of it
    with tempfile.TemporaryDirectory() as name:
        folder, rng, killed, whole = Path(name), random.Random(seed), 0, 0
        work, log = kind(folder), folder / "log"
        status, seconds = tried(lambda: work(folder / "whole"), log)
        assert status == 0, log.read_text()
        expected, differs = work.end(folder / "whole"), []
        number, fresh = 0, True
        while killed < kills:
            out = folder / f"out{number}"
            status, took = tried(lambda out=out: work(out), log, kill_after_s=rng.uniform(0.02, 1.1) * seconds, by=by)
            killed += status in stopped
            print(f"{out.name}: {status} after {took:.1f} s", file=sys.stderr, flush=True)
            seconds = took if status == 0 and fresh else seconds  # other work on this computer comes and goes
            fresh = False
            if status not in (0, *stopped):
                differs.append(f"{out.name}: exit status {status}: {log.read_text().splitlines()[-1]}")
            if status == 0 or rng.random() < 0.3:
                whole += 1
                status, _ = tried(lambda out=out: work(out), log)
                found = work.end(out) if status == 0 else {"exit status": str(status)}
                differs += [f"{out.name}: {key}" for key in expected | found if expected.get(key) != found.get(key)]
                number, fresh = number + 1, True
    return killed, whole, differs


KINDS = {"build": Building, "train": Training, "export": Exporting, "predict": Predicting}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signal", choices=["KILL", "TERM", "INT", "HUP"], default="KILL")
    args = parser.parse_args(argv)
    by = getattr(signal, f"SIG{args.signal}")
    killed, whole, differs = campaign(KINDS[args.kind], args.kills, args.seed, by)
    print(f"{args.kind}: {by.name} {killed} times, {whole} ends compared, {len(differs)} differ", *differs, sep="\n")
    return 1 if differs else 0


if __name__ == "__main__":
    sys.exit(main())
