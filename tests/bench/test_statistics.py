"""Spreads and intervals mean what they say."""

import numpy as np
import pytest

from bench.measuring.statistics import difference, ratio, summarise

MACHINE = np.linspace(1, 10, 41)  # it becomes slower and slower


def test_a_summary_is_the_textbook_one() -> None:
    found = summarise(range(1, 102))
    assert (found.median, found.p5, found.p95, found.n) == (51, 6, 96, 101)


def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(100):
        draw = np.random.default_rng(seed)
        slow, fast = draw.normal(2.0, 0.2, 30), draw.normal(1.0, 0.1, 30)
        found = ratio(slow, fast)
        assert found.low <= found.value <= found.high
        held += found.low <= 2.0 <= found.high
    assert held >= 85


def test_what_slows_both_sides_changes_neither_their_ratio_nor_their_difference() -> None:
    slower, longer = ratio(3 * MACHINE, MACHINE), difference(MACHINE + 2, MACHINE)
    assert (slower.value, slower.low, slower.high) == pytest.approx((3, 3, 3))
    assert (longer.value, longer.low, longer.high) == pytest.approx((2, 2, 2))
