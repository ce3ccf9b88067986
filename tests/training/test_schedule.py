"""The learning rate warms up in a line and cools along a cosine, in each step or once an epoch."""

import math

import numpy as np
import pytest

from catlip.range_augment import target_mse
from catlip.recipes.pretrain import CATLIP
from catlip.recipes.transfer import FINETUNES
from catlip.training.schedule import augmentation_progress

IMAGENET_STEPS = 10 * 1_900  # ten epochs; the number of steps in one is of no account


def test_warm_up_begins_at_a_millionth_and_ends_after_its_last_step() -> None:
    """The release adds `curr_iter` times a constant to a millionth."""
    recipe = CATLIP["datacomp_b16"]
    for step in (0, 1, 9_999):
        expected = 1e-6 + step * (1e-3 - 1e-6) / 10_000
        assert recipe.learning_rate(step, 200_000) == pytest.approx(expected, rel=1e-12)
    assert recipe.learning_rate(10_000, 200_000) == pytest.approx(1e-3, rel=1e-12)


def test_run_shorter_than_the_warm_up_cools_for_four_fifths() -> None:
    recipe = CATLIP["starter"]
    for steps in (5, 250):
        rates = [recipe.learning_rate(step, steps) for step in range(steps)]
        assert rates.index(max(rates)) == steps // 5
        assert max(rates) == recipe.max_lr


def test_released_fine_tuning_has_one_rate_an_epoch() -> None:
    recipe = FINETUNES["imagenet_b16_release"]
    rates = [recipe.learning_rate(step, IMAGENET_STEPS) for step in range(500, IMAGENET_STEPS)]
    by_epoch = list(dict.fromkeys(rates))
    cosines = [math.cos(math.pi * epoch / 10) for epoch in range(10)]
    expected = [3e-6 + 0.5 * (3e-5 - 3e-6) * (1 + cosine) for cosine in cosines]
    assert by_epoch == pytest.approx(expected, rel=1e-12)
    assert rates[-1] == pytest.approx(3.66e-6, abs=5e-9)
    assert rates.index(by_epoch[1]) == 1_900 - 500  # at the beginning of the second epoch


def test_released_fine_tuning_has_one_psnr_an_epoch() -> None:
    targets = []
    for recipe in (FINETUNES["imagenet_b16_release"], FINETUNES["table_7b"]):
        steps = range(0, IMAGENET_STEPS, 100)
        shares = [augmentation_progress(step, IMAGENET_STEPS, recipe) for step in steps]
        targets.append([target_mse(share, 40, 20) for share in shares])
    start, end = (255.0**2 / 10 ** (psnr / 10) for psnr in (40, 20))
    # The release's table has one entry too many.
    table = [end + 0.5 * (start - end) * (1 + math.cos(math.pi * i / 11)) for i in range(10)]
    assert list(dict.fromkeys(targets[0])) == pytest.approx(table, rel=1e-12)
    assert np.mean(targets[0]) / np.mean(targets[1]) == pytest.approx(0.81, abs=0.005)
