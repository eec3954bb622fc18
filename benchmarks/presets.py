"""SMILE-VLM's relatives beside our recipe, on equal data, steps and seeds.

    python -m benchmarks.presets --dataset data/ict --also_test data/anny --steps 250 --out report/presets
    python -m benchmarks.presets --dataset data/ict --start runs/first --steps 250 --out report/presets --learning_rate 1e-4

In: a data set folder, and perhaps a model that all arms start from; further flags go to `train.py`, to every arm alike.
Out: one run per preset and seed below `--out`, and a table (`presets.md`, `presets.json`): zero-shot with all views, with
one view missing (mean over which), with each view alone, linear probe, and on every `--also_test` data set, plain and normalised.
Label-free arms need `--start`; without it they are left out.
"""

import json
import statistics
import sys
from pathlib import Path

from benchmarks.arms import parser, run_arms, write_table
from mvfer.data.schema import load_splits
from mvfer.evaluation.classifiers import SplitClassifier
from mvfer.evaluation.embeddings import embed_split
from mvfer.evaluation.results import read_results
from mvfer.hub.load import load_run
from mvfer.training.presets import PRESETS

ARMS = {"default": [], "default, pseudo": ["--supervision", "pseudo"]} | {name: ["--preset", name] for name in PRESETS}


def main(argv: list[str] | None = None) -> int:
    flags = parser(__doc__.splitlines()[0])
    flags.add_argument("--also_test", nargs="+", default=[], help="data sets of another origin (transfer)")
    flags.add_argument("--start", help="the model that every arm starts from; default: from scratch")
    flags.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS), help="default: all")
    args, passed_on = flags.parse_known_args(argv)
    arms = {name: ARMS[name] for name in args.arms if args.start or not _is_label_free(name)}
    if left_out := [name for name in args.arms if name not in arms]:
        print(f"left out, as they need --start: {', '.join(left_out)}")
    common = ["--model", args.start] if args.start else []
    common += ["--also_test", *args.also_test] if args.also_test else []
    folders = run_arms(args, arms, [*common, *passed_on])
    scores = {name: [_read(folder, args.dataset) for folder in runs] for name, runs in folders.items()}
    settings = {"dataset": Path(args.dataset).name, "steps": args.steps, "seeds": args.seeds, "flags": passed_on}
    settings["start"] = Path(args.start).name if args.start else "scratch"
    write_table("presets", args.out, settings, scores)
    return 0


def _is_label_free(arm: str) -> bool:
    return "pseudo" in ARMS[arm] or PRESETS.get(arm, {}).get("supervision") == "pseudo"


def _read(folder: Path, dataset: str) -> dict[str, float]:
    results = read_results(folder / "results.json")
    scores = {
        "all views": results["test"]["accuracy"]["mean"],
        "one missing": _one_view_missing(folder, dataset),
    }
    scores |= {f"only {view}": value["accuracy"]["mean"] for view, value in results["by_view"].items()}
    scores["linear probe"] = results["linear_probe"]["accuracy"]["mean"]
    for name, tests in results["transfer"].items():
        scores[f"on {name}"] = tests["zero_shot"]["accuracy"]["mean"]
        scores[f"on {name}, normalised"] = tests["zero_shot_normalised"]["accuracy"]["mean"]
    return scores


def _one_view_missing(folder: Path, dataset: str) -> float:
    """Zero-shot accuracy on the test rows with one view left out, mean over the views; kept beside the run's results."""
    kept = folder / "one_view_missing.json"
    if not kept.exists():
        model, processor = load_run(folder)
        split = load_splits(dataset)["test"]
        classifier, accuracies = SplitClassifier.build(model, processor, [split]), []
        for view in range(len(split[0]["view_angles_deg"])):
            features = embed_split(_Without(model, view), processor.image_processor, split, progress=False)
            predictions = classifier.predictions(features, features.image_embeds)
            accuracies.append(predictions.predicted == predictions.labels)
        kept.write_text(json.dumps({"accuracy": statistics.mean(float(right.mean()) for right in accuracies)}) + "\n")
    return json.loads(kept.read_text())["accuracy"]


class _Without:
    """A model that never sees one view of its samples."""

    def __init__(self, model, view: int):
        self.model, self.view = model, view

    def __getattr__(self, name: str):
        return getattr(self.model, name)

    def get_image_features(self, *, view_mask, **inputs):
        mask = view_mask.clone()
        mask[..., self.view] = False
        return self.model.get_image_features(view_mask=mask, **inputs)


if __name__ == "__main__":
    sys.exit(main())
