"""What the loop over steps does not know: a task. `mvfer.training.pretraining` and `mvfer.training.finetuning` are the two.

In: the recipe and the data sets. Out: the model and its processor, the rows and how they become a batch, the score that chooses
the best step, and the exported folder.
"""

from abc import ABC, abstractmethod
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from modeling_mvfer import MVFERModel
from mvfer.data.baselines import draw_baselines
from mvfer.data.batching import Collator, ViewDataset
from mvfer.data.fingerprint import fingerprint
from mvfer.data.without_folders import without_folders
from mvfer.evaluation.audits.leakage import load_subjects_seen, scans_seen, subjects_seen
from mvfer.evaluation.classifiers import validation_accuracy
from mvfer.evaluation.results import table
from mvfer.hub.run_folder import save_run, set_calibration
from mvfer.reports.findings import findings
from mvfer.training.checkpoints import Origin, TrainState
from mvfer.training.config import TrainConfig
from processing import MVFERProcessor
from processing.names_mvfer import shown_lines


class Task(ABC):
    """One way of learning.

    Args:
        splits, infos: per folder of `config.dataset`, its `DatasetDict` and `dataset_info`.
    Attributes:
        model, processor: what is trained, and what makes its inputs.
        train_splits: the rows to learn from, `datasets.Dataset`s.
        captioned: which of these rows have a text that is learnt from; `None` where texts do not matter.
        collator: makes a batch of samples.
        forward_options: what `forward` needs beside a batch to give a loss.
        score_name: the name of the validation score in the log.
        summary: what the results say of the recipe, beside what they say of every task.
    """

    model: torch.nn.Module
    processor: MVFERProcessor
    train_splits: list
    collator: Collator
    score_name: str
    summary: dict
    captioned: list[bool] | None = None
    forward_options: dict = {}

    def __init__(self, config: TrainConfig, splits: list, infos: list[dict]):
        self.config, self.splits, self.infos = config, splits, infos

    @abstractmethod
    def test(self, model: torch.nn.Module, **options) -> tuple[MVFERModel, dict]:
        """Finish the trained model, and test it once on the first data set, with `options` of `evaluate`."""

    def batch_size(self, world: int) -> int:
        """Rows per process and step."""
        return self.config.batch_size

    def samples(self, views: ViewDataset) -> Dataset:
        """What the loader draws from, given the views of `train_splits`."""
        return views

    def collate(self, samples: list[dict]) -> dict[str, Tensor]:
        """From samples to a batch that `on_device` makes one of `model.forward`; called where samples are loaded."""
        batch = self.collator.gather(samples)
        if self.model.config.baseline:
            batch |= draw_baselines(samples, share=self.config.baseline)
        return batch

    def on_device(self, batch: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
        """A batch of `collate` as `model.forward` takes it."""
        return self.collator.finish(batch, device)

    def score(self, model: torch.nn.Module) -> float:
        """Mean accuracy over the validation subjects of every data set."""
        scores = [validation_accuracy(model, self.processor, split["validation"]) for split in self.splits]
        return sum(scores) / len(scores)

    @property
    def transfer_sets(self) -> dict[str, str]:
        """Data sets on which the finished model is tested as transfer: name to folder."""
        return {Path(path).name: path for path in [*self.config.dataset[1:], *self.config.also_test]}

    def origin(self) -> Origin:
        """What the run learns from."""
        before = None if self.config.model == "small" else load_subjects_seen(self.config.model)
        data = [fingerprint(folder) for folder in self.config.dataset]
        private = self.config.dp_epsilon is not None
        return Origin(data, subjects_seen(self.infos, self.splits, before=before), private=private)

    def export(self, model: torch.nn.Module, weights: dict, state: TrainState, origin: Origin, command: str) -> None:
        """Test these weights once on held-out subjects and transfer sets, write the model folder, and say how well it does."""
        config = self.config
        before = None if config.model == "small" else load_subjects_seen(config.model)
        seen = origin.seen | scans_seen(self.splits, before=before)
        model.load_state_dict(weights)
        options = {"seen": seen, "calibrate_on": config.dataset[1:], "command": command}
        model, results = self.test(model, also=self.transfer_sets, seed=config.seed, **options)
        set_calibration(model.config, results["calibration"])
        results["training"] = {
            "steps": state.step,
            "best_step": state.best_step,
            self.score_name: state.best_score,
            "seed": config.seed,
            "start": without_folders(config.model),
            "data": origin.data,
            **({"other_data_from_step": origin.switched_at} if origin.switched_at else {}),
            **self.summary,
        }
        save_run(config.output_dir, model, self.processor, results=results, datasets=self.infos, subjects_seen=seen)
        print(shown_lines("\n".join([*findings(results), "", table(results)])))


def effort(seconds: float, processes: int, co2_per_hour_g: float | None) -> dict:
    """What training took, for the results: seconds, processes and, where its rate was stated, grams of CO2."""
    taken: dict = {"seconds": round(seconds, 1), "processes": processes}
    return taken if co2_per_hour_g is None else taken | {"co2_g": round(co2_per_hour_g * seconds / 3600, 3)}
