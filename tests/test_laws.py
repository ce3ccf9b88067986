"""Laws of error against cost are found again, and what is read off a curve lies on it."""

import numpy as np
import pytest
from bench.studies.laws import at_cost, cost_of, fit, leave_one_out
from hypothesis import given
from hypothesis import strategies as st

COSTS = [8e3, 16e3, 32e3, 64e3, 128e3]


@given(st.floats(0, 60), st.floats(1, 40), st.sampled_from([0.1, 0.3, 0.5, 1.0, 1.5]))
def test_a_law_without_noise_is_found_again(floor, factor, exponent) -> None:
    errors = [floor + factor * (cost / 32e3) ** -exponent for cost in COSTS]
    law = fit(COSTS, errors)
    assert law(32e3) == pytest.approx(errors[2], abs=1e-3 * factor)
    assert law(256e3) == pytest.approx(floor + factor * 8**-exponent, abs=0.01 * factor)


@given(st.lists(st.floats(0, 100), min_size=5, max_size=5))
def test_no_law_has_a_floor_below_zero_or_rises(errors) -> None:
    law = fit(COSTS, errors)
    assert law.floor >= 0
    assert law(COSTS[0]) >= law(COSTS[-1]) - 1e-9


def test_each_length_is_predicted_from_the_others_alone() -> None:
    errors = np.array([[80, 70, 62, 56, 52], [81, 71, 61, 57, 51], [80.5, 70.5, 61.5, 56.5, 51.5]])
    whole = leave_one_out(COSTS, errors)
    assert [one.cost for one in whole] == COSTS
    assert all(one.low <= one.predicted <= one.high for one in whole)
    spoilt = errors.copy()
    spoilt[:, 4] = 90
    other = leave_one_out(COSTS, spoilt)[4]
    assert other.predicted == whole[4].predicted
    assert whole[4].predicted == pytest.approx(51.5, abs=3)
    assert not other.covered


@given(st.lists(st.floats(0.01, 10), min_size=5, max_size=5), st.floats(0.001, 0.999))
def test_the_cost_of_what_is_reached_at_a_cost_is_that_cost(gains, part) -> None:
    values = np.cumsum(gains).tolist()
    cost = COSTS[0] * (COSTS[-1] / COSTS[0]) ** part
    value = at_cost(COSTS, values, cost)
    assert values[0] < value <= values[-1]
    assert cost_of(COSTS, values, value) == pytest.approx(cost, rel=1e-6)


def test_what_was_not_measured_is_not_said() -> None:
    values = [10.0, 12.0, 11.0, 15.0, 16.0]
    assert at_cost(COSTS, values, 4e3) is None
    assert at_cost(COSTS, values, 256e3) is None
    assert cost_of(COSTS, values, 17) is None
    assert cost_of(COSTS, values, 9) is None
    assert cost_of(COSTS, values, 12) == pytest.approx(16e3)
