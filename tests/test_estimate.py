"""What an interval says against a bound, and how often it says so of methods that are equal."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from catlip.claims import least_pairs
from catlip.kinds import Interval
from catlip.kinds.estimate import (
    BETTER,
    CANNOT_TELL,
    FAILS,
    HOLDS,
    NOT_WORSE,
    OPEN,
    RULES,
    WORSE,
    Estimate,
    between,
    counted,
    of_pairs,
    of_ratios,
    power,
    verdict,
)

RUNS = 1_000


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.1, 3.0, BETTER),
        (-0.9, 0.4, NOT_WORSE),
        (-0.9, -0.1, NOT_WORSE),
        (-3.0, -0.1, WORSE),
        (-3.0, 3.0, CANNOT_TELL),
        (None, None, CANNOT_TELL),
    ],
)
def test_a_verdict_on_a_difference_with_a_bound_of_one(low, high, word) -> None:
    assert verdict(Estimate(0.0, low, high), 1.0) == word


@pytest.mark.parametrize(
    ("rule", "low", "high", "outcome", "room"),
    [
        ("above", 1.5, 3.0, HOLDS, 0.5),
        ("above", 0.2, 0.7, FAILS, 0.3),
        ("above", 0.5, 1.5, OPEN, 0.0),
        ("not worse", -0.6, 0.2, HOLDS, 0.4),
        ("not worse", -2.0, -0.5, FAILS, 0.5),
        ("not worse", -2.0, 0.5, OPEN, 0.0),
        ("not above", -3.0, 0.8, HOLDS, 0.2),
        ("not above", 0.3, 1.8, FAILS, 0.3),
        ("not above", -0.3, 1.8, OPEN, 0.0),
        ("alike", -0.4, 0.7, HOLDS, 0.3),
        ("alike", 0.2, 1.7, FAILS, 0.2),
        ("alike", -1.7, -0.2, FAILS, 0.2),
        ("alike", -0.2, 1.7, OPEN, 0.0),
        ("above", None, None, OPEN, 0.0),
    ],
)
def test_a_rule_with_a_bound_of_one(rule, low, high, outcome, room) -> None:
    found = RULES[rule].judge(Estimate(0.0, low, high), 1.0)
    assert found == (outcome, pytest.approx(room))


@given(st.sampled_from(sorted(RULES)), st.floats(-5, 5), st.floats(0, 5), st.floats(0.1, 3))
def test_a_verdict_turns_only_where_it_says(rule, low, width, bound) -> None:
    outcome, room = RULES[rule].judge(Estimate(0.0, low, low + width), bound)
    assume(room == 0 or room > 1e-6)
    for moved in (-0.999 * room, 0.999 * room):
        ends = low + moved, low + moved + width
        assert outcome == OPEN or RULES[rule].judge(Estimate(0.0, *ends), bound)[0] == outcome


def test_fewer_than_six_pairs_have_no_interval() -> None:
    few = of_pairs([1.0] * (least_pairs() - 1))
    assert few is not None
    assert (few.value, few.low, few.pairs) == (1.0, None, 5)
    assert of_pairs([]) is None
    assert of_pairs([1.0, math.nan]) is None


def test_equal_methods_are_told_apart_in_at_most_a_twentieth_of_runs() -> None:
    draw = np.random.default_rng(0)
    found = [of_pairs(draw.normal(size=6).tolist()) for _ in range(RUNS)]
    words = [verdict(one, 0.5) for one in found if one]
    false = words.count(BETTER) + words.count(WORSE)
    assert false <= 0.05 * RUNS + 2 * (0.05 * 0.95 * RUNS) ** 0.5


def test_the_power_is_how_often_such_a_difference_is_found() -> None:
    draw = np.random.default_rng(1)
    found = [of_pairs((1.5 + draw.normal(size=6)).tolist()) for _ in range(RUNS)]
    often = sum(one.low > 0 for one in found) / RUNS
    known = Estimate(0.0, -1.0, 1.0, error=1 / 6**0.5, freedom=5)
    assert power(known, 1.5) == pytest.approx(often, abs=0.05)
    assert power(known, 0.0) == pytest.approx(0.05)
    assert power(Estimate(2.0, 1.0, 3.0), 1.0) is None


def test_ratios_mirror_when_the_sides_change_places() -> None:
    ratios = [1.1, 1.2, 1.3, 1.2, 1.15, 1.25]
    one, other = of_ratios(ratios), of_ratios([1 / ratio for ratio in ratios])
    assert (one.value, one.low, one.high) == pytest.approx(
        (1 / other.value, 1 / other.high, 1 / other.low)
    )
    assert of_ratios([1.0, 0.0]) is None


def test_two_intervals_leave_open_what_they_share() -> None:
    apart = between(Interval(1.0, 0.5, 1.5), Interval(3.0, 2.0, 4.0))
    assert (apart.value, apart.low, apart.high) == (2.0, 0.5, 3.5)
    assert between(Interval(1.0), Interval(3.0, 2.0, 4.0)) is None


def test_a_count_has_no_spread() -> None:
    assert counted(3.0).is_count
    assert not Estimate(1.0, 0.5, 1.5).is_count
    assert counted(math.nan) is None
