"""The command `mvfer study`: tests beside `mvfer evaluate`. In: a model and a data set. Out: `<study>.json` and a few lines."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from mvfer.cli.predict import open_model
from mvfer.data.schema import write_json
from mvfer.data.without_folders import command_line
from mvfer.evaluation.results import environment
from mvfer.progress import add_quiet_flag, be_quiet
from processing.names_mvfer import shown, shown_lines

STUDIES = {  # modules of `mvfer.studies`, each with `evaluate_NAME` and `report`
    "verification": "is it the same person: ROC and equal error rate",
    "presentation_attack": "is it a head, or a photo of one",
    "adaptive_views": "what reading fewer views saves",
}


def main(argv: list[str] | None = None) -> int:
    """`mvfer study NAME`: run one study."""
    args = parser().parse_args(argv)
    be_quiet(args.quiet)
    study = import_module(f"mvfer.studies.{args.study}")
    model, processor = open_model(args.model)
    evaluate = getattr(study, f"evaluate_{args.study}")
    results = evaluate(model, processor, args.dataset, seed=args.seed)
    command = command_line("mvfer study", sys.argv[2:] if argv is None else argv)
    results |= {"data": Path(args.dataset).name, "command": command, "environment": environment()}
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{args.study}.json"
    write_json(path, results)
    print(shown_lines(study.report(results, args.out)))
    print(f"\nwrote {shown(str(path))}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer study`."""
    flags = argparse.ArgumentParser(
        prog="mvfer study",
        description="Tests that are not part of `mvfer evaluate`.",
        epilog="studies:\n" + "\n".join(f"  {name:<20} {words}" for name, words in STUDIES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_argument("study", choices=STUDIES, help="see below")
    flags.add_argument("--model", required=True, metavar="DIR", help="folder of a run, or a repository on the Hub")
    flags.add_argument("--dataset", required=True, metavar="DIR", help="folder written by dataset_scripts.build_*")
    flags.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the study's JSON file")
    flags.add_argument("--seed", type=int, default=0, help="of whatever is drawn (default: 0)")
    add_quiet_flag(flags)
    return flags
