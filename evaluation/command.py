"""The command `mvfer evaluate`: from flags to `results.json`, pictures and a short table.

In go folders of runs and data sets; out come files, lines of text and the exit status: 0, or 1 if a leak was found.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path

import numpy as np

from dataset_scripts.protocols import PROTOCOLS
from dataset_scripts.schema import dataset_info, load_splits
from evaluation.classification import evaluate_classifier
from evaluation.classifiers import classifier_of
from evaluation.evaluate import TARGET_ACCURACY, accuracies, evaluate_run, table
from evaluation.examples import example_rows, predictions
from evaluation.leakage import load_subjects_seen, subject_keys
from evaluation.metrics import mean_over_runs
from evaluation.pictures import confusion_picture, predictions_picture
from evaluation.protocol import evaluate_protocol, protocol_table
from evaluation.remarks import remarks
from evaluation.report import report_page

FACES = ("examples.png", "mistakes.png")  # pictures of people


def main(argv: list[str] | None = None) -> int:
    """`mvfer evaluate`: write `results.json`, pictures and the page `index.html`, print a short table."""
    args = parser().parse_args(argv)
    command = "mvfer evaluate " + shlex.join(sys.argv[2:] if argv is None else argv)
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    check(args)
    found = [evaluate_model(folder, args, command) for folder in args.model]
    results = found[0] if len(found) == 1 else found[0] | {"over_runs": over_runs(args.model, found)}
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    matrix = results["confusion_matrix"]
    confusion_picture(np.array(matrix["counts"]), matrix["labels"], out / "confusion_matrix.png")
    for line in remarks(results):
        print(line)
    print("\n" + (protocol_table(results) if args.protocol else table(results)))
    for name, value in results.get("over_runs", {}).get("accuracy", {}).items():
        print(f"{name:<44} {value['mean']:6.3f}  [{value['low']:.3f}, {value['high']:.3f}] over {len(found)} runs")
    if not args.protocol:
        (out / "index.html").write_text(_page(results, out), encoding="utf-8")
    if args.calibrate:
        _store(args, results)
    print(f"\nwrote results and pictures to {out}")
    return 1 if any(one["leakage"]["found"] for one in found) else 0


def _page(results: dict, out: Path) -> str:
    """The report, with the pictures that were written beside it."""
    captions = {
        "confusion_matrix.png": "What is taken for what (rows are true).",
        "examples.png": "The first scan of every class, with what the model says of it.",
        "mistakes.png": "The mistakes of which it was surest.",
    }
    shown = [((out / name).read_bytes(), caption) for name, caption in captions.items() if (out / name).is_file()]
    return report_page(results, pictures=shown)


def check(args: argparse.Namespace) -> None:
    """Refuse flags that do not go together, before anything is computed."""
    if args.calibrate and (args.protocol or len(args.model) > 1 or not Path(args.model[0]).is_dir()):
        raise ValueError("--calibrate stores into one model folder on this computer, without --protocol")
    if args.calibrate and (args.prompts or args.language != "en"):
        raise ValueError("--calibrate is for the model's own prompts; leave out --prompts and --language")
    if args.protocol and (given := asked(args, "also", "robustness", "meshes", "prompt_audit")):
        raise ValueError(f"--protocol tests folds alone; leave out {given}")


def asked(args: argparse.Namespace, *flags: str) -> str:
    """Those of the flags that were given, as a user writes them."""
    return " ".join(f"--{flag}" for flag in flags if getattr(args, flag))


def evaluate_model(folder: str, args: argparse.Namespace, command: str) -> dict:
    """The results of one model; its example pictures are written on the way."""
    from modeling_mvfer.hub import load_run  # which imports evaluation

    model, processor = load_run(folder)
    shared = {
        "seed": args.seed,
        "seen": load_subjects_seen(folder),
        "batch_size": args.batch_size,
        "command": command,
    }
    prompts = {"prompt_kinds": args.prompts, "language": args.language}
    tests = {
        "split": args.split,
        "also": {Path(other).name: other for other in args.also},
        "target_accuracy": args.target_accuracy,
        "robustness": args.robustness,
        "meshes": args.meshes,
    }
    if hasattr(model, "head"):
        if (given := asked(args, "protocol", "prompts", "prompt_audit")) or args.language != "en":
            raise ValueError(
                f"{folder}: a fine-tuned classifier, which reads no prompts and is not trained anew in folds; "
                f"leave out {given or '--language'}"
            )
        results = evaluate_classifier(model, processor, args.dataset, **tests, **shared)
    elif args.protocol:
        repetitions = {"repetitions": args.repetitions}
        return evaluate_protocol(model, processor, args.dataset, args.protocol, **repetitions, **prompts, **shared)
    else:
        results = evaluate_run(
            model, processor, args.dataset, prompt_audit=args.prompt_audit, **tests, **prompts, **shared
        )
    for name in FACES:
        (Path(args.out) / name).unlink(missing_ok=True)  # of an earlier report
    if not args.no_faces:
        _draw_faces(model, processor, results, args)
    return results


def _draw_faces(model, processor, results: dict, args: argparse.Namespace) -> None:
    """The first scan of every class, and the worst mistakes if there are any."""
    rows, labels = load_splits(args.dataset)[args.split], results["confusion_matrix"]["labels"]
    classifier = classifier_of(model, processor.tokenizer, labels, kinds=args.prompts, language=args.language)
    for name, chosen in zip(FACES, (example_rows(rows), results["mistakes"]), strict=True):
        if chosen:
            shown = predictions(model, processor, rows.select(chosen), classifier)
            predictions_picture(shown, Path(args.out) / name)


def over_runs(folders: list[str], found: list[dict]) -> dict:
    """Mean accuracy over several runs (seeds of one recipe), with Student's interval."""
    scores = [_accuracies(results) for results in found]
    shared = [name for name in scores[0] if all(name in one for one in scores)]
    return {
        "models": [Path(folder).name for folder in folders],
        "accuracy": {name: mean_over_runs([one[name]["mean"] for one in scores]) for name in shared},
    }


def _accuracies(results: dict) -> dict:
    if "protocol" in results:
        return {test: results[test]["accuracy"] for test in ("zero_shot", "knn", "linear_probe") if results[test]}
    return accuracies(results)


def _store(args: argparse.Namespace, results: dict) -> None:
    """Keep temperature and threshold in the model folder, if they may be trusted."""
    from modeling_mvfer.hub import store_calibration

    chosen_on = subject_keys(dataset_info(args.dataset), load_splits(args.dataset)["validation"]["subject"])
    store_calibration(args.model[0], results["calibration"], chosen_on=chosen_on)
    print(f"stored temperature and threshold in {Path(args.model[0]) / 'config.json'}")


def parser(**options) -> argparse.ArgumentParser:
    """The flags of `mvfer evaluate`."""
    flags = argparse.ArgumentParser(
        prog="mvfer evaluate",
        description="Test a model on the held-out subjects of a data set, and on others as transfer. Exit status 1 if the "
        "model, or its training rows, have seen what it is tested on.",
        epilog="examples:\n  mvfer evaluate --model runs/first --dataset data/anny --also data/ict --out report\n"
        "  mvfer evaluate --model runs/first --dataset data/anny --robustness --prompt_audit --out report\n"
        "  mvfer evaluate --model runs/first --dataset data/bosphorus --protocol bosphorus-10fold --out report",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,
    )
    add = flags.add_argument
    add("--model", required=True, nargs="+", metavar="DIR", help="folder of a run, or a repository on the Hub; several runs "
        "(seeds) give means over them as well")  # fmt: skip
    add("--dataset", required=True, metavar="DIR", help="folder written by dataset_scripts.build_*")
    add("--also", nargs="+", default=[], metavar="DIR", help="data sets of another origin (transfer)")
    add("--out", required=True, metavar="DIR", help="folder for results.json, index.html and pictures")
    add("--split", default="test", help="rows that are scored (default: test)")
    add("--seed", type=int, default=0, help="of resamples, folds, covered halves and corruptions (default: 0)")
    add("--protocol", choices=list(PROTOCOLS), help="test in the folds of a published protocol")
    add("--repetitions", type=int, default=1, help="draws of a protocol's subjects and folds (default: 1)")
    add("--target_accuracy", type=float, default=TARGET_ACCURACY, help="of the answers, when the model may abstain "
        f"(default: {TARGET_ACCURACY})")  # fmt: skip
    add("--calibrate", action="store_true", help="store temperature and threshold in the model folder")
    add("--robustness", action="store_true", help="also corrupt the views of up to 300 scans, and leave views out")
    add(
        "--meshes",
        metavar="DIR",
        help="also corrupt these scans before rendering: mesh files named by tested rows' ids",
    )
    add("--no_faces", action="store_true", help="write no picture that shows a person")
    add("--prompt_audit", action="store_true", help="also compare wordings, kinds and languages of the prompts")
    add(
        "--prompts",
        nargs="+",
        choices=["actions", "names"],
        help="prompts that describe what the face does, that name the emotion, or both (default: the model's own)",
    )
    add("--language", default="en", choices=["en", "ja"], help="of the prompts (default: en)")
    add("--batch_size", type=int, default=64, help="scans at once (default: 64)")
    return flags
