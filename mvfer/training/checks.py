"""Are this data and this start fit to train on? Asked once at the start, so that a run does not fail after an hour.

In: the recipe, the opened splits of every data set, the processor. Out: nothing, or one clear error with the remedy.
"""

from collections import Counter

from transformers import PretrainedConfig

from modeling_mvfer import MVFERForFaceClassification
from mvfer.data.schema import SPLITS
from mvfer.evaluation.evaluate import open_splits
from mvfer.training.config import TrainConfig
from processing import MVFERProcessor


def check_data(config: TrainConfig, data_sets: list) -> None:
    """Refuse data sets from which the recipe cannot learn, or on which the best step cannot be chosen.

    Args:
        data_sets: one `DatasetDict` per folder of `config.dataset`, in that order.
    Raises:
        ValueError: if a split is missing or empty, training rows have no captions, or validation has fewer than two classes.
    """
    for folder, splits in zip(config.dataset, data_sets, strict=True):
        for split in SPLITS:
            if split not in splits or not len(splits[split]):
                raise ValueError(
                    f"{folder}: split {split!r} is missing or empty; build the data set with more subjects"
                )
        if config.learns_from_captions and not any(splits["train"]["captions"]):
            raise ValueError(
                f"{folder}: no training row has a caption, so there is no text to align with; add captions, "
                "let a teacher assign prompts (--supervision pseudo --model runs/earlier), "
                "or learn from views alone (--cross_view_weight 0.5 --contrastive_weight 0 --view_contrastive_weight 0 "
                "--phrase_weight 0)"
            )
        for split in ("validation", "test") if config.target == "expressions" else ():
            classes = {label for label in splits[split]["expression"] if label >= 0}
            if len(classes) < 2:
                raise ValueError(
                    f"{folder}: {split} rows show {len(classes)} of the expressions; an accuracy needs at least two. "
                    f"See python -m dataset_scripts.validate {folder}"
                )
        occurs_in = Counter(subject for split in SPLITS for subject in set(splits[split]["subject"]))
        if leaked := sorted(subject for subject, count in occurs_in.items() if count > 1):
            raise ValueError(f"{folder}: subjects {leaked[:3]} are in several splits; build the data set again")


def check_start(config: TrainConfig) -> None:
    """Refuse to start from a fine-tuned classifier, whose text tower is gone.

    Raises:
        ValueError: naming the model and what to pass instead.
    """
    if config.model == "small":
        return
    found, _ = PretrainedConfig.get_config_dict(config.model)
    if MVFERForFaceClassification.__name__ in (found.get("architectures") or ()):
        raise ValueError(
            f"{config.model}: a fine-tuned classifier; pass --model with the MVFERModel that it was made from"
        )


def check_transfer(config: TrainConfig, processor: MVFERProcessor) -> None:
    """Refuse data sets in `config.also_test` on which the finished model could not be tested.

    Raises:
        ValueError, OSError: if a folder is no data set, lacks a split, or shows other channels than the model reads.
    """
    for folder in config.also_test:
        open_splits(folder, "test", processor)
