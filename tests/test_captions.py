"""Captions to synsets: equal to plain NLTK code on real sentences, and never a crash."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.labelling import nltk_rules as oracle
from catlip.captions import MAX_CHARACTERS, Labeller, clean
from catlip.cli import InputError
from catlip.vocabulary.label_sets import imagenet_synsets
from catlip.words.wordnet import nouns

IMAGE, BLACK, DOG, SOFA, MOTORCYCLE = 5928118, 4960277, 2084071, 4256520, 3790512

KNOWN = set(nouns().offsets.tolist())
GLOSSES = st.integers(0, 100_000).map(lambda number: oracle.glosses()[number])
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
    "dog\u2028cat\u00a0bird",
    '"' * 3000,
    "'" * 3000,
    "." * 3000,
    12345,
]


@pytest.fixture(scope="module", params=["paper", "corenet", "paper_multiword"])
def labeller(request):
    return Labeller(request.param)


@pytest.fixture(scope="module")
def paper():
    return Labeller("paper")


@pytest.fixture(scope="module")
def corenet():
    return Labeller("corenet")


@pytest.mark.parametrize(
    ("rule", "start", "count"),
    [
        ("corenet", 0, 4_000),
        ("paper", 2, 4_000),
        ("paper_multiword", 4, 2_000),
    ],
)
def test_a_rule_equals_plain_nltk_code_on_many_sentences(rule, start, count):
    sentences = oracle.glosses()[start :: 100_000 // count][:count]
    assert len(sentences) == count
    plain = getattr(oracle, rule)
    assert Labeller(rule).batch(sentences) == [plain(sentence) for sentence in sentences]


def names_of_kept(labeller, caption):
    return [word.synset for word in labeller.explain(caption) if word.kept]


def test_the_rules_differ_where_they_should(paper, corenet):
    names = names_of_kept(Labeller("paper_multiword"), "a golden retriever in new york city")
    assert names == ["golden_retriever.n.01", "new_york.n.01"]
    assert names_of_kept(paper, "a golden retriever") == ["retriever.n.01"]
    # The release's example.
    assert corenet("An image of black dog.") == sorted([IMAGE, BLACK, DOG])
    assert paper("two black bikes on a couch") == [MOTORCYCLE, SOFA]
    assert BLACK in corenet("two black bikes on a couch")
    assert not {SOFA, MOTORCYCLE} & set(corenet("two black bikes on a couch"))


def test_a_full_stop_between_sentences_is_no_part_of_a_word(labeller):
    assert DOG in labeller("a dog. a ball")


def test_canonical_names_admit_38343_synsets_and_395_imagenet_classes():
    named = {
        synset
        for lemma, synset in nouns().first_senses.items()
        if "_" not in lemma and nouns().name(synset) == f"{lemma}.n.01"
    }
    assert len(named) == 38_343
    assert len(named & set(imagenet_synsets())) == 395


def test_the_shortest_base_form_hides_358_of_them(corenet):
    """A word such as "pliers" is cut to "plier", whose synset is named otherwise."""
    reached = {corenet.synset(lemma) for lemma in nouns().first_senses if "_" not in lemma} - {None}
    assert len(reached) == 38_343 - 358
    assert len(reached & set(imagenet_synsets())) == 394


@settings(max_examples=40)
@given(st.lists(GLOSSES, max_size=12), st.randoms(use_true_random=False))
def test_labels_do_not_depend_on_the_other_captions_of_a_batch(labeller, captions, random):
    order = list(range(len(captions)))
    random.shuffle(order)
    together = labeller.batch([captions[place] for place in order])
    assert together == [labeller(captions[place]) for place in order]


@pytest.mark.parametrize("caption", ODD_CAPTIONS, ids=lambda caption: repr(caption)[:20])
def test_odd_captions_never_crash(labeller, caption):
    labels = labeller(caption)
    assert set(labels) <= KNOWN
    assert set(names_of_kept(labeller, caption)) == {nouns().name(synset) for synset in labels}


@settings(max_examples=100)
@given(st.lists(st.text() | st.binary() | st.lists(st.text(), max_size=3), max_size=25))
@example(["dog \ud83d cat"])
def test_any_captions_give_known_synsets(labeller, captions):
    labels = labeller.batch(captions)
    assert [sorted(set(synsets)) for synsets in labels] == labels
    assert {synset for synsets in labels for synset in synsets} <= KNOWN
    for caption, synsets in zip(captions, labels, strict=True):
        assert synsets or labeller.why_none(caption)


ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80)


@settings(max_examples=1_000)
@given(st.text(max_size=200) | ASCII)
@example("a+b%2Bc &lt;i&gt; <b>x</b>  y\n")
@example("It\u2019s \u201cfine\u201d \ufb01sh \u2014 \uff26\uff35\uff2c\uff2c")
@example("  two   spaces  ")
def test_cleaning_takes_its_steps_in_order_for_plain_text_too(caption):
    """Plain text has a short way of its own."""
    assert clean(caption) == oracle.clean(caption)


def test_bytes_are_read_with_replacements_and_long_captions_cut_at_the_stated_length(corenet):
    assert clean(b"a \xff dog") == "a \ufffd dog"
    padding = "x" * (MAX_CHARACTERS - len(" dog"))
    assert corenet(f"{padding} dog cat") == [DOG]
    assert corenet(f"{padding}x dog cat") == []


def test_explaining_says_what_was_kept_and_why_not(paper, corenet):
    words = {word.token: word for word in paper.explain("two bikes run on a couch")}
    assert (words["couch"].kept, words["couch"].synset) == (True, "sofa.n.01")
    reasons = words["two"].reason, words["on"].reason
    assert reasons == ("tagged CD, not a noun", "no noun of WordNet")
    words = {word.token: word for word in corenet.explain("two bikes run on a couch")}
    assert words["bikes"].lemma == "bike"
    assert words["bikes"].reason == "its first sense is named motorcycle.n.01"
    assert words["two"].kept


@settings(max_examples=60)
@given(GLOSSES)
def test_what_explaining_keeps_are_the_labels(labeller, caption):
    names = {nouns().name(synset) for synset in labeller(caption)}
    assert set(names_of_kept(labeller, caption)) == names


@pytest.mark.parametrize(
    ("caption", "reason"),
    [
        (None, "no caption"),
        (" \n", "an empty caption"),
        ("very quickly and really", "no noun"),
        ("xqzt", "no noun of WordNet"),
    ],
)
def test_captions_without_labels_are_told_apart(paper, caption, reason):
    assert paper.why_none(caption) == reason


def test_an_unknown_rule_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="paper, corenet"):
        Labeller("nouns")
