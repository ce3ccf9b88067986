"""Captions read as people write them, and name what is there."""

from collections import Counter

import numpy as np
import pytest

from catlip.data.starter.emoji import Concept
from catlip.data.starter.samples import drawing_caption, scene_caption, with_article

KEYWORDS = ("apple", "diet", "food", "fruit", "health", "red", "ripe")
APPLE = Concept("1F34E", "red apple", KEYWORDS, "food-drink", "food-fruit")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dog", "a dog"),
        ("umbrella", "an umbrella"),
        ("unicorn", "a unicorn"),
        ("ewe", "a ewe"),
        ("x-ray", "an x-ray"),
        ("one-piece swimsuit", "a one-piece swimsuit"),
        ("octopus", "an octopus"),
        ("wine glass", "a wine glass"),
        ("grapes", "grapes"),
        ("skis", "skis"),
        ("cooked rice", "cooked rice"),
        ("glass of milk", "a glass of milk"),
        ("nest with eggs", "a nest with eggs"),
        ("money with wings", "money with wings"),
        ("bow and arrow", "a bow and arrow"),
    ],
)
def test_nouns_get_the_article_that_english_gives_them(name, expected):
    assert with_article(name) == expected


def test_a_scene_is_written_as_a_list_in_both_forms():
    names = ["dog", "grapes", "umbrella"]
    captions = {scene_caption(names, np.random.default_rng(seed)) for seed in range(200)}
    assert "a dog, grapes and an umbrella" in captions
    assert "grapes, umbrella, dog" in captions
    assert all(all(name in caption for name in names) for caption in captions)


def test_a_scene_of_one_object_is_its_name():
    captions = {scene_caption(["dog"], np.random.default_rng(seed)) for seed in range(50)}
    assert captions == {"a dog", "dog"}


def test_a_drawing_is_always_named_and_only_its_own_keywords_are_added():
    lengths = Counter()
    for seed in range(400):
        parts = drawing_caption(APPLE, np.random.default_rng(seed)).split(", ")
        lengths[len(parts)] += 1
        assert "red apple" in parts
        assert len(parts) == len(set(parts))
        # "apple" and "red" would repeat the name.
        assert set(parts) <= {"red apple", "diet", "food", "fruit", "health", "ripe"}
    assert 70 < lengths[1] < 130  # the name alone: 1 in 4
    assert min(lengths) == 1
    assert max(lengths) == 6


def test_a_concept_without_other_keywords_is_captioned_by_its_name():
    bare = Concept("1F415", "dog", ("dog",), "animals-nature", "animal-mammal")
    assert {drawing_caption(bare, np.random.default_rng(seed)) for seed in range(50)} == {"dog"}
