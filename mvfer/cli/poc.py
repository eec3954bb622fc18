"""The command `mvfer poc`. In: a model, a data set with labels, prices. Out: `poc.json`, and two pages, `poc.html`."""

import argparse
import sys
from pathlib import Path

from mvfer.cli.predict import open_model
from mvfer.data.schema import write_json
from mvfer.data.without_folders import command_line
from mvfer.progress import add_quiet_flag, be_quiet
from mvfer.studies.poc import Plan, Prices, proof_of_concept
from mvfer.studies.poc_report import poc_page
from processing.names_mvfer import shown


def main(argv: list[str] | None = None) -> int:
    """`mvfer poc`: write `poc.json` and `poc.html`, print the recommendation."""
    args = parser().parse_args(argv)
    be_quiet(args.quiet)
    plan = Plan(
        prices=Prices(args.cost_per_error, args.cost_per_review, args.review_error_rate),
        cases=args.cases,
        fixed_cost=args.fixed_cost,
        target=args.target,
        watts=args.watts,
        draws=args.draws,
        seed=args.seed,
    )
    model, processor = open_model(args.model, needs_texts=True)
    found = proof_of_concept(model, processor, args.dataset, plan, meshes=args.meshes)
    found["command"] = command_line("mvfer poc", sys.argv[2:] if argv is None else argv)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "poc.json", found)
    (out / "poc.html").write_text(poc_page(found), encoding="utf-8")
    print(shown(f"{found['recommendation']['verdict']}: {found['recommendation']['reason']}"))
    print(f"wrote poc.json and poc.html to {shown(str(out))}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer poc`."""
    flags = argparse.ArgumentParser(
        prog="mvfer poc",
        description="Is it worth it? Labelled people needed, cost on this machine, and what is saved beside people deciding "
        "every case, with intervals and a recommendation.",
        epilog="example (prices in euros, 50,000 cases a year):\n  mvfer poc --model runs/first --dataset data/own "
        "--cost_per_error 40 --cost_per_review 2.5 --cases 50000 --fixed_cost 30000 --out poc",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = flags.add_argument
    add("--model", required=True, metavar="DIR", help="folder of a run, or a repository on the Hub")
    add("--dataset", required=True, metavar="DIR", help="folder written by dataset_scripts.build_*, with labels")
    add("--out", required=True, metavar="DIR", help="folder for poc.json and poc.html")
    add("--cost_per_error", type=float, required=True, help="what a wrong answer costs that nobody notices")
    add("--cost_per_review", type=float, required=True, help="what it costs that a person decides a case")
    add("--review_error_rate", type=float, default=0.0, help="share of wrong answers of people (default: 0)")
    add("--cases", type=float, default=1000.0, help="how many cases are expected (default: 1000)")
    add("--fixed_cost", type=float, default=0.0, help="what the project costs once (default: 0)")
    add("--target", type=float, default=0.9, help="accuracy to reach (default: 0.9)")
    add("--watts", type=float, default=65.0, help="power of the machine, if it does not count energy (default: 65)")
    add("--meshes", nargs="+", default=[], metavar="MESH", help="also time reading and rendering of these files")
    add("--draws", type=int, default=6, help="choices of people per point of the learning curve (default: 6)")
    add("--seed", type=int, default=0, help="of whatever is drawn (default: 0)")
    add_quiet_flag(flags)
    return flags
