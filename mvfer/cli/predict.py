"""The command `mvfer predict`. In: mesh files and a model. Out: one line per file, in order, with a probability per label.

It goes on after a scan that it cannot read; the exit status is then 1.
"""

import argparse
import json
import sys
from pathlib import Path

import mvfer
from mvfer.cli.audit import add_audit_flags, recorder
from mvfer.cli.own_baselines import add_baseline_flags, baselines_of
from mvfer.data.orientation_flags import OrientationParser, add_orientation_flags
from processing.names_mvfer import shown, shown_json

SEEN_FROM = 0.5  # of a label of which several may be true at once
LANGUAGE_HELP = "of the prompts; a model that did not learn it refuses (default: en, or what the model learnt)"
EPILOG = """examples:
  mvfer predict face.obj
  mvfer predict face.obj --model runs/first --labels happiness disgust --picture views.png
  mvfer predict scans/*.obj --model runs/first --json > predictions.jsonl
  mvfer predict face.obj --actions
  mvfer predict smile.obj frown.obj --baseline rest.obj
  mvfer predict scans/*.obj --by_person "F[0-9]+"
"""


def main(argv: list[str] | None = None) -> int:
    """`mvfer predict`: a probability per label for every scan."""
    args = parser().parse_args(argv)
    from modeling_mvfer.actions_mvfer import ActionReader
    from modeling_mvfer.classifier_mvfer import Classifier, is_fine_tuned

    model, processor = open_model(args.model, orientation=args.orientation)
    if is_fine_tuned(model) and (args.labels or args.prompts or args.language):
        known = ", ".join(model.config.id2label.values())
        raise ValueError(f"{args.model} was fine-tuned on {known}; leave out --labels, --prompts and --language")
    labels = labels_of(args.model, args.labels)
    classifier = Classifier.of(model, processor, labels, kinds=args.prompts, language=args.language)
    reader = ActionReader.build(model, processor, language=args.language) if args.actions else None
    for asked in (classifier, reader):
        if asked and asked.warning:
            tell(asked.warning)
    baseline_of = baselines_of(args, args.meshes, processor, classifier)
    settings = {"labels": classifier.labels, "prompts": args.prompts, "language": args.language}
    settings |= {"orientation": args.orientation, "by_person": bool(args.by_person)}
    record = recorder(args, "predict", model, settings, scans={"baseline": args.baseline})
    drawn, failures = [], 0
    for mesh in args.meshes:
        try:
            row, drawing = _predict_one(
                mesh, processor, classifier, reader, baseline=baseline_of(mesh), draw=args.picture is not None
            )
        except Exception as error:  # whatever one file does, the next ones are read
            failures += 1
            row = failed_row(mesh, error)
        else:
            drawn += [drawing] if drawing else []
        record(mesh, row)
        print_row(row, as_json=args.json)
    if drawn:
        from mvfer.reports.pictures import predictions_picture

        predictions_picture(drawn, args.picture)
        tell(f"wrote {args.picture}")
    return 1 if failures else 0


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


def scored_row(name: str, scores: dict[str, float]) -> dict:
    """What is printed of one input: labels by probability, best first."""
    ranked = sorted(scores.items(), key=lambda item: -item[1])
    listed = [{"label": label, "score": score} for label, score in ranked]
    return {"input": name, "label": ranked[0][0], "score": ranked[0][1], "scores": listed}


def face_row(name: str, face_frames: list) -> dict:
    """What is printed of where the face was found; where none was, `abstain` is true and stderr says what to do."""
    if not face_frames:  # photos
        return {}
    frame = face_frames[0]
    row = {"face_likeness": round(frame.face_likeness or 0.0, 3), "orientation": frame.orientation}
    if frame.is_face:
        return row
    from modeling_mvfer.classifier_mvfer import NOT_A_FACE

    tell(no_face(name, frame))
    return row | {"abstain": True, "reason": NOT_A_FACE}


def no_face(name: str, frame) -> str:
    """The warning of a scan in which no face was found."""
    return (
        f"{name}: no face found (face-likeness {frame.face_likeness:.2f}); do not trust what follows. Look at it with: mvfer "
        "render; say how the scan lies with --orientation, or cut away what is not the head"
    )


def failed_row(name: str, error: Exception) -> dict:
    """What is printed of an input that could not be read; the reason goes to stderr as well."""
    kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
    reason = kind + " ".join(str(error).split())
    tell(reason)
    return {"input": name, "error": reason}


def tell(sentence: str) -> None:
    """One line on stderr, whatever the names in it hold."""
    print(f"mvfer: {shown(sentence)}", file=sys.stderr)


def print_row(row: dict, *, as_json: bool) -> None:
    """One line on stdout, at once. Names and labels stay within their fields; as JSON they keep every character."""
    if as_json:
        line = shown_json(json.dumps(row, ensure_ascii=False))
    elif "error" in row:
        line = f"{_field(row['input'])}\terror: {shown(row['error'])}"
    else:
        listed = [(shown(item["label"]), item["score"]) for item in row["scores"]]
        if "seen" in row:
            listed = [
                (_with_phrase(item["label"]), item["score"]) for item in row["scores"] if item["label"] in row["seen"]
            ]
        scores = "  ".join(f"{label} {score:.3f}" for label, score in listed) or "nothing"
        abstains = f"abstain ({shown(row['reason'])}): " if row["abstain"] else ""
        line = f"{_field(row['input'])}\t{abstains}{scores}"
        line += f"\t{actions_text(row['actions'])}" if "actions" in row else ""
    print(line, flush=True)


def _with_phrase(label: str) -> str:
    """An action unit with what it means; any other label as it is."""
    from processing.prompts_mvfer import action_phrases

    return shown(" ".join([label, *action_phrases().get(label, ())[:1]]))


def actions_text(actions: list[dict]) -> str:
    """The units that are seen, as FACS writes them, with their phrase and probability: "12B lip corners pulled up 0.93"."""
    sides = {"left": "L", "right": "R"}
    told = [
        f"{sides.get(row.get('side', ''), '')}{row['unit']}{row['grade'] or ''} {row['phrase']} {row['score']:.2f}"
        for row in actions
        if row["seen"]
    ]
    return "; ".join(told) or "no action"


def _field(name: str) -> str:
    """The name of a file as a field of a table, and no formula where a spreadsheet opens it."""
    return shown(f"./{name}" if name.startswith(("=", "+", "-", "@")) else name)


def _predict_one(mesh: str, processor, classifier, reader, *, baseline, draw: bool):
    """The row of one scan, and what to draw of it if asked."""
    from processing.cameras_mvfer import view_name

    inputs = processor(meshes=[mesh], return_tensors="pt")
    found = classifier(inputs, baseline=baseline)
    scores = dict(zip(classifier.labels, found.probabilities[0].tolist(), strict=True))
    names = [view_name(angle) for angle in inputs["view_angles_deg"][0].tolist()]
    weights = found.features.view_weights[0, 0].tolist()
    row = scored_row(mesh, scores) | {"abstain": found.abstain[0], "reason": found.reasons[0]}
    if classifier.is_multi_label:
        row["seen"] = [label for label, score in scores.items() if score >= SEEN_FROM]
    row["calibrated"] = classifier.calibration is not None
    if baseline is not None:
        row["baseline_scans"] = int(baseline.count)
    row |= face_row(mesh, inputs.face_frames)
    row["view_weights"] = dict(zip(names, weights, strict=True))
    if reader:
        row["actions"] = reader.rows(reader.read(found.features, inputs["view_angles_deg"]))[0]
        row["actions_calibrated"] = reader.calibration is not None
    if not draw:
        return row, None

    from mvfer.reports.pictures import PredictedScan, displayable

    views = processor.image_processor.denormalize_views(inputs["pixel_values"][0])
    drawing = PredictedScan(
        title=Path(mesh).name,
        views=displayable(views, processor.image_processor.channels),
        view_names=names,
        probabilities=scores,
        view_weights=weights,
    )
    return row, drawing


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer predict`."""
    flags = OrientationParser(
        prog="mvfer predict",
        description="A probability per label for every scan.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_mesh_argument(flags, "meshes", "one row of output each, in order", nargs="+", metavar="mesh")
    add_model_flags(flags)
    flags.add_argument(
        "--actions", action="store_true", help="also read facial actions: the units of FACS, with side and intensity"
    )
    add_baseline_flags(flags)
    flags.add_argument("--picture", metavar="PNG", help="also draw the views beside the probabilities")
    return flags


class _MeshSuffixes:
    """All suffixes of mesh files, as text; looked up when a help is printed, so that other commands start fast."""

    def __str__(self) -> str:
        from processing.meshes_mvfer import MESH_SUFFIXES

        return ", ".join(MESH_SUFFIXES)


def add_mesh_argument(flags: argparse.ArgumentParser, name: str, what: str, **options) -> None:
    """The argument for mesh files, its help with every suffix; `what` is said after them."""
    argument = flags.add_argument(name, help=f"mesh file: %(suffixes)s; {what}", **options)
    vars(argument)["suffixes"] = _MeshSuffixes()  # argparse fills in an argument's attributes


def add_model_flags(flags: argparse.ArgumentParser) -> None:
    """The flags of whatever asks a model."""
    flags.add_argument(
        "--model",
        default=mvfer.model(),
        metavar="DIR",
        help="folder of a run, or a repository on the Hub (default: the small model that comes with the package)",
    )
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
