"""Train MVFER: build, prepare, loop, evaluate, export. `accelerate launch train.py --dataset data/anny --output_dir runs/first`

Goes in: folders written by `dataset_scripts.build_*`. Comes out: the run's folder, which is the model folder: weights, config,
processor, remote code, card, `train_config.json`, `metrics.jsonl`, `results.json`, and checkpoints below `checkpoints/`.
`--stage pretrain` learns from captions, `--stage finetune` from labels; what differs is in `training.pretraining` and
`training.finetuning`, the loop is one.
"""

import math
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import parse_flag_from_env, set_seed
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from dataset_scripts.schema import dataset_info, load_splits
from processing.batching import Augmentation, ViewDataset
from processing.free_views import FreeViews
from processing.rendering_mvfer import RenderSettings
from training.batches import EpochBatches
from training.checkpoints import TrainState, find_checkpoint, save_checkpoint, save_weights
from training.checks import check_data, check_start
from training.config import TrainConfig, parse_config
from training.device_views import Drafts, rendered_batches
from training.finetuning import FineTuning
from training.log import MetricsLog
from training.muon import SharedMuon
from training.pretraining import Pretraining

TASKS = {"pretrain": Pretraining, "finetune": FineTuning}


def optimizers_and_schedules(model: torch.nn.Module, config: TrainConfig) -> tuple[list, list]:
    """AdamW, with decay on matrices only; from scratch, Muon (Jordan et al. 2024) for the matrices of stem and transformers.

    Linear warm-up, then a cosine to zero.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    inner = (".layers.", ".stages.")
    hidden = [p for name, p in named if config.model == "small" and p.ndim == 2 and any(part in name for part in inner)]
    ours = {id(p) for p in hidden}
    decayed = [p for _, p in named if p.ndim >= 2 and id(p) not in ours]
    plain = [p for _, p in named if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizers = [torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98))]
    if hidden:
        optimizers.append(SharedMuon(hidden, lr=30 * config.learning_rate, weight_decay=0.0))
    warmup = max(1, round(config.warmup * config.steps))

    def rate(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, config.steps - warmup))))

    return optimizers, [torch.optim.lr_scheduler.LambdaLR(optimizer, rate) for optimizer in optimizers]


def fastest_precision() -> str:
    """ "bf16" where the device that Accelerate will take has instructions for it, else "no"."""
    if torch.cuda.is_available() and not parse_flag_from_env("ACCELERATE_USE_CPU"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    able = torch.cpu.get_capabilities()
    return "bf16" if able.get("amx_bf16") or able.get("avx512_bf16") else "no"


def renders_here(config: TrainConfig, device: torch.device) -> bool:
    """Whether this process renders whole batches on its GPU; otherwise loader processes render, if anybody does."""
    return config.render_on_the_fly and device.type == "cuda"


class MovingAverage:
    """Exponential moving average of the weights, with a warm-up so that the random start is soon forgotten."""

    def __init__(self, model: torch.nn.Module, decay: float):
        self.decay, self.updates = decay, 0
        self.shadow = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.shadow[name].lerp_(value, 1 - decay)
            else:
                self.shadow[name].copy_(value)

    def state_dict(self) -> dict:
        return {"updates": self.updates, "shadow": self.shadow}

    def load_state_dict(self, state: dict) -> None:
        self.updates = state["updates"]
        for name, value in state["shadow"].items():
            self.shadow[name].copy_(value)


def train_mode(model: torch.nn.Module) -> None:
    """Training mode, but for frozen modules: their batch statistics stay those that they were trained with."""
    model.train()
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(p.requires_grad for p in own):
            module.eval()


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
    model = task.model
    if accelerator.device.type == "cpu" and config.model == "small":
        model.set_attn_implementation("eager")  # on a CPU, for 17 tokens, sdpa costs a quarter of the step more
    world = accelerator.num_processes
    augmentation = Augmentation(
        view_dropout=task.view_dropout, occlusion=config.occlusion, drop_phrases=config.drop_phrases
    )
    free_views = None
    if config.render_on_the_fly:
        settings = RenderSettings.from_dict(infos[0]["render_settings"] | {"backend": "auto"})
        free_views = FreeViews(settings, tuple(config.view_range_deg))
    rows = sum(len(split) for split in task.train_splits)
    batch_size = task.batch_size(world)
    train = ViewDataset(
        task.train_splits,
        augmentation=augmentation,
        seed=config.seed,
        channels=infos[0]["render_settings"]["channels"],
        num_frames=config.num_frames,
        frames=config.frames,
        ramp_epochs=config.ramp * config.steps * config.gradient_accumulation * batch_size * world / rows,
        free_views=free_views,
    )
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        config.save(folder / "train_config.json")
        _report_size(model, train)

    optimizers, schedules = optimizers_and_schedules(model, config)
    state = TrainState()
    model, *optimizers = accelerator.prepare(model, *optimizers)
    average = MovingAverage(accelerator.unwrap_model(model), config.ema_decay)
    accelerator.register_for_checkpointing(state, average, *schedules)
    task.start(accelerator, accelerator.unwrap_model(model), average.shadow)
    if config.resume:
        accelerator.load_state(str(find_checkpoint(checkpoints, config.resume)))
    if config.report_to != "none":
        accelerator.init_trackers(
            "mvfer",
            config={k: " ".join(v) if isinstance(v, list) else v for k, v in vars(config).items()},
        )

    batches = EpochBatches(
        [subject for split in task.train_splits for subject in split["subject"]],
        batch_size,
        seed=config.seed,
        scans_per_subject=config.scans_per_subject,
        rank=accelerator.process_index,
        world=world,
        start=state.step * config.gradient_accumulation,
    )
    here = renders_here(config, accelerator.device)
    loader = iter(
        DataLoader(
            task.samples(Drafts(train) if here else train),
            batch_sampler=batches,
            collate_fn=list if here else task.collate,
            num_workers=config.num_workers,
            prefetch_factor=4 if config.num_workers else None,
        )
    )
    if here:
        loader = rendered_batches(loader, train, task.collate, accelerator.device)
    log = MetricsLog(folder / "metrics.jsonl", step=state.step, total=config.steps, enabled=accelerator.is_main_process)
    stop = StopSignal(accelerator)
    stopped, best_weights = False, folder / "checkpoints" / "best.safetensors"

    while state.step < config.steps:
        train_mode(model)
        for _ in range(config.gradient_accumulation):
            batch = {name: value.to(accelerator.device, non_blocking=True) for name, value in next(loader).items()}
            batch = task.lesson(batch)
            with accelerator.accumulate(model):
                outputs = model(**batch, **task.forward_options)
                accelerator.backward(outputs.loss)
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(model.parameters(), config.clip_norm)
                for optimizer in optimizers:
                    optimizer.step()
                    optimizer.zero_grad()
        for schedule in schedules:
            schedule.step()
        average.update(accelerator.unwrap_model(model))
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
            values |= {"learning_rate": schedules[0].get_last_lr()[0], "gradient_norm": float(norm)}
            log.write(state.step, values)
            if config.report_to != "none":
                accelerator.log(values, step=state.step)

        last = state.step == config.steps
        if state.step % config.eval_every == 0 or last:
            score = evaluate_average(accelerator.unwrap_model(model), average, task.score)
            log.write(state.step, {task.score_name: score})
            if config.report_to != "none":
                accelerator.log({task.score_name: score}, step=state.step)
            if score > state.best_score:
                state.best_score, state.best_step, state.evaluations_since_best = score, state.step, 0
                if accelerator.is_main_process:
                    save_weights(average.shadow, best_weights)
            else:
                state.evaluations_since_best += 1
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
        task.export(accelerator.unwrap_model(model), load_file(best_weights), state, command)
        print(f"\nmodel folder: {config.output_dir}")
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return 0


@torch.no_grad()
def evaluate_average(model, average: MovingAverage, score: Callable) -> float:
    """The validation score with the averaged weights; the model's own are put back."""
    current = {name: value.detach().clone() for name, value in model.state_dict().items()}
    model.load_state_dict(average.shadow)
    model.eval()
    found = score(model)
    model.load_state_dict(current)
    return found


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
