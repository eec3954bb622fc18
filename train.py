"""Train MVFER: build, prepare, loop, evaluate, export. `accelerate launch train.py --dataset data/anny --output_dir runs/first`

Goes in: folders written by `dataset_scripts.build_*`. Comes out: the run's folder, which is the model folder: weights, config,
processor, remote code, card, `train_config.json`, `metrics.jsonl`, `results.json`, and checkpoints below `checkpoints/`.
`--stage pretrain` learns from captions, `--stage finetune` from labels; what differs is in `mvfer.training.pretraining` and
`mvfer.training.finetuning`, the loop is one; what a single step does is in `mvfer.training.learner`.
"""

import math
import shlex
import signal
import sys
from pathlib import Path

from mvfer.extras import explain_missing

if __name__ == "__main__":
    explain_missing()

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors.torch import load_file

from mvfer.data.batching import ViewDataset
from mvfer.data.schema import dataset_info, load_splits
from mvfer.training.checkpoints import TrainState, find_checkpoint, save_checkpoint, save_weights
from mvfer.training.checks import check_data, check_start, check_transfer
from mvfer.training.config import parse_config
from mvfer.training.finetuning import FineTuning
from mvfer.training.learner import Learner, fastest_precision, training_views
from mvfer.training.log import MetricsLog
from mvfer.training.pretraining import Pretraining

TASKS = {"pretrain": Pretraining, "finetune": FineTuning}


class StopSignal:
    """SIGTERM and SIGINT ask the run to save and exit; ranks agree on the step at which they do."""

    def __init__(self, accelerator: Accelerator):
        self.accelerator, self.asked = accelerator, False
        self.previous = {number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)}

    def _ask(self, *_) -> None:
        self.asked = True

    def agreed(self, step: int) -> bool:
        if self.accelerator.num_processes == 1:
            return self.asked
        if step % 5:
            return False
        asked = torch.tensor([float(self.asked)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked, "sum").item())

    def restore(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)


def main(argv: list[str] | None = None) -> int:
    """Train, evaluate, export. Returns 0, or 143 if a signal stopped the run after a checkpoint."""
    config = parse_config(argv)
    if config.mixed_precision == "auto":  # from here on, and in the saved recipe, what it comes to on this device
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
    folder = Path(config.output_dir)
    checkpoints = folder / "checkpoints"

    splits, infos = [load_splits(path) for path in config.dataset], [dataset_info(path) for path in config.dataset]
    check_data(config, splits)
    check_start(config)
    task = TASKS[config.stage](config, splits, infos)
    check_transfer(config, task.processor)
    views = training_views(task, config, world=accelerator.num_processes)
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        config.save(folder / "train_config.json")
        _report_size(task.model, views)

    learner, state = Learner(task, config, accelerator), TrainState()
    accelerator.register_for_checkpointing(state, learner.average, *learner.schedules)
    task.start(accelerator, learner.bare_model, learner.average.shadow)
    if config.resume:
        accelerator.load_state(str(find_checkpoint(checkpoints, config.resume)))
    if config.report_to != "none":
        accelerator.init_trackers(
            "mvfer",
            config={k: " ".join(v) if isinstance(v, list) else v for k, v in vars(config).items()},
        )

    batches = learner.batches(views, start=state.step * config.gradient_accumulation)
    log = MetricsLog(folder / "metrics.jsonl", step=state.step, total=config.steps, enabled=accelerator.is_main_process)
    stop = StopSignal(accelerator)
    stopped, best_weights = False, folder / "checkpoints" / "best.safetensors"

    def validate() -> None:
        """Score the averaged weights on the validation subjects, and keep them if they are the best so far."""
        score = learner.score()
        log.write(state.step, {task.score_name: score})
        if config.report_to != "none":
            accelerator.log({task.score_name: score}, step=state.step)
        if state.record(score) and accelerator.is_main_process:
            save_weights(learner.average.shadow, best_weights)

    if config.model != "small" and state.step == 0:
        validate()  # what it starts from is a candidate: training that only harms keeps it
    while state.step < config.steps:
        outputs, norm = learner.step(batches)
        state.step += 1
        log.advance()

        if state.step % config.log_every == 0 or state.step == 1:
            terms = {"loss": outputs.loss, **(outputs.get("losses") or {})}
            values = {name: value.item() for name, value in terms.items()}
            if not math.isfinite(values["loss"]):
                raise ValueError(
                    f"the loss is {values['loss']} at step {state.step}; lower --learning_rate, or go on from a checkpoint"
                )
            values |= task.report()
            values |= {"learning_rate": learner.schedules[0].get_last_lr()[0], "gradient_norm": float(norm)}
            log.write(state.step, values)
            if config.report_to != "none":
                accelerator.log(values, step=state.step)

        last = state.step == config.steps
        if state.step % config.eval_every == 0 or last:
            validate()
        exhausted = 0 < config.patience <= state.evaluations_since_best
        stopped = stop.agreed(state.step)
        if state.step % config.checkpoint_every == 0 or last or exhausted or stopped:
            save_checkpoint(accelerator, checkpoints, state, keep=config.keep_checkpoints)
        if exhausted or stopped:
            break

    log.close()
    stop.restore()
    if stopped:
        accelerator.print(f"stopped at step {state.step}; go on with --config {folder}/train_config.json --resume last")
        accelerator.wait_for_everyone()
        accelerator.end_training()
        return 143
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        if accelerator.device.type == "cpu":
            torch.set_num_threads(accelerator.num_processes)  # the others only wait from here on
        command = "accelerate launch train.py " + shlex.join(sys.argv[1:] if argv is None else argv)
        task.export(learner.bare_model, load_file(best_weights), state, command)
        print(f"\nmodel folder: {config.output_dir}")
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return 0


def _report_size(model: torch.nn.Module, train: ViewDataset) -> None:
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6
    part = f", {trained:.3f} M of them trained" if trained < parameters else ""
    print(f"{len(train)} training scans x {train.num_views} views, {parameters:.1f} M parameters{part}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, OSError) as error:
        sys.exit(f"train.py: {error}")
