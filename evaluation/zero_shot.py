"""Zero-shot predictions, with and without label-free normalisation.

In go embeddings of scans and of the class prompts; out come predicted classes. Labels serve to score, never to predict.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch

from evaluation.features import embed_split
from modeling_mvfer.classification_mvfer import MULTI_LABEL
from modeling_mvfer.zeroshot_mvfer import class_embeddings, class_logits
from processing.prompts_mvfer import prompts_for


def class_prompts(
    config, labels: Sequence[str], *, kinds: Sequence[str] | None = None, language: str = "en"
) -> dict[str, list[str]]:
    """The prompts of each label that a model with this configuration understands; `kinds` overrides `prompt_kinds`."""
    kinds = tuple(kinds or config.prompt_kinds)
    return prompts_for(list(labels), kinds=kinds, language=language, wordings=config.prompt_wordings)


def embed_classes(
    model, tokenizer, labels: Sequence[str], *, kinds: Sequence[str] | None = None, language: str = "en"
) -> dict[str, torch.Tensor]:
    """The prompt ensemble of each label, `(P_k, D)` each."""
    was_training = model.training
    model.eval()
    try:
        return class_embeddings(model, tokenizer, class_prompts(model.config, labels, kinds=kinds, language=language))
    finally:
        model.train(was_training)


def predict(image_embeds: np.ndarray, class_embeds: Mapping[str, torch.Tensor], *, scale: float) -> np.ndarray:
    """Predicted class of each scan, `(n, D)` to `(n,)`: indices into `class_embeds`."""
    logits = class_logits(torch.from_numpy(np.ascontiguousarray(image_embeds)), _on_cpu(class_embeds), scale=scale)
    return logits.argmax(-1).numpy()


def logits_function(
    model, tokenizer, labels: Sequence[str], *, kinds: Sequence[str] | None = None, language: str = "en"
) -> tuple[list[str], Callable[[torch.Tensor], torch.Tensor]]:
    """How a model classifies: by prompts of the labels, or, fine-tuned, by its head, which has its own labels.

    Returns:
        the labels, and a function from unit-length embeddings `(B, D)` to logits `(B, K)`, of which one is true.
    Raises:
        ValueError: if the model is a multi-label one.
    """
    if hasattr(model, "head"):
        check_single_label(model)
        return list(model.config.id2label.values()), model.head
    classes = embed_classes(model, tokenizer, labels, kinds=kinds, language=language)
    return list(labels), partial(class_logits, class_embeds=classes, scale=logit_scale(model))


def check_single_label(model) -> None:
    """Raise a ValueError if a fine-tuned model has several labels at once, to which the scores here do not apply."""
    if model.config.problem_type == MULTI_LABEL:
        raise ValueError(
            "this is a multi-label model, of whose labels several may be true at once; use pipeline('mesh-classification')"
        )


def logit_scale(model) -> float:
    """The factor before the cosine, as a number."""
    return float(model.logit_scale.detach().float().exp())


def present_classes(*splits) -> list[str]:
    """Names of the expressions that occur in any of the splits (`datasets.Dataset`), in the data set's order."""
    occurring = {label for split in splits for label in split.unique("expression")}
    return [name for index, name in enumerate(splits[0].features["expression"].names) if index in occurring]


def zero_shot_score(model, processor, split, *, kinds: Sequence[str] | None = None, language: str = "en") -> float:
    """Accuracy on the labelled rows of one split, among the classes that occur there: the number to watch in training.

    Raises:
        ValueError: if no row has a label.
    """
    names = present_classes(split)
    if not names:
        raise ValueError("expected labelled rows (expression >= 0) to validate on, got none")
    features = embed_split(model, processor.image_processor, split, progress=False)
    known = features.labels >= 0
    every_name = split.features["expression"].names
    truth = np.array([names.index(every_name[label]) for label in features.labels[known]])
    classes = embed_classes(model, processor.tokenizer, names, kinds=kinds, language=language)
    return float((predict(features.image_embeds[known], classes, scale=logit_scale(model)) == truth).mean())


def match_statistics(target: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Move the target scans' embeddings to where the training scans' lie, without labels.

    A new scanner or a new mesh topology shifts all embeddings alike. With m and s the mean and the standard deviation
    per dimension over the unlabelled target scans (m_t, s_t) and training scans (m_s, s_s):

        x' = (x - m_t) * s_s / s_t + m_s,    then scaled to unit length.

    It assumes that both sets hold similar shares of the classes, and needs more than a few target scans.

    Args:
        target (`(n, D)`), source (`(m, D)`): n, m >= 2.
    Returns:
        `(n, D)` float32, unit length.
    """
    if min(len(target), len(source)) < 2 or target.shape[1] != source.shape[1]:
        raise ValueError(f"expected (n >= 2, D) target and (m >= 2, D) source, got {target.shape} and {source.shape}")
    scale = source.std(0) / np.maximum(target.std(0), 1e-6)
    moved = (target - target.mean(0)) * scale + source.mean(0)
    return (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)


def _on_cpu(class_embeds: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {label: embeds.cpu() for label, embeds in class_embeds.items()}
