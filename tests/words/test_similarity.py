"""Path similarity and the nearest classes equal NLTK's."""

from hypothesis import given, settings
from hypothesis import strategies as st
from nltk_rules import wordnet

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
def test_nearest_classes_are_those_of_all_pairs_in_the_order_of_offsets(targets, classes):
    (found,) = all_nearest([targets], classes)
    expected = [[path_similarity(target, each) for each in classes] for target in targets]
    assert [similarity for similarity, _ in found] == [max(row) for row in expected]
    for nearest, row in zip(found, expected, strict=True):
        tied = [class_id for class_id, each in enumerate(row) if each == max(row)]
        assert nearest[1] == sorted(tied, key=lambda class_id: classes[class_id])
