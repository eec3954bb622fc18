"""The run's log: `metrics.jsonl`, one JSON object per line, and one line of progress on the screen.

A resumed run first drops the lines of steps that it will repeat, so the file reads as if the run had never stopped.
"""

import json
from pathlib import Path

from tqdm import tqdm


class MetricsLog:
    """Append-only log of scalars.

    Args:
        path (`Path`): `metrics.jsonl` of the run.
        step (`int`): the step from which the run goes on; later lines are dropped.
        total (`int`): steps of the whole run, for the time left.
        enabled (`bool`): False on all but the main process.
    """

    def __init__(self, path: Path, *, step: int, total: int, enabled: bool):
        self.path, self.enabled = path, enabled
        if not enabled:
            return
        kept = []
        if step and path.exists():
            kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self.bar = tqdm(total=total, initial=step, unit="step", desc="train", dynamic_ncols=True, mininterval=1.0)

    def write(self, step: int, values: dict[str, float]) -> None:
        if not self.enabled:
            return
        line = {"step": step} | {name: round(value, 6) for name, value in values.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        shown = {
            name: f"{value:.3g}" for name, value in values.items() if name == "loss" or name.startswith("validation")
        }
        self.bar.set_postfix(shown, refresh=False)

    def advance(self) -> None:
        if self.enabled:
            self.bar.update()

    def close(self) -> None:
        if self.enabled:
            self.bar.close()


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):  # a line cut short by a kill
        return float("inf")
