"""Thresholds and costs against enumeration and hand-computed cases."""

import numpy as np
import pytest

from mvfer.studies.poc import Prices, choose_threshold_for_cost, cost_of_policies, recommend

PRICES = Prices(error=10.0, review=1.0)


def cost(confidence, right, threshold, prices=PRICES):
    automatic = confidence >= threshold
    return (automatic & ~right).sum() * prices.error + (~automatic).sum() * prices.by_person


@pytest.mark.parametrize("seed", range(20))
def test_the_chosen_threshold_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.2, 1, 40).round(1)  # with ties
    right = rng.random(40) < confidence
    chosen = choose_threshold_for_cost(confidence, right, PRICES)
    best = min(cost(confidence, right, threshold) for threshold in [0, *confidence, 1.1])
    assert cost(confidence, right, chosen) == best


def test_reviews_that_cost_nothing_or_too_much():
    confidence, right = np.array([0.9, 0.8, 0.7]), np.array([True, False, True])
    assert choose_threshold_for_cost(confidence, right, Prices(error=10, review=100)) == 0.0
    assert choose_threshold_for_cost(confidence, ~right & False, Prices(error=10, review=0)) > 1


def test_costs_by_hand():
    confidence, right = np.array([0.9, 0.8, 0.3, 0.2]), np.array([True, False, False, True])
    found = cost_of_policies(
        confidence, right, ["a", "a", "b", "b"], threshold=0.5, prices=Prices(10.0, 1.0, review_error_rate=0.1)
    )
    means = {name: value["mean"] for name, value in found.items()}
    assert means == pytest.approx(
        {
            "all_by_people": 2000,
            "all_automatic": 5000,
            "with_threshold": 1000 * (10 + 2 * 2) / 4,
            "errors": 1000 * (1 + 0.2) / 4,
            "reviews": 500,
            "errors_avoided": 1000 * (1 - 0.2) / 4,
            "saving": 2000 - 3500,
        }
    )
    assert found["reviews"]["low"] == 0 and found["reviews"]["high"] == 1000  # one of the two people, twice


def test_the_recommendation_follows_the_interval():
    pays, unsure, loses = ({"low": low, "high": high} for low, high in ((50, 90), (-10, 90), (-90, -10)))
    needed = {"mean": 400, "low": 200, "high": None}
    arguments = {"fixed_cost": 100, "cases": 10_000, "needed": needed, "have": 100, "target": 0.9}
    assert recommend(pays, **arguments)[0] == "go"
    assert recommend(unsure, **arguments)[0] == "collect more"
    assert "400" in recommend(unsure, **arguments)[1]
    assert recommend(loses, **arguments)[0] == "stop"
    assert recommend(pays, **arguments | {"fixed_cost": 10_000})[0] == "stop"


def test_negative_prices_are_refused():
    with pytest.raises(ValueError, match="0 or more"):
        Prices(error=-1, review=1)
