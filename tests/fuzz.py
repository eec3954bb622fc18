"""Damage small files of every format and see what `load_mesh` makes of them.

In: the name of a reader, a count and a seed. Out: a report. Each damaged file must come back as a checked `Mesh`, or be
refused by one ValueError that names it, within two seconds (of this process; other programs do not count) and without
512 MiB more memory, and meanwhile no program may start, no address be asked, no file of the system be opened; all else is a
finding.

    python -m tests.fuzz --reader all --count 10000 --seed 0
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from processing.meshes_mvfer import Mesh, load_mesh

from .damage import SEEDS, Files, mutated
from .witnesses import watched

MAX_SECONDS, MAX_WAIT_SECONDS = 2.0, 60.0
MAX_GROWTH_BYTES = 512 * 2**20
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Overtime(BaseException):
    """Not an Exception, so that no reader takes it for a damaged file."""


@dataclass
class Report:
    reader: str
    read: int = 0
    refused: int = 0
    slowest_ms: float = 0.0
    findings: list[str] = field(default_factory=list)


@contextlib.contextmanager
def time_limit():
    def stop(*_):
        raise Overtime

    timers = {signal.ITIMER_PROF: MAX_SECONDS, signal.ITIMER_REAL: MAX_WAIT_SECONDS}
    before = {number: signal.signal(number, stop) for number in (signal.SIGPROF, signal.SIGALRM)}
    for timer, seconds in timers.items():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def complaint_about(mesh) -> str | None:
    """Why this is no checked mesh, written again so that `_checked` is not its own judge."""
    if type(mesh) is not Mesh or mesh.vertices.dtype != np.float32 or mesh.faces.dtype != np.int64:
        return "not a Mesh of float32 and int64"
    if mesh.vertices.shape[1:] != (3,) or mesh.faces.shape[1:] != (3,) or not len(mesh.faces):
        return f"vertices {mesh.vertices.shape}, faces {mesh.faces.shape}"
    if not np.isfinite(mesh.vertices).all() or not 0 <= mesh.faces.min() <= mesh.faces.max() < len(mesh.vertices):
        return "vertices not finite or indices out of range"
    if mesh.uvs is not None and not (
        np.isfinite(mesh.uvs).all()
        and mesh.uv_faces.shape == mesh.faces.shape
        and 0 <= mesh.uv_faces.min() <= mesh.uv_faces.max() < len(mesh.uvs)
    ):
        return "uvs not finite or their indices out of range"
    return None


def judge(path: Path, report: Report) -> str | None:
    """Load one file and count it; the complaint if it is a finding."""
    complaint, memory, begin, seen = None, peak_bytes(), time.process_time(), []
    try:
        with watched() as seen, time_limit():
            mesh = load_mesh(path)
        report.read += 1
        complaint = complaint_about(mesh)
    except Overtime:
        complaint = "stopped"
    except ValueError as error:
        report.refused += 1
        if type(error) is not ValueError or not str(error).startswith(f"{path}: "):
            complaint = f"{type(error).__name__} that does not begin with the path: {str(error)[:200]}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        complaint = f"{type(error).__name__}: {str(error)[:200]}"
    if seen:
        complaint = f"{complaint or 'correct'}, but meanwhile {seen[0]}"
    seconds, growth = time.process_time() - begin, peak_bytes() - memory
    report.slowest_ms = max(report.slowest_ms, 1000 * seconds)
    if seconds > MAX_SECONDS:
        complaint = f"{complaint or 'correct'}, but after {seconds:.1f} s"
    if growth > MAX_GROWTH_BYTES:
        complaint = f"{complaint or 'correct'}, but with {growth / 2**20:.0f} MiB more memory"
    return complaint


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT


def fuzz(
    reader: str, *, count: int, seed: int = 0, begin: int = 0, keep: Path | None = None, progress: bool = False
) -> Report:
    """Load `count` damaged files from number `begin` on; file i is made from `default_rng([seed, i])`.

    Findings are kept in `keep`.
    """
    seeds, report = SEEDS[reader](), Report(reader)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        for files in seeds:
            path = write(Path(folder) / "whole", files)
            load_mesh(path)  # the seed itself must be fine
        for number in tqdm(range(begin, begin + count), desc=reader, disable=not progress, leave=False):
            files = mutated(seeds, reader, np.random.default_rng([seed, number]))
            path = write(Path(folder) / "case", files)
            complaint = judge(path, report)
            if complaint:
                kept = ""
                if keep is not None:
                    kept = str(shutil.copytree(path.parent, keep / f"{reader}-{seed}-{number}", dirs_exist_ok=True))
                report.findings.append(f"{reader}, seed [{seed}, {number}]: {complaint} {kept}".rstrip())
            shutil.rmtree(path.parent)
    return report


def fuzz_for(seconds: float, *, seed: int) -> list[str]:
    """The findings of damaged files of every format, a few of each in turn until the time is up."""
    findings, end, begin = [], time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for reader in SEEDS:
            findings += fuzz(reader, count=10, seed=seed, begin=begin).findings
        begin += 10
    return findings


def write(folder: Path, files: Files) -> Path:
    """Write the files; the path of the mesh."""
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder / next(iter(files))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--reader", choices=[*SEEDS, "all"], default="all")
    parser.add_argument("--count", type=int, default=10000, help="damaged files per reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--begin", type=int, default=0, help="number of the first file, as a finding names it")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "fuzz_findings", help="for findings")
    args = parser.parse_args(argv)
    findings = []
    print(f"{'reader':8} {'count':>7} {'read':>7} {'refused':>7} {'slowest ms':>10} {'findings':>8}")
    for reader in SEEDS if args.reader == "all" else [args.reader]:
        report = fuzz(reader, count=args.count, seed=args.seed, begin=args.begin, keep=args.keep, progress=True)
        row = (report.read, report.refused, report.slowest_ms, len(report.findings))
        print(f"{reader:8} {args.count:7} {row[0]:7} {row[1]:7} {row[2]:10.1f} {row[3]:8}", flush=True)
        findings += report.findings
    print(*findings, sep="\n", end="\n" if findings else "")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
