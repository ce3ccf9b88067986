"""Scenes: what is pasted can be seen where the boxes and masks say, and nowhere else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catlip.data.starter.emoji import render
from catlip.data.starter.scenes import (
    HELD_OUT_PHOTOS,
    MAX_COVERED,
    PHOTOS,
    TRAINING_PHOTOS,
    Sprite,
    compose,
    photo_crop,
)

DISC = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><ellipse cx="4" cy="4" rx="4" '
    'ry="3" fill="{}"/></svg>'
)
COLOURS = ("#ff0000", "#00ff00", "#0000ff", "#ffff00")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def discs(count: int, size: int = 48) -> list[Sprite[str]]:
    return [Sprite(colour, render(DISC.format(colour), size)) for colour in COLOURS[:count]]


def grey(height: int = 64, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), 128, dtype=np.uint8)


def test_a_sprite_is_blended_by_its_own_opacity():
    sprite = discs(1, size=24)[0]
    own_size = 24 / 64  # at which it is not resampled
    image, (placement,) = compose(grey(), [sprite], rng(), (own_size, own_size))
    solid = sprite.pixels[..., 3] >= 128
    seen = placement.mask
    top, left = (np.argmax(seen.any(axis)) - np.argmax(solid.any(axis)) for axis in (1, 0))
    height, width = sprite.pixels.shape[:2]
    opacity = sprite.pixels[..., 3:] / 255
    expected = np.round(sprite.pixels[..., :3] * opacity + 128 * (1 - opacity))
    found = image[top : top + height, left : left + width]
    np.testing.assert_allclose(found, expected, atol=1)
    np.testing.assert_array_equal(seen[top : top + height, left : left + width], solid)
    assert (opacity[(opacity > 0) & (opacity < 1)]).size, (
        "the drawing has soft edges, or this test shows nothing"
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 4),
    height=st.integers(40, 90),
    width=st.integers(40, 90),
)
def test_masks_and_boxes_are_where_each_colour_is_seen(seed, count, height, width):
    image, placements = compose(grey(height, width), discs(count), rng(seed), (0.3, 0.6))
    assert placements
    for placement in placements:
        colour = np.array([int(placement.what[i : i + 2], 16) for i in (1, 3, 5)])
        distance = np.abs(image.astype(int) - colour).max(2)
        # Half opaque, under a half opaque edge: a quarter of it.
        assert (distance[placement.mask] <= 192).all()
        assert placement.mask[distance <= 2].all()
        left, top, right, bottom = placement.box
        inside = np.zeros_like(placement.mask)
        inside[top:bottom, left:right] = True
        assert not (placement.mask & ~inside).any()
        assert placement.mask[top].any()
        assert placement.mask[bottom - 1].any()
        assert placement.mask[:, left].any()
        assert placement.mask[:, right - 1].any()
    assert sum(placement.mask.astype(int) for placement in placements).max() == 1, (
        "two objects own one pixel"
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_every_object_stays_recognisable(seed):
    _, placements = compose(grey(), discs(4), rng(seed), (0.3, 0.6))
    for placement in placements:
        left, top, right, bottom = placement.box
        whole_disc = np.pi / 4 * (right - left) * (bottom - top)
        assert placement.mask.sum() > (1 - 2 * MAX_COVERED) * whole_disc


def test_an_object_without_a_place_is_left_out_and_not_announced():
    image, placements = compose(grey(), discs(2), rng(), (1.0, 1.0))
    assert [placement.what for placement in placements] == [COLOURS[0]]
    assert not (image == (0, 255, 0)).all(2).any()


def test_composing_leaves_the_background_as_it_was_and_repeats_itself():
    background = photo_crop(TRAINING_PHOTOS[0], 64, rng())
    before = background.copy()
    first, _ = compose(background, discs(3), rng(5), (0.3, 0.6))
    again, _ = compose(background, discs(3), rng(5), (0.3, 0.6))
    other, _ = compose(background, discs(3), rng(6), (0.3, 0.6))
    np.testing.assert_array_equal(background, before)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("name", PHOTOS)
def test_every_photograph_can_be_cropped_at_any_size(name):
    for size in (16, 64, 160):
        crop = photo_crop(name, size, rng(size))
        assert crop.shape == (size, size, 3)
        assert crop.dtype == np.uint8
        assert crop.std() > 0


def test_the_photographs_of_test_scenes_are_not_among_those_for_training():
    assert len(HELD_OUT_PHOTOS) == 3
    assert set(PHOTOS) >= HELD_OUT_PHOTOS
    assert set(PHOTOS) - set(TRAINING_PHOTOS) == HELD_OUT_PHOTOS


def test_a_rendering_keeps_transparency_and_is_cut_to_what_is_visible():
    pixels = render(DISC.format("#ff0000"), 40)
    assert pixels.shape == (30, 40, 4)  # the ellipse is three quarters as high as the square
    assert pixels[15, 20].tolist() == [255, 0, 0, 255]
    assert pixels[0, 0, 3] == 0


def test_a_drawing_of_nothing_is_rendered_as_nothing():
    assert render('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"/>', 40).size == 0
