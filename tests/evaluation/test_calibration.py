import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import brier_score_loss, log_loss

from mvfer.evaluation.audits import calibration
from mvfer.evaluation.audits.calibration import calibrate
from mvfer.evaluation.classifiers import Predictions


def sample(seed, n=4000, classes=7, temperature=1.0, strength=2.0):
    """Logits whose softmax is the true probability of each class, then made too sharp by a temperature below 1."""
    rng = np.random.default_rng(seed)
    logits = strength * rng.standard_normal((n, classes))
    cumulative = softmax(logits, axis=1).cumsum(1)
    labels = (rng.random((n, 1)) > cumulative).sum(1).clip(max=classes - 1)
    return logits / temperature, labels


def predictions(seed, n, scans_per_subject=10, **options):
    logits, labels = sample(seed, n, **options)
    return Predictions(np.arange(n), logits, labels, [f"{seed}-{i // scans_per_subject}" for i in range(n)])


def test_the_calibration_error_of_a_case_worked_by_hand():
    confidences, correct = np.array([0.95, 0.95, 0.55, 0.55]), np.array([True, False, True, True])
    # ten bins of equal width: two scans at 0.95 with accuracy 0.5, two at 0.55 with accuracy 1
    assert calibration.expected_calibration_error(confidences, correct, num_bins=10) == pytest.approx(0.45)
    one_each = calibration.expected_calibration_error(confidences, correct, num_bins=4, adaptive=True)
    assert one_each == pytest.approx((0.45 + 0.45 + 0.05 + 0.95) / 4)
    rows = calibration.reliability(confidences, correct, num_bins=10)
    assert [row["count"] for row in rows] == [2, 2] and rows[1]["confidence"] == pytest.approx(0.95)


@pytest.mark.parametrize("adaptive", [False, True])
def test_calibrated_scores_have_no_error_and_sharp_ones_have_the_known_one(adaptive):
    logits, labels = sample(0, n=100_000)
    probabilities = softmax(logits, axis=1)
    confidences, correct = probabilities.max(1), probabilities.argmax(1) == labels
    assert calibration.expected_calibration_error(confidences, correct, adaptive=adaptive) < 0.01
    sharp = np.minimum(1, confidences + 0.1 * (confidences < 0.9))  # too confident by 0.1, where it fits
    expected = 0.1 * (confidences < 0.9).mean()
    assert calibration.expected_calibration_error(sharp, correct, adaptive=adaptive) == pytest.approx(
        expected, abs=0.01
    )


def test_brier_and_log_loss_agree_with_scikit_learn():
    logits, labels = sample(1, n=300)
    probabilities = softmax(logits, axis=1)
    slow = sum(brier_score_loss(labels == k, probabilities[:, k]) for k in range(7))
    assert calibration.brier_scores(probabilities, labels).mean() == pytest.approx(slow, abs=1e-9)
    found = calibration.log_losses(logits, labels).mean()
    assert found == pytest.approx(log_loss(labels, probabilities, labels=range(7)), abs=1e-9)


@pytest.mark.parametrize("truth", [0.4, 1.0, 2.5])
def test_the_temperature_that_made_scores_too_sharp_is_found_again(truth):
    logits, labels = sample(2, n=20_000, temperature=1 / truth)
    people = [str(i) for i in range(len(labels))]
    assert calibration.fit_temperature(logits, labels, people) == pytest.approx(truth, rel=0.05)


def test_a_temperature_is_not_fitted_on_tested_subjects():
    logits, labels = sample(3, n=50)
    with pytest.raises(ValueError, match=r"must not be fitted on tested subjects; 1 are in both \(7\)"):
        calibration.fit_temperature(logits, labels, [str(i) for i in range(50)], tested_subjects=["7", "elsewhere"])
    with pytest.raises(ValueError, match="two or more classes"):
        calibration.fit_temperature(logits, np.zeros(50, int), [str(i) for i in range(50)])


def test_a_confidence_above_one_is_refused():
    with pytest.raises(ValueError, match=r"in 0\.\.1"):
        calibration.expected_calibration_error(np.array([1.2]), np.array([True]))


def test_risk_and_coverage_of_a_case_worked_by_hand():
    coverage, risk = calibration.risk_coverage([0.9, 0.8, 0.8, 0.4], [True, False, True, False])
    np.testing.assert_allclose(coverage, [0.25, 0.75, 1.0])
    np.testing.assert_allclose(risk, [0, 1 / 3, 1 / 2])
    area = calibration.area_under_risk_coverage([0.9, 0.8, 0.8, 0.4], [True, False, True, False])
    assert area == pytest.approx(0.25 * 0 + 0.5 / 3 + 0.25 / 2)
    assert calibration.area_under_risk_coverage([0.5] * 4, [True, False, True, False]) == pytest.approx(0.5)


def test_the_threshold_answers_as_much_as_the_target_allows():
    confidences, correct = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, True])
    assert calibration.choose_threshold_for_accuracy(confidences, correct, target_accuracy=0.9) == pytest.approx(0.75)
    assert calibration.choose_threshold_for_accuracy(confidences, correct, target_accuracy=0.75) == 0.0
    assert calibration.choose_threshold_for_accuracy(confidences, ~correct, target_accuracy=0.9) is None
    with pytest.raises(ValueError, match="target accuracy"):
        calibration.choose_threshold_for_accuracy(confidences, correct, target_accuracy=0)


def test_the_threshold_of_validation_scans_keeps_its_promise_on_others():
    found = calibrate(predictions(5, 6000), predictions(6, 6000), target_accuracy=0.8, seed=0)
    assert found["abstention"]["accuracy"]["mean"] == pytest.approx(0.8, abs=0.02)
    assert 0.2 < found["abstention"]["coverage"]["mean"] < 0.9


@pytest.mark.parametrize("error_rate", [0.05, 0.1, 0.3])
def test_conformal_sets_cover_at_their_nominal_rate(error_rate):
    """Of a model that is badly calibrated, over many draws of 100 held-out scans."""
    coverage = []
    for seed in range(300):
        logits, labels = sample(seed, n=600, temperature=0.3)
        probabilities = softmax(logits, axis=1)
        quantile = calibration.conformal_quantile(probabilities[:100], labels[:100], error_rate=error_rate)
        sets = calibration.conformal_sets(probabilities[100:], quantile)
        coverage.append(sets[np.arange(500), labels[100:]].mean())
    exact = 1 - np.floor(101 * error_rate) / 101  # of continuous scores: between 1 - error_rate and 1 / 101 more
    assert np.mean(coverage) == pytest.approx(exact, abs=0.007) and exact >= 1 - error_rate


def test_with_too_few_held_out_scans_every_class_enters():
    assert calibration.conformal_quantile(np.full((5, 3), 1 / 3), np.zeros(5, int), error_rate=0.1) == 0.0


def test_calibration_is_fitted_on_one_part_and_mends_the_other():
    found = calibrate(
        predictions(7, 3000, temperature=0.4), predictions(8, 3000, temperature=0.4), target_accuracy=0.9, seed=0
    )
    assert found["calibrated"]["ece"] < 0.03 < 0.15 < found["uncalibrated"]["ece"]
    assert found["conformal"]["coverage"]["mean"] == pytest.approx(0.9, abs=0.02)
    assert len(found["risk_coverage"]["risk"]) == 20 and found["fitted_on"] == {"num_scans": 3000, "num_subjects": 300}


def test_a_calibration_on_tested_subjects_is_refused_with_its_reason():
    tested = predictions(9, 100)
    assert "tested subjects" in calibrate(tested, tested, target_accuracy=0.9, seed=0)["not_calibrated"]
