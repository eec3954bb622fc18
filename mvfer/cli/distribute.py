"""The command `mvfer distribute`. In: a command, and how many tasks. Out: what the command makes, byte for byte, by many workers.

A task is the command with `--part I-of-N`; in the end the command itself, to which nothing is left but to check, count and write
the card or the table. Where tasks run is an engine's business: datatrove's executors (github.com/huggingface/datatrove) mark what
is done, keep a log per task and know Slurm and Ray. All tasks must see the folder of `--out`.
"""

import argparse
import contextlib
import functools
import glob
import io
import json
import os
import shutil
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from mvfer.data.parts import Part
from mvfer.progress import add_quiet_flag, be_quiet
from processing.names_mvfer import shown

TABLES = ("predict", "embed")
BUILDERS = Path(__file__).parents[2] / "dataset_scripts"
EPILOG = """examples:
  mvfer distribute --tasks 8 build_anny --out data/anny
  mvfer distribute --tasks 200 --on slurm --partition cpu build_folder --source scans --out data/own
  mvfer distribute --tasks 50 --on ray predict scans/ --out faces.parquet

Beside --out lies a folder NAME.tasks: a log per task, and which are done. The same command again does what is missing.
"""


def main(argv: list[str] | None = None) -> int:
    """`mvfer distribute`: a command by many workers; its exit status, or 1 if a task failed."""
    args = parser().parse_args(argv)
    be_quiet(args.quiet)
    command = [args.command, *args.arguments]
    out = _check(args, command)
    from mvfer.cli.task_engines import run_tasks  # needs an extra

    folder = out.with_name(f"{out.name}.tasks")
    _forget_others(folder, out, {"command": command, "tasks": args.tasks})
    failed = run_tasks(args, functools.partial(run_part, command, os.getcwd()), folder)
    if failed:
        tasks, logs = args.tasks, ", ".join(str(folder / "logs" / f"task_{rank:05d}.log") for rank in failed[:3])
        print(
            f"mvfer: {len(failed)} of {tasks} tasks failed or were killed; see {shown(logs)}. The others are kept: the same "
            "command again does what is missing",
            file=sys.stderr,
        )
        return 1
    return 0 if args.on == "slurm" else run(command)


def run_part(command: Sequence[str], folder: str, data: object, rank: int, world_size: int) -> None:
    """A step of the engine's pipeline: a part of the command's work; or all that is left, if it is the only task.

    Args:
        folder: the paths of the command start there. data: of the step before, which there is none.
    Raises:
        RuntimeError: if the command refuses.
    """
    import torch

    os.chdir(folder)
    torch.set_num_threads(1)  # a task has one core
    part = ["--part", str(Part(rank, world_size))] if world_size > 1 else []
    processes = ["--num_proc", "1"] if command[0] not in TABLES else []
    with contextlib.redirect_stdout(_TaskLog()), contextlib.redirect_stderr(_TaskLog()):
        try:
            status = run([*command, *part, *processes])
        except SystemExit as error:  # of a parser
            status = error.code
    if status and not (status == 1 and command[0] in TABLES):  # 1: the table is there, with scans that cannot be read
        raise RuntimeError(f"{command[0]}: exit status {status}; the lines above say why")


class _TaskLog(io.TextIOBase):
    """Printed lines go into the task's log; of a progress bar the last state does."""

    rest = ""

    def write(self, text: str) -> int:
        from datatrove.utils.logging import logger

        *lines, rest = (self.rest + text).split("\n")
        for line in lines:
            logger.info(line.rpartition("\r")[2])
        self.rest = rest.rpartition("\r")[2]
        return len(text)


def run(command: Sequence[str]) -> int:
    """A command of ours, in this process; its exit status."""
    name, *arguments = command
    if name in TABLES:
        from mvfer.cli.main import main

        return main([name, *arguments])
    return import_module(f"dataset_scripts.{name}").main(arguments)


def builders() -> list[str]:
    """All scripts that build data sets."""
    return sorted(path.stem for path in BUILDERS.glob("build_*.py"))


def _check(args: argparse.Namespace, command: Sequence[str]) -> Path:
    """Refuse what cannot be shared; what the command writes."""
    if args.tasks < 2:
        raise ValueError(f"--tasks: expected 2 or more, got {args.tasks}; one task is the command itself")
    if args.on == "slurm" and not args.partition:
        raise ValueError("--on slurm needs --partition: `sinfo` lists those of your cluster")
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    known.add_argument("--out")
    known.add_argument("--overwrite", action="store_true")
    known.add_argument("--part")
    known.add_argument("--by_person")
    given, _ = known.parse_known_args(command[1:])
    if given.out is None:
        raise ValueError(f"{command[0]}: tell by --out where to write; all tasks must see that place")
    if given.overwrite or given.part:
        raise ValueError("--overwrite and --part do not go with distribute; delete by hand what --out names")
    if given.by_person:
        raise ValueError("--by_person cannot be shared: a row depends on all scans of its person")
    return Path(given.out)


def _forget_others(folder: Path, out: Path, job: dict) -> None:
    """Marks of done tasks count for the same command in as many tasks, and while there is something that they made."""
    said = folder / "command.json"
    same = said.is_file() and json.loads(said.read_text(encoding="utf-8")) == job
    if not (same and (out.exists() or any(out.parent.glob(f"{glob.escape(out.name)}.part-*")))):
        for marks in (folder / "completions", folder / "end" / "completions"):
            shutil.rmtree(marks, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    said.write_text(json.dumps(job), encoding="utf-8")


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, got {text!r}")
    return key, value


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer distribute`."""
    flags = argparse.ArgumentParser(
        prog="mvfer distribute",
        description="Build a data set, or write a table, by many workers: processes of this machine, Slurm, or Ray.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = flags.add_argument
    add("--on", choices=("local", "slurm", "ray"), default="local", help="what runs the tasks (default: local)")
    add("--tasks", type=int, required=True, help="equal parts of the work; each has one core")
    add("--workers", type=int, help="tasks at a time (default: all; local: one per core)")
    add("--memory_gb", type=int, default=4, help="per task, for Slurm and Ray (default: 4)")
    add("--partition", help="of Slurm")
    add("--time", default="24:00:00", help="limit of a task, for Slurm (default: 24:00:00)")
    more = "another option of Slurm, such as account=lab; may be repeated"
    add("--sbatch", action="append", default=[], type=_setting, metavar="KEY=VALUE", help=more)
    add_quiet_flag(flags)
    add("command", choices=[*builders(), *TABLES], metavar="COMMAND", help=f"{', '.join([*builders(), *TABLES])}")
    add("arguments", nargs=argparse.REMAINDER, help="of the command, as it has them alone")
    return flags
