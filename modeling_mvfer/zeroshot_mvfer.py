"""Zero-shot classification with prompt ensembles.

In: the prompts of every class, and embeddings of scans. Out: one logit per class. A class scores by the *mean likelihood* of its
prompts, so a class with many prompts has no advantage.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers.utils import logging

logger = logging.get_logger(__name__)


def class_prompts(
    processor,
    config,
    labels: Sequence[str],
    *,
    prompts: Mapping[str, Sequence[str]] | None = None,
    kinds: Sequence[str] | None = None,
    language: str | None = None,
) -> dict[str, list[str]]:
    """The prompts of every label: those given, else those that the processor writes and the model understands.

    Args:
        processor: has `prompts_for`. config (`MVFERConfig`): says which kinds, wordings and languages the model knows.
        labels: at least one; any texts.
        prompts (mapping of label to prompts, *optional*): descriptions to use instead, for some or all labels.
        kinds: overrides the configuration's `prompt_kinds`.
        language: of the prompts that the processor writes, see `prompt_language`.
    Raises:
        ValueError: if labels are missing or repeated, there are prompts for others, or the model did not learn the language.
    """
    if isinstance(labels, str) or not labels or len(set(labels)) != len(labels):
        raise ValueError(f"expected candidate_labels, a list of different labels, at least one; got {labels!r}")
    prompts = prompts or {}
    unknown = set(prompts) - set(labels)
    if unknown:
        raise ValueError(f"prompts for {sorted(unknown)}, which are not among the candidate_labels {list(labels)}")
    others, kinds = [label for label in labels if label not in prompts], tuple(kinds or config.prompt_kinds)
    written = {}
    if others:
        options = {"language": prompt_language(config, language), "wordings": config.prompt_wordings}
        written = processor.prompts_for(others, kinds=kinds, **options)
    return {label: list(prompts[label]) if label in prompts else written[label] for label in labels}


def prompt_language(config, language: str | None) -> str:
    """The language to ask a model in: the given one, else English, or what the model learnt instead.

    Raises:
        ValueError: if the model's captions were in other languages: it would answer all the same, and wrongly.
    """
    learnt = list(config.prompt_languages or ())
    if language is None:
        return "en" if "en" in learnt or not learnt else learnt[0]
    if learnt and language not in learnt:
        raise ValueError(
            f"language {language!r}: this model learnt from captions in {', '.join(learnt)} alone; ask in {learnt[0]!r}, give "
            "prompts of your own, or train with captions in it: "
            f"train.py --captions fresh --languages {' '.join([*learnt, language])}"
        )
    if not learnt and language != "en":
        logger.warning_once(
            f"it is not known whether this model learnt language {language!r}; if it did not, its answers mean nothing"
        )
    return language


@torch.no_grad()
def class_embeddings(
    model, tokenizer, prompts: Mapping[str, Sequence[str]], *, batch_size: int = 256
) -> dict[str, Tensor]:
    """Encode every class's prompts with the text tower.

    Args:
        model (`MVFERModel` or any `CLIPModel`): has `get_text_features`; used as it is (call `.eval()` first).
        tokenizer: the model's tokenizer.
        prompts (mapping of label to prompts): at least one class, and at least one prompt per class.
        batch_size (`int`, defaults to 256): prompts encoded at once.
    Returns:
        `dict` of label to `torch.Tensor` of shape `(P_k, D)`: unit length, float32, in the order of `prompts`.
    Raises:
        ValueError: if there is no class, or a class without prompts.
    """
    if not prompts:
        raise ValueError("expected prompts for at least one class, got none")
    for label, texts in prompts.items():
        if isinstance(texts, str) or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
            raise ValueError(f"expected a list of non-empty prompts for class {label!r}, got {texts!r}")
    unique = list(dict.fromkeys(text for texts in prompts.values() for text in texts))
    max_length = model.config.text_config.max_position_embeddings
    rows = []
    for start in range(0, len(unique), batch_size):
        tokens = tokenizer(
            unique[start : start + batch_size],
            padding=True,
            truncation=True,
            max_length=max_length,
            return_tensors="pt",
        ).to(model.device)
        features = model.get_text_features(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], return_dict=True
        )
        rows.append(torch.nn.functional.normalize(features.pooler_output.float(), dim=-1))
    embeds = torch.cat(rows)  # (number of unique prompts, D)
    row_of = {text: row for row, text in enumerate(unique)}
    return {label: embeds[[row_of[text] for text in texts]] for label, texts in prompts.items()}


def class_logits(image_embeds: Tensor, class_embeds: Mapping[str, Tensor], *, scale: float | Tensor) -> Tensor:
    """Log of the mean, over a class's prompts, of exp(scale * cosine).

    With one prompt per class this is CLIP's logit. Repeating a prompt changes nothing.

    Args:
        image_embeds (`torch.Tensor` of shape `(B, D)`): unit length.
        class_embeds (mapping of label to `torch.Tensor` of shape `(P_k, D)`): from `class_embeddings`.
        scale (`float` or scalar tensor): `model.logit_scale.exp()`.
    Returns:
        `torch.Tensor` of shape `(B, K)`: float32 logits, in the order of `class_embeds`; softmax gives probabilities.
    Raises:
        ValueError: if the shapes do not agree.
    """
    shapes = {label: tuple(embeds.shape) for label, embeds in class_embeds.items()}
    if (
        image_embeds.dim() != 2
        or not shapes
        or any(len(s) != 2 or s[0] < 1 or s[1] != image_embeds.shape[1] for s in shapes.values())
    ):
        raise ValueError(
            f"expected image_embeds (B, D) and (P, D) for each class, got {tuple(image_embeds.shape)} and {shapes}"
        )
    columns = []
    for embeds in class_embeds.values():
        similarity = scale * image_embeds.float() @ embeds.float().to(image_embeds.device).T  # (B, P_k)
        columns.append(torch.logsumexp(similarity, dim=-1) - math.log(embeds.shape[0]))
    return torch.stack(columns, dim=-1)


def prompts_key(prompts: Mapping[str, Sequence[str]]) -> str:
    """Sixteen digits that name a choice of classes by their prompts, whatever their order and what they are called."""
    classes = sorted(sorted(set(texts)) for texts in prompts.values())
    return hashlib.sha256("\x1e".join("\x1f".join(texts) for texts in classes).encode()).hexdigest()[:16]
