"""Is it worth it: what errors and reviews cost with the model, without it, and with a person for the uncertain cases.

In go class probabilities with the truth, and two prices that the user names. Out come the threshold below which a person
decides, chosen on validation subjects, and what 1,000 cases then cost on test subjects, with an interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mvfer.evaluation.metrics import bootstrap_mean


@dataclass(frozen=True)
class Prices:
    """What things cost, in any one currency.

    Attributes:
        error: a wrong answer that nobody noticed.
        review: a case that a person decides.
        review_error_rate: share of wrong answers that people give; 0: never wrong.
    """

    error: float
    review: float
    review_error_rate: float = 0.0

    def __post_init__(self):
        if min(self.error, self.review) < 0 or not 0 <= self.review_error_rate <= 1:
            raise ValueError(f"expected prices of 0 or more and a rate in [0, 1], got {self}")

    @property
    def by_person(self) -> float:
        """A case that a person decides, the person's errors included."""
        return self.review + self.review_error_rate * self.error


def choose_threshold(confidence: np.ndarray, right: np.ndarray, prices: Prices) -> float:
    """The confidence below which a person should decide, for the least cost.

    Args:
        confidence (`(n,)`): the highest class probability of each validation scan; right (`(n,)`, bool).
    Returns:
        `float`: 0 keeps everything automatic, a number above 1 gives everything to people. Of equal costs the lowest.
    """
    order = np.argsort(-confidence)
    automatic = np.arange(len(confidence) + 1)  # the k most confident cases are automatic
    errors = np.concatenate([[0], np.cumsum(~right[order])])
    costs = errors * prices.error + (len(confidence) - automatic) * prices.by_person
    ranked = confidence[order]
    between = np.append(ranked, -1.0)[1:] < ranked  # equal confidences fall on the same side
    allowed = np.concatenate([[True], between])
    most = int(np.flatnonzero(allowed & (costs <= costs[allowed].min() + 1e-12))[-1])
    if most == len(confidence):
        return 0.0
    return float((ranked[most - 1] + ranked[most]) / 2) if most else float(np.nextafter(1.0, 2.0))


def cost_of_policies(
    confidence: np.ndarray,
    right: np.ndarray,
    subjects: Sequence[str],
    *,
    threshold: float,
    prices: Prices,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """What 1,000 cases cost, `{"mean", "low", "high"}` (95 %, subjects resampled).

    Args:
        confidence, right (`(n,)`), subjects (`n` strings): test scans.
        threshold: from `choose_threshold`, on other subjects.
    Returns:
        `dict`: all_by_people, all_automatic, with_threshold, saving (all_by_people - with_threshold), and per 1,000 cases the
        numbers errors, reviews and errors_avoided (those of the automatic cases that the threshold gave to people and
        that would have been wrong).
    """
    automatic = confidence >= threshold
    wrong = ~np.asarray(right, dtype=bool)
    per_case = {
        "all_by_people": np.full(len(wrong), prices.by_person),
        "all_automatic": wrong * prices.error,
        "with_threshold": np.where(automatic, wrong * prices.error, prices.by_person),
        "errors": np.where(automatic, wrong, prices.review_error_rate),
        "reviews": ~automatic,
        "errors_avoided": ~automatic * (wrong - prices.review_error_rate),
    }
    per_case["saving"] = per_case["all_by_people"] - per_case["with_threshold"]
    return {name: bootstrap_mean(1000.0 * values, subjects, seed=seed) for name, values in per_case.items()}


def recommend(saving: dict, fixed_cost: float, cases: float, needed: dict, have: int, target: float) -> tuple[str, str]:
    """A verdict (`go`, `collect more`, `stop`) and its reason in a sentence.

    Args:
        saving: per 1,000 cases, from `cost_of_policies`; fixed_cost: what the project costs once; cases: how many are expected.
        needed: labelled subjects for the target accuracy, from `subjects_needed`; have: how many there are.
    """
    low, high = (saving[edge] * cases / 1000 - fixed_cost for edge in ("low", "high"))
    if low > 0:
        return "go", f"Even the low end of the interval pays: {low:,.0f} saved over {cases:,.0f} cases."
    if high <= 0:
        return "stop", f"Even the high end of the interval does not pay: {high:,.0f} over {cases:,.0f} cases."
    if needed["mean"] is not None and needed["mean"] > have:
        return (
            "collect more",
            f"The saving lies between {low:,.0f} and {high:,.0f}; about {needed['mean']:,} labelled subjects (now {have:,}) "
            f"should bring {target:.0%} accuracy.",
        )
    return "collect more", f"The saving lies between {low:,.0f} and {high:,.0f}: more test subjects would tell."
