"""How many labelled people a classifier needs: the same data, steps and seeds, four ways to train.

    python -m benchmarks.few_shot --model runs/anny --dataset data/ict --steps 60 --seeds 0 1 2 --out report/few_shot

In: a trained `MVFERModel` and a data set folder, perhaps of another scanner. Out: a run of `train.py --stage finetune`
per way, number of labelled subjects per class and seed below `--out`, and a table (`few_shot.md`, `few_shot.json`) of test
accuracies: means over seeds with 95 % intervals (Student's t over seeds). Finished runs are kept, so a stopped benchmark goes on.
"""

import sys
from pathlib import Path

from benchmarks.arms import parser, run_arms, write_table
from mvfer.evaluation.results import read_results

WAYS = {  # name: flags; the model is the trained one unless a way says otherwise (the last flag counts)
    "probe": ["--method", "probe"],
    "LoRA": ["--method", "lora"],
    "full": ["--method", "full", "--learning_rate", "1e-4"],  # the models here are small
    "from scratch": ["--method", "full", "--model", "small", "--learning_rate", "1e-3"],
}


def main(argv: list[str] | None = None) -> int:
    flags = parser(__doc__.splitlines()[0])
    flags.set_defaults(steps=200)
    flags.add_argument("--model", required=True, help="folder of a trained MVFERModel")
    flags.add_argument("--subjects", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="labelled subjects per class")
    args = flags.parse_args(argv)
    arms = {
        f"{way} {count}": ["--labels_per_class", str(count), *more]
        for count in args.subjects
        for way, more in WAYS.items()
    }
    common = ["--stage", "finetune", "--model", args.model, "--eval_every", str(max(1, args.steps // 4))]
    folders = run_arms(args, arms, common)
    scores = {
        way: [
            {f"{count} per class": _read(folders[f"{way} {count}"][run]) for count in args.subjects}
            for run in range(len(args.seeds))
        ]
        for way in WAYS
    }
    settings = {"model": Path(args.model).name, "dataset": Path(args.dataset).name}
    settings |= {"steps": args.steps, "seeds": args.seeds}
    write_table("few_shot", args.out, settings, scores)
    return 0


def _read(folder: Path) -> float:
    results = read_results(folder / "results.json")
    return results["test"]["accuracy"]["mean"]


if __name__ == "__main__":
    sys.exit(main())
