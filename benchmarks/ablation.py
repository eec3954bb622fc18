"""What each part of the recipe is worth: the same data, steps and seeds, one change at a time.

    python -m benchmarks.ablation --dataset data/ict --steps 250 --seeds 0 1 2 --out report/ablation

Goes in: a data set folder. Comes out: one run of `train.py` per arm and seed below `--out`, and a table (`ablation.md`,
`ablation.json`) of means over seeds with 95 % intervals (Student's t over seeds). Finished runs are kept, so a stopped
ablation goes on. Runs are independent; `--parallel` of them go at once, each on one thread.
"""

import json
import statistics
import sys
from pathlib import Path

from benchmarks.arms import parser, run_arms, write_table

ARMS = {  # name: flags on top of vision-language contrast alone
    "vision-language": ["--cross_view_weight", "0", "--cross_modal_weight", "0"],
    "+ cross-view": ["--cross_view_weight", "0.5", "--cross_modal_weight", "0"],
    "+ cross-view + cross-modal": ["--cross_view_weight", "0.5", "--cross_modal_weight", "0.05"],
    "+ cross-view, mean fusion": ["--cross_view_weight", "0.5", "--cross_modal_weight", "0", "--fusion", "mean"],
    "+ cross-view, no view dropout": ["--cross_view_weight", "0.5", "--cross_modal_weight", "0", "--view_dropout", "0"],
    "+ cross-view by VICReg": ["--cross_view_weight", "0.5", "--cross_view_form", "vicreg"],
    "+ cross-view, all at once": ["--cross_view_weight", "0.5", "--cross_view_form", "all_views"],
    "sigmoid contrast": ["--cross_view_weight", "0", "--contrastive_form", "sigmoid"],
}


def main(argv: list[str] | None = None) -> int:
    args = parser(__doc__.splitlines()[0]).parse_args(argv)
    folders = run_arms(args, ARMS, ["--view_dropout", "0.6"])
    scores = {name: [_read(folder) for folder in runs] for name, runs in folders.items()}
    settings = {"dataset": Path(args.dataset).name, "steps": args.steps, "seeds": args.seeds}
    write_table("ablation", args.out, settings, scores)
    return 0


def _read(folder: Path) -> dict[str, float]:
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    views = [view["accuracy"]["mean"] for view in results["zero_shot_by_view"].values()]
    return {
        "three views": results["zero_shot"]["accuracy"]["mean"],
        "one view": statistics.mean(views),
        "half occluded": results["zero_shot_half_occluded"]["accuracy"]["mean"],
        "linear probe": results["linear_probe"]["accuracy"]["mean"],
    }


if __name__ == "__main__":
    sys.exit(main())
