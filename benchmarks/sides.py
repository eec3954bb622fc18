"""Left from right: what the side term is worth, and what it costs. `python -m benchmarks.sides --help`

    python -m benchmarks.sides --train data/anny data/ict data/valid --test data/ict-test --steps 800 --seeds 0 1 2 \
        --out report/sides -- --captions fresh --view_dropout 0.5

In: sets to train on, one to test on, with one-sided actions in both (`--one_sided`, `--random_per_tested` of the builders);
flags of `train.py` after `--`. Out: one run per weight of the term and seed below `--out`, and a table (`sides.md`, `sides.json`)
of expressions told zero-shot, of action units (mean area under the curve), and how often a one-sided action's side is right.
"""

from pathlib import Path

from benchmarks.arms import ours_and_recipe, parser, run_arms, write_table
from benchmarks.left_out import scored

COLUMNS = ("one scan", "beside one at rest", "units, AUC", "side right")


def main(argv: list[str] | None = None) -> int:
    ours, recipe = ours_and_recipe(argv)
    flags = parser((__doc__ or "").partition("\n")[0], one_dataset=False)
    flags.add_argument("--train", nargs="+", required=True, metavar="DIR", help="sets to train on")
    flags.add_argument("--test", required=True, metavar="DIR", help="the set to test on")
    flags.add_argument("--weights", nargs="+", default=["0", "0.3", "1"], help="weights of the side term")
    args = flags.parse_args(ours)
    arms = {f"side_weight {weight}": ["--side_weight", weight] for weight in args.weights}
    folders = run_arms(args, arms, ["--dataset", *args.train, *recipe])
    scores = {name: [_scores(folder, args) for folder in folders[name]] for name in arms}
    write_table(
        "sides", args.out, {"train": args.train, "test": args.test, "steps": args.steps, "recipe": recipe}, scores
    )
    return 0


def _scores(folder: Path, args) -> dict[str, float]:
    found = scored(folder, args.test, 0)
    return {name: found[name] for name in COLUMNS}


if __name__ == "__main__":
    raise SystemExit(main())
