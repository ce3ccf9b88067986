"""A vocabulary's statistics against a plain count over all pairs; record, tables, command."""

import re

from small_data import counts_of

from catlip.records.table import MISSING
from catlip.transfer_init import find_origins, origins_sentence, origins_table
from catlip.vocabulary import Synset, build
from catlip.vocabulary.__main__ import match, statistics
from catlip.vocabulary.label_sets import LabelSet, label_set
from catlip.vocabulary.result import SIMILARITIES, LabelCounts

TENCH, DOG, PUPPY, RESTAURANT, KITCHEN, SOFA = 1440764, 2084071, 1322604, 4081281, 3619890, 4256520


def test_label_of_several_synsets_has_its_best_and_one_without_none():
    names = ("kitchen of a restaurant", "dug up", "pup")
    labels = LabelSet("rooms", names, ((RESTAURANT, KITCHEN), (), (PUPPY,)))
    dug, pup = match(labels, build(counts_of({DOG: 9, KITCHEN: 7, RESTAURANT: 7}), 0))[1:]
    assert dug == (0.0, None)
    assert pup == (0.5, Synset(DOG, "dog.n.01", 9))
    # Both are matched exactly: the more frequent class is meant, and of equally frequent ones the
    # lower class id.
    for kitchens, restaurants, expected in ((7, 8, "restaurant.n.01"), (8, 7, "kitchen.n.01")):
        times = {DOG: 9, KITCHEN: kitchens, RESTAURANT: restaurants}
        assert match(labels, build(counts_of(times), 0))[0][1].name == expected
    assert match(labels, build(counts_of({DOG: 9, KITCHEN: 8, SOFA: 7}), 0))[0][0] == 1


def test_record_says_what_is_in_the_captions():
    labels = LabelSet("three", ("a", "b", "c"), ((DOG,), (SOFA,), ()))
    metrics, samples = statistics(build(counts_of({DOG: 9, SOFA: 6, TENCH: 1}), 1), [labels])
    assert metrics.num_classes == 2
    assert metrics.unique_synsets == 3
    assert metrics.num_captions == 100
    assert metrics.captions_without_label == 4
    assert metrics.labels_per_caption == 0.16
    assert (metrics.imagenet_classes_occurring, metrics.imagenet_classes) == (1, 0)
    assert (metrics.rule, metrics.threshold, metrics.top_k) == ("paper", 1, None)
    counts = LabelCounts(labels=3, without_synset=1, exact=2, median=7.5)
    assert metrics.labels == {"three": counts}
    assert metrics.overlap["three"] == dict.fromkeys(SIMILARITIES, 2)
    assert (samples["tail_rank"], samples["tail_count"]) == ([1, 2, 3], [9, 6, 1])
    assert type(metrics).read(metrics.as_dict()) == metrics


def test_own_classes_are_told_as_transfer_init_maps_them(tmp_path):
    (tmp_path / "mine.txt").write_text("sofa\nquokka\ndogs\npuppy\n")
    labels = label_set(str(tmp_path / "mine.txt"))
    vocabulary = build(counts_of({DOG: 9, SOFA: 6, TENCH: 1}), 0)
    origins = find_origins(labels, vocabulary)
    table = origins_table(labels.name, origins, vocabulary)
    rows = [[cell.text for cell in cells] for _, cells in table.lines()]
    assert [row[0] for row in rows] == ["sofa", "dogs", "puppy", "quokka"], "the missing ones last"
    assert [row[3] for row in rows] == ["sofa.n.01", "dog.n.01", "dog.n.01", "none"]
    assert [row[4] for row in rows] == ["1.00", "1.00", "0.50", MISSING]
    assert [row[5] for row in rows] == ["6", "9", "9", MISSING]
    assert re.findall(r"\d+", origins_sentence(labels.name, origins))[:3] == ["4", "2", "1"]
