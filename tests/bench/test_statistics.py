"""Spreads and intervals mean what they say."""

import numpy as np
import pytest

from bench.measuring.statistics import difference, ratio, summarise, unpaired_ratio


def test_a_summary_is_the_textbook_one() -> None:
    found = summarise(range(1, 102))
    assert (found.median, found.p5, found.p95, found.n) == (51, 6, 96, 101)
    assert found.cv == pytest.approx(np.std(range(1, 102)) / 51)


def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(100):
        draw = np.random.default_rng(seed)
        slow, fast = draw.normal(2.0, 0.2, 30), draw.normal(1.0, 0.1, 30)
        found = ratio(slow, fast)
        assert found.low <= found.value <= found.high
        held += found.low <= 2.0 <= found.high
    assert held >= 85


def test_what_slows_both_leaves_the_ratio_alone() -> None:
    machine = np.linspace(1, 10, 40)
    found = ratio(3 * machine, machine)
    assert found.low == pytest.approx(3)
    assert found.high == pytest.approx(3)


def test_unpaired_samples_are_refused_where_pairs_are_meant() -> None:
    with pytest.raises(ValueError, match="pairs"):
        ratio([1, 2], [1])
    assert unpaired_ratio([2, 2, 2], [1]).value == 2


def test_without_pairs_what_slowed_the_machine_widens_the_interval() -> None:
    machine = np.linspace(1, 10, 40)
    found = unpaired_ratio(3 * machine, machine)
    assert found.low < 2.5 < 3.5 < found.high


def test_a_difference_is_of_rounds_and_in_the_unit_of_its_samples() -> None:
    machine = np.linspace(1, 10, 41)
    found = difference(machine + 2, machine)
    assert (found.value, found.low, found.high) == pytest.approx((2, 2, 2))
