"""Fine-tuning as a task of `train.py`. In: views and labels. Out: a classifier of expressions.

The head starts as the zero-shot classifier; the head alone, low-rank adapters, or everything is trained.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PretrainedConfig

from modeling_mvfer import MVFERForFaceClassification, MVFERModel
from modeling_mvfer.classifier_mvfer import Classifier
from modeling_mvfer.normalization_mvfer import GlobalBatchNorm
from mvfer.data.batching import Collator, ViewDataset
from mvfer.evaluation.evaluate import evaluate, test_fused
from mvfer.training.config import TrainConfig
from mvfer.training.labels import LabelledViews, balanced_weights, labelled_rows
from mvfer.training.lora import add_adapters
from mvfer.training.pretraining import build_model, build_processor
from mvfer.training.task import Task
from mvfer.training.wise_ft import choose_alpha
from processing import MVFERProcessor


class FineTuning(Task):
    """Learning expressions from labels, watched by accuracy on the validation subjects.

    Raises:
        ValueError: if there is too little to learn from, the model is no `MVFERModel` or CLIP, or does not fit the data's views.
    """

    score_name = "validation_accuracy"

    def __init__(self, config: TrainConfig, splits: list, infos: list[dict]):
        super().__init__(config, splits, infos)
        check_views(config, infos)
        self.processor = build_processor(config, splits, infos)
        chosen = labelled_rows(
            [split["train"] for split in splits], subjects_per_class=config.labels_per_class, seed=config.seed
        )
        self.train_splits = [split for split in chosen if len(split)]
        self.splits = [dict(split) | {"train": part} for split, part in zip(splits, chosen, strict=True)]
        labels = [label for split in self.train_splits for label in split["expression"]]
        occurring, names = sorted(set(labels)), splits[0]["train"].features["expression"].names
        classes, self.labels = [names[label] for label in occurring], [occurring.index(label) for label in labels]
        classifier = build_classifier(config, self.processor, infos, classes, self.labels)
        self.weights_before = {name: value.clone() for name, value in classifier.state_dict().items()}
        self.model = prepare(classifier, config)
        self.collator = Collator(None, self.processor.image_processor, phrases=False)
        self.summary = {
            "method": config.method,
            "labels_per_class": config.labels_per_class or "all",
            "labelled_scans": len(self.labels),
        }

    def batch_size(self, world: int) -> int:
        """Rows per process and step: all of them where a few labelled subjects have fewer."""
        return min(self.config.batch_size, max(1, len(self.labels) // world))

    def samples(self, views: ViewDataset) -> LabelledViews:
        return LabelledViews(views, self.labels)

    def collate(self, samples: list[dict]) -> dict[str, Tensor]:
        return super().collate(samples) | {"labels": torch.tensor([sample["label"] for sample in samples])}

    def test(self, model, **options) -> tuple[MVFERForFaceClassification, dict]:
        """Merge the adapters, mix with the start if asked, and test."""
        classifier = self.merged(model)
        mixed = self.mix(classifier) if self.config.wise_ft else {}
        results = evaluate(classifier, self.processor, self.config.dataset[0], **options) | mixed
        return classifier.requires_grad_(True), results

    def merged(self, model) -> MVFERForFaceClassification:
        """The trained model without adapters, in evaluation mode."""
        return (model.merge_and_unload() if self.config.method == "lora" else model).eval()

    def mix(self, classifier) -> dict:
        """WiSE-FT: leave the classifier with the mixture that is best on the validation subjects; test both of its ends."""

        def test() -> dict:
            folders = {"classification": self.config.dataset[0], **self.transfer_sets}
            return {
                name: test_fused(classifier, self.processor, folder, seed=self.config.seed, progress=False)
                for name, folder in folders.items()
            }

        tuned = {name: value.clone() for name, value in classifier.state_dict().items()}
        fine_tuned = test()
        classifier.load_state_dict(self.weights_before)
        zero_shot = test()
        alpha, scores = choose_alpha(classifier, self.weights_before, tuned, self.score)
        ends = {"zero_shot": zero_shot, "fine_tuned": fine_tuned}
        return {"wise_ft": {"alpha": alpha, "validation_accuracy": scores, **ends}}


def build_classifier(
    config: TrainConfig, processor: MVFERProcessor, infos: list[dict], classes: Sequence[str], labels: Sequence[int]
) -> MVFERForFaceClassification:
    """The classifier before its first step."""
    fields = {}
    if config.class_weights == "balanced":
        fields["class_weights"] = balanced_weights(labels, len(classes))
    if config.model == "small":
        return MVFERForFaceClassification.from_model(build_model(config, processor, infos), classes, **fields)
    angles = infos[0]["render_settings"]["view_angles_deg"]
    model = MVFERModel.from_pretrained(config.model, dtype=torch.float32, view_angles_deg=angles).eval()
    if config.head == "random":
        return MVFERForFaceClassification.from_model(model, classes, **fields)
    embeds = Classifier.from_prompts(model, processor, classes).class_embeds
    return MVFERForFaceClassification.from_zero_shot(model, embeds, **fields)


def prepare(classifier: MVFERForFaceClassification, config: TrainConfig) -> torch.nn.Module:
    """Freeze what the method does not train; with `lora`, wrap.

    Batch norm of a trained model stays as it is: the statistics of a few labelled people would spoil it.
    """
    if config.method == "lora":
        return add_adapters(classifier, rank=config.lora_rank)
    if config.method == "probe":
        classifier.requires_grad_(False)
        classifier.head.requires_grad_(True)
    elif config.model != "small":
        for module in classifier.modules():
            if isinstance(module, GlobalBatchNorm):
                module.requires_grad_(False)
    return classifier


def check_views(config: TrainConfig, infos: list[dict]) -> None:
    """Refuse a starting model that learnt from something else than the data will show.

    Raises:
        ValueError: naming the model and the remedy.
    """
    found, _ = ({}, None) if config.model == "small" else PretrainedConfig.get_config_dict(config.model)
    if found.get("model_type") != "mvfer":  # a plain CLIP was not trained on rendered channels
        return
    start, shown = MVFERProcessor.from_pretrained(config.model).image_processor, infos[0]["render_settings"]["channels"]
    if list(shown) != list(start.channels):
        raise ValueError(
            f"{config.dataset[0]}: its views show {list(shown)}, but {config.model} learnt from {list(start.channels)}; "
            "build it with these channels"
        )
    if config.frames != start.frames:
        raise ValueError(f"{config.model} learnt from sequences as --frames {start.frames}; pass this flag")
