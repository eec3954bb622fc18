"""Pretraining as a task of `train.py`: captions and views in, a vision-language model out. No emotion label is trained on.

A task says what the loop does not know: the model and its processor, the rows and how they become a batch, the score that
chooses the best step, and what is exported.
"""

from pathlib import Path

import torch
from torch.utils.data import Dataset
from transformers import AutoTokenizer

from evaluation.evaluate import evaluate_run, table
from evaluation.zero_shot import zero_shot_score
from modeling_mvfer import MVFERConfig, MVFERModel
from modeling_mvfer.hub import save_run
from processing import MVFERImageProcessor, MVFERProcessor
from processing.batching import Collator, ViewDataset
from processing.prompts_mvfer import EXPRESSIONS, LANGUAGES, prompts_for
from processing.tokenizer import build_tokenizer
from training.checkpoints import TrainState
from training.config import TrainConfig


class Pretraining:
    """Vision-language pretraining, watched by zero-shot accuracy on the validation subjects.

    Args:
        splits, infos: per folder of `config.dataset`, its `DatasetDict` and `dataset_info`.
    Attributes:
        model, processor: what is trained, and what makes its inputs.
        train_splits: the rows to learn from, one `Dataset` per folder.
        collate: from samples to a batch of `model.forward`.
        forward_options: what else `forward` needs to give a loss.
        score_name: the name of the validation score in the log.
    """

    score_name = "validation_zero_shot"
    forward_options = {"return_loss": True}

    def __init__(self, config: TrainConfig, splits: list, infos: list[dict]):
        self.config, self.infos = config, infos
        self.processor = build_processor(config, splits, infos)
        self.model = build_model(config, self.processor, infos)
        self.train_splits = [split["train"] for split in splits]
        self.validation = [split["validation"] for split in splits]
        self.collate = Collator(
            self.processor.tokenizer, self.processor.image_processor, phrases=config.phrase_weight > 0
        )

    def batch_size(self, world: int) -> int:
        """Rows per process and step."""
        return self.config.batch_size

    def samples(self, views: ViewDataset) -> Dataset:
        """What the loader draws from, given the views of `train_splits`."""
        return views

    def score(self, model: MVFERModel) -> float:
        """Mean zero-shot accuracy over the validation subjects of every data set."""
        return sum(zero_shot_score(model, self.processor, split) for split in self.validation) / len(self.validation)

    def export(self, model: MVFERModel, weights: dict, state: TrainState, command: str) -> None:
        """Test once on the first data set's held-out subjects (and on the others, as transfer), and write the folder."""
        config = self.config
        model.load_state_dict(weights)
        also = {Path(path).name: path for path in [*config.dataset[1:], *config.also_test]}
        results = evaluate_run(
            model.eval(), self.processor, config.dataset[0], also=also, seed=config.seed, command=command
        )
        results["training"] = state.summary(self.score_name, config.seed)
        save_run(config.output_dir, model, self.processor, results=results, datasets=self.infos)
        print(table(results))


def build_processor(config: TrainConfig, splits: list, infos: list[dict]) -> MVFERProcessor:
    """The tokenizer of the model (from scratch: learnt from captions and prompts) and the renderer of the data."""
    render = infos[0]["render_settings"]
    for folder, info in zip(config.dataset, infos, strict=True):
        for key in ("size_px", "channels", "view_angles_deg"):
            if info["render_settings"][key] != render[key]:
                raise ValueError(
                    f"{folder}: {key} is {info['render_settings'][key]}, but {render[key]} in {config.dataset[0]}; build alike"
                )
    if config.model != "small":
        # The data's views are resized to what the pretrained tower takes.
        size_px = MVFERConfig.from_pretrained(config.model).vision_config.image_size
        image_processor = MVFERImageProcessor.from_render_settings(render | {"size_px": size_px})
        return MVFERProcessor(image_processor=image_processor, tokenizer=AutoTokenizer.from_pretrained(config.model))
    image_processor = MVFERImageProcessor.from_render_settings(render)
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
            "contrastive_weight",
            "view_contrastive_weight",
            "phrase_weight",
            "cross_view_weight",
            "cross_modal_weight",
            "cross_modal_form",
        )
    }
    wordings = {info.get("build", {}).get("captions_per_row") for info in infos}
    objective["prompt_wordings"] = 1 if wordings == {1} else None
    objective["view_angles_deg"] = infos[0]["render_settings"]["view_angles_deg"]
    if config.model == "small":
        tokenizer, size = processor.tokenizer, infos[0]["render_settings"]["size_px"]
        special = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
        return MVFERModel(MVFERConfig.small(vocab_size=len(tokenizer), image_size=size, **special, **objective))
    return MVFERModel.from_pretrained(config.model, dtype=torch.float32, **objective)
