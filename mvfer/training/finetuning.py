"""Fine-tuning as a task of `train.py`. In: views and labels. Out: a classifier of expressions.

The head starts as the zero-shot classifier; the head alone, low-rank adapters, or everything is trained. The weights may then be
mixed with those of the start (WiSE-FT).
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from transformers import PretrainedConfig

from modeling_mvfer import MVFERForFaceClassification, MVFERModel
from modeling_mvfer.classifier_mvfer import Classifier
from modeling_mvfer.normalization_mvfer import GlobalBatchNorm
from mvfer.data.batching import Collator, ViewDataset
from mvfer.evaluation.audits.leakage import load_subjects_seen, subject_keys
from mvfer.evaluation.evaluate import evaluate, test_fused
from mvfer.training.config import TrainConfig
from mvfer.training.labels import LabelledViews, balanced_weights, labelled_rows
from mvfer.training.pretraining import build_model, build_processor
from mvfer.training.task import Task
from processing import MVFERProcessor

try:
    import peft
except ImportError:
    peft = None  # type: ignore[assignment]  # stands for its absence

ADAPTED_LAYERS = r"vision_model\..*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)|visual_projection"
ALPHAS = tuple(step / 10 for step in range(11))  # of WiSE-FT


class FineTuning(Task):
    """Learning expressions from labels, watched by accuracy on the validation subjects.

    Args:
        classes (*optional*): the names of the classes; by default those that training rows show.
    Raises:
        ValueError: if there is too little to learn from, it shows other classes, the model is no `MVFERModel` or CLIP, or does
            not fit the data's views.
    """

    score_name = "validation_accuracy"

    def __init__(self, config: TrainConfig, splits: list, infos: list[dict], *, classes: Sequence[str] | None = None):
        super().__init__(config, splits, infos)
        check_views(config, infos)
        self.processor = build_processor(config, splits, infos)
        chosen = labelled_rows(
            [split["train"] for split in splits], subjects_per_class=config.labels_per_class, seed=config.seed
        )
        self.train_splits = [split for split in chosen if len(split)]
        self.splits = [dict(split) | {"train": part} for split, part in zip(splits, chosen, strict=True)]
        labels = [label for split in self.train_splits for label in split["expression"]]
        names = splits[0]["train"].features["expression"].names
        classes = [names[label] for label in sorted(set(labels))] if classes is None else list(classes)
        if others := sorted({names[label] for label in labels} - set(classes)):
            raise ValueError(f"{config.dataset[0]}: training rows show {others}, which are none of {classes}")
        self.labels = [classes.index(names[label]) for label in labels]
        classifier = build_classifier(config, self.processor, infos, classes, self.labels)
        self.weights_before = {name: value.clone() for name, value in classifier.state_dict().items()}
        self.model = prepare(classifier, config)
        if config.dp_epsilon is not None:
            check_unseen(config, chosen, infos)
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
        classifier = merged(model, self.config.method)
        mixed = self.mix(classifier) if self.config.wise_ft else {}
        options["statistic"] = self.config.dp_epsilon is None  # of the training scans, without noise
        results = evaluate(classifier, self.processor, self.config.dataset[0], **options) | mixed
        return classifier.requires_grad_(True), results

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
    model = starting_model(config, processor, infos)
    if config.model == "small" or config.head == "random":
        return MVFERForFaceClassification.from_model(model, classes, **fields)
    embeds = Classifier.from_prompts(model, processor, classes).class_embeds
    return MVFERForFaceClassification.from_zero_shot(model, embeds, **fields)  # type: ignore[arg-type]  # not None: from prompts


def starting_model(config: TrainConfig, processor: MVFERProcessor, infos: list[dict]) -> MVFERModel:
    """What a classifier is made of: a new small model, or the one that the recipe names, with the data's cameras."""
    if config.model == "small":
        return build_model(config, processor, infos)
    angles = infos[0]["render_settings"]["view_angles_deg"]
    return MVFERModel.from_pretrained(config.model, dtype=torch.float32, view_angles_deg=angles).eval()


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


def merged(model, method: str) -> MVFERForFaceClassification:
    """A trained model without adapters, in evaluation mode."""
    return (model.merge_and_unload() if method == "lora" else model).eval()


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


def check_unseen(config: TrainConfig, splits: list, infos: list[dict]) -> None:
    """Refuse to promise privacy to people from whom the starting model has learnt already.

    Raises:
        ValueError: naming the model and how many of them it knows.
    """
    seen = {} if config.model == "small" else load_subjects_seen(config.model) or {}
    people = set().union(*(subject_keys(info, split["subject"]) for info, split in zip(infos, splits, strict=True)))
    if known := people & {*seen.get("trained_on", ()), *seen.get("chosen_on", ())}:
        raise ValueError(
            f"{config.model}: has learnt from {len(known)} of these people without noise, so --dp_epsilon would promise them "
            "what is lost; start from a model that has not seen them"
        )


def add_adapters(classifier, *, rank: int):
    """Freeze a classifier but for its head, and add adapters of this rank to every linear layer of the vision tower.

    They start at zero. Once merged, nothing of `peft`, an optional library, is left in the model.

    Returns:
        `peft.PeftModel`: its `merge_and_unload()` gives the classifier back, adapters merged.
    Raises:
        ValueError: if peft is not installed.
    Source:
        Hu et al. 2021, "LoRA", arXiv:2106.09685.
    """
    if peft is None:
        raise ValueError("--method lora needs peft; install it: pip install 'mvfer[lora]' (or pip install peft)")
    settings = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=ADAPTED_LAYERS)
    adapted = peft.get_peft_model(classifier, settings)
    classifier.head.requires_grad_(True)
    return adapted


def interpolate(start: Mapping[str, Tensor], tuned: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """`(1 - alpha) * start + alpha * tuned`, tensor by tensor; counters, which are whole numbers, are the tuned ones.

    What is gained on the labelled data is often kept, and what the zero-shot model knew of other data is lost less, somewhere
    between the two.

    Raises:
        ValueError: if the two have different names, or alpha is not in 0..1.
    Source:
        Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", eq. 1, arXiv:2109.01903.
    """
    if start.keys() != tuned.keys() or not 0 <= alpha <= 1:
        different = sorted(start.keys() ^ tuned.keys())
        raise ValueError(f"expected one model's weights and alpha in 0..1, got alpha {alpha}; not in both: {different}")
    return {
        name: start[name].to(value.device).lerp(value, alpha) if value.is_floating_point() else value.clone()
        for name, value in tuned.items()
    }


def choose_alpha(
    model, start: Mapping[str, Tensor], tuned: Mapping[str, Tensor], score: Callable[..., float]
) -> tuple[float, dict[str, float]]:
    """Try `ALPHAS`; the model is left with the weights of the best, of equal ones the smallest, which is nearest the start.

    Args:
        model: whose weights they are.
        score: the model's validation score.
    Returns:
        the chosen alpha, and the score of every alpha by its name ("0.3").
    """
    scores = {}
    for alpha in ALPHAS:
        model.load_state_dict(interpolate(start, tuned, alpha))
        scores[f"{alpha:g}"] = score(model)
    best = max(ALPHAS, key=lambda alpha: scores[f"{alpha:g}"])
    model.load_state_dict(interpolate(start, tuned, best))
    return best, scores
