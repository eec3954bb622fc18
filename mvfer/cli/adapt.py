"""The command `mvfer adapt`. In: neutral scans, and a model. Out: the model fitted to their scanner, and how well it does there.

Three steps, each of which goes on where it was stopped: expressions are moved onto the scans (`dataset_scripts.build_transfer`),
the model is trained on (`train.py`), and the folder is told what came of what.
"""

import argparse
import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

import mvfer
from mvfer.data.orientation_flags import OrientationParser, add_orientation_flags
from mvfer.progress import add_quiet_flag, be_quiet

FEWEST_PEOPLE = 8
HELD_OUT = 0.15  # of the people, for validation, and as many for the test
ROWS = 1500  # of training, of all people together
MOST_PER_PERSON = 240
# people of other proportions, made of each scan and of all: a few faces are soon known by heart
MOST_MADE, ENOUGH = 6, 120
STEPS, LEARNING_RATE = 200, 3e-4
EPILOG = """What to give: one neutral scan per person, as for a passport: mouth closed, eyes open,
nothing shown. Any mesh format, unit and orientation; whole heads or faces. 40 people are
plenty, 8 the fewest. They need not be those whom the model will be used on; the scanner and
its software should be the same. Nobody poses, and nothing is labelled.

What happens: the expressions of a family of synthetic heads are moved onto every scan. The
model goes on learning from these, by words for what the face does. 15 % of the people choose
the best step, and 15 % test it; if training only harms, the weights stay as they were, and are
calibrated for your scans. Stopped? The same command goes on.

What comes of it: OUT is a model folder, as for mvfer predict --model OUT. OUT/data shows the
faces of your people: it stays with you (mvfer push leaves it out), and can be deleted.

examples:
  mvfer adapt --neutrals neutrals --out runs/ours
  mvfer adapt --neutrals neutrals --model runs/first --keep data/anny --out runs/ours
  mvfer predict scans/*.obj --model runs/ours
"""


def main(argv: list[str] | None = None) -> int:
    """`mvfer adapt`: 0, or 1 if training was stopped."""
    args = parser().parse_args(argv)
    be_quiet(args.quiet)
    from mvfer.cli.predict import open_model
    from mvfer.data.without_folders import command_line
    from mvfer.evaluation.evaluate import test_fused
    from mvfer.training import adaptation
    from mvfer.training.checkpoints import complete_checkpoints
    from processing.names_mvfer import shown

    out = Path(args.out)
    data, recipe = out / "data", out / "train_config.json"
    resume = bool(complete_checkpoints(out / "checkpoints")) and not args.overwrite
    if is_told(out) and not args.overwrite:
        raise ValueError(f"{out}: holds an adapted model; choose another --out, or replace it with --overwrite")
    if not resume and (out / "config.json").is_file() and not args.overwrite:
        raise ValueError(f"{out}: holds another model; choose another --out, or replace it with --overwrite")
    model, processor = open_model(args.model, needs_texts=True)
    if processor.image_processor.frames != "sequence":
        raise ValueError(
            f"{args.model}: reads the motion of sequences, which neutral scans have none of; take another model"
        )

    print("1. moving expressions onto the scans", flush=True)
    info, given = build(args, model, processor, data, overwrite=args.overwrite or not resume)
    sets = [str(data), *args.keep]
    before = test_fused(model, processor, data, seed=args.seed, progress=False)["accuracy"]

    processes = adaptation.processes_for(args.num_proc)
    config = adaptation.recipe_of(
        model,
        args.model,
        sets,
        out=str(out),
        rows=info["rows"]["train"],
        processes=processes,
        steps=args.steps,
        learning_rate=args.learning_rate,
        seed=args.seed,
    )
    if resume:
        check_same(config, recipe)
    elif args.overwrite:
        (out / "results.json").unlink(missing_ok=True)  # it was told of the model that is replaced
    config.save(recipe)
    print("2. training", flush=True)
    status = adaptation.train(recipe, processes=processes, resume=resume, overwrite=args.overwrite, quiet=args.quiet)
    if status:
        print(f"stopped (exit status {status}); the same command, without --overwrite, goes on", file=sys.stderr)
        return 1
    told = adaptation.adaptation_of(args.model, info, given=given, shapes=args.shapes, before=before)
    command = command_line("mvfer adapt", sys.argv[2:] if argv is None else argv)
    results = adaptation.describe(out, told, sets, command)
    print("\n" + shown(summary(results)))
    print(f"{shown(str(data))} shows the faces of your people; delete it when you have tested enough")
    return 0


def is_told(out: Path) -> bool:
    """Whether a folder holds a finished adaptation."""
    path = out / "results.json"
    return path.is_file() and (out / "config.json").is_file() and "adaptation" in json.loads(path.read_text("utf-8"))


def build(args: argparse.Namespace, model, processor, folder: Path, *, overwrite: bool) -> tuple[dict, int]:
    """The data set of moved expressions, drawn as the model sees scans: its `dataset_info`, and how many scans were given.

    What is no neutral scan is told by the names of the files.

    Raises:
        ValueError: if too few scans can be used.
    """
    from dataclasses import replace

    from dataset_scripts import build_transfer
    from dataset_scripts.synthetic.neutrals import find_neutrals
    from dataset_scripts.synthetic.synthesis import BuildSettings, build_heads
    from mvfer.data.schema import INFO_FILE, read_rejected_file
    from processing.rendering_mvfer import resolve_backend

    scans = find_neutrals(args.neutrals)
    check_count(len(scans), len(scans), args.neutrals)
    render = processor.image_processor.render_settings
    settings = BuildSettings(
        subjects=shares(len(scans)),
        seed=args.seed,
        vary_geometry=True,
        random_per_tested=7,
        captions_per_row=1,
        languages=tuple(model.config.prompt_languages or ("en",)),
        render=replace(render, backend=resolve_backend("auto")),
        **rows_per_person(shares(len(scans))[0]),
    )
    source = build_transfer.source(args.neutrals, args.shapes, args.orientation)
    load = functools.partial(build_transfer.load_heads, args.neutrals, args.shapes, args.family, args.orientation)
    known = folder / INFO_FILE
    stale = known.is_file() and json.loads(known.read_text("utf-8")).get("source_version") != source.version
    info = build_heads(
        load, source, settings, folder, num_proc=args.num_proc, overwrite=overwrite and (args.overwrite or stale)
    )
    report(read_rejected_file(folder), scans, source.name)
    info["subjects"]["train"] = -(-info["subjects"]["train"] // settings.people)  # who were scanned
    check_count(sum(info["subjects"].values()), len(scans), args.neutrals)
    if empty := [split for split, people in info["subjects"].items() if not people]:
        raise ValueError(f"{args.neutrals}: nobody is left for {' and '.join(empty)}; replace the scans named above")
    return info, len(scans)


def shares(people: int) -> tuple[int, int, int]:
    """How many train, validate and test."""
    held_out = max(2, round(HELD_OUT * people))
    return people - 2 * held_out, held_out, held_out


def rows_per_person(people: int) -> dict[str, Any]:
    """How many rows of which kind each of the people trains with who are made of each of these."""
    made = max(1, min(MOST_MADE, ENOUGH // people))
    rows = min(MOST_PER_PERSON, -(-ROWS // people)) // made
    return {
        "people": made,
        "expressions_per_subject": max(1, rows // 14),  # half of the rows, in 7 expressions
        "random_per_subject": max(1, 2 * rows // 5),
        "rest_per_subject": max(1, rows // 10),
    }


def check_count(usable: int, given: int, folder: str) -> None:
    """Refuse too few people."""
    if usable < FEWEST_PEOPLE:
        part = f" of {given}" if usable < given else ""
        raise ValueError(
            f"{folder}: {usable}{part} neutral scans can be used, {FEWEST_PEOPLE} are needed at least (some people choose "
            "the step, others test it); add scans of other people, one file each, mouth closed, eyes open"
        )


def report(rejected: list[dict], scans: list[Path], source: str) -> None:
    """Say which files were left out, and why; the data set itself holds no names."""
    from mvfer.cli.printed import tell

    numbers = {f"{source}-{number:05d}": path for number, path in enumerate(scans)}
    for item in rejected:
        if item["id"] in numbers:
            reason = item["reason"].partition(": ")[2]
            tell(f"{numbers[item['id']]}: left out: {reason}")


def check_same(config, recipe: Path) -> None:
    """Refuse to go on with a run of other settings."""
    from mvfer.training.parse_config import parse_config

    before = parse_config(["--config", str(recipe)])
    changed = [name for name, value in vars(config).items() if name not in IN_PROGRESS and vars(before)[name] != value]
    if changed:
        raise ValueError(
            f"{recipe.parent}: holds an unfinished run with another {', '.join(changed)}; give the same flags to go on, or start "
            "anew with --overwrite"
        )


IN_PROGRESS = (  # "auto" of mixed_precision is replaced by what it stands for
    "resume",
    "resume_on_other_data",
    "overwrite",
    "quiet",
    "mixed_precision",
)


def summary(results: dict) -> str:
    """What was gained, in a sentence."""
    told, after = results["adaptation"], results["test"]
    before, now = told["before"]["mean"], after["accuracy"]
    text = (
        f"{told['scans']} neutral scans, expressions of {told['expressions_of']}: accuracy {before:.3f} before, "
        f"{now['mean']:.3f} [{now['low']:.3f}, {now['high']:.3f}] after, on moved expressions of {after['num_subjects']} people "
        "who were not trained on"
    )
    if results["training"]["best_step"] == 0:
        text += ". Training helped nothing on the validation people, so the weights are those of the start"
    return text


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer adapt`."""
    flags = OrientationParser(
        prog="mvfer adapt",
        description="Fit a model to your scanner, from neutral scans alone: no label, no posing.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = flags.add_argument
    add("--neutrals", required=True, metavar="DIR", help="folder of neutral scans, a person each")
    add("--out", required=True, metavar="DIR", help="the new model's folder")
    add(
        "--model",
        default=mvfer.bundled(),
        metavar="DIR",
        help="what to start from: a run, or a repository on the Hub (default: the small model that comes with the package)",
    )
    add(
        "--keep",
        nargs="+",
        default=[],
        metavar="DATASET",
        help="data sets that the model learnt from, to learn on beside the scans: it forgets less of them",
    )
    add(
        "--shapes",
        choices=["anny", "ict"],
        default="anny",
        help="whose expressions are moved (default: anny, extra demo)",
    )
    add("--family", metavar="DIR", help="with --shapes ict: ICT-FaceKit's FaceXModel folder")
    add_orientation_flags(flags, "auto", "auto")
    add("--steps", type=int, default=STEPS, help=f"of training (default: {STEPS})")
    add("--learning_rate", type=float, default=LEARNING_RATE, help=f"its peak (default: {LEARNING_RATE:g})")
    add("--seed", type=int, default=0, help="of all that is drawn (default: 0)")
    add("--num_proc", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    add("--overwrite", action="store_true", help="start anew in a folder that holds a model or a stopped run")
    add_quiet_flag(flags)
    return flags
