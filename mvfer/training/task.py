"""What the loop of `train.py` does not know: a task. `mvfer.training.pretraining` and `mvfer.training.finetuning` are the two.

In go the recipe and the data sets; out come the model and its processor, the rows and how they become a batch, the score that
chooses the best step, and what is exported.
"""

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Dataset

from modeling_mvfer import MVFERModel
from mvfer.data.batching import ViewDataset
from mvfer.evaluation.audits.leakage import load_subjects_seen, subjects_seen
from mvfer.evaluation.results import table
from mvfer.hub.run_folder import save_run, set_calibration
from mvfer.reports.findings import findings
from mvfer.training.checkpoints import TrainState
from mvfer.training.config import TrainConfig
from processing import MVFERProcessor


class Task(ABC):
    """One way of learning.

    Args:
        splits, infos: per folder of `config.dataset`, its `DatasetDict` and `dataset_info`.
    Attributes:
        model, processor: what is trained, and what makes its inputs.
        train_splits: the rows to learn from, `Dataset`s.
        view_dropout: the chance that the loader leaves a view out.
        described: which of these rows have a text that is learnt from; `None` where texts do not matter.
        forward_options: what `forward` needs beside a batch to give a loss.
        score_name: the name of the validation score in the log.
    """

    model: torch.nn.Module
    processor: MVFERProcessor
    train_splits: list
    score_name: str
    described: list[bool] | None = None
    forward_options: dict = {}

    def __init__(self, config: TrainConfig, splits: list, infos: list[dict]):
        self.config, self.splits, self.infos = config, splits, infos
        self.view_dropout = config.view_dropout

    @abstractmethod
    def collate(self, samples: list[dict]) -> dict[str, Tensor]:
        """From samples to a batch of `model.forward`."""

    @abstractmethod
    def score(self, model: torch.nn.Module) -> float:
        """Mean accuracy over the validation subjects of every data set."""

    @abstractmethod
    def export(self, model: torch.nn.Module, weights: dict, state: TrainState, command: str) -> None:
        """Test once on the first data set's held-out subjects (and on the others, as transfer), and write the folder."""

    def batch_size(self, world: int) -> int:
        """Rows per process and step."""
        return self.config.batch_size

    def samples(self, views: ViewDataset) -> Dataset:
        """What the loader draws from, given the views of `train_splits`."""
        return views

    def start(self, accelerator: Accelerator, model: torch.nn.Module, average: dict[str, Tensor]) -> None:  # noqa: B027
        """Called once before the first step (and before a checkpoint is loaded), with the moving average's tensors."""

    def lesson(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the model is given of a batch, on its device."""
        return batch

    def report(self) -> dict[str, float]:
        """More numbers for the log. All ranks ask."""
        return {}

    @cached_property
    def others(self) -> dict[str, str]:
        """Data sets on which the finished model is tested as transfer: name to folder."""
        return {Path(path).name: path for path in [*self.config.dataset[1:], *self.config.also_test]}

    @cached_property
    def seen(self) -> dict[str, list[str]]:
        """Whom the finished model was trained and chosen on, in this run and before."""
        before = None if self.config.model == "small" else load_subjects_seen(self.config.model)
        return subjects_seen(self.infos, self.splits, before=before)

    def save(self, model: MVFERModel, results: dict, state: TrainState, **training) -> None:
        """Write the model folder with its temperature and threshold, and say how well it does."""
        set_calibration(model.config, results["calibration"])
        results["training"] = {
            "steps": state.step,
            "best_step": state.best_step,
            self.score_name: state.best_score,
            "seed": self.config.seed,
            "start": self.config.model,
            **training,
        }
        save_run(
            self.config.output_dir,
            model,
            self.processor,
            results=results,
            datasets=self.infos,
            subjects_seen=self.seen,
        )
        print("\n".join([*findings(results), "", table(results)]))
