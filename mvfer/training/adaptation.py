"""Fitting a model to a scanner that it never saw: the recipe, and what the folder says of it.

In: a trained model, and a data set of moved expressions (`dataset_scripts.build_transfer`). Out: a recipe for `train.py`, which
goes on with the model as it was made: same fusion, same losses, same words; and a card that tells what was adapted from what.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import mvfer
from mvfer.data.schema import dataset_info, write_json
from mvfer.data.without_folders import without_folders
from mvfer.evaluation.results import read_results
from mvfer.hub.card import model_card
from mvfer.hub.load import load_run
from mvfer.training.config import TrainConfig

BATCH_SIZE = 128  # of all processes together
SCORINGS = 6  # on the validation people
TRAIN = Path(mvfer.__file__).parents[1] / "train.py"  # beside the package, in a checkout and installed


def recipe_of(
    model,
    folder: str,
    dataset: Sequence[str],
    *,
    out: str,
    rows: int,
    processes: int,
    steps: int,
    learning_rate: float,
    seed: int,
) -> TrainConfig:
    """How training goes on with a model.

    Args:
        model (`MVFERModel`): as it was loaded; folder: where from.
        dataset: folders of data sets, first that of the scans that the model is fitted to.
        out: the new model's folder. rows: the fewest training rows of a data set.
        processes: that train together. steps, learning_rate, seed: as in `train.py`.
    """
    known = model.config
    words: dict[str, Any] = {}
    if (known.prompt_wordings or 1) > 1:
        words = {"captions": "fresh", "languages": list(known.prompt_languages or ["en"])}
    return TrainConfig(
        dataset=list(dataset),
        output_dir=out,
        model=folder,
        steps=steps,
        learning_rate=learning_rate,
        batch_size=max(1, min(BATCH_SIZE, rows) // processes),
        fusion=known.fusion,
        frame_fusion=known.frame_fusion,
        temporal_layers=known.temporal_layers,
        eval_every=max(1, steps // SCORINGS),
        checkpoint_every=max(1, steps // SCORINGS),
        num_workers=0,
        seed=seed,
        **words,
        **asdict(known.objective),
    )


def train(recipe: Path, *, processes: int, resume: bool, overwrite: bool, quiet: bool = False) -> int:
    """Run `train.py` with a saved recipe, one process per core where there is no GPU; its exit status."""
    launch = [sys.executable]
    environment = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        environment["ACCELERATE_USE_CPU"] = "true"
    flags = ["--resume", "last"] if resume else ["--overwrite"] if overwrite else []
    flags += ["--quiet"] if quiet else []
    command = [*launch, str(TRAIN), "--config", str(recipe), *flags]
    with subprocess.Popen(command, env=os.environ | environment) as process:
        handlers = {  # Ctrl-C reaches it as well, and it saves a checkpoint before it ends
            signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: process.terminate()),
        }
        try:
            return process.wait()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def processes_for(cores: int) -> int:
    """How many processes train: one on a GPU, else one per core, few enough that each has a fair share of a batch."""
    return 1 if torch.cuda.is_available() else max(1, min(cores, BATCH_SIZE // 32))


def describe(folder: Path, adaptation: dict, datasets: Sequence[str], command: str) -> dict:
    """Write into a trained folder's results and card what was adapted from what, and the command; the results."""
    model, processor = load_run(folder)
    results = read_results(folder / "results.json") | {"adaptation": adaptation, "command": command}
    infos = [dataset_info(path) for path in datasets]
    write_json(folder / "results.json", results)
    partial = folder / ".README.md.partial"
    partial.write_text(model_card(model, processor, results=results, datasets=infos), encoding="utf-8")
    os.replace(partial, folder / "README.md")
    return results


def adaptation_of(start: str, info: dict, *, given: int, shapes: str, before: dict) -> dict:
    """What is told of an adaptation.

    Args:
        start: the model's folder. info: `dataset_info` of the moved expressions. given: scans in the user's folder.
        shapes: the family whose expressions were moved. before: scores of the start on the held-out people.
    """
    people = sum(info["subjects"].values())
    return {
        "start": without_folders(start),
        "scans": people,
        "left_out": given - people,
        "trained_on": info["subjects"]["train"],
        "expressions_of": shapes,
        "before": before,
    }
