"""What magnification is worth where movement is faint: micro-expressions as they are and magnified, all else equal.

    python -m dataset_scripts.build_anny --captions_per_row 1 --seed 1 --kind micro --out data/micro
    python -m dataset_scripts.build_anny --captions_per_row 1 --seed 1 --kind micro --magnification 4 --out data/micro-magnified
    python -m benchmarks.micro --dataset data/micro --magnified data/micro-magnified --model runs/demo --frozen_towers \
        --steps 150 --batch_size 32 --learning_rate 1e-3 --out report/micro

In: two sets of the same sequences, the second magnified; further flags go to `train.py`, to every arm alike. Out: one
run per arm and seed below `--out`, and `micro.md` and `micro.json`: UF1 and UAR over all categories, means over seeds with 95 %
intervals, zero-shot and by probes that leave one subject out; and how far the spotted apex is off.
"""

import sys
from pathlib import Path

import numpy as np

from benchmarks.arms import parser, run_arms, write_report
from benchmarks.sequences import ARMS, spotted_apex, tables
from dataset_scripts.synthetic.recipes import MICRO
from modeling_mvfer.classifier_mvfer import Classifier
from mvfer.data.schema import load_splits
from mvfer.evaluation.classifiers import SplitClassifier
from mvfer.evaluation.embeddings import embed_split
from mvfer.evaluation.probes import leave_one_subject_out
from mvfer.evaluation.protocols.multilabel import multilabel_score, targets_of_tasks
from mvfer.hub.load import load_run
from processing.prompts_mvfer import describe_actions

WAYS = ("frames, attention, temporal layers", "rank pooled")


def main(argv: list[str] | None = None) -> int:
    flags = parser(__doc__.splitlines()[0])
    flags.add_argument("--magnified", required=True, help="the same sequences, built with --magnification")
    args, passed_on = flags.parse_known_args(argv)
    sets = {"plain": args.dataset, "magnified": args.magnified}
    arms = {f"{way}, {kind}": ["--dataset", data, *ARMS[way]] for way in WAYS for kind, data in sets.items()}
    folders = run_arms(args, arms, ["--num_frames", "16", *passed_on])
    runs = {
        name: [_read(folder, arms[name][1], seed) for folder, seed in zip(found, args.seeds, strict=True)]
        for name, found in folders.items()
    }
    settings = {"dataset": Path(args.dataset).name, "magnified": Path(args.magnified).name}
    settings |= {"steps": args.steps, "seeds": args.seeds, "flags": passed_on}
    write_report("micro", args.out, settings | {"runs": runs}, tables(runs))
    return 0


def _read(folder: Path, dataset: str, seed: int) -> dict[str, float]:
    """Scores of a run over all categories: zero-shot by their actions, and by probes of other people."""
    model, processor = load_run(folder)
    test, names = load_splits(dataset)["test"], list(MICRO)
    features = embed_split(model, processor.image_processor, test, progress=False)
    targets = targets_of_tasks(test["task"], names)
    prompts = {name: [describe_actions(units) for units in variants] for name, variants in MICRO.items()}
    classifier = SplitClassifier(Classifier.from_prompts(model, processor, names, prompts=prompts), names, names)
    predicted = {
        "zero-shot": classifier.predict(features.image_embeds),
        "leave one out": leave_one_subject_out(features.image_embeds, targets.argmax(1), features.subjects, seed=seed),
    }
    found = {}
    for name, guess in predicted.items():
        scored = multilabel_score(targets, np.eye(len(names))[guess], features.subjects, names, seed=seed)
        found |= {f"{name}, UF1": scored["uf1"]["mean"], f"{name}, UAR": scored["uar"]["mean"]}
    return found | spotted_apex(model, processor, test)


if __name__ == "__main__":
    sys.exit(main())
