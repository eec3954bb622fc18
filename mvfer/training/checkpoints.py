"""Checkpoints that a killed run cannot spoil: written beside, then renamed; the newest complete one is found again.

A checkpoint is everything that the next step depends on: weights, optimizer, schedule, moving average, random state and
`TrainState`. Rows and their augmentation depend on the step alone (`sampler.py`), so they need no state. Beside it lies what it
was made from (`Origin`): a checkpoint is not gone on with on other data.
"""

import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import save_file

from mvfer.data.schema import write_json

ORIGIN_FILE = "origin.json"
BEST = "best.safetensors"
OF_A_RUN = ("metrics.jsonl", "results.json")  # what a new run deletes of an old one, beside its checkpoints


@dataclass
class TrainState:
    """Where the run stands; kept inside the checkpoint, never in a folder's name."""

    step: int = 0
    best_score: float = -1.0
    best_step: int = 0
    evaluations_since_best: int = 0
    seconds: float = 0.0  # that the steps and their validations took, of all calls together

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


@dataclass
class Origin:
    """What a run has learnt from.

    Args:
        data: fingerprints of its data sets, in their order.
        seen: from `leakage.subjects_seen`, also of sets that it has learnt from before.
        switched_at: steps at which it went on with other data, as it was told to.
        private: whether it promises differential privacy.
    """

    data: list[str]
    seen: dict
    switched_at: list[int] = field(default_factory=list)
    private: bool = False


def save_checkpoint(accelerator: Accelerator, folder: Path, state: TrainState, *, keep: int, origin: Origin) -> None:
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
        if accelerator.is_main_process:
            write_json(partial / ORIGIN_FILE, asdict(origin) | {"step": state.step})
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


def start_anew(folder: Path, *, overwrite: bool) -> None:
    """See that a new run finds no other one in its folder.

    Args:
        folder: the run's; overwrite: delete an old run's checkpoints and log. Its model stays until the new one is whole.
    Raises:
        ValueError: if there is an old run, and nothing was said of it.
    """
    old = complete_checkpoints(folder / "checkpoints")
    if not overwrite and (old or (folder / "model.safetensors").exists()):
        what = f"checkpoints, the last of them {old[-1].name}" if old else "a finished run"
        go_on = "go on with it by --resume last, " if old else ""
        raise ValueError(f"{folder}: holds {what}; {go_on}choose another --output_dir, or delete it with --overwrite")
    for path in [*old, folder / "checkpoints" / "partial"]:
        shutil.rmtree(path, ignore_errors=True)
    for path in [folder / "checkpoints" / BEST, *(folder / name for name in OF_A_RUN)]:
        path.unlink(missing_ok=True)


def drop_later(folder: Path, start: Path) -> None:
    """Delete the checkpoints after the one that a run goes back to, so that none is taken for a later one of its own."""
    for path in complete_checkpoints(folder):
        if path.name > start.name:
            shutil.rmtree(path)


def take_best(source: Path, folder: Path) -> None:
    """Copy the weights of the best step so far from one run's checkpoints to another's, where there are any."""
    if (source / BEST).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / BEST, folder / BEST)


def go_on(checkpoint: Path, origin: Origin, *, with_other_data: bool) -> Origin:
    """What a run has learnt from when it goes on from a checkpoint.

    Args:
        origin: of the data sets that it is given now.
        with_other_data: it may; the people of the earlier data are remembered beside the new ones.
    Raises:
        ValueError: if the data are others, and nothing was said of it; or if only one of both promises privacy.
    """
    path = checkpoint / ORIGIN_FILE
    if not path.exists():  # of an earlier version
        return origin
    written = json.loads(path.read_text(encoding="utf-8"))
    before = Origin(written["data"], written["seen"], written["switched_at"], written.get("private", False))
    if before.private != origin.private:
        raise ValueError(
            f"{checkpoint}: was made {'with' if before.private else 'without'} --dp_epsilon, and a run is private from its first "
            "step to its last or not at all; go on as it began, or start anew with --overwrite"
        )
    seen = _union(before.seen, origin.seen)
    if before.data == origin.data:
        return Origin(origin.data, seen, before.switched_at, origin.private)
    if not with_other_data:
        raise ValueError(
            f"{checkpoint}: was made with other data: a data set has other rows, labels, splits or pictures now. Give it the "
            "data that it was made with, start anew with --overwrite, or say --resume_on_other_data, which is recorded"
        )
    return Origin(origin.data, seen, [*before.switched_at, written["step"]])


def _union(one: dict, other: dict) -> dict:
    """Both lists of whom and what a run has seen."""
    merged = {}
    for key in one.keys() | other.keys():
        values = [part[key] for part in (one, other) if key in part]
        merged[key] = (
            sorted({item for value in values for item in value}) if isinstance(values[0], list) else values[-1]
        )
    return merged


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
