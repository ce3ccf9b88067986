"""The interval over seeds and test images: it covers what it says, and follows both."""

import numpy as np
import pytest

from bench.downstream.probe.result import crossed

SEEDS, IMAGES, RUNS = 6, 435, 1_000


def simulated(draw, *, mean=0.0, seed=0.01, image=0.15, seeds=SEEDS, images=IMAGES):
    """Differences in correctness of two methods: -1, 0 or 1, with an effect of each seed and
    image.
    """
    effect = mean + seed * draw.normal(size=(seeds, 1)) + image * draw.normal(size=(1, images))
    return np.clip(np.round(effect + 0.4 * draw.normal(size=(seeds, images))), -1, 1)


@pytest.mark.parametrize("seed_effect", [0.0, 0.01, 0.05])
def test_equal_methods_are_told_apart_in_at_most_a_twentieth_of_runs(seed_effect) -> None:
    draw = np.random.default_rng(0)
    found = [crossed(simulated(draw, seed=seed_effect)) for _ in range(RUNS)]
    false = sum(one.low > 0 or one.high < 0 for one in found)
    assert false <= 0.05 * RUNS + 2 * (0.05 * 0.95 * RUNS) ** 0.5


def test_the_standard_error_is_that_of_resampling_seeds_and_images() -> None:
    draw = np.random.default_rng(2)
    differences = simulated(draw, seed=0.05, seeds=40, images=200)
    found = crossed(differences)
    means = [
        differences[draw.integers(40, size=40)][:, draw.integers(200, size=200)].mean()
        for _ in range(1_000)
    ]
    # The bootstrap of both at once overstates the variance by that of the rest, twice.
    assert (found.high - found.low) / 4 == pytest.approx(100 * np.std(means), rel=0.3)
    assert found.value == pytest.approx(100 * differences.mean())


def test_fewer_than_six_seeds_give_no_interval() -> None:
    draw = np.random.default_rng(3)
    assert crossed(simulated(draw, seeds=5)) is None
    found = crossed(simulated(draw))
    assert (found.pairs, found.images) == (SEEDS, IMAGES)
