"""Are planted faults found, and is nothing said of sound data? A bias, a bad prompt, turned cameras, in several sizes.

    python -m benchmarks.planted --model runs/demo --dataset data/demo/anny --out report/planted

In: a trained `MVFERModel` and the set of synthetic faces that it is tested on (with `--source FaceXModel` one of
ICT-FaceKit, which knows no groups of people). Out: `planted.md` and `planted.json`: for every fault and size whether the
audit found it and how strongly, and what the same audit says of the untouched data. The faults:

- bias: the expressions of one group are weaker than their labels say. It is the group that the untouched audit finds best,
  which is the hardest to find.
- prompt: to one class's prompts comes one of another class; or one, or all, are replaced by those of another class, or by texts
  that have nothing to do with faces.
- camera: all cameras are turned around the head, and the model is not told. People are others than those of the baseline.

Everything goes through `mvfer evaluate` and `mvfer check`. Finished runs are kept, so a stopped benchmark goes on.
"""

import argparse
import contextlib
import io
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

from benchmarks.arms import write_report
from benchmarks.planted_sets import Studio
from dataset_scripts import build_anny, build_ict_facekit
from mvfer.cli.check import main as check
from mvfer.cli.evaluate import main as evaluate
from mvfer.evaluation.audits.fairness import flagged_groups
from mvfer.reports.pages import interval
from processing.prompts_mvfer import prompts_for

DAMPING = (0.2, 0.4, 0.6)
TURNS_DEG = (5.0, 10.0, 20.0)
GROUPS_OF_OTHERS = 3  # untouched: so many times other people
PEOPLE_FOR_PROMPTS = 10  # tested; prompts are judged by the validation people
NONSENSE = ("an empty street at night", "a bowl of fruit", "the third volume of a book", "rain on a tin roof")
Row = dict  # fault, size, found, strength, others (what else was accused)


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    if args.source:
        head, source = build_ict_facekit.load_head(args.source), build_ict_facekit.source(args.source)
    else:
        head, source = build_anny.load_head(), build_anny.source()
    studio = Studio(args.dataset, head, source)
    clean = run_evaluate(args, studio.write(args.out / "data" / "untouched", lambda: studio.tested), "untouched")
    rows = [*bias(args, studio, clean), *bad_prompts(args, studio, clean), *turned_cameras(args, studio)]
    found = {"model": Path(args.model).name, "dataset": Path(args.dataset).name, "faults": rows}
    write_report("planted", args.out, found, table(rows))
    return 0


def bias(args, studio: Studio, clean: dict) -> list[Row]:
    """The fairness audit, on untouched data and with one group's expressions damped."""
    groups = clean["fairness"].get(args.attribute, {})
    if "groups" not in groups:
        return []
    group = groups["best"]
    people = {row["subject"] for row in studio.tested if row[args.attribute] == group}

    def told(size: str, results: dict) -> Row:
        audit, name = results["fairness"], f"{args.attribute}: {group}"
        values, flagged = audit[args.attribute]["groups"][group], flagged_groups(audit)
        others = [other for other in flagged if other != name]
        strength = f"{name} {interval(values['accuracy'])}, {interval(values['gap'])} below the best, p {values['p_value']:.4f}"
        return {"fault": "bias", "size": size, "found": name in flagged, "strength": strength, "others": others}

    rows = [told("none", clean)]
    for damping in DAMPING:
        name = f"damped-{damping:.0%}".rstrip("%")
        folder = studio.write(args.out / "data" / name, partial(studio.damped, people, damping))
        rows.append(told(f"{group} move {damping:.0%} less", run_evaluate(args, folder, name)))
    return rows


def bad_prompts(args, studio: Studio, clean: dict) -> list[Row]:
    """The prompt audit, with the model's own prompts and with bad ones among them."""
    own, other = (clean["prompts"].get(name) for name in args.classes)
    if own is None or other is None:
        raise ValueError(f"--classes {' '.join(args.classes)}: the set shows {list(clean['prompts'])}")
    people = list(dict.fromkeys(row["subject"] for row in studio.tested))[:PEOPLE_FOR_PROMPTS]
    few = [row for row in studio.tested if row["subject"] in people]
    folder, (victim, stranger) = studio.write(args.out / "data" / "few", lambda: few), args.classes

    def told(size: str, results: dict, planted: list[str]) -> Row:
        audit = results["prompt_audit"]
        harmful = [(row["class"], row["prompt"]) for row in audit["prompts"] if row["harmful"]]
        mine = [prompt for name, prompt in harmful if name == victim and prompt in planted]
        others = [f"{name}: {prompt}" for name, prompt in harmful if (name, prompt) not in [(victim, p) for p in mine]]
        others += [f"all of {name}" for name in audit["misplaced"] if name != victim or not planted]
        parts = [f"{len(mine)} of {len(planted)} called harmful"] if planted else ["no prompt is planted"]
        if planted and victim in audit["misplaced"]:
            parts.append(f"all of {victim} said to fit {audit['misplaced'][victim]['nearest']}")
        found = bool(planted) and (bool(mine) or victim in audit["misplaced"])
        lowest = audit["prompts"][0]["log_loss_without"] if audit["prompts"] else 0.0
        parts.append(f"log loss without the worst prompt {lowest:+.4f}")
        return {"fault": "prompt", "size": size, "found": found, "strength": ", ".join(parts), "others": others}

    rows = [told("none", clean, [])]
    for size, name, prompts in (
        (f"one of {stranger} more for {victim}", "added", [*own, other[0]]),
        (f"one of {victim} replaced by {stranger}'s", "one", [other[0], *own[1:]]),
        (f"all of {victim} replaced by {stranger}'s", "all", list(other)),
        (f"all of {victim} replaced by nonsense", "nonsense", list(NONSENSE)),
    ):
        with mock.patch("processing.processing_mvfer.prompts_for", _replacing(victim, prompts)):
            results = run_evaluate(args, folder, f"prompt-{name}")
        rows.append(told(size, results, [text for text in prompts if text not in own]))
    return rows


def _replacing(victim: str, prompts: list[str]) -> Callable:
    """`prompts_for`, but for one class."""

    def bad(labels, **options):
        return {label: prompts if label == victim else texts for label, texts in prompts_for(labels, **options).items()}

    return bad


def turned_cameras(args, studio: Studio) -> list[Row]:
    """The drift check, of other people as they are and under turned cameras."""
    jobs = [(f"none, other people {group + 1}", f"others-{group}", group, 0.0) for group in range(GROUPS_OF_OTHERS)]
    jobs += [(f"turned by {turn:.0f} degrees", f"turned-{turn:.0f}", 0, turn) for turn in TURNS_DEG]
    rows = []
    for size, name, group, turn in jobs:
        folder = studio.write(args.out / "data" / name, partial(studio.others, group, turned_deg=turn))
        found = run_check(args, folder, name)
        strength = ", ".join(
            f"{test.replace('_', ' ')} {_share(values['value'], values['limit'])} of its limit"
            for test, values in found["tests"].items()
            if values["drifted"] is not None
        )
        rows.append({"fault": "camera", "size": size, "found": found["drifted"], "strength": strength, "others": []})
    return rows


def _share(value: float, limit: float) -> str:
    if limit == 0:  # of few people, all alike
        return "inf" if value > 0 else "0.00"
    return f"{value / limit:.2f}"


def run_evaluate(args, folder: Path, name: str) -> dict:
    """`mvfer evaluate` with the prompt audit; its results."""
    out = args.out / "runs" / name
    if not (out / "results.json").exists():
        command = ["--model", args.model, "--dataset", str(folder), "--out", str(out), "--prompt_audit", "--no_faces"]
        with _printed_to(out / "log.txt"):
            evaluate(command)
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


def run_check(args, folder: Path, name: str) -> dict:
    """`mvfer check` against the untouched data: what it says."""
    file = args.out / "runs" / name / "check.json"
    if not file.exists():
        baseline = str(args.out / "runs" / "untouched" / "results.json")
        with _printed_to(file):
            check(["--baseline", baseline, "--model", args.model, "--dataset", str(folder), "--json"])
    return json.loads(file.read_text(encoding="utf-8"))


@contextlib.contextmanager
def _printed_to(file: Path):
    """What is printed within goes to a file, once all is done."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        yield
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.getvalue(), encoding="utf-8")


def table(rows: list[Row]) -> str:
    """Markdown: one line per fault and size; an untouched set should be found sound."""
    lines = ["| fault | size | found | what the audit says | also accused |", "|---|---|---|---|---|"]
    for row in rows:
        cells = (row["fault"], row["size"], "yes" if row["found"] else "no", row["strength"], "; ".join(row["others"]))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--model", required=True, help="folder of a trained MVFERModel")
    flags.add_argument(
        "--dataset", required=True, help="the set of build_anny or build_ict_facekit that it is tested on"
    )
    flags.add_argument("--source", help="FaceXModel folder, if the set is of ICT-FaceKit")
    flags.add_argument("--out", required=True, type=Path, help="folder of the data sets, the runs and the table")
    flags.add_argument(
        "--attribute", default="sex", choices=["sex", "age_group", "ancestry"], help="of the biased group"
    )
    flags.add_argument(
        "--classes",
        nargs=2,
        default=["sadness", "happiness"],
        metavar=("CLASS", "OTHER"),
        help="whose prompts get which",
    )
    return flags


if __name__ == "__main__":
    sys.exit(main())
