"""A model's classifier for one data set. In: a model and the splits of a data set. Out: what it says of the labelled scans.

Labels of scans serve to score, never to predict.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import softmax

from modeling_mvfer.classifier_mvfer import Classifier
from mvfer.evaluation.embeddings import SplitFeatures, embed_split

NEVER = -1e9  # the logit of a class that a head does not know; finite, so that scores stay numbers
MISTAKES = 6


@dataclass(frozen=True)
class Predictions:
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
    def predicted(self) -> np.ndarray:
        return self.logits.argmax(1)


@dataclass(frozen=True)
class SplitClassifier:
    """A classifier for the scans of one data set.

    Attributes:
        classifier: by prompts of the classes that occur there, or by a head, which has its own.
        names: the `K` classes of the test: the classifier's, then those that occur and that a head does not know and so misses.
        label_names: all that the data set's labels count.
    """

    classifier: Classifier
    names: list[str]
    label_names: list[str]

    @classmethod
    def build(
        cls, model, processor, splits: Iterable, *, kinds: Sequence[str] | None = None, language: str | None = None
    ) -> "SplitClassifier":
        """For the classes of these splits (`datasets.Dataset`), in the data set's order.

        Raises:
            ValueError: if the model is a multi-label one.
        """
        splits = list(splits)
        present = present_classes(*splits)
        classifier = single_label(Classifier.of(model, processor, present, kinds=kinds, language=language))
        names = list(dict.fromkeys([*classifier.labels, *present]))
        return cls(classifier, names, splits[0].features["expression"].names)

    @property
    def kind(self) -> str:
        return self.classifier.kind

    @property
    def chance(self) -> float:
        """The accuracy of guessing."""
        return 1 / len(self.classifier.labels)

    @property
    def prompts(self) -> dict[str, list[str]] | None:
        return self.classifier.prompts

    @torch.no_grad()
    def logits(self, embeds: np.ndarray) -> np.ndarray:
        """Of every class, before the temperature: `(n, D)` to `(n, K)`, in the order of `names`."""
        embeds = torch.from_numpy(np.ascontiguousarray(embeds)).to(self.classifier.model.device)
        known = self.classifier.logits(embeds).float().cpu().numpy()
        return np.pad(known, ((0, 0), (0, len(self.names) - known.shape[1])), constant_values=NEVER)

    def predict(self, embeds: np.ndarray) -> np.ndarray:
        """`(n, D)` to `(n,)`: positions in `names`."""
        return self.logits(embeds).argmax(-1)

    def classes_of(self, labels: np.ndarray) -> np.ndarray:
        """The data set's labels `(n,)`, none of them unknown, as positions in `names`."""
        return np.array([self.names.index(self.label_names[label]) for label in labels], dtype=int)

    def predictions(self, features: SplitFeatures, embeds: np.ndarray) -> Predictions:
        """Of the scans that have a label and, in `embeds` `(n, D)`, no missing view."""
        rows = np.flatnonzero((features.labels >= 0) & np.isfinite(embeds).all(1))
        subjects = [features.subjects[row] for row in rows]
        return Predictions(rows, self.logits(embeds[rows]), self.classes_of(features.labels[rows]), subjects)

    def known(self, predictions: Predictions) -> Predictions:
        """Only the scans of classes that it can name: of others no probability of being right can be asked."""
        count = len(self.classifier.labels)
        kept = np.flatnonzero(predictions.labels < count)
        subjects = [predictions.subjects[row] for row in kept]
        return Predictions(predictions.rows[kept], predictions.logits[kept, :count], predictions.labels[kept], subjects)

    def cannot_score(self, rows) -> str | None:
        """What rows (`datasets.Dataset`) show if it cannot be tested on them, else `None`."""
        shown, known = present_classes(rows), self.classifier.labels
        if self.kind == "classification" and not set(shown) & set(known):
            return f"none of the expressions that the model knows: {known}"
        if self.kind == "zero_shot" and len(shown) < 2:
            return f"one expression only, {shown}; a test needs two or more to tell apart"
        return None


def single_label(classifier: Classifier) -> Classifier:
    """The same, or a ValueError if several labels may be true at once, to which the scores here do not apply."""
    if classifier.is_multi_label:
        raise ValueError(
            "this is a multi-label model, of whose labels several may be true at once; use pipeline('mesh-classification')"
        )
    return classifier


def present_classes(*splits) -> list[str]:
    """Names of the expressions that occur in any of the splits (`datasets.Dataset`), in the data set's order."""
    occurring = {label for split in splits for label in split["expression"]}  # `unique` would copy selected rows whole
    return [name for index, name in enumerate(splits[0].features["expression"].names) if index in occurring]


def validation_accuracy(
    model, processor, split, *, kinds: Sequence[str] | None = None, language: str | None = None
) -> float:
    """Accuracy on the labelled rows of one split, among the classes that occur there: the number to watch in training.

    Raises:
        ValueError: if no row has a label.
    """
    rows = np.flatnonzero(np.array(split["expression"]) >= 0)
    if not len(rows):
        raise ValueError("expected labelled rows (expression >= 0) to validate on, got none")
    labelled = split if len(rows) == len(split) else split.select(rows)
    features = embed_split(model, processor.image_processor, labelled, progress=False)
    classifier = SplitClassifier.build(model, processor, [labelled], kinds=kinds, language=language)
    predictions = classifier.predictions(features, features.image_embeds)
    return float((predictions.predicted == predictions.labels).mean())


def worst_mistakes(predictions: Predictions) -> list[int]:
    """The rows of the wrong answers that a classifier was surest of, at most six and one per person, surest first."""
    sure = softmax(predictions.logits, axis=1).max(1)
    chosen: dict[str, int] = {}
    for place in np.argsort(-sure, kind="stable"):
        if predictions.predicted[place] != predictions.labels[place]:
            chosen.setdefault(predictions.subjects[place], int(predictions.rows[place]))
    return list(chosen.values())[:MISTAKES]
