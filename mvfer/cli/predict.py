"""The command `mvfer predict`. In: scans and a model. Out: one line per scan, in order, with a probability per label; or a table.

It goes on after a scan that it cannot read; the exit status is then 1.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import mvfer
from mvfer.cli.audit import add_audit_flags, recorder
from mvfer.cli.own_baselines import add_baseline_flags, baselines_of
from mvfer.cli.printed import print_row, remark, tell
from mvfer.data.orientation_flags import OrientationParser, add_orientation_flags
from mvfer.data.parts import add_part_flag
from mvfer.progress import add_quiet_flag, be_quiet, progress_bar

LANGUAGE_HELP = "of the prompts; a model that did not learn it refuses (default: en, or what the model learnt)"
EPILOG = """examples:
  mvfer predict face.obj
  mvfer predict face.obj --model runs/first --labels happiness disgust --picture views.png
  mvfer predict scans/*.obj --model runs/first --json > predictions.jsonl
  mvfer predict face.obj --actions
  mvfer predict smile.obj frown.obj --baseline rest.obj
  mvfer predict scans/*.obj --by_person "F[0-9]+"
  mvfer predict scans/*.obj --by_person "F[0-9]+" --scanner
  mvfer predict face.obj --scanner others/*.obj

tables, of whole folders:
  mvfer predict scans/ --out faces.csv                         # a row per scan; also .parquet and .json
  mvfer predict "scans/**/*_raw.ply" --out faces.parquet
  mvfer predict films/ --sequences --fps 60 --out frames.csv   # a folder is a sequence; a row per frame, with its time
  mvfer plot frames.csv --out timeline.png

A table has the columns file, subject, frame, time_s; a probability per expression; AU12, AU12_L, AU12_R, ...: the
probabilities that a facial action is seen, and seen on the person's left or right alone; prediction and confidence (the
most probable expression), abstain and reason; model, model_hash; and error, of a file that could not be read. A command
that was stopped goes on where it stopped when it is started again.
"""


def main(argv: list[str] | None = None) -> int:
    """`mvfer predict`: a probability per label for every scan."""
    args = parser().parse_args(argv)
    be_quiet(args.quiet)
    _check(args)
    from modeling_mvfer.classifier_mvfer import Classifier, is_fine_tuned
    from mvfer.cli.scan_batches import read_batches
    from mvfer.cli.scan_files import find_items

    model, processor = open_model(args.model, orientation=args.orientation)
    if is_fine_tuned(model) and (args.labels or args.prompts or args.language):
        known = ", ".join(model.config.id2label.values())
        raise ValueError(f"{args.model} was fine-tuned on {known}; leave out --labels, --prompts and --language")
    labels = labels_of(args.model, args.labels)
    classifier = Classifier.of(model, processor, labels, kinds=args.prompts, language=args.language)
    reader = _action_reader(args, model, processor)
    for asked in (classifier, reader):
        if asked and asked.warning:
            tell(asked.warning)
    pooled = processor.image_processor.frames == "rank_pooled"
    items = find_items(args.meshes, sequences=args.sequences, whole=pooled, fps=args.fps, as_given=args.out is None)
    settings = {"labels": classifier.labels, "prompts": args.prompts, "language": args.language}
    settings |= {"orientation": args.orientation, "by_person": bool(args.by_person)}
    settings |= {"scanner": "everybody else's scans"} if args.scanner == [] else {}
    record = recorder(args, "predict", model, settings, scans={"baseline": args.baseline, "scanner": args.scanner})
    drawn: list = []

    def rows(items: Sequence, baseline_of) -> Iterator[list[tuple]]:
        from mvfer.cli.predicted_rows import RowMaker

        make = RowMaker(processor, classifier, reader, baseline_of, drawn if args.picture else None)
        for batch in read_batches(
            items, processor.image_processor, batch_size=args.batch_size, num_workers=args.num_workers
        ):
            made = make(batch)
            for item, row in made:
                record(list(item.paths) if len(item.paths) > 1 else item.name, row)
            yield made

    if args.out is not None:
        from mvfer.cli.predicted_table import write

        return write(args, items, rows, processor, classifier, reader)
    baseline_of = baselines_of(args, items, processor, classifier)
    failures = 0
    with progress_bar(what="predict", unit="scan", total=len(items), hidden=sys.stdout.isatty()) as bar:
        for made in rows(items, baseline_of):
            for _, row in made:
                failures += "error" in row
                print_row(row, as_json=args.json)
            bar.update(len(made))
    if drawn:
        from mvfer.reports.pictures import predictions_picture

        predictions_picture(drawn, args.picture)
        remark(f"wrote {args.picture}")
    return 1 if failures else 0


def check_reading(args: argparse.Namespace) -> None:
    """Refuse numbers of `add_table_flags` that make no sense, before anything is loaded."""
    from processing.sequences_mvfer import frames_per_second

    try:
        args.fps = frames_per_second(args.fps)
    except ValueError as error:
        raise ValueError(f"--fps should be positive: {error}") from error
    if args.batch_size < 1 or args.num_workers < 0:
        raise ValueError("--batch_size: expected 1 or more, --num_workers: 0 or more")


def _check(args: argparse.Namespace) -> None:
    """Refuse what does not go together."""
    check_reading(args)
    if args.out is None:
        if args.overwrite or args.subject_pattern or args.part:
            raise ValueError(
                "--overwrite, --subject_pattern and --part are for tables; name one with --out, or leave them out"
            )
        return
    if args.part and args.by_person:
        raise ValueError("--part does not go with --by_person: a row depends on all scans of its person")
    if args.json or args.picture:
        raise ValueError("--json and --picture do not go with --out: a table may be .json, and mvfer plot draws it")
    from mvfer.reports.tables import check_suffix

    check_suffix(args.out)


def _action_reader(args: argparse.Namespace, model, processor):
    """What reads actions, if they are wanted; tables have them where the model can."""
    from modeling_mvfer.actions_mvfer import ActionReader

    if not (args.out is not None if args.actions is None else args.actions):
        return None
    try:
        return ActionReader.build(model, processor, language=args.language)
    except ValueError as error:
        if args.actions:
            raise
        remark(f"no columns for facial actions: {error}")
        return None


def open_model(folder: str, *, orientation: str | None = None, **options):
    """The model and processor of a run's folder or repository; `orientation`: of the meshes, if not the model's setting."""
    from transformers.utils.logging import disable_progress_bar

    from mvfer.hub.load import load_run

    disable_progress_bar()
    model, processor = load_run(folder, **options)
    if orientation:
        processor.image_processor.orientation, processor.image_processor.up_axis = orientation, "y"
    return model, processor


def labels_of(model: str, asked: list[str] | None) -> list[str]:
    """The labels asked for; else the expressions that the run was tested on, so that it is not asked for ones it never met."""
    if asked:
        return list(dict.fromkeys(asked))
    results = Path(model) / "results.json"
    if results.is_file():
        tested = json.loads(results.read_text(encoding="utf-8")).get("confusion_matrix")
        if tested:  # a head that tells several labels at once has none
            return tested["labels"]
    from processing.prompts_mvfer import EXPRESSIONS

    return list(EXPRESSIONS)


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer predict`."""
    flags = OrientationParser(
        prog="mvfer predict",
        description="A probability per label for every scan, printed or as a table.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = "or a photo, a folder of these, or a quoted pattern; one row of output each, in order"
    add_mesh_argument(flags, "meshes", what, nargs="+", metavar="scan")
    add_model_flags(flags)
    flags.add_argument(
        "--actions",
        action=argparse.BooleanOptionalAction,
        help="also read facial actions: the units of FACS, with side and intensity (default: in tables, if the model can)",
    )
    add_baseline_flags(flags)
    flags.add_argument("--picture", metavar="PNG", help="also draw the views beside the probabilities")
    add_table_flags(flags, "FILE.csv|.parquet|.json")
    add_quiet_flag(flags)
    return flags


def add_table_flags(flags: argparse.ArgumentParser, out: str, **options) -> None:
    """The flags of commands that write a row per scan."""
    add = flags.add_argument
    add("--out", metavar=out, help="write a table instead, in natural order (f2 before f10)", **options)
    add("--overwrite", action="store_true", help="replace a table that is there, and drop one that was begun otherwise")
    add("--sequences", action="store_true", help="files of one folder are the frames of one sequence; a row per frame")
    add("--fps", default="25", help="of sequences, unless the names of their frames tell times (default: 25)")
    add("--subject_pattern", metavar="PATTERN", help="the part of a file's name or path that tells whom it shows, for the column "
        "subject: a regular expression, such as 'F\\d+' (default: that of --by_person)")  # fmt: skip
    add(
        "--batch_size", type=int, default=16, help="scans that are read and go through the model together (default: 16)"
    )
    add("--num_workers", type=int, default=0, help="processes that read meanwhile, one core each (default: 0, none)")
    add_part_flag(flags, "table's rows")


class _MeshSuffixes:
    """All suffixes of mesh files, as text; looked up when a help is printed, so that other commands start fast."""

    def __str__(self) -> str:
        from processing.meshes_mvfer import MESH_SUFFIXES

        return ", ".join(MESH_SUFFIXES)


def add_mesh_argument(flags: argparse.ArgumentParser, name: str, what: str, **options) -> None:
    """The argument for mesh files, its help with every suffix; `what` is said after them."""
    argument = flags.add_argument(name, help=f"mesh file: %(suffixes)s; {what}", **options)
    vars(argument)["suffixes"] = _MeshSuffixes()  # argparse fills in an argument's attributes


def add_model_flag(flags: argparse.ArgumentParser) -> None:
    """`--model`."""
    flags.add_argument(
        "--model",
        default=mvfer.bundled(),
        metavar="DIR",
        help="folder of a run, or a repository on the Hub (default: the small model that comes with the package)",
    )


def add_model_flags(flags: argparse.ArgumentParser) -> None:
    """The flags of whatever asks a model for labels."""
    add_model_flag(flags)
    flags.add_argument(
        "--labels",
        nargs="+",
        metavar="LABEL",
        help="any texts; expressions may be named in English or Japanese (default: those that the model was tested on)",
    )
    flags.add_argument(
        "--prompts",
        nargs="+",
        choices=["actions", "names"],
        help="describe expressions by what the face does, by their names, or both (default: the model's own)",
    )
    flags.add_argument("--language", choices=["en", "ja"], help=LANGUAGE_HELP)
    add_orientation_flags(flags, None, "the model's setting, which is auto")
    flags.add_argument("--json", action="store_true", help="one JSON object per line, for machines")
    add_audit_flags(flags)
