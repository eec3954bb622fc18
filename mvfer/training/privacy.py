"""Differentially private steps: what is learnt depends little on whether any one person took part.

In: who each training row shows, and the promise (epsilon, delta). Out: steps for the loop in `mvfer.training.learner`, and how
much of the promise they have spent. The unit is a person, all of whose scans are one: every step draws people, each with the same
chance; the gradient of each one's scans is clipped as a whole, and noise is added to the sum. A person's gradient is computed
alone, so it holds for whatever is trained. Opacus clips, adds the noise and keeps the account.

Chance decides who is drawn and what the noise is, and it is no part of the recipe: who knew the seed could take the noise away.
"""

import math
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from modeling_mvfer.normalization_mvfer import GlobalBatchNorm
from mvfer.data.loading import load_batches
from mvfer.training.config import TrainConfig

try:
    import opacus
    from opacus.accountants import RDPAccountant
    from opacus.accountants.utils import get_noise_multiplier
    from opacus.optimizers import DPOptimizer
except ImportError:
    opacus = None  # stands for its absence

BATCH_NORMS = (GlobalBatchNorm, nn.modules.batchnorm._BatchNorm)


class PrivateSteps:
    """The steps of one run.

    Args:
        config: with `dp_epsilon` (infinity: no noise, to see what clipping alone costs) and `dp_delta`; `clip_norm` bounds the
            gradient of each person, `scans_per_subject` says how many scans of a drawn person are looked at.
        subjects: whom each training row shows; who goes by one name in several data sets is one person.
        batch_size (`int`): rows per step, on average.
    Attributes:
        sample_rate: chance of each person to be drawn in a step. noise_multiplier: of the noise, in units of `clip_norm`.
        accountant: what was spent so far; it belongs into checkpoints.
    Raises:
        ValueError: if opacus is not installed, or the promise is none for so few or so many people.
    Source:
        Abadi et al. 2016, "Deep Learning with Differential Privacy", Alg. 1, arXiv:1607.00133; Mironov et al. 2019, "Renyi
        Differential Privacy of the Sampled Gaussian Mechanism", arXiv:1908.10530. Differs: a lot is a draw of people, not
        of rows, as in McMahan et al. 2018, arXiv:1710.06963.
    """

    def __init__(self, config: TrainConfig, subjects: Sequence[str], *, batch_size: int):
        if opacus is None:
            raise ValueError(
                "--dp_epsilon needs opacus; install it: pip install 'mvfer[privacy]' (or pip install opacus)"
            )
        rows_of: dict[str, list[int]] = {}
        for row, subject in enumerate(subjects):
            rows_of.setdefault(subject, []).append(row)
        self.rows_of_people = list(rows_of.values())
        count = len(self.rows_of_people)
        if config.dp_delta * count >= 1:
            raise ValueError(
                f"--dp_delta {config.dp_delta:g} is no promise to {count} people, as giving one of them away would keep it; "
                f"pass one far below {1 / count:.2g}"
            )
        self.config = config
        self.sample_rate = min(1.0, batch_size / (config.scans_per_subject * count))
        self.noise_multiplier = 0.0
        if math.isfinite(config.dp_epsilon):  # type: ignore[arg-type]  # a number wherever this is made
            self.noise_multiplier = noise_for(config.dp_epsilon, config.dp_delta, self.sample_rate, config.steps)
        self.accountant = RDPAccountant()

    def use(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        """Take the optimizer that the noised gradients are for; it stays what is checkpointed."""
        generator = torch.Generator(device).manual_seed(secrets.randbits(63))
        self.optimizer = DPOptimizer(
            optimizer,
            noise_multiplier=self.noise_multiplier,
            max_grad_norm=self.config.clip_norm,
            expected_batch_size=self.sample_rate * len(self.rows_of_people),
            generator=generator,
        )

    def batches(
        self, samples: Dataset, collate: Callable[[list[dict]], dict[str, Tensor]], *, num_workers: int, start: int
    ) -> Iterator[list[dict[str, Tensor]]]:
        """Endless steps from the one with index `start`: each a batch per person who was drawn, at times none."""
        return load_batches(
            _Groups(samples), _DrawnPeople(self, start), partial(_each, collate), num_workers=num_workers
        )

    def step(self, people: Sequence[Mapping[str, Tensor]], loss_of: Callable[..., Tensor], backward: Callable) -> None:
        """Clip the gradient of every person who was drawn, add noise to the sum, take the step and note what it spent.

        Args:
            people: a batch each. loss_of: the mean loss of a batch. backward: of a loss.
        Raises:
            ValueError: if a loss is not finite.
        """
        for batch in people:
            self.optimizer.zero_grad()
            loss = loss_of(**batch)
            if not torch.isfinite(loss):
                raise ValueError("a loss is not finite; lower --learning_rate")
            backward(loss)
            for parameter in self.optimizer.params:
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad_sample = gradient[None].clone()
            self.optimizer.signal_skip_step()  # what follows clips and adds up
            self.optimizer.step()
        for parameter in self.optimizer.params:  # nobody more: noise, and the step
            parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))
        self.optimizer.signal_skip_step(do_skip=False)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.accountant.step(noise_multiplier=self.noise_multiplier, sample_rate=self.sample_rate)

    @property
    def epsilon(self) -> float | None:
        """Spent so far, at `dp_delta`; `None` without noise, when nothing is promised."""
        return self.accountant.get_epsilon(self.config.dp_delta) if self.noise_multiplier else None

    def check_account(self, steps: int) -> None:
        """Refuse to go on from a checkpoint whose steps were not these.

        Raises:
            ValueError: naming the remedy.
        """
        expected = [(self.noise_multiplier, self.sample_rate, steps)] if steps else []
        if [tuple(entry) for entry in self.accountant.history] != expected:
            raise ValueError(
                "the checkpoint's steps were taken with other people, noise or batches, so what they spent is not what this run "
                "promises; go on with the train_config.json of that run, or start anew with --overwrite"
            )

    def summary(self) -> dict:
        """What was promised and spent, for the results."""
        return {
            "epsilon": self.epsilon,
            "delta": self.config.dp_delta,
            "unit": "person",
            "people": len(self.rows_of_people),
            "sample_rate": self.sample_rate,
            "noise_multiplier": self.noise_multiplier,
            "clip_norm": self.config.clip_norm,
            "scans_per_person": self.config.scans_per_subject,
            "steps": sum(steps for *_, steps in self.accountant.history),
            "accountant": "rdp",
        }


@cache
def noise_for(epsilon: float | None, delta: float, sample_rate: float, steps: int) -> float:
    """The least noise with which all steps together keep the promise, in units of the clipping norm."""
    promise = {"target_epsilon": epsilon, "target_delta": delta}
    return get_noise_multiplier(**promise, sample_rate=sample_rate, steps=steps, accountant="rdp")


class _DrawnPeople:
    """Per step, `(epoch, row)` of some scans of every person who is drawn."""

    def __init__(self, steps: PrivateSteps, start: int):
        self.steps, self.start = steps, start

    def __iter__(self) -> Iterator[list[list[tuple[int, int]]]]:
        rng, steps, step = np.random.default_rng(secrets.randbits(128)), self.steps, self.start
        most = steps.config.scans_per_subject
        while True:
            drawn = np.flatnonzero(rng.random(len(steps.rows_of_people)) < steps.sample_rate)
            epoch = int(step * steps.sample_rate)
            chosen = [rng.permutation(steps.rows_of_people[person])[:most] for person in drawn]
            yield [[(epoch, int(row)) for row in rows] for rows in chosen]
            step += 1


class _Groups(Dataset):
    """Several samples at once: those of one person."""

    def __init__(self, samples: Dataset):
        self.samples = samples

    def __getitem__(self, rows: Sequence[tuple[int, int]]) -> list[dict]:
        return [self.samples[row] for row in rows]


def _each(collate: Callable[[list[dict]], dict[str, Tensor]], people: list[list[dict]]) -> list[dict[str, Tensor]]:
    return [collate(person) for person in people]


def check_batch_norm(model: nn.Module) -> None:
    """Refuse a model, as it is trained, in which one person's scans change what is computed of others.

    Raises:
        ValueError: naming the layer and the remedy.
    """
    for name, module in model.named_modules():
        if isinstance(module, BATCH_NORMS) and module.training:
            raise ValueError(
                f"--dp_epsilon: {name} is a batch norm that would be trained, and its statistics mix people without noise; pass "
                "--model with a trained model's folder, whose batch norm stays as it is, and --method probe or lora"
            )
