"""The table of `mvfer predict --out`. In: rows as they are printed. Out: the same in columns, as other programs name them."""

import argparse
from collections.abc import Callable, Sequence

from modeling_mvfer.actions_mvfer import ActionReader
from modeling_mvfer.classifier_mvfer import Classifier
from mvfer.cli.own_baselines import baselines_of
from mvfer.cli.resumed_table import ResumedTable
from mvfer.cli.scan_files import Item

SIDES = {"left": "L", "right": "R"}
VERDICT = {"prediction": "text", "confidence": "number", "abstain": "truth", "reason": "text"}


def write(
    args: argparse.Namespace,
    items: Sequence[Item],
    rows: Callable,
    processor,
    classifier: Classifier,
    actions: ActionReader | None,
) -> int:
    """Write the table; returns the exit status, 1 if a scan could not be read.

    Args:
        rows: from items and a function from an item to its baseline, to batches of items with their rows.
    """
    units = unit_columns(actions) if actions else []
    twice = sorted(set(classifier.labels) & {*units, *VERDICT})
    if twice:
        raise ValueError(f"--labels {twice[0]}: another column has this name; word the label otherwise")
    columns = {**dict.fromkeys([*classifier.labels, *units], "number"), **VERDICT}
    question = {"labels": classifier.labels, "prompts": args.prompts, "language": args.language}
    question |= {"sequences": args.sequences, "fps": args.fps, "actions": actions is not None}
    with ResumedTable(args, items, columns, classifier.model, processor, question) as table:
        baseline_of = None

        def find(todo: Sequence[Item]):
            nonlocal baseline_of
            if not todo:
                return
            baseline_of = baselines_of(args, items, processor, classifier, table.journal)
            for made in rows(todo, baseline_of):
                yield [(item, values_of(row)) for item, row in made]

        _, errors = table.fill("predict", find)
    return 1 if errors else 0


def values_of(row: dict) -> dict:
    """Columns of a row as `mvfer predict --json` prints it."""
    if "error" in row:
        return {"error": row["error"]}
    values = {item["label"]: item["score"] for item in row["scores"]}
    for action in row.get("actions", ()):
        name = unit_column(action["unit"])
        values[name] = action["score"]
        values |= {f"{name}_{letter}": action[side] for side, letter in SIDES.items() if side in action}
    return values | {
        "prediction": row["label"],
        "confidence": row["score"],
        "abstain": row["abstain"],
        "reason": row["reason"],
    }


def unit_columns(actions: ActionReader) -> list[str]:
    """`AU01`, `AU01_L`, `AU01_R`, ... in the order of FACS."""
    return [
        unit_column(unit) + side
        for unit in actions.units
        for side in ("", *(f"_{letter}" for letter in SIDES.values() if actions.has_sides(unit)))
    ]


def unit_column(unit: str) -> str:
    """An action unit as OpenFace and Py-Feat write it: AU01, AU12."""
    return f"AU{unit:0>2}"
