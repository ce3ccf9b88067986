"""What an interval says against a bound, and how often it says so of methods that are equal."""

import math

import numpy as np
import pytest

from catlip.records import estimate
from catlip.records.estimate import (
    Estimate,
    Score,
    mean_difference,
    mean_over_seeds_and_images,
    value_of,
)
from catlip.records.kind import Interval

RUNS = 1_000


def test_end_that_faces_the_bound_decides_of_a_skewed_interval() -> None:
    assert estimate.outcome("above", Estimate(2.0, 1.5, 9.0), 1.0) == estimate.HOLDS
    assert estimate.outcome("above", Estimate(0.0, -7.0, 0.5), 1.0) == estimate.FAILS


@pytest.mark.parametrize("rule", ["above", "not worse", "not above", "alike"])
@pytest.mark.parametrize("spread", [0.2, 1.0])
def test_p_values_below_5_percent_say_what_the_interval_says(rule, spread) -> None:
    values = [spread * place for place in (-2, -1, 0, 0, 1, 2)]
    for move in np.linspace(-4, 4, 401):
        moved = estimate.mean_difference([value + move for value in values])
        low, high = moved.low, moved.high
        holds, fails = {
            "above": (low > 1, high < 1),
            "not worse": (low > -1, high < 0),
            "not above": (high < 1, low > 0),
            "alike": (low > -1 and high < 1, low > 0 or high < 0),
        }[rule]
        word = estimate.HOLDS if holds else estimate.FAILS if fails else estimate.OPEN
        assert estimate.outcome(rule, moved, 1.0) == word, move


def test_interval_of_a_mean_is_scipy_s() -> None:
    from scipy.stats import ttest_1samp

    values = np.random.default_rng(0).normal(1, 2, 7).tolist()
    found, expected = estimate.mean_difference(values), ttest_1samp(values, 0)
    assert (found.value, found.pairs, found.freedom) == (np.mean(values), 7, expected.df)
    assert (found.low, found.high) == pytest.approx(expected.confidence_interval(0.95))
    ratio = estimate.geometric_mean_ratio([math.exp(value) for value in values])
    ends = [math.exp(end) for end in (found.value, found.low, found.high)]
    assert [ratio.value, ratio.low, ratio.high] == pytest.approx(ends)
    assert estimate.geometric_mean_ratio([1.1, 0.0]) is None
    assert estimate.mean_difference([]) is estimate.mean_difference([1.0, math.nan]) is None


def test_holms_p_values_are_those_of_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    draw = np.random.default_rng(3)
    for size in (1, 2, 13):
        values = [*(draw.uniform(size=size) ** 3)]
        expected = multipletests(values, method="holm")[1]
        assert estimate.holm(values) == pytest.approx(expected)
    assert estimate.holm([]) == []


def test_smallest_effect_is_found_in_four_of_five_experiments() -> None:
    draw = np.random.default_rng(1)
    known = Estimate(0.0, -1.0, 1.0, error=1 / 6**0.5, freedom=5)
    effect = estimate.smallest_effect(known)
    found = [estimate.mean_difference((effect + draw.normal(size=6)).tolist()) for _ in range(RUNS)]
    assert sum(one.low > 0 for one in found) / RUNS == pytest.approx(0.8, abs=0.04)
    ratio = Estimate(2.0, 1.0, 4.0, error=1 / 6**0.5, freedom=5, is_ratio=True)
    assert estimate.smallest_effect(ratio) == pytest.approx(math.exp(effect))
    recorded = Estimate(2.0, 1.0, 3.0)  # a bench's own interval
    assert estimate.smallest_effect(recorded) == pytest.approx((1.960 + 0.8416) / 1.960, rel=1e-3)
    assert estimate.smallest_effect(Estimate(2.0, 2.0, 2.0)) is None
    assert estimate.smallest_effect(Estimate(2.0)) is None


def test_two_intervals_leave_open_what_they_share() -> None:
    apart = estimate.interval_difference(Interval(1.0, 0.5, 1.5), Interval(3.0, 2.0, 4.0))
    assert (apart.value, apart.low, apart.high) == (2.0, 0.5, 3.5)
    assert estimate.interval_difference(Interval(1.0), Interval(3.0, 2.0, 4.0)) is None


# --- Over seeds and test images -------------------------------------------------------------------

SEEDS, IMAGES = 6, 435


def simulated(draw, *, mean=0.0, seed=0.01, image=0.15, seeds=SEEDS, images=IMAGES):
    """Differences in correctness: -1, 0 or 1, with an effect of each seed and image."""
    effect = mean + seed * draw.normal(size=(seeds, 1)) + image * draw.normal(size=(1, images))
    return np.clip(np.round(effect + 0.4 * draw.normal(size=(seeds, images))), -1, 1)


def false_among(estimates):
    return sum(one.low > 0 or one.high < 0 for one in estimates)


AT_LEAST, AT_MOST = 0.01 * RUNS, 0.05 * RUNS + 2 * (0.05 * 0.95 * RUNS) ** 0.5


@pytest.mark.parametrize("seed_effect", [0.0, 0.01, 0.05])
def test_equal_methods_are_told_apart_in_at_most_a_twentieth_of_runs(seed_effect) -> None:
    draw = np.random.default_rng(0)
    found = [mean_over_seeds_and_images(simulated(draw, seed=seed_effect)) for _ in range(RUNS)]
    assert AT_LEAST <= false_among(found) <= AT_MOST


def test_images_of_a_cluster_count_as_one_draw() -> None:
    """Where images of a cluster share their effect, only the interval over clusters covers."""
    draw = np.random.default_rng(1)
    sizes = draw.integers(1, 12, size=60)
    clusters = np.repeat(np.arange(60), sizes)
    by_image, by_cluster = [], []
    for _ in range(RUNS):
        shared = np.repeat(0.3 * draw.normal(size=60), sizes)
        differences = shared + 0.4 * draw.normal(size=(SEEDS, sizes.sum()))
        by_image.append(mean_over_seeds_and_images(differences))
        by_cluster.append(mean_over_seeds_and_images(differences, clusters))
    assert AT_LEAST <= false_among(by_cluster) <= AT_MOST < false_among(by_image)
    assert by_cluster[0].value == pytest.approx(by_image[0].value)
    assert (by_cluster[0].images, by_cluster[0].clusters) == (sizes.sum(), 60)


def test_images_of_a_single_cluster_are_no_independent_draws() -> None:
    """One drawing says nothing of the spread of drawings: the interval is over seeds alone."""
    draw = np.random.default_rng(6)
    images = draw.normal(1, 1, size=(SEEDS, 1)) + 0.1 * draw.normal(size=(SEEDS, IMAGES))
    for cluster in (0, 3):
        scores = [Score(row.mean(), row, np.full(IMAGES, cluster)) for row in images]
        found, of_seeds = mean_difference(scores), mean_difference([*map(value_of, scores)])
        assert found == of_seeds
        assert found.images is None


def test_standard_error_is_that_of_a_mixed_model() -> None:
    """For a balanced table whose variances are above 0 both are the same."""
    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM

    draw = np.random.default_rng(4)
    differences = simulated(draw, seed=0.1, image=0.4, seeds=SEEDS, images=24)
    seed, image = np.indices(differences.shape)
    rows = pd.DataFrame({"y": differences.ravel(), "s": seed.ravel(), "i": image.ravel()})
    parts = {"seed": "0 + C(s)", "image": "0 + C(i)"}
    model = MixedLM.from_formula("y ~ 1", rows, groups=np.ones(len(rows)), vc_formula=parts)
    fitted = model.fit(reml=True)
    assert mean_over_seeds_and_images(differences).error == pytest.approx(
        fitted.bse_fe["Intercept"], rel=0.01
    )


def test_scores_carry_their_images_into_every_difference() -> None:
    draw = np.random.default_rng(3)
    bits = draw.integers(2, size=(2, SEEDS, IMAGES)).astype(float)
    one, other = ([100 * Score(row.mean(), row) for row in side] for side in bits)
    found = mean_difference([(a - b) / 2 for a, b in zip(one, other, strict=True)])
    expected = mean_over_seeds_and_images(50 * (bits[0] - bits[1]))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.pairs, found.images) == (SEEDS, IMAGES)
    assert mean_difference(one[:5]).low is None
    assert mean_difference([*one[:5], 50.0]).images is None  # one of them without its images
    assert mean_difference([*one[:5], one[5] - Score(1.0, np.ones(7))]).images is None
