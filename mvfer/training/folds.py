"""Fine-tuning anew in every fold of a protocol: `mvfer evaluate --protocol NAME --finetune lora`.

In: a model's folder and, per fold, training, validation and test rows. Out: the expressions that the fold's own classifier gives
the test rows. The step is chosen on the validation subjects, as `train.py --stage finetune` does; the model that all folds start
from is read from its folder each time and never written.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from accelerate import Accelerator
from accelerate.utils import set_seed
from datasets import DatasetDict

from mvfer.data.schema import dataset_info
from mvfer.data.splits import check_disjoint
from mvfer.evaluation.classifiers import SplitClassifier
from mvfer.evaluation.embeddings import embed_split
from mvfer.progress import progress_bar
from mvfer.training.checkpoints import TrainState
from mvfer.training.config import TrainConfig
from mvfer.training.finetuning import FineTuning, merged
from mvfer.training.learner import Learner, fastest_precision, training_views
from processing import MVFERProcessor

SCORINGS = 10  # on the validation subjects, per fold


class FoldTuner:
    """Fine-tunes one model on one data set, fold after fold.

    Args:
        model, dataset_dir (`str`): folder of the starting model, or its repository; folder of the built data set.
        method (`str`): probe, lora or full, as `train.py --method`.
        steps, seed (`int`), learning_rate (`float`, *optional*; default as in `train.py`): of every fold's training.
    Raises:
        ValueError: for settings without meaning, or a model that was not trained on such views.
    """

    def __init__(
        self,
        model: str,
        dataset_dir: str,
        *,
        method: Literal["probe", "lora", "full"],
        steps: int,
        seed: int = 0,
        learning_rate: float | None = None,
        batch_size: int = 64,
        progress: bool = True,
    ):
        start = MVFERProcessor.from_pretrained(model).image_processor
        self.config = TrainConfig(
            stage="finetune",
            model=str(model),
            dataset=[str(dataset_dir)],
            method=method,
            steps=steps,
            seed=seed,
            learning_rate=learning_rate,
            frames=start.frames,
            num_frames=start.num_frames,
            eval_every=max(1, steps // SCORINGS),
            log_every=1,  # the loss is looked at in every step
            mixed_precision=fastest_precision(),
            num_workers=0,
        )
        self.info = dataset_info(dataset_dir)
        self.batch_size, self.progress = batch_size, progress

    @property
    def settings(self) -> dict:
        """What was done in every fold, for the results."""
        return {name: getattr(self.config, name) for name in ("method", "steps", "learning_rate", "seed")}

    def __call__(self, folds: Sequence[Mapping]) -> list[dict]:
        """Train in every fold on its own, and predict.

        Args:
            folds: per fold, train, validation and test rows (`datasets.Dataset`).
        Returns:
            per fold `{"predicted": names of expressions, one per test row, "best_step", "validation_accuracy"}`.
        Raises:
            ValueError: if a subject is on two sides of a fold, or training or validation rows have no labels to learn from.
        """
        accelerator = Accelerator(mixed_precision=self.config.mixed_precision)
        found = []
        steps = len(folds) * self.config.steps
        with progress_bar(what="fine-tune", unit="step", hidden=not self.progress, total=steps) as bar:
            for number, rows in enumerate(folds):
                bar.set_postfix_str(f"fold {number + 1}/{len(folds)}")
                found.append(self._fold(rows, accelerator, bar))
                accelerator.free_memory()
        return found

    def _fold(self, rows: Mapping, accelerator: Accelerator, bar) -> dict:
        check_disjoint({name: set(part["subject"]) for name, part in rows.items()})
        config = self.config
        set_seed(config.seed)
        task = FineTuning(config, [DatasetDict(rows)], [self.info])
        learner, state, best_weights = Learner(task, config, accelerator), TrainState(), {}

        def keep(weights: dict) -> None:
            best_weights.update({name: value.clone() for name, value in weights.items()})

        for _ in learner.fit(training_views(task, config), state, keep=keep, log=lambda *_: None):
            bar.update()
        learner.bare_model.load_state_dict(best_weights)
        return {
            "predicted": self._predict(merged(learner.bare_model, config.method), task.processor, rows["test"]),
            "best_step": state.best_step,
            "validation_accuracy": state.best_score,
        }

    def _predict(self, classifier, processor, rows) -> list[str]:
        features = embed_split(classifier, processor.image_processor, rows, batch_size=self.batch_size, progress=False)
        head = SplitClassifier.build(classifier, processor, [rows])
        return [head.names[guess] for guess in head.predict(features.image_embeds)]
