"""Train MVFER: build, prepare, loop, evaluate, export. `accelerate launch train.py --dataset data/anny --output_dir runs/first`

In: folders written by `dataset_scripts.build_*`. Out: the run's folder, which is the model folder: weights, config, processor,
remote code, card, `train_config.json`, `metrics.jsonl`, `results.json`, and checkpoints below `checkpoints/`.
`--stage pretrain` learns from captions, `--stage finetune` from labels of expressions or, with `--target units`, of action units;
what differs is in `mvfer.training.pretraining`, `finetuning` and `unit_tuning`, the loop over steps is `mvfer.training.learner`.
"""

import contextlib
import signal
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from mvfer.extras import explain_missing
from mvfer.progress import be_quiet

if __name__ == "__main__":
    explain_missing()

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors.torch import load_file

from mvfer.data.batching import ViewDataset
from mvfer.data.folder_lock import folder_lock
from mvfer.data.loading import STOP_SIGNALS
from mvfer.data.schema import dataset_info, load_splits
from mvfer.data.without_folders import command_line
from mvfer.hub.run_folder import remove_leftovers
from mvfer.training.checkpoints import (
    TrainState,
    drop_later,
    find_checkpoint,
    go_on,
    save_checkpoint,
    save_weights,
    start_anew,
    take_best,
)
from mvfer.training.checks import check_data, check_start, check_transfer
from mvfer.training.config import TrainConfig
from mvfer.training.finetuning import FineTuning
from mvfer.training.learner import Learner, fastest_precision, training_views
from mvfer.training.log import MetricsLog
from mvfer.training.parse_config import parse_config
from mvfer.training.pretraining import Pretraining
from mvfer.training.sharding import check_sharding, tell_deepspeed
from mvfer.training.task import Task, effort
from mvfer.training.unit_tuning import UnitTuning
from processing.names_mvfer import shown, shown_lines

HANGUP = getattr(signal, "SIGHUP", None)
TASKS: dict[str, Callable[..., Task]] = {"pretrain": Pretraining, "finetune": FineTuning, "units": UnitTuning}


def main(argv: list[str] | None = None) -> int:
    """Train, evaluate, export. Returns 0, or 143 if a signal stopped the run after a checkpoint."""
    config = parse_config(argv)
    be_quiet(config.quiet)
    accelerator = build_accelerator(config)
    check_sharding(config, accelerator)
    tell_deepspeed(config, accelerator)
    task = build_task(config)
    with folder_lock(config.output_dir, "a run") if accelerator.is_main_process else contextlib.nullcontext():
        return run(task, config, accelerator, argv)


def run(task: Task, config: TrainConfig, accelerator: Accelerator, argv: list[str] | None) -> int:
    """Train a task in its folder, which no other run holds."""
    views = training_views(task, config, world=accelerator.num_processes)
    folder = Path(config.output_dir)
    checkpoints, best = folder / "checkpoints", folder / "checkpoints" / "best.safetensors"
    start = find_checkpoint(checkpoints, config.resume) if config.resume else None
    origin = task.origin()
    if start:
        origin = go_on(start, origin, with_other_data=config.resume_on_other_data)
    if accelerator.is_main_process:
        remove_leftovers(folder)
        if start and start.resolve().parent == checkpoints.resolve():
            drop_later(checkpoints, start)
        else:
            start_anew(folder, overwrite=config.overwrite)
            if start:  # of another run's folder: its best step so far is ours
                take_best(start.parent, checkpoints)
        config.save(folder / "train_config.json")
        _report_size(task.model, views)

    learner, state = Learner(task, config, accelerator), TrainState()
    accelerator.register_for_checkpointing(state, *learner.stateful)
    if start:
        accelerator.load_state(str(start))
        accelerator.wait_for_everyone()
        if not best.exists():  # it lies beside another run's checkpoint; one of this run is kept instead
            state.best_score, state.best_step = -1.0, 0

    def keep(weights: dict) -> None:
        if accelerator.is_main_process:
            save_weights(weights, best)

    stopped = False
    with StopSignal(accelerator) as stop:
        with MetricsLog(config, accelerator, step=state.step) as log:
            for is_last in learner.fit(views, state, keep=keep, log=log.write):
                log.advance()
                stopped = stop.agreed(state.step)
                if is_last or stopped or state.step % config.checkpoint_every == 0:
                    save_checkpoint(accelerator, checkpoints, state, keep=config.keep_checkpoints, origin=origin)
                if stopped:
                    break
        accelerator.wait_for_everyone()
        if accelerator.is_main_process and not stopped:
            if accelerator.device.type == "cpu":
                torch.set_num_threads(accelerator.num_processes)  # the others only wait from here on
            command = command_line("accelerate launch train.py", sys.argv[1:] if argv is None else argv)
            try:
                stop.at_once()
                task.summary |= effort(state.seconds, accelerator.num_processes, config.co2_per_hour_g)
                if learner.private:
                    task.summary["privacy"] = learner.private.summary()
                task.export(learner.whole, load_file(best), state, origin, command)
            except (
                BaseException
            ):  # libraries take the interrupt for a reason of their own: fsspec, for a file that is missing
                if not stop.asked:
                    raise
            stopped = stop.asked
            if not stopped:
                print(f"\nmodel folder: {shown(config.output_dir)}")
    if stopped:
        accelerator.print(
            f"stopped at step {state.step}; go on with --config {shown(str(folder))}/train_config.json --resume last"
        )
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return 143 if stopped else 0


def build_accelerator(config: TrainConfig) -> Accelerator:
    """The device and its precision, which replaces "auto" in the recipe; from here on chance is seeded."""
    if config.report_to != "none" and find_spec(config.report_to) is None:  # accelerate would go on without a word
        raise ValueError(
            f"--report_to {config.report_to}: not installed; install it with: pip install {config.report_to}"
        )
    if config.mixed_precision == "auto":
        config.mixed_precision = fastest_precision()
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=config.gradient_accumulation,
        log_with=None if config.report_to == "none" else config.report_to,
        project_dir=config.output_dir,
    )
    if accelerator.device.type == "cpu":
        torch.set_num_threads(1)  # more threads on busy cores are many times slower; use more processes
    set_seed(config.seed)
    return accelerator


def build_task(config: TrainConfig) -> Task:
    """The task on its data sets, both checked."""
    splits, infos = [load_splits(path) for path in config.dataset], [dataset_info(path) for path in config.dataset]
    check_data(config, splits)
    check_start(config)
    task = TASKS["units" if config.target == "units" else config.stage](config, splits, infos)
    check_transfer(config, task.processor)
    return task


class StopSignal:
    """SIGTERM, SIGINT and SIGHUP ask the run to save and exit; ranks agree on the step at which they do.

    After `at_once`, when there is nothing more to save, they raise a KeyboardInterrupt.
    """

    def __init__(self, accelerator: Accelerator):
        self.accelerator, self.asked, self.waits = accelerator, False, True

    def __enter__(self):
        numbers = [
            n for n in STOP_SIGNALS if signal.getsignal(n) is not signal.SIG_IGN or n != HANGUP
        ]  # `nohup` ignores it
        self.previous = {number: signal.signal(number, self._ask) for number in numbers}
        return self

    def __exit__(self, kind, error, trace) -> None:
        is_lost = isinstance(error, RuntimeError) and (isinstance(error, dist.DistError) or "gloo" in str(error))
        if is_lost:  # told before the launcher ends this process too
            reason = str(error).strip().splitlines()[0]
            print(
                f"train.py: another process of this run has ended, so this one ends as well ({reason}); see why it did, then go "
                "on with --resume last",
                file=sys.stderr,
                flush=True,
            )
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        if is_lost:
            raise SystemExit(1) from error

    def at_once(self) -> None:
        """From here on do not wait for a step's end."""
        self.waits = False
        if self.asked:
            raise KeyboardInterrupt

    def _ask(self, *_) -> None:
        self.asked = True
        if not self.waits:
            raise KeyboardInterrupt

    def agreed(self, step: int) -> bool:
        """Whether to stop after this step. All ranks ask."""
        if self.accelerator.num_processes == 1:
            return self.asked
        if step % 5:
            return False
        asked = torch.tensor([float(self.asked)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked, "sum").item())


def _report_size(model: torch.nn.Module, train: ViewDataset) -> None:
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6
    part = f", {trained:.3f} M of them trained" if trained < parameters else ""
    print(f"{len(train)} training scans x {train.num_views} views, {parameters:.1f} M parameters{part}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, OSError) as error:
        sys.exit(shown_lines(f"train.py: {error}"))
