"""The command `mvfer check`, for a scheduler. In: results of a tested model, new data. Out: what moved, and the exit status."""

import argparse
import json

from modeling_mvfer.classifier_mvfer import Classifier, is_fine_tuned
from mvfer.cli.predict import open_model
from mvfer.data.schema import load_splits
from mvfer.evaluation.audits.drift import FEWEST_SUBJECTS, compare, observe
from mvfer.evaluation.classifiers import SplitClassifier
from mvfer.evaluation.embeddings import embed_split
from mvfer.evaluation.results import read_results
from mvfer.progress import add_quiet_flag, be_quiet
from processing.names_mvfer import shown


def main(argv: list[str] | None = None) -> int:
    """`mvfer check`: 0 where nothing moved, 1 where something did."""
    args = parser().parse_args(argv)
    be_quiet(args.quiet)
    try:
        tested = read_results(args.baseline)
        baseline, labels = tested["drift_baseline"], tested["confusion_matrix"]["labels"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{args.baseline}: no baseline ({error}); give the results.json of mvfer evaluate") from error
    if baseline is None:
        raise ValueError(f"{args.baseline}: it was made from fewer than {FEWEST_SUBJECTS} subjects; evaluate on more")
    splits = load_splits(args.dataset)
    chosen = args.split or ("test" if "test" in splits else next(iter(splits)))
    if chosen not in splits:
        raise ValueError(f"{args.dataset}: no split {chosen!r}; there are {sorted(splits)}")
    model, processor = open_model(args.model)
    if is_fine_tuned(model) != (tested["kind"] == "classification"):
        raise ValueError(f"{args.baseline}: the test of another model than {args.model}; evaluate this one")
    if is_fine_tuned(model):
        classifier = SplitClassifier.build(model, processor, [splits[chosen]])
    else:
        prompts = {"kinds": tested["prompt_kinds"], "language": tested["language"]}
        asked = Classifier.from_prompts(model, processor, labels, **prompts)
        classifier = SplitClassifier(asked, labels, splits[chosen].features["expression"].names)
    features = embed_split(model, processor.image_processor, splits[chosen])
    found = compare(baseline, **observe(features, classifier))
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        print(
            f"{'drift' if found['drifted'] else 'no drift'}: {shown(args.dataset)} ({shown(chosen)}, {found['people']} people)"
        )
        for name, test in found["tests"].items():
            print(f"  {shown(name):<17} {_words(test)}")
    return 1 if found["drifted"] else 0


def _words(test: dict) -> str:
    if test["drifted"] is None:
        return "cannot be told: no labels, or too few people with them"
    return f"{test['value']:8.3f}  limit {test['limit']:.3f}  {'DRIFTED' if test['drifted'] else 'as before'}"


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer check`."""
    flags = argparse.ArgumentParser(
        prog="mvfer check",
        description="Have recent data drifted from those on which the model was tested? Exit status 0: no, 1: yes, 2: error.",
        epilog="example:\n  mvfer check --baseline report/results.json --model runs/first --dataset data/recent",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_argument("--baseline", required=True, metavar="JSON", help="results.json of mvfer evaluate")
    flags.add_argument("--model", required=True, metavar="DIR", help="folder of the same run, or its Hub repository")
    flags.add_argument(
        "--dataset", required=True, metavar="DIR", help="recent scans, written by dataset_scripts.build_*"
    )
    flags.add_argument("--split", help="rows to look at (default: test, or the first there is)")
    flags.add_argument("--json", action="store_true", help="for machines")
    add_quiet_flag(flags)
    return flags
