"""How a model classifies: by prompts of the labels, or, fine-tuned, by its head.

In go a model and labels, or the splits of a data set; out comes something that turns embeddings into logits, whichever kind of
model it is. Labels of scans serve to score, never to predict.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from modeling_mvfer.classification_mvfer import MULTI_LABEL
from modeling_mvfer.zeroshot_mvfer import class_logits, is_calibrated
from mvfer.evaluation.zero_shot import (
    Answers,
    SplitClassifier,
    class_prompts,
    embed_classes,
    logit_scale,
    present_classes,
)

NEVER = -1e9  # the logit of a class that a head does not know; finite, so that scores stay numbers


class Classifier(NamedTuple):
    """How embeddings of scans become logits.

    Attributes:
        labels: the `K` classes.
        logits: from unit-length embeddings `(B, D)` to `(B, K)`; of the classes one is true.
        calibrated: whether `config.calibration` was found for just these classes.
    """

    labels: list[str]
    logits: Callable[[torch.Tensor], torch.Tensor]
    calibrated: bool


def classifier_of(
    model, tokenizer, labels: Sequence[str], *, kinds: Sequence[str] | None = None, language: str = "en"
) -> Classifier:
    """A model's classifier: by prompts of the labels, or, fine-tuned, by its head, which has its own labels.

    Raises:
        ValueError: if the model is a multi-label one.
    """
    if hasattr(model, "head"):
        check_single_label(model)
        return Classifier(labels_of_head(model), model.head, model.config.calibration is not None)
    classes = embed_classes(model, tokenizer, labels, kinds=kinds, language=language)
    texts = class_prompts(model.config, labels, kinds=kinds, language=language)
    logits = partial(class_logits, class_embeds=classes, scale=logit_scale(model))
    return Classifier(list(labels), logits, is_calibrated(model.config, texts))


def check_single_label(model) -> None:
    """Raise a ValueError if a fine-tuned model has several labels at once, to which the scores here do not apply."""
    if model.config.problem_type == MULTI_LABEL:
        raise ValueError(
            "this is a multi-label model, of whose labels several may be true at once; use pipeline('mesh-classification')"
        )


def labels_of_head(model) -> list[str]:
    """What a fine-tuned model tells apart."""
    return list(model.config.id2label.values())


@dataclass(frozen=True)
class FineTuned(SplitClassifier):
    """A fine-tuned classifier for one data set.

    Attributes:
        names: the head's `K` labels, then the classes that occur in the data set and that it does not know, which it misses.
        model (`MVFERForFaceClassification`).
    """

    kind = "classification"
    model: torch.nn.Module

    @property
    def chance(self) -> float:
        return 1 / len(labels_of_head(self.model))

    @classmethod
    def build(cls, model, splits: Iterable) -> "FineTuned":
        """For the classes of these splits (`datasets.Dataset`).

        Raises:
            ValueError: if the model is a multi-label one.
        """
        check_single_label(model)
        splits = list(splits)
        names = list(dict.fromkeys([*labels_of_head(model), *present_classes(*splits)]))
        return cls(names, splits[0].features["expression"].names, model)

    @torch.no_grad()
    def logits(self, embeds: np.ndarray) -> np.ndarray:
        embeds = torch.from_numpy(np.ascontiguousarray(embeds)).to(self.model.device)
        known = self.model.head(embeds).float().cpu().numpy()
        return np.pad(known, ((0, 0), (0, len(self.names) - known.shape[1])), constant_values=NEVER)

    def cannot_score(self, rows) -> str | None:
        known = labels_of_head(self.model)
        if set(present_classes(rows)) & set(known):
            return None
        return f"none of the expressions that the model knows: {known}"

    def known(self, answers: Answers) -> Answers:
        count = self.model.config.num_labels
        kept = np.flatnonzero(answers.labels < count)
        subjects = [answers.subjects[row] for row in kept]
        return Answers(answers.rows[kept], answers.logits[kept, :count], answers.labels[kept], subjects)


MISTAKES = 6


def worst_mistakes(answers: Answers) -> list[int]:
    """The rows of the wrong answers that a classifier was surest of, at most six and one per person, surest first."""
    from scipy.special import softmax  # not needed to predict

    sure = softmax(answers.logits, axis=1).max(1)
    chosen: dict[str, int] = {}
    for place in np.argsort(-sure, kind="stable"):
        if answers.guesses[place] != answers.labels[place]:
            chosen.setdefault(answers.subjects[place], int(answers.rows[place]))
    return list(chosen.values())[:MISTAKES]
