"""Spreads and intervals mean what they say."""

import numpy as np
import pytest

from bench.statistics import ratio, summarise


def test_a_summary_is_the_textbook_one() -> None:
    found = summarise(range(1, 102))
    assert (found["median"], found["p5"], found["p95"], found["n"]) == (51, 6, 96, 101)
    assert found["cv"] == pytest.approx(np.std(range(1, 102)) / 51)


def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(100):
        draw = np.random.default_rng(seed)
        slow, fast = draw.normal(2.0, 0.2, 30), draw.normal(1.0, 0.1, 30)
        found = ratio(slow, fast)
        assert found["low"] <= found["value"] <= found["high"]
        held += found["low"] <= 2.0 <= found["high"]
    assert held >= 85


def test_what_slows_both_leaves_the_ratio_alone() -> None:
    machine = np.linspace(1, 10, 40)
    found = ratio(3 * machine, machine)
    assert found["low"] == pytest.approx(3)
    assert found["high"] == pytest.approx(3)


def test_unpaired_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="pairs"):
        ratio([1, 2], [1])
