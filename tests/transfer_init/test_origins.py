"""Which classes stand for a label: fifty looked up by hand, and the rule's own properties."""

from dataclasses import replace

import pytest
from small_data import vocabulary_of

from catlip.transfer_init import find_origins
from catlip.vocabulary.label_sets import LabelSet, label_set, synsets_of

SETS = ("imagenet", "coco", "ade20k")

# Against every class that the released rule can reach, which are all of the form NAME.n.01. One
# step up or down is a similarity of 0.50, two are 0.33; what is three steps away is not near
# enough.
BY_HAND = """
coco      dog                        exact   1.00  dog
coco      couch                      exact   1.00  sofa
coco      hot dog                    near    0.50  sandwich
coco      tv                         near    0.50  receiver
coco      handbag                    near    0.50  container etui reticule
coco      microwave                  near    0.33  oven stove
coco      mouse                      near    0.33  beeper defibrillator device dongle doubler \
multiplexer trackball
coco      traffic light              random
imagenet  tench.n.01                 exact   1.00  tench
imagenet  golden_retriever.n.01      near    0.50  retriever
imagenet  great_white_shark.n.01     near    0.33  mako porbeagle shark
imagenet  traffic_light.n.01         random
ade20k    swivel chair               near    0.50  chair
places    church/outdoor             exact   1.00  church
places    bowling_alley              near    0.50  building
places    restaurant_kitchen         mean    1.00  kitchen restaurant
places    ice_cream_parlor           mean    0.75  parlor tutti-frutti
places    archaeological_excavation  random
"""
ROWS = [
    (line[:8].strip(), line[10:37].strip(), *line[37:].split(maxsplit=2))
    for line in BY_HAND.strip().splitlines()
]
PLACES = tuple(label for name, label, *_ in ROWS if name == "places")


@pytest.fixture(scope="module")
def by_label(full):
    places = LabelSet("places", PLACES, tuple(map(synsets_of, PLACES)))
    sets = [*map(label_set, SETS), places]
    return {
        (labels.name, origin.label): origin
        for labels in sets
        for origin in find_origins(labels, full)
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_labels_looked_up_by_hand(by_label, row):
    name, label, kind, *rest = row
    origin = by_label[name, label]
    assert origin.kind == kind
    if rest:
        similarity, classes = rest
        assert f"{origin.similarity:.2f}" == similarity
        found = {part.class_name for part in origin.matched}
        assert found
        assert found <= {f"{name}.n.01" for name in classes.split()}  # or as near, but rarer


def test_whole_label_sets_against_all_reachable_classes(full):
    kinds = {}
    for name in SETS:
        found = [origin.kind for origin in find_origins(label_set(name), full)]
        kinds[name] = [*map(found.count, ("exact", "near", "mean", "random")), len(found)]
    assert kinds == {
        "imagenet": [395, 576, 0, 29, 1000],
        "coco": [54, 25, 0, 1, 80],
        "ade20k": [96, 51, 0, 3, 150],
    }


def test_most_frequent_class_is_taken_of_ties():
    vocabulary = vocabulary_of("oven.n.01", "stove.n.01", "dog.n.01")
    labels = LabelSet("one", ("microwave",), (synsets_of("microwave.n.02"),))
    for counts, expected in (((5, 9), "stove.n.01"), ((9, 5), "oven.n.01"), ((7, 7), "oven.n.01")):
        numbers = dict(zip(("oven.n.01", "stove.n.01"), counts, strict=True))
        synsets = tuple(
            each._replace(count=numbers.get(each.name, 1)) for each in vocabulary.synsets
        )
        (origin,) = find_origins(labels, replace(vocabulary, synsets=synsets))
        assert origin.matched[0].class_name == expected


@pytest.mark.parametrize(
    ("alpha", "kinds"), [(1.0, "exact random"), (0.51, "exact random"), (0.5, "exact near")]
)
def test_similarity_of_just_alpha_is_enough(alpha, kinds):
    synsets = (synsets_of("dog.n.01"), synsets_of("hotdog.n.02"))
    labels = LabelSet("two", ("dog", "hot dog"), synsets)
    origins = find_origins(labels, vocabulary_of("dog.n.01", "sandwich.n.01"), alpha)
    assert " ".join(origin.kind for origin in origins) == kinds
