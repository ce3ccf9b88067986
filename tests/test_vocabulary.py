"""Classes out of counts: what is kept, in which order, and what is refused."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catlip import vocabulary as module
from catlip.cli import InputError
from catlip.counts import Counts, Making, Source, count, imagenet_synsets
from catlip.sidecar import Labels, write_sidecar
from catlip.vocabulary import BuildVocabulary, Vocabulary, build
from catlip.wordnet import nouns

CAT, DOG, SOFA, TENCH = 2121620, 2084071, 4256520, 1440764
MAKING = Making("paper", "3.0", "nltk")


def counts_of(times):
    by_synset = np.zeros(len(nouns().offsets), dtype=np.int64)
    for synset, number in times.items():
        by_synset[np.searchsorted(nouns().offsets, synset)] = number
    return Counts(by_synset, MAKING, Source(1000, "0" * 64), unlabelled=3)


def labels_of(samples, rule="paper", tagger="nltk", shard="0.tar"):
    values = np.array([synset for sample in samples for synset in sample], dtype=np.uint32)
    offsets = np.cumsum([0, *map(len, samples)], dtype=np.uint32)
    meta = {"rule": rule, "wordnet": "3.0", "tagger": tagger, "shard": shard, "size": 1, "captions_sha256": "ab"}
    return Labels(values, offsets, meta)


def offsets_of(vocabulary):
    return [synset.offset for synset in vocabulary.synsets]


@pytest.fixture
def vocabulary():
    return build(counts_of({CAT: 7, DOG: 9, SOFA: 7}), threshold=1)


def test_the_threshold_is_strict():
    counts = counts_of({CAT: 501, DOG: 500, SOFA: 502})
    assert offsets_of(build(counts, threshold=500)) == [SOFA, CAT]


def test_classes_are_ordered_by_count_and_ties_by_offset(vocabulary):
    assert offsets_of(vocabulary) == [DOG, CAT, SOFA]
    assert vocabulary.synsets[0].name == "dog.n.01"


def test_the_top_k_are_the_most_frequent():
    assert offsets_of(build(counts_of({CAT: 7, DOG: 9, SOFA: 7}), top_k=2)) == [DOG, CAT]


@pytest.mark.parametrize(
    ("times", "choice", "message"),
    [
        ({CAT: 3, DOG: 9}, {"threshold": 500}, r"threshold 500 leaves 0 of 2 .*dog\.n\.01, occurs 9 times; try --threshold 2"),
        ({CAT: 3, DOG: 9}, {"threshold": 3}, r"threshold 3 leaves 1 of 2 .*dog\.n\.01, occurs 9 times"),
        ({CAT: 3, DOG: 9}, {"top_k": 5}, r"top-k 5 leaves 2 of 2 .*--top-k 2"),
        ({CAT: 3, DOG: 9}, {"top_k": 1}, "top-k 1 leaves 1"),
        ({}, {"threshold": 0}, "name 0 synsets"),
        ({CAT: 3, DOG: 9}, {}, "either --threshold or --top-k"),
        ({CAT: 3, DOG: 9}, {"top_k": 2, "threshold": 1}, "either --threshold or --top-k"),
    ],
)
def test_fewer_than_two_classes_are_refused_with_the_largest_count(times, choice, message):
    with pytest.raises(InputError, match=message):
        build(counts_of(times), **choice)


def test_the_threshold_that_is_advised_works():
    assert len(build(counts_of({CAT: 3, DOG: 9}), threshold=2)) == 2


@settings(max_examples=100)
@given(st.lists(st.sets(st.sampled_from([CAT, DOG, SOFA, TENCH, 1740, 15300051]), max_size=6).map(sorted), max_size=12))
def test_encoding_keeps_every_known_synset_in_its_sample(samples):
    vocabulary = build(counts_of({CAT: 7, DOG: 9, SOFA: 7}), threshold=1)
    labels = labels_of(samples)
    values, offsets = vocabulary.encode(labels.values, labels.offsets)
    ids = {synset: number for number, synset in enumerate(offsets_of(vocabulary))}
    expected = [[ids[synset] for synset in sample if synset in ids] for sample in samples]
    assert [list(part) for part in np.split(values, offsets[1:-1])][: len(samples)] == expected
    assert values.dtype == offsets.dtype == np.int64
    assert offsets[0] == 0
    assert offsets[-1] == len(values)


def test_what_is_saved_is_loaded(vocabulary, tmp_path):
    path = tmp_path / "new" / "vocabulary.json"
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary
    assert json.loads(path.read_text())["synsets"][0] == [DOG, "dog.n.01", 9]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"schema": 1}', '{"schema": 99}', '{"schema": 1, "synsets": [[1]]}'])
def test_a_file_that_is_no_vocabulary_is_refused(tmp_path, content):
    path = tmp_path / "vocabulary.json"
    path.write_text(content)
    with pytest.raises(InputError, match="is not a vocabulary"):
        Vocabulary.load(path)
    with pytest.raises(InputError, match="there is no vocabulary"):
        Vocabulary.load(tmp_path / "other.json")


@pytest.mark.parametrize(("rule", "tagger"), [("corenet", None), ("paper", "textblob-aptagger 0.2.0")])
def test_labels_made_in_another_way_are_refused(vocabulary, rule, tagger):
    vocabulary.check(labels_of([[DOG]]))
    with pytest.raises(InputError, match=f"the vocabulary was made by rule paper.*0.tar by rule {rule}"):
        vocabulary.check(labels_of([[DOG]], rule, tagger))


def test_the_released_pickle_is_read_in_its_own_order(tmp_path):
    path = tmp_path / "vocab.pkl"
    path.write_bytes(pickle.dumps({"n5928118": 52_418_327, "n1740": 5, "n2084071": 7}, protocol=4))
    vocabulary = Vocabulary.from_release(path, top_k=2)
    assert [(synset.name, synset.count) for synset in vocabulary.synsets] == [("image.n.01", 52_418_327), ("entity.n.01", 5)]
    assert (vocabulary.rule, vocabulary.top_k, vocabulary.source.captions) == ("corenet", 2, None)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"n1740": 5, "n3": 7}, "3 is not a noun synset"),
        ({"n1740": 5, "v1740": 7}, "not a dictionary of noun synsets"),
        ({"n1740": 5, "n2084071": "7"}, "not a dictionary of noun synsets"),
        ([1, 2], "not a dictionary of noun synsets"),
        ({"n1740": 5}, "top_k 2 is not between"),
        ({"n1740": 5, "n2084071": print}, "wants to import"),
    ],
)
def test_anything_else_than_the_released_pickle_is_refused(tmp_path, entries, message):
    path = tmp_path / "vocab.pkl"
    path.write_bytes(pickle.dumps(entries))
    with pytest.raises(InputError, match=message):
        Vocabulary.from_release(path, top_k=2)


def test_counting_adds_up_the_labels_of_all_shards(tmp_path):
    write_sidecar(tmp_path / "a", labels_of([[CAT, DOG], [], [DOG]]))
    write_sidecar(tmp_path / "b", labels_of([[DOG, TENCH]], shard="1.tar"))
    counts = count([tmp_path / "a", tmp_path / "b"])
    assert [(synset.offset, synset.count) for synset in counts.ranked()] == [(DOG, 3), (TENCH, 1), (CAT, 1)]
    assert counts.source.captions == 4
    statistics = counts.statistics()
    assert statistics["captions_without_label"] == 1
    assert statistics["labels_per_caption"] == 5 / 4
    assert statistics["unique_synsets_above"]["1"] == 1
    assert statistics["imagenet_classes_occurring"] == 1


def test_labels_of_two_rules_are_not_counted_together(tmp_path):
    write_sidecar(tmp_path / "a", labels_of([[CAT]]))
    write_sidecar(tmp_path / "b", labels_of([[CAT]], "corenet", None))
    with pytest.raises(InputError, match="give --rule"):
        count([tmp_path / "a", tmp_path / "b"])


def test_the_command_writes_vocabulary_and_record(tmp_path, capsys):
    folder = tmp_path / "labels"
    write_sidecar(folder / "0.paper.labels.npz", labels_of([[CAT, DOG], [DOG, TENCH], [CAT, DOG]]))
    write_sidecar(folder / "0.corenet.labels.npz", labels_of([[CAT]], "corenet", None))
    out = tmp_path / "vocabulary.json"
    module.main(BuildVocabulary((folder,), out, threshold=1, rule="paper", quiet=True))
    assert offsets_of(Vocabulary.load(out)) == [DOG, CAT]
    record = json.loads((tmp_path / "vocabulary" / "vocabulary.json").read_text())
    assert record["kind"] == "vocabulary"
    assert record["samples"]["counts"] == [3, 2, 1]
    assert record["metrics"]["num_classes"] == 2
    assert record["metrics"]["imagenet_classes_occurring"] == 1
    assert record["metrics"]["imagenet_classes"] == 0
    assert "dog.n.01" in capsys.readouterr().out
    with pytest.raises(InputError, match="give --rule"):
        module.main(BuildVocabulary((folder,), out, threshold=1, quiet=True))


def test_imagenet_s_classes_are_in_their_usual_order():
    assert imagenet_synsets()[0] == TENCH
    assert len(set(imagenet_synsets())) == 1000
