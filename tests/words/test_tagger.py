"""Tags equal NLTK's with the same weights."""

import json
from random import Random

import nltk
import nltk_rules as oracle
import pytest
from glosses import glosses
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.tag.perceptron import PerceptronTagger

from catlip.captions import clean
from catlip.words import TAGGER
from catlip.words.tagger import WORD_FEATURES, Tagger
from catlip.words.tokens import tokenize


@pytest.fixture(scope="module")
def tagger():
    oracle.wordnet()  # puts the words where NLTK finds them
    return Tagger()


def nltk_tags(captions):
    return [[tag for _, tag in caption] for caption in nltk.pos_tag_sents(captions)]


def test_tags_of_real_sentences_equal_nltk_s(tagger):
    captions = [tokenize(clean(gloss)) for gloss in glosses()[3::25]]
    assert tagger.tag(captions) == nltk_tags(captions)
    assert tagger.tag([]) == []
    assert tagger.tag([[], ["dog"], []]) == [[], ["NN"], []]


@settings(max_examples=150)
@given(st.lists(st.lists(st.text(min_size=1, max_size=6), max_size=9), max_size=5))
def test_tags_of_any_tokens_equal_nltk_s(tagger, captions):
    assert tagger.tag(captions) == nltk_tags(captions)


def test_classes_that_tie_are_told_apart_as_nltk_does(tmp_path, monkeypatch):
    """Ties are frequent, and 0.1 + 0.2 beats 0.3: NLTK's rounding decides, then the last name."""
    random, words, classes = Random(5), list("abcde"), ["CC", "JJ", "NN", "VB"]
    contexts = [*words, *classes, "-START-", "-START2-", "-END-", "-END2-", "T--", "D--"]
    names = {name for name, _, _ in WORD_FEATURES} | {"i-1 tag", "i-2 tag"}
    features = ["bias", *(f"{name} {context}" for name in names for context in contexts)]
    features += [f"i-1 tag+i word {tag} {word}" for tag in classes for word in words]
    weights = {each: {tag: random.randint(-3, 3) / 10 for tag in classes} for each in features}
    nltk_tagger = PerceptronTagger(load=False)
    nltk_tagger.decode_json_params((weights, {"e": "CC"}, classes))
    parts = {"weights": weights, "tagdict": {"e": "CC"}, "classes": classes}
    folder = tmp_path / "words" / "taggers" / TAGGER
    folder.mkdir(parents=True)
    (folder / "SOURCE").write_text("a test")
    for part, value in parts.items():
        (folder / f"{TAGGER}.{part}.json").write_text(json.dumps(value))
    monkeypatch.setenv("CATLIP_CACHE", str(tmp_path))
    captions = [random.choices(words, k=random.randint(1, 6)) for _ in range(500)]
    expected = [[tag for _, tag in nltk_tagger.tag(caption)] for caption in captions]
    assert Tagger().tag(captions) == expected
