"""The command `mvfer`: look at a scan as the model sees it, classify scans, follow a film, evaluate, share and decide on a run.

Bad input is one line on stderr and exit status 2. `predict` and `watch` go on after a scan that they cannot read: every
input has one row in the output, in order, and the exit status is then 1.
"""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path

EPILOG = """examples:
  mvfer render face.obj --out views.png
  mvfer predict face.obj --model runs/first --labels happiness disgust --picture views.png
  mvfer predict scans/*.obj --model runs/first --json > predictions.jsonl
  mvfer watch film/*.obj --model runs/first --fps 25
  mvfer evaluate --model runs/first --dataset data/anny --out report
  mvfer poc --model runs/first --dataset data/own --cost_per_error 40 --cost_per_review 2.5 --out poc
  mvfer explain face.obj --model runs/first --out explained.glb
  mvfer check --baseline report/results.json --model runs/first --dataset data/recent
  mvfer push runs/first --repo_id somebody/mvfer-first
"""
# Commands with a parser of their own: they import scikit-learn and matplotlib, so only when asked.
ELSEWHERE = {
    "evaluate": "training.folds",
    "explain": "evaluation.explain",
    "poc": "evaluation.poc",
    "check": "evaluation.drift",
}
UP_AXES = ("y", "z", "-y", "-z", "x", "-x")


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        if argv and argv[0] in ELSEWHERE:
            return import_module(ELSEWHERE[argv[0]]).main(argv[1:])
        args = _parser().parse_args(argv)
        return args.run(args)
    except (ValueError, OSError) as error:
        print(f"mvfer: {_one_line(error)}", file=sys.stderr)
        return 2


def render(args: argparse.Namespace) -> int:
    """`mvfer render`: one picture with all views of a scan."""
    from evaluation.pictures import views_picture
    from processing.cameras_mvfer import view_name
    from processing.channels_mvfer import COLOR_CHANNELS
    from processing.meshes_mvfer import load_mesh
    from processing.rendering_mvfer import RenderSettings, render_mesh

    angles = [(yaw_deg, args.pitch_deg) for yaw_deg in args.views]
    channels = args.channels * 3 if len(args.channels) == 1 else args.channels
    settings = RenderSettings(view_angles_deg=angles, size_px=args.size_px, channels=channels, supersampling=2)
    needs_color = bool(set(settings.channels) & set(COLOR_CHANNELS))
    mesh = load_mesh(args.mesh, up_axis=args.up_axis, geometry_only=not needs_color)
    views = render_mesh(mesh, settings)[0]
    names = [view_name(angle) for angle in settings.view_angles_deg]
    views_picture(views, names, args.out, title=Path(args.mesh).name)
    print(f"{args.out}: {', '.join(names)}; {len(mesh.vertices)} vertices, {len(mesh.faces)} faces")
    return 0


def predict(args: argparse.Namespace) -> int:
    """`mvfer predict`: a probability per label for every scan."""
    import torch
    from transformers.utils.logging import disable_progress_bar

    from evaluation.classifiers import classifier_of
    from modeling_mvfer.hub import load_run
    from modeling_mvfer.zeroshot_mvfer import why_not_calibrated

    disable_progress_bar()
    model, processor = load_run(args.model)
    if args.up_axis:
        processor.image_processor.up_axis = args.up_axis
    if hasattr(model, "head") and (args.labels or args.prompts or args.language != "en"):
        known = ", ".join(model.config.id2label.values())
        raise ValueError(f"{args.model} was fine-tuned on {known}; leave out --labels, --prompts and --language")
    labels = labels_of(args.model, args.labels)
    classifier = classifier_of(model, processor.tokenizer, labels, kinds=args.prompts, language=args.language)
    if not classifier.calibrated:
        print(f"mvfer: {why_not_calibrated(model.config)}", file=sys.stderr)
    drawn, failures = [], 0
    for mesh in args.meshes:
        try:
            with torch.no_grad():
                row, drawing = _predict_one(mesh, model, processor, classifier, draw=args.picture is not None)
        except (ValueError, OSError) as error:
            failures += 1
            row = {"input": mesh, "error": _one_line(error)}
            print(f"mvfer: {row['error']}", file=sys.stderr)
        else:
            drawn += [drawing] if drawing else []
        print(json.dumps(row, ensure_ascii=False) if args.json else _line(row), flush=True)
    if drawn:
        from evaluation.pictures import predictions_picture

        predictions_picture(drawn, args.picture)
        print(f"mvfer: wrote {args.picture}", file=sys.stderr)
    return 1 if failures else 0


def watch(args: argparse.Namespace) -> int:
    """`mvfer watch`: the frames of one film in order; after each, a probability per label for the last seconds."""
    from transformers.utils.logging import disable_progress_bar

    from modeling_mvfer import MVFERStream
    from modeling_mvfer.hub import load_run

    disable_progress_bar()
    if not args.fps > 0:
        raise ValueError(f"--fps should be positive, got {args.fps}")
    model, processor = load_run(args.model, needs_texts=True)
    if args.up_axis:
        processor.image_processor.up_axis = args.up_axis
    options = {"window_s": args.window_s, "prompt_kinds": args.prompts, "language": args.language}
    stream, failures = MVFERStream(model, processor, labels_of(args.model, args.labels), **options), 0
    for number, frame in enumerate(args.frames):
        try:
            step = stream.push(frame, number / args.fps)
        except ValueError as error:  # a lost frame
            failures += 1
            row = {"input": frame, "error": _one_line(error)}
            print(f"mvfer: {row['error']}", file=sys.stderr)
        else:
            when = {"time_s": step.time_s, "apex_time_s": step.apex_time_s}
            row = _row(frame, step.probabilities) | {"abstain": step.abstain} | when
        print(json.dumps(row, ensure_ascii=False) if args.json else _line(row), flush=True)
    return 1 if failures else 0


def push(args: argparse.Namespace) -> int:
    """`mvfer push`: upload a run's folder to the Hub, without its checkpoints; prints the address of the commit.

    A new repository is private unless asked otherwise: whether weights that learnt from licensed scans may be shown to others
    is for their licence to say.
    """
    from modeling_mvfer.hub import push_run

    print(push_run(args.folder, args.repo_id, private=not args.public))
    return 0


def _row(name: str, scores: dict[str, float]) -> dict:
    """What is printed of one input: labels by probability, best first."""
    ranked = sorted(scores.items(), key=lambda item: -item[1])
    listed = [{"label": label, "score": score} for label, score in ranked]
    return {"input": name, "label": ranked[0][0], "score": ranked[0][1], "scores": listed}


def labels_of(model: str, asked: list[str] | None) -> list[str]:
    """The labels asked for; else the expressions that the run was tested on, so that it is not asked for ones it never met."""
    if asked:
        return list(dict.fromkeys(asked))
    results = Path(model) / "results.json"
    if results.is_file():
        return json.loads(results.read_text(encoding="utf-8"))["confusion_matrix"]["labels"]
    from processing.prompts_mvfer import EXPRESSIONS

    return list(EXPRESSIONS)


def _predict_one(mesh: str, model, processor, classifier, *, draw: bool):
    """The row of one scan, and what to draw of it if asked."""
    import torch

    from modeling_mvfer.zeroshot_mvfer import class_scores
    from processing.cameras_mvfer import view_name

    inputs = processor(meshes=[mesh], return_tensors="pt").to(model.device)
    output = model.get_image_features(**inputs)
    embeds = torch.nn.functional.normalize(output.pooler_output.float(), dim=-1)
    values, (abstain,) = class_scores(classifier.logits(embeds), model.config, calibrated=classifier.calibrated)
    scores = dict(zip(classifier.labels, values[0].tolist(), strict=True))
    names = [view_name(angle) for angle in inputs["view_angles_deg"][0].tolist()]
    weights = output.view_weights[0, 0].tolist()
    row = _row(mesh, scores) | {"abstain": abstain, "calibrated": classifier.calibrated}
    row["view_weights"] = dict(zip(names, weights, strict=True))
    if not draw:
        return row, None

    from evaluation.pictures import Prediction, displayable

    image_processor = processor.image_processor
    pixels = inputs["pixel_values"][0].cpu().movedim(1, -1)  # (V, H, W, C)
    pixels = pixels * torch.tensor(image_processor.image_std) + torch.tensor(image_processor.image_mean)
    views = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    drawing = Prediction(
        title=Path(mesh).name,
        views=displayable(views, image_processor.channels),
        view_names=names,
        probabilities=scores,
        view_weights=weights,
    )
    return row, drawing


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mvfer",
        description="Multi-view facial expression recognition from 3D scans.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        title="commands", required=True, metavar="{render,predict,watch,push,explain,evaluate,poc,check}"
    )

    flags = commands.add_parser("render", help="draw a scan as the model sees it", description=render.__doc__)
    flags.add_argument("mesh", help="mesh file: .obj, .ply, .off, .stl, .glb, .wrl, .bnt")
    flags.add_argument("--out", default="views.png", metavar="PNG", help="picture to write (default: views.png)")
    flags.add_argument(
        "--views",
        nargs="+",
        type=float,
        default=[-30.0, 0.0, 30.0],
        metavar="YAW",
        help="one view per yaw angle in degrees; positive sees the subject's left side (default: -30 0 30)",
    )
    flags.add_argument(
        "--pitch_deg", type=float, default=0.0, help="of all views; positive looks from above (default: 0)"
    )
    flags.add_argument("--size_px", type=int, default=224, help="size of a view (default: 224)")
    flags.add_argument(
        "--channels",
        nargs="+",
        default=["clay"],
        metavar="NAME",
        help="one or three of clay, curvature, clay_curvature, depth, normal_x, ..., red, green, blue (default: clay)",
    )
    flags.add_argument("--up_axis", default="y", choices=UP_AXES, help="the file's upward axis (default: y)")
    flags.set_defaults(run=render)

    flags = commands.add_parser("predict", help="classify scans", description=predict.__doc__)
    flags.add_argument("meshes", nargs="+", metavar="mesh", help="mesh files; one row of output each, in order")
    _add_model_flags(flags)
    flags.add_argument("--picture", metavar="PNG", help="also draw the views beside the probabilities")
    flags.set_defaults(run=predict)

    flags = commands.add_parser("watch", help="follow the frames of a film", description=watch.__doc__)
    flags.add_argument(
        "frames", nargs="+", metavar="frame", help="mesh or photo files in order; one row of output each"
    )
    _add_model_flags(flags)
    flags.add_argument("--fps", type=float, default=25.0, help="frames per second (default: 25)")
    flags.add_argument("--window_s", type=float, default=2.0, help="how far back it looks, in seconds (default: 2)")
    flags.set_defaults(run=watch)

    flags = commands.add_parser("push", help="put a run on the Hub", description=" ".join(push.__doc__.split()))
    flags.add_argument("folder", metavar="DIR", help="folder of a finished run")
    flags.add_argument("--repo_id", required=True, metavar="OWNER/NAME", help="repository; made if it does not exist")
    flags.add_argument("--public", action="store_true", help="make a new repository public (default: private)")
    flags.set_defaults(run=push)

    commands.add_parser("explain", help="where on the face an answer was read (mvfer explain --help)", add_help=False)
    commands.add_parser("evaluate", help="test a run on a data set (mvfer evaluate --help)", add_help=False)
    commands.add_parser("poc", help="is it worth it: people needed, cost, benefit (mvfer poc --help)", add_help=False)
    commands.add_parser("check", help="have recent data drifted (mvfer check --help)", add_help=False)
    return parser


def _add_model_flags(flags: argparse.ArgumentParser) -> None:
    """The flags of whatever asks a model."""
    flags.add_argument("--model", required=True, metavar="DIR", help="folder of a run, or a repository on the Hub")
    flags.add_argument(
        "--labels", nargs="+", metavar="LABEL", help="any texts (default: the expressions that the model was tested on)"
    )
    flags.add_argument("--prompts", nargs="+", choices=["actions", "names"], help="default: the model's own")
    flags.add_argument("--language", default="en", choices=["en", "ja"], help="of the prompts (default: en)")
    flags.add_argument("--up_axis", choices=UP_AXES, help="the files' upward axis (default: the model's setting)")
    flags.add_argument("--json", action="store_true", help="one JSON object per line, for machines")


def _line(row: dict) -> str:
    if "error" in row:
        return f"{row['input']}\terror: {row['error']}"
    scores = "  ".join(f"{item['label']} {item['score']:.3f}" for item in row["scores"])
    return f"{row['input']}\t{'abstain: ' if row['abstain'] else ''}{scores}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
