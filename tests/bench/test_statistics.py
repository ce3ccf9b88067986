"""Spreads and intervals mean what they say."""

from statistics import pstdev

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.measuring.statistics import PAIRED_ROUNDS, difference, ratio, summarise


def test_summary_is_the_textbook_one() -> None:
    found = summarise(range(1, 102))
    assert (found.median, found.p5, found.p95, found.n) == (51, 6, 96, 101)
    assert found.cv == pytest.approx(pstdev(range(1, 102)) / 51)


def both_sides(seed: int, rounds: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A slow and a fast side, 2 to 1; what slows a round slows both sides of it."""
    draw = np.random.default_rng(seed)
    noise = np.exp(draw.normal(0, 0.03, (2, rounds)) + draw.normal(0, 0.1, rounds))
    return 2 * noise[0], noise[1]


@pytest.mark.parametrize("rounds", [10, PAIRED_ROUNDS, 40])
def test_interval_holds_the_true_ratio_about_as_often_as_it_says(rounds: int) -> None:
    held = 0
    for seed in range(200):
        found = ratio(*both_sides(seed, rounds))
        assert found.low <= found.value <= found.high
        held += found.low <= 2.0 <= found.high
    assert held >= 184


# The ranks of the sign test's interval, from a table of the binomial law.
@pytest.mark.parametrize(("rounds", "rank"), [(20, 6), (40, 14), (50, 18)])
def test_each_of_twenty_rounds_gives_a_ratio(rounds: int, rank: int) -> None:
    slow, fast = both_sides(0, rounds)
    for compared, values in (
        (ratio(slow, fast), slow / fast),
        (difference(slow, fast), slow - fast),
    ):
        ordered = sorted(values)
        assert compared.value == np.median(values)
        assert (compared.low, compared.high) == (ordered[rank - 1], ordered[-rank])
    slow, fast = slow[:19], fast[:19]
    assert ratio(slow, fast).value == np.median(slow) / np.median(fast)
