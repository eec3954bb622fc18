"""The command `mvfer evaluate`: from flags to `results.json`, pictures and a short table.

In: folders of runs and data sets. Out: files, lines of text and the exit status: 0, or 1 if a leak was found.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import mvfer
from modeling_mvfer.classifier_mvfer import Classifier, is_fine_tuned
from mvfer.cli.predict import LANGUAGE_HELP, open_model
from mvfer.data.protocols import PROTOCOLS
from mvfer.data.schema import dataset_info, load_splits, write_json
from mvfer.data.without_folders import command_line
from mvfer.evaluation.audits.leakage import load_subjects_seen, subject_keys
from mvfer.evaluation.audits.registry import AUDITS
from mvfer.evaluation.evaluate import TARGET_ACCURACY, evaluate
from mvfer.evaluation.metrics import mean_over_runs
from mvfer.evaluation.protocols.protocol import PAPER, evaluate_paper, evaluate_protocol
from mvfer.evaluation.results import UNITS, accuracies, scores_of, table, tables_of
from mvfer.hub.model_index import update_card
from mvfer.hub.push import is_private
from mvfer.hub.run_folder import store_calibration
from mvfer.progress import add_quiet_flag, be_quiet
from mvfer.reports.examples import example_rows, predictions
from mvfer.reports.findings import findings
from mvfer.reports.pictures import confusion_picture, predictions_picture
from mvfer.reports.protocol_report import protocol_page, protocol_text
from mvfer.reports.report import report_page
from processing.names_mvfer import shown, shown_lines

FINETUNE_STEPS = 200
FACES = ("examples.png", "mistakes.png")  # pictures of people


def main(argv: list[str] | None = None) -> int:
    """`mvfer evaluate`: write `results.json`, pictures and the page `index.html`, print a short table."""
    args = parser().parse_args(argv)
    be_quiet(args.quiet)
    command = command_line("mvfer evaluate", sys.argv[2:] if argv is None else argv)
    check(args)
    found = [evaluate_model(folder, args, command) for folder in args.model]
    results = found[0] if len(found) == 1 else found[0] | {"over_runs": over_runs(args.model, found)}
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "results.json", results)
    page = _protocol_page(results, out) if args.protocol else _page(results, out)
    (out / "index.html").write_text(page, encoding="utf-8")
    for line in findings(results):
        print(shown(line))
    print("\n" + shown_lines(protocol_text(results) if args.protocol else table(results)))
    for name, value in results.get("over_runs", {}).get("accuracy", {}).items():
        print(
            f"{shown(name):<44} {value['mean']:6.3f}  [{value['low']:.3f}, {value['high']:.3f}] over {len(found)} runs"
        )
    if args.calibrate:
        _store(args, results)
    if args.update_card:
        _update_cards(args, found)
    print(f"\nwrote results and pictures to {shown(str(out))}")
    return 1 if any(one["leakage"]["found"] for one in found) else 0


def _page(results: dict, out: Path) -> str:
    """The report, with the pictures that are written beside it."""
    if results["kind"] == UNITS:
        return report_page(results)
    captions = {
        "confusion_matrix.png": "What is taken for what (rows are true).",
        "examples.png": "The first scan of every class, with what the model says of it.",
        "mistakes.png": "The mistakes of which it was surest.",
    }
    _draw_confusion(results, out / "confusion_matrix.png")
    shown = [((out / name).read_bytes(), caption) for name, caption in captions.items() if (out / name).is_file()]
    return report_page(results, pictures=shown)


def _protocol_page(results: dict, out: Path) -> str:
    """The report of one protocol or of all, with a confusion matrix of each that has one class per scan."""
    drawn = {
        name: _draw_confusion(one, out / f"confusion_matrix-{name}.png")
        for name, one in tables_of(results).items()
        if "confusion_matrix" in one
    }
    return protocol_page(results, confusions=drawn)


def _draw_confusion(results: Mapping, path: Path) -> bytes:
    matrix = results["confusion_matrix"]
    confusion_picture(np.array(matrix["counts"]), matrix["labels"], path)
    return path.read_bytes()


def check(args: argparse.Namespace) -> None:
    """Refuse flags that do not go together, before anything is computed."""
    local = [Path(folder).is_dir() for folder in args.model]
    if args.calibrate and (args.protocol or len(args.model) > 1 or not all(local)):
        raise ValueError("--calibrate stores into one model folder on this computer, without --protocol")
    if args.calibrate and (args.prompts or args.language):
        raise ValueError("--calibrate is for the model's own prompts; leave out --prompts and --language")
    alone = ("also_test", "baseline", "robustness", "meshes", "prompt_audit", "wordings", "actions", "calibrate_on")
    if args.protocol and (given := asked(args, *alone)):
        raise ValueError(f"--protocol tests folds alone; leave out {given}")
    if args.update_card and not all(local):
        raise ValueError("--update_card writes into model folders on this computer; download the repository first")
    if not args.finetune and (given := asked(args, "steps", "learning_rate")):
        raise ValueError(f"{given} is for --finetune; pass it, or leave {given} out")
    if args.finetune and not args.protocol:
        raise ValueError(
            "--finetune trains in the folds of --protocol; for the data set's own split use train.py --stage finetune"
        )


def asked(args: argparse.Namespace, *flags: str) -> str:
    """Those of the flags that were given, as a user writes them."""
    return " ".join(f"--{flag}" for flag in flags if getattr(args, flag) not in (None, False, []))


def evaluate_model(folder: str, args: argparse.Namespace, command: str) -> dict:
    """The results of one model; its example pictures are written on the way."""
    model, processor = open_model(folder)
    shared = {
        "seed": args.seed,
        "seen": load_subjects_seen(folder),
        "batch_size": args.batch_size,
        "command": command,
    }
    prompts = {"prompt_kinds": args.prompts, "language": args.language}
    tests = {
        "split": args.split,
        "also": {Path(other).name: other for other in args.also_test},
        "target_accuracy": args.target_accuracy,
        "calibrate_on": args.calibrate_on,
        "audits": [name for name, audit in AUDITS.items() if audit.on_request and getattr(args, name, False)],
        "baselines": args.baseline,
        "meshes": args.meshes,
    }
    if is_fine_tuned(model):
        if given := asked(args, "protocol", "prompts", "prompt_audit", "wordings", "actions", "language"):
            raise ValueError(
                f"{folder}: a fine-tuned classifier, which reads no prompts and is not trained anew in folds; leave out {given}"
            )
        if Classifier.from_head(model).is_multi_label:
            return _evaluate_units(folder, model, processor, args, also=tests["also"], split=args.split, **shared)
        results = evaluate(model, processor, args.dataset, statistic=not is_private(folder), **tests, **shared)
    elif args.protocol:
        return _evaluate_folds(folder, model, processor, args, **prompts, **shared)
    else:
        results = evaluate(model, processor, args.dataset, actions=args.actions, **tests, **prompts, **shared)
    for name in FACES:
        (Path(args.out) / name).unlink(missing_ok=True)  # of an earlier report
    if not args.no_faces:
        _draw_faces(model, processor, results, args)
    return results


def _evaluate_units(folder: str, model, processor, args: argparse.Namespace, **options) -> dict:
    """The results of a model whose head tells action units."""
    if given := asked(args, "baseline", "robustness", "meshes", "calibrate", "calibrate_on"):
        raise ValueError(f"{folder}: tells action units, several at once, of which {given} knows nothing; leave it out")
    from mvfer.evaluation.unit_head import evaluate_units

    return evaluate_units(model, processor, args.dataset, **options)


def _evaluate_folds(folder: str, model, processor, args: argparse.Namespace, **options) -> dict:
    """The results of one protocol, or of all that test the set."""
    tuner = None
    if args.finetune:
        from mvfer.training.folds import FoldTuner  # needs what trains: accelerate, peft

        steps = FINETUNE_STEPS if args.steps is None else args.steps
        recipe = {"steps": steps, "learning_rate": args.learning_rate, "seed": args.seed}
        tuner = FoldTuner(folder, args.dataset, method=args.finetune, batch_size=args.batch_size, **recipe)
    options |= {"repetitions": args.repetitions, "fine_tune": tuner}
    if args.protocol == PAPER:
        results = evaluate_paper(model, processor, args.dataset, **options)
    else:
        results = evaluate_protocol(model, processor, args.dataset, args.protocol, **options)
    return results | ({"fine_tuning": tuner.settings} if tuner else {})


def _draw_faces(model, processor, results: dict, args: argparse.Namespace) -> None:
    """The first scan of every class, and the worst mistakes if there are any."""
    rows, labels = load_splits(args.dataset)[args.split], results["confusion_matrix"]["labels"]
    classifier = Classifier.of(model, processor, labels, kinds=args.prompts, language=args.language)
    for name, chosen in zip(FACES, (example_rows(rows), results["mistakes"]), strict=True):
        if chosen:
            shown = predictions(processor, rows.select(chosen), classifier)
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
    if tables := tables_of(results):
        return {
            f"{protocol}: {test}": scores["accuracy"]
            for protocol, one in tables.items()
            for test, scores in scores_of(one).items()
            if "accuracy" in scores
        }
    return accuracies(results)


def _store(args: argparse.Namespace, results: dict) -> None:
    """Keep the calibration in the model folder, if it may be trusted."""
    chosen_on: set[str] = set()
    for folder in (args.dataset, *args.calibrate_on):
        chosen_on |= subject_keys(dataset_info(folder), load_splits(folder)["validation"]["subject"])
    store_calibration(args.model[0], results["calibration"], chosen_on=chosen_on)
    print(f"stored temperature and threshold in {shown(str(Path(args.model[0]) / 'config.json'))}")


def _update_cards(args: argparse.Namespace, found: list[dict]) -> None:
    """Merge the results into the cards of their models, unless a leak makes them worthless."""
    for folder, results in zip(args.model, found, strict=True):
        if results["leakage"]["found"]:
            print(f"{shown(str(folder))}: the card stays as it is, as the model has seen what it was tested on")
        else:
            count = update_card(folder, results)
            print(f"wrote {count} scores into the model-index of {shown(str(Path(folder) / 'README.md'))}")


def parser(**options) -> argparse.ArgumentParser:
    """The flags of `mvfer evaluate`."""
    flags = argparse.ArgumentParser(
        prog="mvfer evaluate",
        description="Test a model on the held-out subjects of a data set, and on others as transfer. Exit status 1 if the "
        "model, or its training rows, have seen what it is tested on.",
        epilog="examples:\n  mvfer evaluate --model runs/first --dataset data/anny --also_test data/ict --out report\n"
        "  mvfer evaluate --model runs/first --dataset data/anny --robustness --prompt_audit --out report\n"
        "  mvfer evaluate --model runs/first --dataset data/bosphorus --protocol paper --finetune lora --out report",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,
    )
    add = flags.add_argument
    add("--model", default=[mvfer.bundled()], nargs="+", metavar="DIR", help="folder of a run, or a repository on the Hub; "
        "several runs (seeds) give means over them as well (default: the small model that comes with the package)")  # fmt: skip
    add("--dataset", required=True, metavar="DIR", help="folder written by dataset_scripts.build_*")
    add("--also_test", nargs="+", default=[], metavar="DIR", help="data sets of another origin (transfer)")
    add("--out", required=True, metavar="DIR", help="folder for results.json, index.html and pictures")
    add("--split", default="test", help="rows that are scored (default: test)")
    add("--seed", type=int, default=0, help="of resamples, folds, covered halves and corruptions (default: 0)")
    add("--protocol", choices=[PAPER, *PROTOCOLS], help="test in the folds of a published protocol; paper: in all of the data "
        "set's, beside published figures")  # fmt: skip
    add("--repetitions", type=int, default=1, help="draws of a protocol's subjects and folds (default: 1)")
    add("--finetune", choices=["probe", "lora", "full"], help="with --protocol, also fine-tune a copy of the model in each fold: "
        "its head, its head and low-rank adapters, or all of it")  # fmt: skip
    add("--steps", type=int, help=f"of every fold's fine-tuning (default: {FINETUNE_STEPS})")
    add(
        "--learning_rate", type=float, help="of the fine-tuning (default: 1e-3 for probe, 3e-4 for lora, 1e-5 for full)"
    )
    add("--target_accuracy", type=float, default=TARGET_ACCURACY, help="of the answers, when the model may abstain "
        f"(default: {TARGET_ACCURACY})")  # fmt: skip
    add("--calibrate", action="store_true", help="store temperature, thresholds and the calibration of action units "
        "in the model folder")  # fmt: skip
    add("--calibrate_on", nargs="+", default=[], metavar="DIR", help="data sets whose validation people are calibrated on "
        "as well; heads and scanners that the model never learnt from show it where to abstain")  # fmt: skip
    add("--actions", action="store_true", help="also score facial actions: each unit, its side and its intensity")
    add(
        "--update_card",
        action="store_true",
        help="merge the scores into the model-index of the model folder's README.md",
    )
    add("--baseline", nargs="+", default=[], metavar="N", help="also score scans relative to N others of the same person (0 1 3 "
        "all), drawn without a look at their labels; rest: one that is known to be at rest; scanner: instead, 16 of "
        "other people; scanner+3: both")  # fmt: skip
    add("--robustness", action="store_true", help="also corrupt the views of up to 300 scans, and leave views out")
    add(
        "--meshes",
        metavar="DIR",
        help="also corrupt these scans before rendering: mesh files named by tested rows' ids",
    )
    add("--no_faces", action="store_true", help="write no picture that shows a person")
    add("--prompt_audit", action="store_true", help="also compare wordings, kinds and languages of the prompts")
    add(
        "--wordings",
        action="store_true",
        help="also ask in wordings that no training sees, in every language that the model learnt",
    )
    add(
        "--prompts",
        nargs="+",
        choices=["actions", "names"],
        help="prompts that describe what the face does, that name the emotion, or both (default: the model's own)",
    )
    add("--language", choices=["en", "ja"], help=LANGUAGE_HELP)
    add("--batch_size", type=int, default=64, help="scans at once (default: 64)")
    add_quiet_flag(flags)
    return flags
