"""Fine-tuning on action units: `train.py --stage finetune --target units`. In: views, coded units. Out: a multi-label classifier.

As `finetuning`, but several units may be true of a scan: the head has a sigmoid per unit and starts as the model's reader of
actions. Sides are not told apart: a unit counts as seen on whichever side it is.
"""

import numpy as np
import torch
from torch import Tensor

from modeling_mvfer import MVFERForFaceClassification
from modeling_mvfer.actions_mvfer import ActionReader
from modeling_mvfer.classification_mvfer import MULTI_LABEL
from mvfer.data.batching import Collator
from mvfer.evaluation.unit_head import centre_thresholds, evaluate_units, known_units, validation_auc
from mvfer.training.config import TrainConfig
from mvfer.training.finetuning import FineTuning, check_views, merged, prepare, starting_model
from mvfer.training.labels import balanced_positives, unit_rows
from mvfer.training.pretraining import build_processor
from mvfer.training.task import Task
from processing import MVFERProcessor


class UnitTuning(FineTuning):
    """Learning action units from coded rows, watched by the mean area under the ROC curve on the validation subjects.

    Raises:
        ValueError: as `FineTuning`, and if validation people show no unit that can be judged.
    """

    score_name = "validation_auc"

    def __init__(self, config: TrainConfig, splits: list, infos: list[dict]):
        Task.__init__(self, config, splits, infos)
        check_views(config, infos)
        self.processor = build_processor(config, splits, infos)
        given = [split["train"] for split in splits]
        chosen, units, targets = unit_rows(given, known_units())
        self.train_splits = [split for split in chosen if len(split)]
        self.splits = [dict(split) | {"train": part} for split, part in zip(splits, chosen, strict=True)]
        self.labels = targets.tolist()
        if left_out := sum(map(len, given)) - len(targets):
            print(f"{left_out} training scans have no coded action units and are left out")
        fields = {"class_weights": balanced_positives(targets)} if config.class_weights == "balanced" else {}
        classifier = build_unit_classifier(config, self.processor, infos, units, **fields)
        self.model = prepare(classifier, config)
        self.collator = Collator(None, self.processor.image_processor, phrases=False)
        self.summary = {
            "method": config.method,
            "target": "units",
            "labels_per_class": "all",
            "labelled_scans": len(self.labels),
            "left_out": left_out,
        }

    def score(self, model: torch.nn.Module) -> float:
        """Mean area under the ROC curve over units, and over data sets."""
        return float(np.mean([validation_auc(model, self.processor, split["validation"]) for split in self.splits]))

    def test(self, model, **options) -> tuple[MVFERForFaceClassification, dict]:
        """Merge the adapters, find where a unit counts as seen, and test."""
        classifier = merged(model, self.config.method)
        centre_thresholds(classifier, self.processor, [split["validation"] for split in self.splits])
        options.pop("calibrate_on")  # the scores of several labels at once are not calibrated
        return classifier.requires_grad_(True), evaluate_units(
            classifier, self.processor, self.config.dataset[0], **options
        )


def build_unit_classifier(
    config: TrainConfig, processor: MVFERProcessor, infos: list[dict], units: list[str], **fields
) -> MVFERForFaceClassification:
    """The classifier before its first step: a sigmoid per unit."""
    fields |= {"problem_type": MULTI_LABEL}
    model = starting_model(config, processor, infos)
    if config.model == "small" or config.head == "random":
        return MVFERForFaceClassification.from_model(model, units, **fields)
    reader = ActionReader.build(model, processor)
    embeds: dict[str, Tensor] = {unit: reader.phrase_embeds[unit] for unit in units}
    start = {"scale": reader.scale, "bias": reader.bias}
    return MVFERForFaceClassification.from_zero_shot(model, embeds, **start, **fields)
