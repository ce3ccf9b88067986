"""The learning rate warms up in a line and cools along a cosine."""

import itertools

import pytest

from catlip.recipes import CATLIP
from catlip.training.schedule import learning_rate


def test_the_rate_peaks_after_the_warm_up_and_ends_at_its_minimum() -> None:
    recipe = CATLIP["datacomp_b16"]
    rates = [learning_rate(step, 200_000, recipe) for step in range(0, 200_000, 500)]
    assert max(rates) == pytest.approx(recipe.max_lr, rel=1e-3)
    assert rates.index(max(rates)) == 20
    assert learning_rate(105_000, 200_000, recipe) == pytest.approx((recipe.max_lr + recipe.min_lr) / 2, rel=1e-3)
    assert learning_rate(199_999, 200_000, recipe) == pytest.approx(recipe.min_lr, rel=1e-4)
    assert all(a < b for a, b in itertools.pairwise(rates[:21]))
    assert all(a > b for a, b in itertools.pairwise(rates[20:]))


def test_a_run_shorter_than_the_warm_up_still_reaches_the_full_rate() -> None:
    recipe = CATLIP["starter"]
    assert max(learning_rate(step, 5, recipe) for step in range(5)) == recipe.max_lr
