"""The power law is recovered, its interval holds what is measured, and the curve is fitted without test labels."""

import numpy as np
import pytest

from mvfer.studies.learning_curve import (
    LearningCurve,
    extrapolate,
    fit_power_law,
    measure_learning_curve,
    subjects_needed,
)

SIZES = np.array([2, 4, 8, 16, 32])


def simulated(seed: int, *, sizes=SIZES, later=160, people=60, scans=14):
    """A curve whose law is known, and one accuracy measured later on the same test people."""
    rng = np.random.default_rng(seed)
    a, b, c = rng.uniform(0, 0.1), rng.uniform(0.3, 1.0), rng.uniform(0.3, 0.9)
    difficulty = rng.normal(0, 0.3, people)

    def wrong(size, draws):
        rate = (a + b * size**-c) * np.exp(difficulty + rng.normal(0, 0.08, (draws, 1)))
        return rng.binomial(scans, rate.clip(0, 1))

    curve = LearningCurve(sizes, [wrong(size, 6) for size in sizes], np.full(people, scans))
    return curve, 1 - wrong(later, 1).sum() / (people * scans)


def test_a_noiseless_law_is_recovered():
    a, b, c = fit_power_law(SIZES, 0.05 + 0.6 * SIZES[None] ** -0.5)
    assert (a[0], b[0], c[0]) == pytest.approx((0.05, 0.6, 0.5), abs=1e-9)


def test_a_floor_is_never_negative():
    a, b, c = fit_power_law(SIZES, 0.8 * SIZES[None] ** -1.0 - 0.01)
    assert a[0] == 0 and b[0] > 0


def test_the_interval_foretold_from_a_fifth_of_the_subjects_holds_what_is_measured_with_all():
    inside = []
    for seed in range(60):
        curve, measured = simulated(seed)
        told = extrapolate(curve, [160], seed=seed, resamples=300)[0]
        inside.append(told["low"] <= measured <= told["high"])
    assert np.mean(inside) >= 0.93


def test_subjects_needed_inverts_what_is_foretold():
    sizes = 2 ** np.arange(1, 8)
    errors = 0.02 + 0.7 * sizes**-0.6
    curve = LearningCurve(sizes, [np.full((3, 1), 10_000 * e) for e in errors], np.array([10_000]))
    needed = subjects_needed(curve, 0.95)["mean"]
    assert extrapolate(curve, [needed])[0]["mean"] >= 0.95 > extrapolate(curve, [needed - 2])[0]["mean"]
    assert subjects_needed(curve, 0.99)["mean"] is None  # the floor is 2 % errors


def people_and_scans(rng, people: int, scans: int = 6):
    labels = np.tile(np.arange(3), people * scans // 3)
    embeds = np.eye(8)[labels] + rng.normal(0, 0.9, (len(labels), 8))
    return embeds, labels, [f"p{i // scans}" for i in range(len(labels))]


def test_more_people_are_better_and_unlabelled_rows_play_no_part():
    rng = np.random.default_rng(0)
    train, test = people_and_scans(rng, 64), people_and_scans(rng, 40)
    validation = people_and_scans(rng, 20)[:2]
    curve = measure_learning_curve(train, validation, test, draws=3)
    assert curve.sizes.tolist() == [2, 4, 8, 16, 32, 64]
    assert [len(wrong) for wrong in curve.wrong] == [3, 3, 3, 3, 3, 1]
    assert curve.errors()[-1] < curve.errors()[0] - 0.1

    unlabelled = np.full(6, -1)
    more = (np.concatenate([train[0], train[0][:6]]), np.append(train[1], unlabelled), [*train[2], *["new"] * 6])
    again = measure_learning_curve(more, validation, test, draws=3)
    assert all(np.array_equal(a, b) for a, b in zip(curve.wrong, again.wrong, strict=True))


def test_too_few_people_are_refused():
    rng = np.random.default_rng(0)
    few, test = people_and_scans(rng, 5), people_and_scans(rng, 4)
    with pytest.raises(ValueError, match="8 labelled training subjects"):
        measure_learning_curve(few, few[:2], test)
    curve, _ = simulated(0, sizes=SIZES[:2])
    with pytest.raises(ValueError, match="three numbers"):
        extrapolate(curve, [100])
