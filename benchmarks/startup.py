"""CPU seconds of the command line, beside what importing torch and loading the model cost anyway.

`python -m benchmarks.startup --model runs/demo --meshes data/demo/anny/meshes/*.obj`; in another checkout, `--command` says how
its command line is called. Every line is a process of its own, one thread, user and system time, the least of some repetitions.
"""

import argparse
import itertools
import os
import resource
import shlex
import subprocess
import sys

LOAD = "import sys; from modeling_mvfer import MVFERModel; MVFERModel.from_pretrained(sys.argv[1]).eval()"


def main(argv: list[str] | None = None) -> int:
    """Print one line per command."""
    args = parser().parse_args(argv)
    mvfer, torch = shlex.split(args.command), [sys.executable, "-c"]
    hundred = list(itertools.islice(itertools.cycle(args.meshes), 100))
    predict = [*mvfer, "predict", "--model", args.model]
    commands = {
        "import torch, transformers": [*torch, "import torch, transformers"],
        "  and the model's load": [*torch, f"import torch, transformers; {LOAD}", args.model],
        "mvfer --help": [*mvfer, "--help"],
        "mvfer predict, 1 file": [*predict, *hundred[:1]],
        "mvfer predict, 100 files": [*predict, *hundred],
    }
    for name, command in commands.items():
        seconds = min(cpu_seconds(command) for _ in range(args.repeats))
        print(f"{name:<28} {seconds:6.2f} s of CPU", flush=True)
    return 0


def cpu_seconds(command: list[str]) -> float:
    """User and system time of a process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def parser() -> argparse.ArgumentParser:
    """The flags of the benchmark."""
    flags = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__.splitlines()[0])
    flags.add_argument("--model", required=True, metavar="DIR", help="folder of a run")
    flags.add_argument("--meshes", required=True, nargs="+", metavar="MESH", help="repeated to make 100")
    flags.add_argument("--command", default=f"{sys.executable} -m mvfer", help="the command line to measure")
    flags.add_argument("--repeats", type=int, default=3, help="of every line (default: 3)")
    return flags


if __name__ == "__main__":
    sys.exit(main())
