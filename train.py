"""Train MVFER: build, prepare, loop, evaluate, export. `accelerate launch train.py --dataset data/anny --output_dir runs/first`

Goes in: folders written by `dataset_scripts.build_*`. Comes out: the run's folder, which is the model folder: weights, config,
processor, remote code, card, `train_config.json`, `metrics.jsonl`, `results.json`, and checkpoints below `checkpoints/`.
"""

import json
import math
import shlex
import signal
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import parse_flag_from_env, set_seed
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from transformers import AutoTokenizer

from dataset_scripts.schema import dataset_info, load_splits
from evaluation.evaluate import evaluate_run, table
from evaluation.leakage import load_subjects_seen, subjects_seen
from evaluation.remarks import remarks
from evaluation.zero_shot import zero_shot_score
from modeling_mvfer import MVFERConfig, MVFERModel
from modeling_mvfer.hub import save_run, set_calibration
from processing import MVFERImageProcessor, MVFERProcessor
from processing.batching import Augmentation, Collator, ViewDataset
from processing.prompts_mvfer import EXPRESSIONS, LANGUAGES, prompts_for
from processing.tokenizer import build_tokenizer
from training.batches import EpochBatches
from training.checkpoints import TrainState, find_checkpoint, save_checkpoint, save_weights
from training.checks import check_data
from training.config import TrainConfig, parse_config
from training.log import MetricsLog
from training.muon import SharedMuon
from training.teacher import Teacher, prompt_bank


def build_processor(config: TrainConfig, splits: list, infos: list[dict]) -> MVFERProcessor:
    """The tokenizer of the model (from scratch: learnt from captions and prompts) and the renderer of the data."""
    render = infos[0]["render_settings"]
    for folder, info in zip(config.dataset, infos, strict=True):
        for key in ("size_px", "channels", "view_angles_deg"):
            if info["render_settings"][key] != render[key]:
                raise ValueError(
                    f"{folder}: {key} is {info['render_settings'][key]}, but {render[key]} in {config.dataset[0]}; build alike"
                )
    magnifications = {info.get("build", {}).get("magnification", 1.0) for info in infos}
    if len(magnifications) > 1:
        raise ValueError(f"the data sets were built with different --magnification, {magnifications}; build alike")
    sequences = {"num_frames": config.num_frames, "frames": config.frames, "magnification": magnifications.pop()}
    if config.model != "small":
        # The data's views are resized to what the pretrained tower takes.
        size_px = MVFERConfig.from_pretrained(config.model).vision_config.image_size
        image_processor = MVFERImageProcessor.from_render_settings(render | {"size_px": size_px}, **sequences)
        return MVFERProcessor(image_processor=image_processor, tokenizer=AutoTokenizer.from_pretrained(config.model))
    image_processor = MVFERImageProcessor.from_render_settings(render, **sequences)
    captions = sorted({caption for split in splits for row in split["train"]["captions"] for caption in row})
    bank = [prompts_for(EXPRESSIONS, language=language) for language in LANGUAGES]
    prompts = [prompt for language in bank for prompts in language.values() for prompt in prompts]
    return MVFERProcessor(image_processor=image_processor, tokenizer=build_tokenizer(captions + prompts))


def build_model(config: TrainConfig, processor: MVFERProcessor, infos: list[dict]) -> MVFERModel:
    """A small model from scratch, or any CLIP with new, neutral parts; objective settings come from the recipe."""
    objective = {
        name: getattr(config, name)
        for name in (
            "fusion",
            "frame_fusion",
            "temporal_layers",
            "contrastive_form",
            "contrastive_weight",
            "view_contrastive_weight",
            "phrase_weight",
            "cross_view_weight",
            "cross_view_form",
            "cross_modal_weight",
            "cross_modal_form",
            "margin_contrast_weight",
            "triplet_weight",
            "consistency_weight",
        )
    }
    wordings = {info.get("build", {}).get("captions_per_row") for info in infos}
    if config.supervision == "captions":  # else the model knows the wordings that it knew at the start
        objective["prompt_wordings"] = 1 if wordings == {1} else None
    if config.fusion == "text":
        objective["fusion_prompt_ids"] = processor.tokenizer(prompt_bank([*EXPRESSIONS]), truncation=True)["input_ids"]
    objective["view_angles_deg"] = infos[0]["render_settings"]["view_angles_deg"]
    if config.model == "small":
        tokenizer, size = processor.tokenizer, infos[0]["render_settings"]["size_px"]
        special = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
        return MVFERModel(MVFERConfig.small(vocab_size=len(tokenizer), image_size=size, **special, **objective))
    return MVFERModel.from_pretrained(config.model, dtype=torch.float32, **objective)


def optimizers_and_schedules(model: MVFERModel, config: TrainConfig) -> tuple[list, list]:
    """AdamW, with decay on matrices only; from scratch, Muon (Jordan et al. 2024) for the matrices of stem and transformers.

    Linear warm-up, then a cosine to zero.
    """
    named = list(model.named_parameters())
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
    processor = build_processor(config, splits, infos)
    model = build_model(config, processor, infos)
    if accelerator.device.type == "cpu" and config.model == "small":
        model.set_attn_implementation("eager")  # on a CPU, for 17 tokens, sdpa costs a quarter of the step more
    world = accelerator.num_processes
    pseudo = config.supervision == "pseudo"
    augmentation = Augmentation(
        view_dropout=0.0 if pseudo else config.view_dropout,  # a teacher sees all views, and leaves some out itself
        occlusion=config.occlusion,
        drop_phrases=config.drop_phrases,
    )
    rows = sum(len(split["train"]) for split in splits)
    train = ViewDataset(
        [split["train"] for split in splits],
        augmentation=augmentation,
        seed=config.seed,
        channels=infos[0]["render_settings"]["channels"],
        num_frames=config.num_frames,
        frames=config.frames,
        ramp_epochs=config.ramp * config.steps * config.gradient_accumulation * config.batch_size * world / rows,
    )
    validation = [split["validation"] for split in splits]
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        config.save(folder / "train_config.json")
        _report_size(model, train)

    optimizers, schedules = optimizers_and_schedules(model, config)
    state = TrainState()
    model, *optimizers = accelerator.prepare(model, *optimizers)
    average = MovingAverage(accelerator.unwrap_model(model), config.ema_decay)
    accelerator.register_for_checkpointing(state, average, *schedules)
    teacher = None
    if pseudo:
        teacher = Teacher(
            accelerator,
            accelerator.unwrap_model(model),
            average.shadow,
            processor.tokenizer,
            prompt_bank(config.prompt_bank),
            confidence=config.confidence,
            view_dropout=config.view_dropout,
            batch_size=config.batch_size,
            seed=config.seed,
        )
        accelerator.register_for_checkpointing(teacher)
    if config.resume:
        accelerator.load_state(str(find_checkpoint(checkpoints, config.resume)))
    if config.report_to != "none":
        accelerator.init_trackers(
            "mvfer",
            config={k: " ".join(v) if isinstance(v, list) else v for k, v in vars(config).items()},
        )

    batches = EpochBatches(
        [subject for split in splits for subject in split["train"]["subject"]],
        config.batch_size,
        seed=config.seed,
        scans_per_subject=config.scans_per_subject,
        rank=accelerator.process_index,
        world=world,
        start=state.step * config.gradient_accumulation,
    )
    tokenizer = None if pseudo else processor.tokenizer
    loader = iter(
        DataLoader(
            train,
            batch_sampler=batches,
            collate_fn=Collator(tokenizer, processor.image_processor, phrases=config.phrase_weight > 0),
            num_workers=config.num_workers,
            prefetch_factor=4 if config.num_workers else None,
        )
    )
    log = MetricsLog(folder / "metrics.jsonl", step=state.step, total=config.steps, enabled=accelerator.is_main_process)
    stop = StopSignal(accelerator)
    stopped, best_weights = False, folder / "checkpoints" / "best.safetensors"

    while state.step < config.steps:
        model.train()
        for _ in range(config.gradient_accumulation):
            batch = {name: value.to(accelerator.device, non_blocking=True) for name, value in next(loader).items()}
            if teacher:
                batch = teacher(batch)
            with accelerator.accumulate(model):
                outputs = model(**batch, return_loss=True)
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
            values = {name: value.item() for name, value in {"loss": outputs.loss, **outputs.losses}.items()}
            if not math.isfinite(values["loss"]):
                raise ValueError(
                    f"the loss is {values['loss']} at step {state.step}; lower --learning_rate, or go on from a checkpoint"
                )
            values |= teacher.report() if teacher else {}
            values |= {"learning_rate": schedules[0].get_last_lr()[0], "gradient_norm": float(norm)}
            log.write(state.step, values)
            if config.report_to != "none":
                accelerator.log(values, step=state.step)

        last = state.step == config.steps
        if state.step % config.eval_every == 0 or last:
            score = evaluate_average(accelerator, model, average, processor, validation)
            log.write(state.step, {"validation_zero_shot": score})
            if config.report_to != "none":
                accelerator.log({"validation_zero_shot": score}, step=state.step)
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
        model = accelerator.unwrap_model(model)
        model.load_state_dict({name: value.to(accelerator.device) for name, value in load_file(best_weights).items()})
        before = None if config.model == "small" else load_subjects_seen(config.model)
        seen = subjects_seen(infos, splits, before=before)
        export(config, model.eval(), processor, infos, state, seen, argv)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return 0


@torch.no_grad()
def evaluate_average(accelerator, model, average: MovingAverage, processor, validation: list) -> float:
    """Mean zero-shot accuracy over the validation subjects of every data set, with the averaged weights."""
    model = accelerator.unwrap_model(model)
    current = {name: value.detach().clone() for name, value in model.state_dict().items()}
    model.load_state_dict(average.shadow)
    model.eval()
    scores = [zero_shot_score(model, processor, split) for split in validation]
    model.load_state_dict(current)
    return sum(scores) / len(scores)


def export(
    config: TrainConfig,
    model: MVFERModel,
    processor: MVFERProcessor,
    infos: list[dict],
    state: TrainState,
    seen: dict[str, list[str]],
    argv,
) -> None:
    """Test once on the first data set's held-out subjects (and on the others, as transfer), and write the model folder.

    The temperature of the scores and the threshold of abstention come from the first data set's validation subjects.
    """
    command = "accelerate launch train.py " + shlex.join(sys.argv[1:] if argv is None else argv)
    also = {Path(path).name: path for path in [*config.dataset[1:], *config.also_test]}
    results = evaluate_run(model, processor, config.dataset[0], also=also, seed=config.seed, seen=seen, command=command)
    set_calibration(model.config, results["calibration"])
    results["training"] = {
        "steps": state.step,
        "best_step": state.best_step,
        "validation_zero_shot": state.best_score,
        "seed": config.seed,
        "preset": config.preset,
        "supervision": config.supervision,
        "start": config.model,
    }
    results["data"]["caption_source"] = results["supervision"]
    results["supervision"] = sorted(learnt_from(config, results["supervision"]))
    save_run(config.output_dir, model, processor, results=results, datasets=infos, subjects_seen=seen)
    print("\n".join([*remarks(results), "", table(results)]))
    print(f"\nmodel folder: {config.output_dir}")


def learnt_from(config: TrainConfig, caption_sources: list[str]) -> set[str]:
    """Every kind of text that the weights have seen: this run's, and that of the earlier run it started from."""
    ours = {"pseudo"} if config.supervision == "pseudo" else set(caption_sources)
    earlier = Path(config.model) / "results.json"
    if not earlier.is_file():  # a pretrained model, whose texts were its authors'
        return ours
    return ours | set(json.loads(earlier.read_text(encoding="utf-8")).get("supervision", ()))


def _report_size(model: MVFERModel, train: ViewDataset) -> None:
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    print(f"{len(train)} training scans x {train.num_views} views, {parameters:.1f} M parameters")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, OSError) as error:
        sys.exit(f"train.py: {error}")
