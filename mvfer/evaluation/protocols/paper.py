"""Every published table of one data set: all protocols that test it, each beside the figures that papers report.

In go a model and a built data set; out comes one dict for `results.json`, whose `tables` are the results of `evaluate_protocol`.
"""

from collections.abc import Callable
from pathlib import Path

from mvfer.data.protocols import protocols_of
from mvfer.data.schema import dataset_info
from mvfer.evaluation.protocols.protocol import evaluate_protocol
from mvfer.evaluation.results import SCHEMA_VERSION, environment

PAPER = "paper"  # the name that stands for all protocols of the given set


def evaluate_paper(
    model,
    processor,
    dataset_dir: str | Path,
    *,
    seed: int = 0,
    language: str = "en",
    fine_tune: Callable | None = None,
    command: str = "",
    **options,
) -> dict:
    """Test a model under every protocol of the set.

    Args:
        options and others: of `evaluate_protocol`.
    Returns:
        `dict`: tables (protocol name to its results), not_run (name to the reason: one protocol may ask for more subjects than
        were built), leakage of all of them, and what made them.
    Raises:
        ValueError: if no protocol tests this set, or none of them could be run, with the reasons.
    """
    tables, not_run = {}, {}
    for name in protocols_of(str(dataset_info(dataset_dir).get("name"))):
        shared = {"seed": seed, "language": language, "fine_tune": fine_tune, "command": command, **options}
        try:
            tables[name] = evaluate_protocol(model, processor, dataset_dir, name, **shared)
        except ValueError as error:
            not_run[name] = str(error)
    if not tables:
        raise ValueError("; ".join(not_run.values()))
    return {
        "schema_version": SCHEMA_VERSION,
        "tables": tables,
        "not_run": not_run,
        "leakage": {
            "checked": sorted({what for one in tables.values() for what in one["leakage"]["checked"]}),
            "found": [f"{name}: {what}" for name, one in tables.items() for what in one["leakage"]["found"]],
        },
        "seed": seed,
        "data": {"name": Path(dataset_dir).name},
        "language": language,
        "command": command,
        "environment": environment(),
    }
