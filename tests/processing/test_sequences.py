"""Frames per second, in whatever form a camera's software or a table gives them."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from processing.sequences_mvfer import frames_per_second, read_sequence

RATES = [
    25,
    25.0,
    Fraction(25),
    Decimal("25"),
    np.float32(25),
    np.int64(25),
    np.array(25),
    torch.tensor(25.0),
    "25",
    " 25.0 ",
    "50/2",
]


@pytest.mark.parametrize("rate", RATES, ids=repr)
def test_numbers_of_any_kind_are_frames_per_second(rate):
    assert frames_per_second(rate) == 25.0
    read = read_sequence({"frames": [None] * 3, "fps": rate}, "film", 3)
    np.testing.assert_allclose(read.times_s, [0, 0.04, 0.08], rtol=1e-6)


@pytest.mark.parametrize(
    "rate, value", [("29.97", 29.97), (Fraction(30000, 1001), 30000 / 1001), ("30000/1001", 30000 / 1001)]
)
def test_rates_of_television_are_exact(rate, value):
    assert frames_per_second(rate) == value


WRONG = [
    0,
    -25,
    float("nan"),
    float("inf"),
    "fast",
    "",
    "1/0",
    "nan",
    None,
    True,
    1j,
    [25],
    np.array([25.0]),
    Decimal("sNaN"),
]


@pytest.mark.parametrize("rate", [*WRONG, Fraction(10**400), "1e999"], ids=repr)
def test_what_is_no_rate_is_refused_with_what_it_was(rate):
    with pytest.raises(ValueError, match="expected fps > 0, got"):
        frames_per_second(rate)
    if rate is not None:
        with pytest.raises(ValueError, match="film: expected fps > 0"):
            read_sequence({"frames": [None], "fps": rate}, "film", 1)
