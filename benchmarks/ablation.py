"""What each part of the recipe is worth: the same data, steps and seeds, one change at a time.

    python -m benchmarks.ablation --dataset data/ict --steps 250 --seeds 0 1 2 --out report/ablation
    python -m benchmarks.ablation --dataset data/ict --steps 250 --captioned 0.1 --out report/few-captions \
        --arms vision-language "+ cross-view"

In: a data set folder; with `--captioned`, only this share of its training people keep their captions, as where many scans
wait for few descriptions. Out: one run of `train.py` per arm and seed below `--out`, and a table (`ablation.md`,
`ablation.json`) of means over seeds with 95 % intervals (Student's t over seeds). "gain" is the difference to the first arm's run
of the same seed, which starts from the same weights and sees the same order: seeds differ by more than arms do. Settings are
chosen by the gain on validation people. Finished runs are kept, so a stopped ablation goes on. Runs are independent; `--parallel`
of them go at once, each on one thread.
"""

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.arms import parser, run_arms, write_table
from benchmarks.rewritten_sets import rewrite_set
from mvfer.data.schema import load_splits
from mvfer.evaluation.results import read_results

ARMS = {  # name: flags on top of vision-language contrast alone
    "vision-language": ["--cross_view_weight", "0", "--cross_modal_weight", "0"],
    "+ cross-view": ["--cross_view_weight", "0.5", "--cross_modal_weight", "0"],
    "+ cross-modal": ["--cross_view_weight", "0", "--cross_modal_weight", "0.05"],
    "+ cross-view + cross-modal": ["--cross_view_weight", "0.5", "--cross_modal_weight", "0.05"],
    "+ cross-view, mean fusion": ["--cross_view_weight", "0.5", "--cross_modal_weight", "0", "--fusion", "mean"],
    "+ cross-view, no view dropout": ["--cross_view_weight", "0.5", "--cross_modal_weight", "0", "--view_dropout", "0"],
    "sigmoid contrast": ["--cross_view_weight", "0", "--contrastive_form", "sigmoid"],
}


def main(argv: list[str] | None = None) -> int:
    flags = parser(__doc__.splitlines()[0])
    flags.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), help="default: all")
    flags.add_argument("--captioned", type=float, default=1.0, help="share of the training people who keep captions")
    args = flags.parse_args(argv)
    settings = {"dataset": Path(args.dataset).name, "steps": args.steps, "seeds": args.seeds}
    settings["captioned"] = args.captioned
    if args.captioned < 1:
        args.dataset = str(write_uncaptioned_set(Path(args.dataset), args.out / "few-captions", args.captioned))
    folders = run_arms(args, {name: ARMS[name] for name in args.arms}, ["--view_dropout", "0.6"])
    scores = {name: [_read(folder) for folder in runs] for name, runs in folders.items()}
    for runs in scores.values():
        for run, first in zip(runs, scores[args.arms[0]], strict=True):
            run["gain"] = run["three views"] - first["three views"]
            run["gain, validation"] = run["validation"] - first["validation"]
    write_table("ablation", args.out, settings, scores)
    return 0


def write_uncaptioned_set(source: Path, folder: Path, captioned: float) -> Path:
    """The set with captions for this share of the training people alone, drawn once for all arms and seeds."""
    people = sorted(set(load_splits(source)["train"]["subject"]))
    kept = set(np.random.default_rng(0).permutation(people)[: round(captioned * len(people))])

    def without_captions(split) -> Iterator[dict]:
        for row in split:
            keeps = row["split"] != "train" or row["subject"] in kept
            yield row if keeps else row | {"captions": [], "caption_source": "none"}

    return rewrite_set(source, folder, without_captions, name=folder.name)


def _read(folder: Path) -> dict[str, float]:
    results = read_results(folder / "results.json")
    views = [view["accuracy"]["mean"] for view in results["by_view"].values()]
    return {
        "three views": results["test"]["accuracy"]["mean"],
        "one view": statistics.mean(views),
        "half occluded": results["half_occluded"]["accuracy"]["mean"],
        "linear probe": results["linear_probe"]["accuracy"]["mean"],
        "validation": results["training"]["validation_zero_shot"],
    }


if __name__ == "__main__":
    sys.exit(main())
