"""The run's log: `metrics.jsonl`, one JSON object per line; one line of progress on the screen; and trackers, if asked for.

A resumed run first drops the lines of steps that it will repeat, so the file reads as if the run had never stopped.
"""

import json
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from mvfer.data.without_folders import without_folders
from mvfer.progress import progress_bar
from mvfer.training.config import TrainConfig


class MetricsLog:
    """Append-only log of scalars, closed by `with`. All ranks write; the main one's lines are kept.

    Args:
        config: the recipe, whose `output_dir` gets `metrics.jsonl`; trackers are given its settings.
        accelerator: knows the trackers (`log_with`) and the main process.
        step (`int`): the step from which the run goes on; later lines are dropped.
    """

    def __init__(self, config: TrainConfig, accelerator: Accelerator, *, step: int):
        self.accelerator, self.path = accelerator, Path(config.output_dir) / "metrics.jsonl"
        settings = {name: _shown(value) for name, value in vars(config).items()}
        accelerator.init_trackers("mvfer", config=settings)
        self.is_kept = accelerator.is_main_process
        place: dict[str, Any] = {"total": config.steps, "initial": step, "mininterval": 1.0}
        self.bar = progress_bar(what="train", unit="step", hidden=not self.is_kept, in_logs=True, **place)
        if self.is_kept:
            lines = self.path.read_text(encoding="utf-8").splitlines() if step and self.path.exists() else []
            kept = [line + "\n" for line in lines if _step_of(line) <= step]
            self.path.write_text("".join(kept), encoding="utf-8")

    def write(self, step: int, values: dict[str, float]) -> None:
        """Add a line: a step and its values by their names."""
        self.accelerator.log(values, step=step)
        if not self.is_kept:
            return
        line = {"step": step} | {name: round(value, 6) for name, value in values.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        shown = {name: f"{v:.3g}" for name, v in values.items() if name == "loss" or name.startswith("validation")}
        self.bar.set_postfix(shown, refresh=False)

    def advance(self) -> None:
        """Count a step on the screen."""
        self.bar.update()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()


def _shown(setting):
    """A setting for trackers, which may send it elsewhere: without the folders that paths lie in."""
    if isinstance(setting, list):
        return " ".join(map(without_folders, map(str, setting)))
    return without_folders(setting) if isinstance(setting, str) else setting


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):  # a line cut short by a kill
        return float("inf")
