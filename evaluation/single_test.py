"""The command line of tests that are not part of `mvfer evaluate`, as `python -m evaluation.verification`.

In go a model and a data set; out come `<name>.json` below `--out` and a few lines of text.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from evaluation.evaluate import environment


def run_test(
    name: str, description: str, evaluate: Callable, report: Callable[[dict, Path], str], argv: list[str] | None = None
) -> int:
    """Run a test from the command line.

    Args:
        name: of the module below `evaluation` and of the JSON file.
        evaluate: called with model, processor, data set folder and `seed=`; returns a dict ready for JSON.
        report: given the results and the folder; may write pictures there, returns the text to print.
    Returns:
        exit status; bad input is one line on stderr and 2.
    """
    flags = argparse.ArgumentParser(prog=f"python -m evaluation.{name}", description=description)
    flags.add_argument("--model", required=True, metavar="DIR", help="folder of a run, or a repository on the Hub")
    flags.add_argument("--dataset", required=True, metavar="DIR", help="folder written by dataset_scripts.build_*")
    flags.add_argument("--out", required=True, type=Path, metavar="DIR", help=f"folder for {name}.json")
    flags.add_argument("--seed", type=int, default=0, help="of whatever is drawn (default: 0)")
    args = flags.parse_args(argv)
    from transformers.utils.logging import disable_progress_bar

    from modeling_mvfer.hub import load_run  # which imports this package

    disable_progress_bar()
    try:
        model, processor = load_run(args.model)
        results = evaluate(model, processor, args.dataset, seed=args.seed)
    except (ValueError, OSError) as error:
        print(f"evaluation.{name}: {error}", file=sys.stderr)
        return 2
    command = f"python -m evaluation.{name} " + shlex.join(sys.argv[1:] if argv is None else argv)
    results |= {"data": Path(args.dataset).name, "command": command, "environment": environment()}
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{name}.json"
    path.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(report(results, args.out))
    print(f"\nwrote {path}")
    return 0
