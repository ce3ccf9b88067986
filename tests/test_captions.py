"""Captions to synsets: equal to plain NLTK code on real sentences, and never a crash."""

import nltk_rules as oracle
import pytest
from glosses import glosses
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catlip.captions import MAX_CHARACTERS, Labeller, clean
from catlip.words.wordnet import nouns

DOG = 2084071
KNOWN = set(nouns().offsets.tolist())
GLOSSES = st.integers(0, 100_000).map(lambda number: glosses()[number])
ODD_CAPTIONS = [
    None,
    ["a dog", "a cat"],
    b"a caf\xe9 dog",
    "",
    "   \n ",
    "a dog " * 200_000,
    "<p>a <b>dog</b> &amp; cat</p>",
    "<" * 5000,
    "🐕🐈 👩‍👩‍👧",
    "כלב שחור \u202edog",
    "a\x00dog\x1b[31m\x07",
    "a%20black%2Bdog+%C3%28",
    "\ud800 dog",
    '"' * 3000,
    12345,
]


@pytest.fixture(scope="module", params=["corenet", "paper_multiword"])
def labeller(request):
    return Labeller(request.param)


@pytest.mark.parametrize(
    ("rule", "start", "count"),
    [("corenet", 0, 200), ("paper", 2, 200), ("paper_multiword", 4, 100)],
)
def test_rule_equals_plain_nltk_code_on_many_sentences(rule, start, count):
    sentences = glosses()[start :: 100_000 // count][:count]
    assert len(sentences) == count
    plain = getattr(oracle, rule)
    assert Labeller(rule).batch(sentences) == [plain(sentence) for sentence in sentences]


def test_captions_are_read_up_to_a_limit():
    corenet = Labeller("corenet")
    padding = "x" * (MAX_CHARACTERS - len(" dog"))
    assert corenet.batch([f"{padding} dog cat", f"{padding}x dog cat"]) == [[DOG], []]


@settings(max_examples=40)
@given(st.lists(GLOSSES, max_size=12), st.randoms(use_true_random=False))
def test_labels_do_not_depend_on_the_other_captions_of_a_batch(labeller, captions, random):
    order = list(range(len(captions)))
    random.shuffle(order)
    together = labeller.batch([captions[place] for place in order])
    assert together == [labeller.batch([captions[place]])[0] for place in order]


@pytest.mark.parametrize("caption", ODD_CAPTIONS, ids=lambda caption: repr(caption)[:20])
def test_odd_captions_never_crash(labeller, caption):
    (labels,) = labeller.batch([caption])
    assert set(labels) <= KNOWN
    kept = labeller(caption)
    assert {word.offset for word in kept} == {*labels}
    assert {word.synset for word in kept} == {nouns().name(synset) for synset in labels}
    assert labels or labeller.why_none(caption)


ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80)


@settings(max_examples=500)
@given(st.text(max_size=200) | ASCII)
@example("a+b%2Bc &lt;i&gt; <b>x</b>  y\n")
@example("It\u2019s \u201cfine\u201d \ufb01sh \u2014 \uff26\uff35\uff2c\uff2c")
@example("  two   spaces  ")
def test_cleaning_takes_its_steps_in_order_for_plain_text_too(caption):
    """Plain text has a short way of its own."""
    assert clean(caption) == oracle.clean(caption)
