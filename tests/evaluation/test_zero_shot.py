from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from modeling_mvfer.classifier_mvfer import Classifier
from modeling_mvfer.zeroshot_mvfer import class_logits
from mvfer.evaluation.classifiers import SplitClassifier
from mvfer.evaluation.embeddings import match_statistics


def unit(values):
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def test_predictions_are_indices_of_the_most_similar_class():
    classes = {"a": torch.tensor([[1.0, 0.0]]), "b": torch.tensor([[0.0, 1.0], [0.0, 1.0]])}
    model = SimpleNamespace(device="cpu", config=SimpleNamespace(problem_type=None))
    asked = Classifier(model, ["a", "b"], partial(class_logits, class_embeds=classes, scale=10.0))
    embeds = unit(np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert SplitClassifier(asked, ["a", "b"], ["a", "b"]).predict(embeds).tolist() == [0, 1]


def test_normalisation_undoes_a_shift_and_a_stretch_of_the_whole_set():
    rng = np.random.default_rng(0)
    source = unit(rng.standard_normal((200, 8)) + 2)
    shifted = source * rng.uniform(0.5, 2, 8) + rng.standard_normal(8)
    np.testing.assert_allclose(match_statistics(shifted, source), source, atol=1e-5)


def test_normalisation_leaves_the_training_set_as_it_is():
    source = unit(np.random.default_rng(1).standard_normal((50, 4)) + 1)
    np.testing.assert_allclose(match_statistics(source, source), source, atol=1e-6)


def test_normalisation_needs_more_than_one_scan():
    with pytest.raises(ValueError, match="n >= 2"):
        match_statistics(np.ones((1, 4)), np.ones((5, 4)))
