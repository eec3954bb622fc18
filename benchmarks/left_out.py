"""Heads that a model never saw: each family left out in turn, seen alone and beside some of the person's own scans.

    python -m benchmarks.left_out --train data/anny-varied data/ict-varied data/valid-varied \
        --test data/anny data/ict data/valid --steps 1500 --seeds 0 1 2 --out report/left-out -- --captions fresh

In: for every family a set to train on and one to test on, in the same order; flags of `train.py` after `--`. Out: one run per
family and seed below `--out`, trained on the other families, and a table (`left_out.md`, `left_out.json`) of means over
seeds with 95 % intervals. Nothing of the family left out is trained on or chosen by; "at rest" is told of one own scan, own
scans, and 16 of other people ("beside others'"), are drawn without a look at their labels. "rest mistaken": scans at rest that
are called something else without abstaining. "units": mean over action units of the area under the curve, as captions tell
them apart; "side right" needs scans of one-sided actions (`--random_per_tested` of the builders).
"""

import argparse
import json
import math
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

from benchmarks.arms import ours_and_recipe, parser, run_arms, write_table
from modeling_mvfer.actions_mvfer import ActionReader
from mvfer.data.baselines import rows_at_rest
from mvfer.data.schema import load_splits, write_json
from mvfer.evaluation.actions import score_units
from mvfer.evaluation.classifiers import SplitClassifier
from mvfer.evaluation.embeddings import embed_split
from mvfer.evaluation.relative import score_relative
from mvfer.hub.load import load_run

COLUMNS = {
    "one scan": "0",
    "beside others'": "scanner",
    "beside one at rest": "rest",
    "beside 3 own": "3",
    "beside all own": "all",
    "beside one at rest and others'": "scanner+rest",
    "beside 3 own and others'": "scanner+3",
}


def main(argv: list[str] | None = None) -> int:
    ours, recipe = ours_and_recipe(argv)
    args = _parse(ours)
    arms = {}
    for family in args.test:
        others = [train for train, test in zip(args.train, args.test, strict=True) if test != family]
        arms[Path(family).name] = ["--dataset", *others, *recipe]
    folders = run_arms(args, arms, [])
    with ProcessPoolExecutor(args.parallel, multiprocessing.get_context("spawn")) as pool:
        found = {
            name: [
                pool.submit(scored, folder, test, seed) for folder, seed in zip(folders[name], args.seeds, strict=True)
            ]
            for name, test in zip(arms, args.test, strict=True)
        }
        scores = {name: [future.result() for future in futures] for name, futures in found.items()}
    settings = {"train": args.train, "test": args.test, "steps": args.steps, "seeds": args.seeds, "recipe": recipe}
    write_table("left_out", args.out, settings, scores)
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    flags = parser(__doc__.splitlines()[0], one_dataset=False)
    flags.add_argument("--train", nargs="+", required=True, metavar="DIR", help="a set of each family, to train on")
    flags.add_argument("--test", nargs="+", required=True, metavar="DIR", help="a set of each family, to test on")
    args = flags.parse_args(argv)
    if len(args.train) != len(args.test) or len(args.train) < 2:
        flags.error("expected as many --train as --test sets, of at least two families, in the same order")
    return args


def scored(folder: Path, test: str, seed: int) -> dict[str, float]:
    """The run's scores on the test people, from an earlier comparison where there was one."""
    kept = folder / f"{Path(test).name}.json"
    if not kept.exists():
        write_json(kept, score_left_out(folder, test, seed))
    return json.loads(kept.read_text(encoding="utf-8"))


def score_left_out(folder: Path, test: str, seed: int) -> dict[str, float]:
    """Accuracies of a run on the test people of a family, how many of their scans at rest mislead, and action units."""
    torch.set_num_threads(1)
    model, processor = load_run(folder)
    split = load_splits(test)["test"]
    classifier = SplitClassifier.build(model, processor, [split])
    options = {"seed": seed, "progress": None}
    found = score_relative(model, processor.image_processor, split, classifier, list(COLUMNS.values()), **options)
    scores = {column: found[count]["accuracy"]["mean"] for column, count in COLUMNS.items()}
    features = embed_split(model, processor.image_processor, split, progress=False)
    units = score_units(ActionReader.build(model, processor), features, split, seed=seed)
    return {
        **scores,
        "rest mistaken": rest_mistaken(model, processor, split, classifier),
        "units, AUC": units["mean"]["auc"]["mean"] if units else math.nan,
        "side right": units["side_right"]["mean"] if units and units["side_right"] else math.nan,
    }


def rest_mistaken(model, processor, split, classifier: SplitClassifier) -> float:
    """The share of scans at rest that are neither called neutral nor left to people; NaN if there are none."""
    rows = np.flatnonzero(rows_at_rest(split))
    if not len(rows):
        return float("nan")
    embeds = embed_split(model, processor.image_processor, split.select(rows), progress=False).image_embeds
    one = classifier.classifier
    with torch.no_grad():
        decided = one.decide(one.tempered(torch.from_numpy(embeds)))
    wrong = decided.probabilities.argmax(-1).numpy() != one.labels.index("neutral")
    return float((wrong & ~np.array([bool(left) for left in decided.abstain])).mean())


if __name__ == "__main__":
    sys.exit(main())
