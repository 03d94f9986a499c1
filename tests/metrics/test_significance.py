"""Intervals, tests and corrections on samples whose answer is known."""

import math

import numpy as np
import pytest

from autopose.metrics.significance import ceiling, difference, holm, kendall, summarise


def test_intervals_hold_the_true_mean_about_as_often_as_they_say():
    draws = np.random.default_rng(0)
    held = 0
    for trial in range(60):
        found = summarise(draws.normal(5.0, 2.0, 20), trial)
        held += found.low <= 5.0 <= found.high
        assert found.low < found.mean < found.high and found.count == 20
    assert 50 <= held <= 60


def test_few_seeds_have_no_interval():
    assert math.isnan(summarise([1.0]).deviation) and math.isnan(summarise([1.0, 2.0]).low)
    assert str(summarise([1.0, 3.0])) == "2.00 (n = 2)"
    with pytest.raises(ValueError, match="at least one"):
        summarise([])


def test_a_difference_is_found_where_there_is_one_and_pairs_help():
    draws = np.random.default_rng(1)
    common = draws.normal(0, 5, 8)
    first, second = common + 1 + draws.normal(0, 0.2, 8), common + draws.normal(0, 0.2, 8)
    assert difference(first, second, paired=True) < 0.02 < 0.3 < difference(first, second, paired=False)
    assert difference(first, first, paired=True) == 1.0
    assert math.isnan(difference([1.0], [2.0, 3.0], paired=False))
    false = sum(difference(*draws.normal(0, 1, (2, 10)), paired=False) < 0.05 for _ in range(200))
    assert 2 <= false <= 22


def test_holm_is_the_papers_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_tau_and_its_ceiling():
    order = np.arange(20.0)
    assert kendall(order, order).value == 1 and kendall(order, -order).value == -1
    noisy = order + np.random.default_rng(0).normal(0, 3, 20)
    found = kendall(order, noisy)
    assert found.low < found.value < found.high <= 1 and "n = 20" in str(found)
    assert math.isnan(kendall(order, np.ones(20)).value)
    assert ceiling(order, order) == pytest.approx(1.0) and ceiling(order, -order) == 0.0
