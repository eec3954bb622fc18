"""Pretraining as a task of `train.py`. In: views and captions. Out: a vision-language model. No emotion label is trained on.

Without captions (`--supervision pseudo`) a teacher assigns prompts to the scans of every batch.
"""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from modeling_mvfer import MVFERConfig, MVFERModel
from mvfer.data.batching import Collator
from mvfer.data.tokenizer import build_tokenizer
from mvfer.data.wording import known_phrases, languages_of, wordings_met
from mvfer.evaluation.evaluate import evaluate
from mvfer.training.config import TrainConfig
from mvfer.training.presets import small_config
from mvfer.training.task import Task
from mvfer.training.teacher import prompt_bank
from processing import MVFERImageProcessor, MVFERProcessor
from processing.facs_phrases_mvfer import RELAXED_PHRASES
from processing.prompts_mvfer import EXPRESSIONS, LANGUAGES, prompts_for


class Pretraining(Task):
    """Vision-language pretraining, watched by zero-shot accuracy on the validation subjects."""

    score_name = "validation_zero_shot"
    forward_options = {"return_loss": True}

    def __init__(self, config: TrainConfig, splits: list, infos: list[dict]):
        super().__init__(config, splits, infos)
        self.processor = build_processor(config, splits, infos)
        self.model = build_model(config, self.processor, infos)
        self.train_splits = [split["train"] for split in splits]
        if config.supervision == "captions":  # else the model knows the words that it knew at the start
            for name, value in learnt_words(config, self.train_splits).items():
                setattr(self.model.config, name, value)
        if config.learns_from_captions:
            self.captioned = [bool(captions) for split in self.train_splits for captions in split["captions"]]
        tokenizer = self.processor.tokenizer if config.supervision == "captions" else None  # a teacher gives the texts
        self.collator = Collator(
            tokenizer,
            self.processor.image_processor,
            phrases=config.phrase_weight > 0 or config.side_weight > 0,
            sides=config.side_weight > 0,
        )
        self.summary = {"preset": config.preset, "supervision": config.supervision}

    def test(self, model: MVFERModel, **options) -> tuple[MVFERModel, dict]:
        results = evaluate(model.eval(), self.processor, self.config.dataset[0], **options)
        results["data"]["caption_source"] = results["supervision"]
        results["supervision"] = sorted(learnt_from(self.config, results["supervision"]))
        return model, results


def build_processor(config: TrainConfig, splits: list, infos: list[dict]) -> MVFERProcessor:
    """The tokenizer of the model (from scratch: learnt from captions and prompts) and the renderer of the data."""
    render = infos[0]["render_settings"]
    for folder, info in zip(config.dataset, infos, strict=True):
        for key in ("size_px", "channels", "view_angles_deg", "aim_y"):
            here, there = info["render_settings"].get(key, 0.0), render.get(key, 0.0)
            if here != there:
                raise ValueError(f"{folder}: {key} is {here}, but {there} in {config.dataset[0]}; build alike")
    if render.get("backend") == "numba":
        render = render | {"backend": "auto"}  # a model also runs where numba is not installed
    magnifications = {info.get("build", {}).get("magnification", 1.0) for info in infos}
    if len(magnifications) > 1:
        raise ValueError(f"the data sets were built with different --magnification, {magnifications}; build alike")
    sequences = {"num_frames": config.num_frames, "frames": config.frames, "magnification": magnifications.pop()}
    if config.model != "small":
        # The data's views are resized to what the pretrained tower takes.
        size_px = MVFERConfig.from_pretrained(config.model).vision_config.image_size
        image_processor = MVFERImageProcessor.from_render_settings(render | {"size_px": size_px}, **sequences)
        return MVFERProcessor(image_processor=image_processor, tokenizer=AutoTokenizer.from_pretrained(config.model))
    image_processor = MVFERImageProcessor.from_render_settings(render, **sequences)
    captions = sorted({caption for split in splits for row in split["train"]["captions"] for caption in row})
    names = [prompts_for(EXPRESSIONS, kinds=["names"], language=language) for language in LANGUAGES]
    prompts = [prompt for bank in names for texts in bank.values() for prompt in texts]
    tokenizer = build_tokenizer(captions + prompts + known_phrases())
    return MVFERProcessor(image_processor=image_processor, tokenizer=tokenizer)


def build_model(config: TrainConfig, processor: MVFERProcessor, infos: list[dict]) -> MVFERModel:
    """A small model from scratch, or any CLIP with new, neutral parts; the objective is the recipe's."""
    fields: dict[str, Any] = {
        "fusion": config.fusion,
        "frame_fusion": config.frame_fusion,
        "temporal_layers": config.temporal_layers,
        "baseline": config.baseline > 0,
        "objective": config.objective,
    }
    if config.fusion == "text":
        fields["fusion_prompt_ids"] = processor.tokenizer(prompt_bank([*EXPRESSIONS]), truncation=True)["input_ids"]
    fields["view_angles_deg"] = infos[0]["render_settings"]["view_angles_deg"]
    if config.model == "small":
        tokenizer, size = processor.tokenizer, infos[0]["render_settings"]["size_px"]
        special: dict[str, Any] = {
            f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")
        }
        return MVFERModel(small_config(vocab_size=len(tokenizer), image_size=size, **special, **fields))
    model = MVFERModel.from_pretrained(config.model, dtype=torch.float32, **fields)
    if config.frozen_towers:
        for part in (model.vision_model, model.visual_projection, model.text_model, model.text_projection):
            part.requires_grad_(False)
    return model


def learnt_words(config: TrainConfig, rows: list) -> dict[str, Any]:
    """The fields of the model's configuration that say which prompts it understands once it has learnt from these rows.

    Kinds are as they were unless labels were made into texts. Of an earlier run it goes on with, the languages stay.
    """
    captions = {caption for split in rows for row in split["captions"] for caption in row or ()}
    sources = {source for split in rows for source in split["caption_source"]}
    fresh = config.captions == "fresh" and "captions" in sources
    languages = set(config.languages if fresh else languages_of(captions))
    if config.model != "small":
        languages |= set(MVFERConfig.from_pretrained(config.model).prompt_languages or ())
    words: dict[str, Any] = {
        "prompt_wordings": len(RELAXED_PHRASES["en"]) if fresh else wordings_met(captions),
        "prompt_languages": [language for language in LANGUAGES if language in languages] or None,
    }
    if "label_prompts" in sources:
        words["prompt_kinds"] = ["actions", "names"] if "captions" in sources else ["names"]
    return words


def learnt_from(config: TrainConfig, caption_sources: list[str]) -> set[str]:
    """Every kind of text that the weights have seen: this run's, and that of the earlier run it started from."""
    ours = {"pseudo"} if config.supervision == "pseudo" else set(caption_sources)
    earlier = Path(config.model) / "results.json"
    if not earlier.is_file():  # a pretrained model, whose texts were its authors'
        return ours
    return ours | set(json.loads(earlier.read_text(encoding="utf-8")).get("supervision", ()))
