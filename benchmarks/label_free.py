"""What texts are worth on a new data set: none, the model's own guesses, captions, or the labels' names, from one start.

    python -m benchmarks.label_free --start runs/anny --dataset data/ict --source data/anny --steps 60 --out report/label_free

In: a model that was trained elsewhere (on `--source`), and a captioned data set; further flags go to `train.py`, to every
arm alike. Out: one run per arm and seed below `--out`, and a table (`label_free.md`, `label_free.json`) of zero-shot
accuracies on the new test subjects, by prompts of facial actions and of names of expressions, and on those of the source.
`pseudo` sees no text of the new set; `label prompts` is supervision by labels, for the scale.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.arms import parser, run_arms, write_table
from benchmarks.rewritten_sets import rewrite_set
from mvfer.data.schema import load_splits
from mvfer.evaluation.classifiers import SplitClassifier
from mvfer.evaluation.embeddings import embed_split
from mvfer.hub.load import load_run
from processing.prompts_mvfer import prompts_for

KINDS = ("actions", "names")


def main(argv: list[str] | None = None) -> int:
    flags = parser(__doc__.splitlines()[0])
    flags.set_defaults(steps=60)
    flags.add_argument("--start", required=True, help="folder of a model that has not seen the data set")
    flags.add_argument("--source", required=True, help="the data set that it was trained on")
    args, passed_on = flags.parse_known_args(argv)
    named = write_label_set(Path(args.dataset), args.out / "label-prompts")
    arms = {
        "pseudo": ["--supervision", "pseudo"],
        "captions": [],
        "label prompts": ["--dataset", str(named), "--phrase_weight", "0"],  # a name holds no phrases
    }
    common = ["--model", args.start, *passed_on]
    folders = {"start": [Path(args.start)]} | run_arms(args, arms, common)
    scores = {
        name: [_read(folder, args, args.out / f"{name.replace(' ', '-')}-{i}.json") for i, folder in enumerate(runs)]
        for name, runs in folders.items()
    }
    settings = {"start": Path(args.start).name, "dataset": Path(args.dataset).name}
    settings |= {"steps": args.steps, "seeds": args.seeds, "flags": passed_on}
    write_table("label_free", args.out, settings, scores)
    return 0


def write_label_set(source: Path, folder: Path) -> Path:
    """The set with names of expressions for captions: every labelled row has them, the others have no text."""
    return rewrite_set(source, folder, _named, name="label-prompts", caption_source="label_prompts")


def _named(split) -> Iterator[dict]:
    names = split.features["expression"].names
    prompts = prompts_for(names, kinds=["names"])
    for row in split:
        label = row["expression"]
        texts = prompts[names[label]] if label >= 0 else []
        yield row | {"captions": texts, "caption_source": "label_prompts" if texts else "none"}


def _read(folder: Path, args, kept: Path) -> dict[str, float]:
    """Zero-shot accuracies on the test subjects of both sets; kept, so that a stopped benchmark goes on."""
    if not kept.exists():
        model, processor = load_run(folder)
        new, source = (load_splits(where)["test"] for where in (args.dataset, args.source))
        found = {f"by {kind}": accuracy for kind, accuracy in _zero_shot(model, processor, new).items()}
        found["the source, by actions"] = _zero_shot(model, processor, source)["actions"]
        kept.write_text(json.dumps(found) + "\n")
    return json.loads(kept.read_text())


def _zero_shot(model, processor, split) -> dict[str, float]:
    """Accuracy on the labelled rows by each kind of prompts."""
    features, found = embed_split(model, processor.image_processor, split, progress=False), {}
    for kind in KINDS:
        predictions = SplitClassifier.build(model, processor, [split], kinds=[kind]).predictions(
            features, features.image_embeds
        )
        found[kind] = float((predictions.predicted == predictions.labels).mean())
    return found


if __name__ == "__main__":
    sys.exit(main())
