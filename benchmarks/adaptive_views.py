"""What reading fewer views costs, over seeds: `mvfer.studies.adaptive_views` on runs that differ in their seed alone.

    python -m benchmarks.adaptive_views --dataset data/ict --models report/ablation/seed* --out report/adaptive_views

In: a data set folder and runs that were trained on it, one per seed. Out: a table (`adaptive_views.md`,
`adaptive_views.json`) of test accuracies with the front view alone, with as many views as the threshold asks for (chosen on
validation subjects), and with all; and the share of views that was read. Means over the runs with 95 % intervals (Student's t).
"""

import argparse
import sys
from pathlib import Path

from benchmarks.arms import write_table
from mvfer.hub.load import load_run
from mvfer.studies.adaptive_views import evaluate_adaptive_views


def main(argv: list[str] | None = None) -> int:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--dataset", required=True, help="folder that the runs were trained on")
    flags.add_argument("--models", required=True, nargs="+", type=Path, help="folders of runs, one per seed")
    flags.add_argument("--out", required=True, type=Path, help="folder of the table")
    args = flags.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    name = Path(args.dataset).name
    settings = {"dataset": name, "models": [folder.name for folder in args.models]}
    write_table("adaptive_views", args.out, settings, {name: [_read(folder, args.dataset) for folder in args.models]})
    return 0


def _read(folder: Path, dataset: str) -> dict[str, float]:
    found = evaluate_adaptive_views(*load_run(folder), dataset)
    test = found["test"]
    every, fewer = (test[key]["accuracy"]["mean"] for key in ("all_views", "adaptive"))
    front = min(found["curve"], key=lambda point: point["mean_views"])
    return {
        "front view alone": front["accuracy"],
        "views until sure": fewer,
        "all views": every,
        "points lost": every - fewer,
        "share of views read": test["share_of_views"],
    }


if __name__ == "__main__":
    sys.exit(main())
