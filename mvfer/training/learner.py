"""The loop over steps, and all that a step needs.

In: a task, the recipe and an `Accelerator`. Out: a trained model, numbers for the log, and the averaged weights of the best step.
`train.py` runs it with checkpoints, `mvfer.training.folds` in memory, once per fold.
"""

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import parse_flag_from_env
from torch import Tensor
from transformers.utils import ModelOutput

from modeling_mvfer.normalization_mvfer import GlobalBatchNorm
from mvfer.data.batching import Augmentation, ViewDataset
from mvfer.data.loading import load_batches
from mvfer.training.checkpoints import TrainState
from mvfer.training.config import TrainConfig
from mvfer.training.muon import SharedMuon
from mvfer.training.privacy import PrivateSteps, check_batch_norm
from mvfer.training.sampler import batches_of
from mvfer.training.sharding import assign, is_sharded, ready_to_shard, whole_tensors
from mvfer.training.task import Task
from mvfer.training.teacher import Assigned, Teacher

FEW_TOKENS = 64  # per view


class Learner:
    """A task's model on its device, with optimizers, schedules, moving average and, label-free, a teacher.

    Attributes:
        model: the task's, wrapped by the accelerator.
        average (`MovingAverage`): whose weights are scored and kept.
        whole: the model without what the accelerator put around it; if its weights are sharded, a copy that is not, for scoring
            and export.
        stateful: what is to be checkpointed beside the model and the optimizers.
        private (`PrivateSteps`, *optional*): takes the steps, where the recipe promises differential privacy.
    Raises:
        ValueError: if that promise cannot be kept.
    """

    def __init__(self, task: Task, config: TrainConfig, accelerator: Accelerator):
        self.task, self.config, self.accelerator = task, config, accelerator
        if accelerator.device.type == "cpu" and task.model.vision_model.embeddings.num_positions <= FEW_TOKENS:
            task.model.set_attn_implementation("eager")  # for 17 tokens, sdpa costs a quarter of the step more
        self._work_in_parts()
        whole = ready_to_shard(task.model).to(accelerator.device) if is_sharded(accelerator) else None
        optimizers, self.schedules = optimizers_and_schedules(task.model, config)
        self.model, *self.optimizers = accelerator.prepare(task.model, *optimizers)
        self.whole = self.bare_model if whole is None else whole
        self.average = MovingAverage(self.bare_model, config.ema_decay)
        self.stateful = [self.average, *self.schedules]
        self.teacher: Teacher | None = None
        if config.supervision == "pseudo":
            tokenizer = task.processor.tokenizer
            self.teacher = Teacher(accelerator, self.bare_model, self.average.shadow, tokenizer, config)
            self.stateful.append(self.teacher)
        self.private: PrivateSteps | None = None
        if config.dp_epsilon is not None:
            self._promise_privacy()

    def _work_in_parts(self) -> None:
        model = self.task.model
        if self.config.tower_batch and any(isinstance(module, GlobalBatchNorm) for module in model.modules()):
            raise ValueError(
                "--tower_batch: the batch norm of a small model needs all views at once; leave it out, or train a CLIP"
            )
        model.tower_batch = self.config.tower_batch

    def _promise_privacy(self) -> None:
        if self.accelerator.num_processes > 1:
            raise ValueError("--dp_epsilon trains in one process; leave out torchrun and accelerate's --num_processes")
        train_mode(self.model)
        check_batch_norm(self.bare_model)
        subjects = [subject for split in self.task.train_splits for subject in split["subject"]]
        self.private = PrivateSteps(self.config, subjects, batch_size=self.task.batch_size(1))
        self.private.use(self.optimizers[0], self.accelerator.device)
        self.stateful.append(self.private.accountant)

    @property
    def bare_model(self) -> torch.nn.Module:
        """The model without what the accelerator put around it."""
        return self.accelerator.unwrap_model(self.model)

    def fit(
        self, views: ViewDataset, state: TrainState, *, keep: Callable[[dict], None], log: Callable[[int, dict], None]
    ) -> Iterator[bool]:
        """Take step after step, from where `state` stands to the recipe's last or to the end of its patience.

        Args:
            views: from `training_views`.
            state: moves on with every step and validation.
            keep: is given the averaged weights whenever they are the best so far; they change with the next step.
            log: is given a step and its numbers, as often as the recipe says.
        Yields:
            after every step, and its validation if it has one: whether it was the last.
        Raises:
            ValueError: if the loss is not finite at a step that is logged.
        """
        config = self.config
        if self.private:
            self.private.check_account(state.step)
        batches, clock = self.batches(views, start=state.step * config.gradient_accumulation), time.monotonic()

        def validate() -> None:
            score = self.score()
            log(state.step, {self.task.score_name: score, **self.spent()})
            if state.record(score):
                keep(self.average.whole(like=self.whole))

        if config.model != "small" and state.step == 0:
            validate()  # what it starts from is a candidate: training that only harms keeps it
        is_last = state.step >= config.steps
        while not is_last:
            if self.private:
                metrics = self.private_step(batches)
            else:
                metrics = partial(self.metrics, *self.step(batches), step=state.step + 1)
            state.step += 1
            if state.step % config.log_every == 0 or state.step == 1:
                log(state.step, metrics())
            if state.step % config.eval_every == 0 or state.step == config.steps:
                validate()
            is_last = state.step == config.steps or 0 < config.patience <= state.evaluations_since_best
            before, clock = clock, time.monotonic()
            state.seconds += clock - before
            yield is_last

    def batches(self, views: ViewDataset, *, start: int = 0) -> Iterator[Any]:
        """Endless batches of this rank, from the one with index `start` (counted over all epochs); private, lists of them."""
        config, world = self.config, self.accelerator.num_processes
        if self.private:
            return self.private.batches(
                self.task.samples(views), self.task.collate, num_workers=config.num_workers, start=start
            )
        batches = batches_of(
            [subject for split in self.task.train_splits for subject in split["subject"]],
            self.task.batch_size(world),
            sources=[source for source, split in enumerate(self.task.train_splits) for _ in range(len(split))],
            captioned=self.task.captioned,
            seed=config.seed,
            scans_per_subject=config.scans_per_subject,
            rank=self.accelerator.process_index,
            world=world,
            start=start,
        )
        return load_batches(self.task.samples(views), batches, self.task.collate, num_workers=config.num_workers)

    def private_step(self, batches: Iterator[list[dict[str, Tensor]]]) -> Callable[[], dict]:
        """Take one step that keeps the promise.

        Returns:
            what tells its numbers for the log. Losses and gradients are not among them: they have no noise.
        """
        train_mode(self.model)
        people = [self.task.on_device(batch, self.accelerator.device) for batch in next(batches)]
        self.private.step(people, self.loss_of, self.accelerator.backward)  # type: ignore[union-attr]  # asked only if there
        rate = self.schedules[0].get_last_lr()[0]
        for schedule in self.schedules:
            schedule.step()
        self.average.update(self.bare_model)
        return lambda: {"learning_rate": rate, **self.spent()}

    def loss_of(self, **batch: Tensor) -> Tensor:
        """The mean loss of a batch."""
        return self.model(**batch, **self.task.forward_options).loss

    def spent(self) -> dict[str, float]:
        """For the log: the epsilon that was spent, where one is promised."""
        epsilon = None if self.private is None else self.private.epsilon
        return {} if epsilon is None else {"epsilon": epsilon}

    def step(self, batches: Iterator[dict[str, Tensor]]) -> tuple[ModelOutput, Tensor, Assigned | None]:
        """Take one optimizer step.

        Returns:
            the model's outputs for the last batch, the gradient's norm before it was clipped, and what a teacher said of
            the last batch.
        """
        accelerator, assigned = self.accelerator, None
        train_mode(self.model)
        for _ in range(self.config.gradient_accumulation):
            batch = self.task.on_device(next(batches), accelerator.device)
            if self.teacher:
                batch, assigned = self.teacher(batch)
            with accelerator.accumulate(self.model):
                outputs = self.model(**batch, **self.task.forward_options)
                accelerator.backward(outputs.loss)
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
                for optimizer in self.optimizers:
                    optimizer.step()
                    optimizer.zero_grad()
        for schedule in self.schedules:
            schedule.step()
        self.average.update(self.bare_model)
        return outputs, norm, assigned

    def metrics(self, outputs: ModelOutput, norm: Tensor, assigned: Assigned | None, *, step: int) -> dict[str, float]:
        """The numbers of a step for the log. All ranks ask.

        Raises:
            ValueError: if the loss is not finite.
        """
        terms = {"loss": outputs.loss, **(outputs.get("losses") or {})}
        values = {name: value.item() for name, value in terms.items()}
        if not math.isfinite(values["loss"]):
            raise ValueError(f"the loss is {values['loss']} at step {step}; lower --learning_rate")
        if self.teacher is not None and assigned is not None:
            values |= self.teacher.metrics(assigned)
        return values | {"learning_rate": self.schedules[0].get_last_lr()[0], "gradient_norm": float(norm)}

    @torch.no_grad()
    def score(self) -> float:
        """The validation score with the averaged weights; the model that is trained has its own again."""
        model = self.whole
        is_trained = model is self.bare_model
        current = {name: value.detach().clone() for name, value in model.state_dict().items()} if is_trained else {}
        model.load_state_dict(self.average.whole(like=model))
        model.eval()
        found = self.task.score(model)
        if is_trained:
            model.load_state_dict(current)
        return found


def training_views(task: Task, config: TrainConfig, *, world: int = 1) -> ViewDataset:
    """The task's training scans, augmented as the recipe says."""
    rows = sum(len(split) for split in task.train_splits)
    return ViewDataset(
        task.train_splits,
        augmentation=Augmentation(
            # a teacher sees all views, and leaves some out itself
            view_dropout=0.0 if config.supervision == "pseudo" else config.view_dropout,
            occlusion=config.occlusion,
            poor_sensor=config.poor_sensor,
            drop_phrases=config.drop_phrases,
        ),
        seed=config.seed,
        num_frames=config.num_frames,
        frames=config.frames,
        captions=config.captions,
        languages=config.languages,
        ramp_epochs=config.ramp * config.steps * config.gradient_accumulation * task.batch_size(world) * world / rows,
    )


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
        muon_rate = 30 * config.learning_rate  # type: ignore[operator]  # the recipe has chosen a number by now
        arithmetic = torch.bfloat16 if fastest_precision() == "bf16" else torch.float32
        optimizers.append(SharedMuon(hidden, lr=muon_rate, weight_decay=0.0, arithmetic=arithmetic))
    warmup = max(1, round(config.warmup * config.steps))

    def rate(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, config.steps - warmup))))

    return optimizers, [torch.optim.lr_scheduler.LambdaLR(optimizer, rate) for optimizer in optimizers]


def fastest_precision() -> Literal["bf16", "no"]:
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

    def whole(self, *, like: torch.nn.Module) -> dict[str, Tensor]:
        """The average in the shapes of a model that is not sharded. All ranks ask."""
        return whole_tensors(self.shadow, like.state_dict())

    def state_dict(self) -> dict:
        return {"updates": self.updates, "shadow": whole_tensors(self.shadow, self.shadow)}

    def load_state_dict(self, state: dict) -> None:
        self.updates = state["updates"]
        for name, value in state["shadow"].items():
            assign(self.shadow[name], value)


def train_mode(model: torch.nn.Module) -> None:
    """Training mode, but for frozen modules: their batch statistics stay those that they were trained with."""
    model.train()
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(p.requires_grad for p in own):
            module.eval()
