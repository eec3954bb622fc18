"""Checkpoints that a killed run cannot spoil: written beside, then renamed; the newest complete one is found again.

A checkpoint is everything that the next step depends on: weights, optimizer, schedule, moving average, random state and
`TrainState`. Rows and their augmentation depend on the step alone (`sampler.py`), so they need no state.
"""

import os
import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import save_file


@dataclass
class TrainState:
    """Where the run stands; kept inside the checkpoint, never in a folder's name."""

    step: int = 0
    best_score: float = -1.0
    best_step: int = 0
    evaluations_since_best: int = 0

    def record(self, score: float) -> bool:
        """Take note of the validation score at this step; whether its weights are to be kept. A start (step 0) wins no tie."""
        better = score > self.best_score or (score == self.best_score and not self.best_step)
        if better:
            self.best_score, self.best_step, self.evaluations_since_best = score, self.step, 0
        else:
            self.evaluations_since_best += 1
        return better

    def state_dict(self) -> dict:
        return asdict(self)

    def load_state_dict(self, state: dict) -> None:
        vars(self).update(state)


def save_checkpoint(accelerator: Accelerator, folder: Path, state: TrainState, *, keep: int) -> None:
    """Write `folder/step-XXXXXXX` so that it is there whole or not at all; then drop all but the newest `keep`.

    Raises:
        OSError: if it cannot be written, as on a full disk; what was there before is untouched.
    """
    final, partial = folder / f"step-{state.step:07d}", folder / "partial"
    with _saving(partial):
        if accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        accelerator.wait_for_everyone()
        accelerator.save_state(str(partial), safe_serialization=True)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial, final)
        for old in complete_checkpoints(folder)[:-keep]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()


def save_weights(weights: dict, path: Path) -> None:
    """Write tensors as safetensors, whole or not at all.

    Raises:
        OSError: if they cannot be written; the file there before is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with _saving(partial):
        save_file({name: value.contiguous() for name, value in weights.items()}, partial)
    os.replace(partial, path)


def complete_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints below `folder`, oldest first."""
    return sorted(folder.glob("step-*")) if folder.is_dir() else []


def find_checkpoint(folder: Path, resume: str) -> Path:
    """Resolve `--resume`: 'last', a name below `folder`, or a path.

    Raises:
        ValueError: if there is no such checkpoint.
    """
    found = complete_checkpoints(folder)
    if resume == "last":
        if not found:
            raise ValueError(f"{folder}: no complete checkpoint to resume from; start without --resume")
        return found[-1]
    for candidate in (folder / resume, Path(resume)):
        if candidate.is_dir():
            return candidate
    raise ValueError(f"{resume}: no such checkpoint; there are {[path.name for path in found]} below {folder}")


@contextmanager
def _saving(partial: Path):
    """Turn every library's way of saying that a file could not be written into one, and leave no half behind."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)
        reason = str(error).strip().splitlines()[0]
        raise OSError(
            f"could not write below {partial.parent} ({reason}); earlier checkpoints are whole: free some space, "
            "then go on with --resume last"
        ) from error
