"""Zero-shot predictions, with and without label-free normalisation.

In go embeddings of scans and of the class prompts; out come predicted classes. Labels serve to score, never to predict.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from modeling_mvfer.zeroshot_mvfer import class_embeddings, class_logits
from mvfer.evaluation.embeddings import SplitFeatures, embed_split, evaluation_mode
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
    with evaluation_mode(model):
        return class_embeddings(model, tokenizer, class_prompts(model.config, labels, kinds=kinds, language=language))


def predict(image_embeds: np.ndarray, class_embeds: Mapping[str, torch.Tensor], *, scale: float) -> np.ndarray:
    """Predicted class of each scan, `(n, D)` to `(n,)`: indices into `class_embeds`."""
    return logits_of(image_embeds, class_embeds, scale=scale).argmax(-1)


def logits_of(image_embeds: np.ndarray, class_embeds: Mapping[str, torch.Tensor], *, scale: float) -> np.ndarray:
    """Logits of every class, `(n, D)` to `(n, K)`."""
    embeds = torch.from_numpy(np.ascontiguousarray(image_embeds))
    return class_logits(embeds, _on_cpu(class_embeds), scale=scale).numpy()


def logit_scale(model) -> float:
    """The factor before the cosine, as a number."""
    return float(model.logit_scale.detach().float().exp())


def present_classes(*splits) -> list[str]:
    """Names of the expressions that occur in any of the splits (`datasets.Dataset`), in the data set's order."""
    occurring = {label for split in splits for label in split["expression"]}  # `unique` would copy selected rows whole
    return [name for index, name in enumerate(splits[0].features["expression"].names) if index in occurring]


@dataclass(frozen=True)
class Answers:
    """What a classifier says of labelled scans.

    Attributes:
        rows (`(n,)`): their positions in the split.
        logits (`(n, K)`), labels (`(n,)`): of the classifier's names, 0 to K - 1.
        subjects (`n` strings).
    """

    rows: np.ndarray
    logits: np.ndarray
    labels: np.ndarray
    subjects: list[str]

    @property
    def guesses(self) -> np.ndarray:
        return self.logits.argmax(1)


@dataclass(frozen=True)
class SplitClassifier(ABC):
    """A classifier for the scans of one data set.

    Attributes:
        kind: the name of its scores in the results, "zero_shot" or "classification".
        names: the `K` classes that it tells apart; every_name: all that the data set's labels count.
        chance: the accuracy of guessing.
    """

    kind: ClassVar[str]
    names: list[str]
    every_name: list[str]

    @property
    def chance(self) -> float:
        return 1 / len(self.names)

    @abstractmethod
    def logits(self, embeds: np.ndarray) -> np.ndarray:
        """Of every class, `(n, D)` to `(n, K)`, in the order of `names`."""

    def classes_of(self, labels: np.ndarray) -> np.ndarray:
        """The data set's labels `(n,)`, none of them unknown, as positions in `names`."""
        return np.array([self.names.index(self.every_name[label]) for label in labels], dtype=int)

    @abstractmethod
    def cannot_score(self, rows) -> str | None:
        """What rows (`datasets.Dataset`) show if it cannot be tested on them, else `None`."""

    def known(self, answers: Answers) -> Answers:
        """Only the scans of classes that it can name: of others no probability of being right can be asked."""
        return answers

    def predict(self, embeds: np.ndarray) -> np.ndarray:
        """`(n, D)` to `(n,)`: positions in `names`."""
        return self.logits(embeds).argmax(-1)

    def answers(self, features: SplitFeatures, embeds: np.ndarray) -> Answers:
        """Of the scans that have a label and, in `embeds` `(n, D)`, no missing view."""
        rows = np.flatnonzero((features.labels >= 0) & np.isfinite(embeds).all(1))
        subjects = [features.subjects[row] for row in rows]
        return Answers(rows, self.logits(embeds[rows]), self.classes_of(features.labels[rows]), subjects)


@dataclass(frozen=True)
class ZeroShot(SplitClassifier):
    """A model's zero-shot classifier for one data set.

    Attributes:
        names: the `K` classes that occur there, in the data set's order.
        prompts (name to texts), embeds (name to `(P_k, D)`), scale (`float`).
    """

    kind = "zero_shot"
    prompts: dict[str, list[str]]
    embeds: dict[str, torch.Tensor]
    scale: float

    @classmethod
    def build(
        cls, model, tokenizer, splits: Iterable, *, kinds: Sequence[str] | None = None, language: str = "en"
    ) -> "ZeroShot":
        """For the classes of these splits (`datasets.Dataset`)."""
        splits = list(splits)
        names, every_name = present_classes(*splits), splits[0].features["expression"].names
        prompts = class_prompts(model.config, names, kinds=kinds, language=language)
        embeds = embed_classes(model, tokenizer, names, kinds=kinds, language=language)
        return cls(names, every_name, prompts, embeds, logit_scale(model))

    def cannot_score(self, rows) -> str | None:
        names = present_classes(rows)
        return f"one expression only, {names}; a test needs two or more to tell apart" if len(names) < 2 else None

    def logits(self, embeds: np.ndarray) -> np.ndarray:
        return logits_of(embeds, self.embeds, scale=self.scale)


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
