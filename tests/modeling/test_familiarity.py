"""Known and unknown scans: the distance, and what a classifier says of them."""

import dataclasses

import numpy as np
import pytest
import torch

from modeling_mvfer.classifier_mvfer import UNLIKE, Classifier
from modeling_mvfer.configuration_mvfer import Calibration
from modeling_mvfer.familiarity_mvfer import distances, fit_familiarity, reason, unlike

CALIBRATED = Calibration(1.0)


def flat_features(count: int, seed: int) -> torch.Tensor:
    """`(count, 12)`: wide in eight directions, narrow in the last four, around a mean."""
    generator = torch.Generator().manual_seed(seed)
    widths = torch.tensor([3.0] * 8 + [0.1] * 4)
    return 2.0 + widths * torch.randn(count, 12, generator=generator)


def test_the_distance_is_that_of_minor_components_written_out():
    known, new = flat_features(400, 0), flat_features(5, 1)
    found = fit_familiarity(known, directions=4)
    variances, axes = np.linalg.eigh(np.cov(known.double().numpy().T))
    centred = (new.double().numpy() - known.double().numpy().mean(0)) @ axes[:, :4]
    mean_square = (centred**2 / variances[:4]).mean(1)
    expected = found.spread[0] + found.spread[1] * new.double().square().sum(-1).numpy()
    np.testing.assert_allclose(distances(new, found).numpy(), np.sqrt(mean_square / expected), rtol=0.02)  # 16 bits


def test_what_leaves_the_narrow_directions_is_far_whatever_the_wide_ones_show():
    found = dataclasses.replace(fit_familiarity(flat_features(400, 0), directions=4), unlike_above=2.0)
    same, other, strong = flat_features(50, 2), flat_features(50, 3), flat_features(50, 4)
    other[:, 8:] += 0.5
    strong[:, :8] *= 2
    assert np.mean(unlike(same, found)) < 0.1 and np.mean(unlike(strong, found)) < 0.1
    assert np.mean(unlike(other, found)) > 0.9
    assert unlike(same[:2], None) == [None, None]
    with pytest.raises(ValueError, match="features of 12 dimensions, these have 5"):
        distances(torch.zeros(1, 5), found)


def test_a_classifier_says_why_it_abstains(small_model, small_processor):
    classifier = Classifier.from_prompts(small_model, small_processor, ["anger", "disgust", "fear"])
    unsure = dataclasses.replace(classifier, calibration=dataclasses.replace(CALIBRATED, abstain_below=0.6))
    logits = torch.tensor([[1.0, 1.1, -3.0], [4.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
    found = unsure.decide(logits, [False, False, True])
    assert found.abstain == [True, False, True]
    assert found.reasons == ["unsure between disgust and anger", None, UNLIKE]
    assert classifier.decide(logits, [False, None, True]).abstain == [
        None,
        None,
        True,
    ]  # not calibrated for these labels
    assert reason(["a"], [0.2]) == "unsure of a"


def test_a_temperature_of_the_user_s_own_says_nothing_of_abstaining(small_model, small_processor):
    known = dataclasses.replace(fit_familiarity(torch.randn(50, small_model.config.projection_dim)), unlike_above=0.0)
    small_model.config.calibration = dataclasses.replace(CALIBRATED, familiarity=known)
    try:
        classifier = Classifier.from_prompts(small_model, small_processor, ["anger", "disgust"])
        inputs = {"pixel_values": torch.randn(1, 3, 3, 32, 32)}
        assert classifier(inputs).abstain == [True] and classifier(inputs).reasons == [UNLIKE]
        assert classifier.at(2.0)(inputs).abstain == [None]
    finally:
        small_model.config.calibration = None
