"""Runs of `train.py` that differ in one thing, and tables of what came of them.

In: arms (name to flags), flags that all share, seeds. Out: one run per arm and seed below a folder; finished runs are
kept, so a stopped comparison goes on. Tables hold means over seeds with 95 % intervals (Student's t over seeds).
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scipy.stats import t as student

from mvfer.progress import progress_bar

ROOT = Path(__file__).parents[1]


def parser(description: str, *, one_dataset: bool = True) -> argparse.ArgumentParser:
    """The flags that every comparison has; where it is not on one data set, each arm names its own."""
    flags = argparse.ArgumentParser(description=description)
    if one_dataset:
        flags.add_argument("--dataset", required=True, help="folder written by dataset_scripts.build_*")
    flags.add_argument("--out", required=True, type=Path, help="folder of the runs and the table")
    flags.add_argument("--steps", type=int, default=500)
    flags.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    flags.add_argument("--parallel", type=int, default=os.cpu_count() or 1, help="runs at once, each on one thread")
    return flags


def ours_and_recipe(argv: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """A command line, by default this process's, cut at `--`: flags of the comparison, and flags of `train.py`."""
    argv = list(sys.argv[1:] if argv is None else argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    return argv[:cut], argv[cut + 1 :]


def run_arms(
    args: argparse.Namespace, arms: Mapping[str, Sequence[str]], common: Sequence[str]
) -> dict[str, list[Path]]:
    """Run every arm with every seed; an arm's flags win over the common ones. Returns the folders, by arm, in the seeds' order.

    Raises:
        SystemExit: if a run fails; the message names its log.
    """
    jobs = [(name, seed) for seed in args.seeds for name in arms]
    with ThreadPoolExecutor(args.parallel) as pool:
        work = pool.map(lambda job: _run(args, *job, [*common, *arms[job[0]]]), jobs)
        for _ in progress_bar(work, what=args.out.name, unit="run", in_logs=True, total=len(jobs)):
            pass
    return {name: [_folder(args.out, name, seed) for seed in args.seeds] for name in arms}


def summarise(scores: Mapping[str, Sequence[Mapping[str, float]]]) -> list[dict]:
    """One row per arm: its name under "arm", and the interval of every score over the seeds."""
    return [
        {"arm": name} | {column: interval([run[column] for run in runs]) for column in runs[0]}
        for name, runs in scores.items()
    ]


def write_table(name: str, out: Path, settings: Mapping, scores: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Write `name.json` and `name.md` below `out`, and print the table."""
    table = summarise(scores)
    write_report(name, out, {**settings, "table": table, "runs": scores}, markdown(table))


def write_report(name: str, out: Path, found: Mapping, text: str) -> None:
    """Write what was found as `name.json` and its Markdown as `name.md` below `out`, and print the latter."""
    (out / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")
    (out / f"{name}.md").write_text(text + "\n")
    print(text)


def markdown(table: list[dict]) -> str:
    """The table as Markdown, in percent: mean and half-width of the interval."""
    columns = [column for column in table[0] if column != "arm"]
    lines = ["| " + " | ".join(["", *columns]) + " |", "|" + "---|" * (len(columns) + 1)]
    for row in table:
        cells = [f"{100 * row[c]['mean']:.1f} ± {100 * row[c]['half_width']:.1f}" for c in columns]
        lines.append("| " + " | ".join([row["arm"], *cells]) + " |")
    return "\n".join(lines)


def interval(values: Sequence[float]) -> dict[str, float]:
    """Mean and half-width of the 95 % interval; not a number with a single value, or where one is missing."""
    mean, n = statistics.mean(values), len(values)
    if math.isnan(mean):
        return {"mean": math.nan, "half_width": math.nan}
    half = student.ppf(0.975, n - 1) * statistics.stdev(values) / math.sqrt(n) if n > 1 else math.nan
    return {"mean": mean, "half_width": float(half)}


def _folder(out: Path, name: str, seed: int) -> Path:
    return out / f"{''.join(c if c.isalnum() else '-' for c in name).strip('-')}-seed{seed}"


def _run(args: argparse.Namespace, name: str, seed: int, flags: list[str]) -> None:
    folder = _folder(args.out, name, seed)
    if (folder / "results.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    common = ["--dataset", args.dataset] if "dataset" in args else []
    common += ["--output_dir", str(folder), "--steps", str(args.steps), "--seed", str(seed)]
    common += [
        "--eval_every",
        str(args.steps),
        "--checkpoint_every",
        str(args.steps),
        "--num_workers",
        "0",
        "--overwrite",
    ]
    command = [sys.executable, "train.py", *common, *flags]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with (folder / "log.txt").open("w") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{name}, seed {seed} failed; see {folder / 'log.txt'}")
