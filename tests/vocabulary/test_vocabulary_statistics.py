"""A vocabulary's statistics against a plain count over all pairs; record, tables, command."""

import csv
import itertools
import json

import numpy as np
import pytest
from one_line import one_line_error

from bench.labelling.nltk_rules import wordnet
from catlip.captions import EDITION
from catlip.cli import InputError
from catlip.vocabulary import Vocabulary, build
from catlip.vocabulary.counts import HISTOGRAM, THRESHOLDS, Counts, Making, Source
from catlip.vocabulary.label_sets import LabelSet, label_set
from catlip.vocabulary.result import LabelCounts, Match
from catlip.vocabulary.statistics import (
    SIMILARITIES,
    VocabularyStatistics,
    match,
    overlap,
    show_statistics,
    statistics,
    tables,
)
from catlip.words.wordnet import nouns

TENCH, DOG, PUPPY, RESTAURANT, KITCHEN, SOFA = 1440764, 2084071, 1322604, 4081281, 3619890, 4256520


def vocabulary_of(
    times: dict[int, int], captions: int | None = 100, threshold: int = 0
) -> Vocabulary:
    by_synset = np.zeros(len(nouns().offsets), dtype=np.int64)
    for synset, number in times.items():
        by_synset[np.searchsorted(nouns().offsets, synset)] = number
    histogram = None if captions is None else (4, captions - 4, *[0] * (HISTOGRAM - 2))
    making = Making("paper", "3.0", "nltk", EDITION)
    return build(Counts(by_synset, making, Source(captions, ("0" * 16,)), histogram), threshold)


@pytest.fixture(scope="module")
def common():
    """The first senses of every tenth word, the earlier the more frequent."""
    synsets = dict.fromkeys(list(nouns().first_senses.values())[::10])
    times = {synset: len(synsets) - rank for rank, synset in enumerate(synsets)}
    return vocabulary_of(times, threshold=len(synsets) - 1000)


def test_matches_are_those_of_all_pairs(common):
    synset = wordnet().synset_from_pos_and_offset
    labels = label_set("coco")
    classes = [synset("n", each.offset) for each in common.synsets]
    found = match(labels, common)
    for number in (0, 40, 79):
        (own,) = labels.synsets[number]
        similarities = [synset("n", own).path_similarity(each) for each in classes]
        most = max(similarities)
        best = similarities.index(most)
        kept = common.synsets[best]
        assert found[number] == Match(labels.names[number], best, kept.name, most, kept.count)


def test_a_label_of_several_synsets_has_its_best_and_one_without_none():
    names = ("kitchen of a restaurant", "dug up", "pup")
    labels = LabelSet("rooms", names, ((RESTAURANT, KITCHEN), (), (PUPPY,)))
    dug, pup = match(labels, vocabulary_of({DOG: 9, KITCHEN: 7, RESTAURANT: 7}))[1:]
    assert (dug.class_id, dug.synset, dug.similarity, dug.samples) == (None, "", 0.0, 0)
    assert (pup.synset, pup.similarity, pup.samples) == ("dog.n.01", 0.5, 9)
    # Both are matched exactly: the more frequent class is meant, and of equally frequent ones the
    # lower class id.
    for kitchens, restaurants, expected in ((7, 8, "restaurant.n.01"), (8, 7, "kitchen.n.01")):
        times = {DOG: 9, KITCHEN: kitchens, RESTAURANT: restaurants}
        assert match(labels, vocabulary_of(times))[0].synset == expected
    assert match(labels, vocabulary_of({DOG: 9, KITCHEN: 8, SOFA: 7}))[0].similarity == 1


def test_only_classes_are_matched_not_what_was_pruned():
    labels = LabelSet("one", ("pup",), ((PUPPY,),))
    (found,) = match(labels, vocabulary_of({DOG: 9, SOFA: 8, PUPPY: 1}, threshold=1))
    assert found.synset == "dog.n.01"


def test_overlap_falls_with_the_threshold_and_counts_equality():
    # A tench is as near as 1/13.
    labels = LabelSet("four", ("a", "b", "c", "d"), ((DOG,), (PUPPY,), (TENCH,), ()))
    found = overlap(match(labels, vocabulary_of({DOG: 9, SOFA: 8})))
    tenths = [f"{number / 10:.1f}" for number in range(1, 11)]
    assert list(found) == [f"{least:.1f}" for least in SIMILARITIES] == tenths
    assert found["1.0"] == found["0.6"] == 1
    assert found["0.5"] == found["0.2"] == 2
    assert found["0.1"] == 2


def test_the_record_says_what_is_in_the_captions():
    labels = LabelSet("three", ("a", "b", "c"), ((DOG,), (SOFA,), ()))
    metrics, samples = statistics(vocabulary_of({DOG: 9, SOFA: 6, TENCH: 1}, threshold=1), [labels])
    assert metrics.num_classes == 2
    assert metrics.unique_synsets == 3
    above = {least: sum(n > least for n in (9, 6, 1)) for least in THRESHOLDS}
    assert metrics.unique_synsets_above == above
    assert {0, 1, 2, 5, 100, 500, 1000, 2500, 5000} <= set(THRESHOLDS)
    assert metrics.num_captions == 100
    assert metrics.captions_without_label == 4
    assert metrics.labels_per_caption == 0.16
    assert (metrics.imagenet_classes_occurring, metrics.imagenet_classes) == (1, 0)
    assert (metrics.rule, metrics.threshold, metrics.top_k) == ("paper", 1, None)
    counts = LabelCounts(labels=3, without_synset=1, exact=2, least=6, median=7.5, most=9)
    assert metrics.labels == {"three": counts}
    assert (samples["tail_rank"], samples["tail_count"]) == ([1, 2, 3], [9, 6, 1])
    assert samples["captions_by_labels"][:3] == [4, 96, 0]
    assert samples["matches_three"][1] == {
        "label": "b",
        "class_id": 1,
        "synset": "sofa.n.01",
        "similarity": 1,
        "samples": 6,
    }
    json.dumps([metrics.metrics(), samples], allow_nan=False)
    assert type(metrics).read(metrics.metrics()) == metrics


def test_the_long_tail_is_thinned_evenly_on_a_logarithmic_axis(common):
    _, samples = statistics(common, [])
    ranks, ranked = samples["tail_rank"], [*common.synsets, *common.pruned]
    assert len(ranked) > 5000
    assert 300 < len(ranks) <= 500
    assert (ranks[0], ranks[1], ranks[-1]) == (1, 2, len(ranked))
    assert max(b / a for a, b in itertools.pairwise(ranks[20:])) < 1.1
    assert samples["tail_count"] == [ranked[rank - 1].count for rank in ranks]


def test_without_captions_what_needs_them_is_unknown_and_nothing_else():
    metrics, samples = statistics(vocabulary_of({DOG: 9, SOFA: 6}, captions=None), [])
    assert metrics.num_captions is metrics.captions_without_label is None
    assert metrics.labels_per_caption is None
    assert metrics.unique_synsets == 2
    assert tables(metrics, samples)["captions_by_labels"].empty


def test_the_command_prints_records_and_says_how_to_draw(program, tmp_path):
    mine = tmp_path / "scale" / "mine.json"
    vocabulary_of({DOG: 1_234_567, SOFA: 6, TENCH: 1}, captions=2_000_000).save(mine)
    listing = tmp_path / "categories_places365.txt"
    listing.write_text("/k/kennel/outdoor 0\n/a/archaeological_excavation 1\n")
    against = ("--against", "imagenet", f"places365:{listing}")
    done = program("catlip.vocabulary", "stats", mine, *against)
    assert done.returncode == 0, done.stderr
    for said in ("2,000,000", "1,999,996", "-statistics.json", "python -m reports --records"):
        assert said in done.stdout
    folder = tmp_path / "scale" / "vocabulary"
    record = json.loads((folder / "mine-statistics.json").read_text())
    assert record["kind"] == "vocabulary_statistics"
    assert "-m catlip.vocabulary stats " in record["command"]
    matches, overlaps, places = (
        list(csv.DictReader((folder / f"mine-statistics-{name}.csv").read_text().splitlines()))
        for name in ("matches_imagenet", "overlap", "matches_places365")
    )
    assert len(matches) == 1000
    names = ("label", "class_id", "synset", "similarity", "samples")
    tench = ("tench.n.01", "2", "tench.n.01", "1.0", "1")
    assert matches[0] == dict(zip(names, tench, strict=True))
    assert [float(row["similarity"]) for row in overlaps] == list(SIMILARITIES)
    assert places[1]["class_id"] == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["stats", "nowhere.json"], "nowhere.json"),
        (["merge", "nowhere.json", "--threshold", "1", "--out", "x.json"], "nowhere.json"),
        (["merge", "nowhere.json", "--threshold", "1", "--out", "x"], "--out x"),
        (["stats"], "vocabulary"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(program, arguments, says):
    done = program("catlip.vocabulary", *arguments)
    one_line_error(done, says)


def test_a_label_set_named_twice_is_refused(tmp_path):
    vocabulary_of({DOG: 9, SOFA: 6}).save(tmp_path / "v.json")
    with pytest.raises(InputError, match="--against"):
        show_statistics(VocabularyStatistics(tmp_path / "v.json", ("coco", "coco")))
    assert not (tmp_path / "vocabulary").exists()
