"""Path similarity and the nearest class against NLTK's, the paper's and the release's figures."""

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.labelling.nltk_rules import wordnet
from catlip.vocabulary.label_sets import imagenet_synsets
from catlip.words.similarity import all_nearest
from catlip.words.wordnet import nouns

OFFSETS = nouns().offsets.tolist()


def path_similarity(first: int, second: int) -> float:
    synset = wordnet().synset_from_pos_and_offset
    return synset("n", first).path_similarity(synset("n", second))


# Uniform synsets are seldom equally near; those below one class often are.
CANINES = wordnet().synset("canine.n.02").closure(lambda synset: synset.hyponyms())
CLOSE = st.sampled_from([synset.offset() for synset in CANINES])
ANY = st.one_of(CLOSE, st.sampled_from(OFFSETS))


@settings(max_examples=60)
@given(st.lists(ANY, max_size=6), st.lists(ANY, min_size=1, max_size=12, unique=True))
def test_the_nearest_class_is_that_of_all_pairs_and_of_equals_the_first(targets, classes):
    found = all_nearest(targets, classes)
    expected = [[path_similarity(target, each) for each in classes] for target in targets]
    assert [each.similarity for each in found] == [max(row) for row in expected]
    assert [min(each.class_ids) for each in found] == [row.index(max(row)) for row in expected]


def test_imagenet_against_what_the_released_rule_can_reach():
    first = nouns().first_senses
    reachable = [
        synset
        for lemma, synset in first.items()
        if "_" not in lemma and nouns().name(synset) == f"{lemma}.n.01"
    ]
    assert len(reachable) == 38_343
    similarities = [each.similarity for each in all_nearest(imagenet_synsets(), reachable)]
    reached = {395: (1.0, 0.6), 776: (0.5, 0.4), 971: (1 / 3, 0.3), 997: (0.25,), 1000: (0.2, 0.1)}
    for count, thresholds in reached.items():
        for least in thresholds:
            assert sum(similarity >= least for similarity in similarities) == count
