"""Classes out of counts: what is kept, in which order, and what is refused."""

import json
import pickle

import numpy as np
import pytest
from small_data import counts_of

from catlip.captions import EDITION
from catlip.cli import InputError
from catlip.label.sidecar import Labels, write_sidecar
from catlip.vocabulary import Vocabulary, build, count, fitting_threshold

CAT, DOG, SOFA, TENCH = 2121620, 2084071, 4256520, 1440764


def labels_of(samples, rule="paper", tagger="nltk", shard="0.tar", **more):
    values = np.array([synset for sample in samples for synset in sample], dtype=np.uint32)
    offsets = np.cumsum([0, *map(len, samples)], dtype=np.uint32)
    meta = {"rule": rule, "wordnet": "3.0", "tagger": tagger, "edition": EDITION}
    meta |= {"shard": shard, "size": 1, "captions_sha256": "ab", "unlabelled": {}, "cut": 0}
    return Labels(values, offsets, meta | more)


def offsets_of(vocabulary):
    return [synset.offset for synset in vocabulary.synsets]


@pytest.fixture
def vocabulary():
    return build(counts_of({CAT: 7, DOG: 9, SOFA: 7}), threshold=1)


@pytest.mark.parametrize(
    ("times", "choice", "classes"),
    [
        ({CAT: 501, DOG: 500, SOFA: 502}, {"threshold": 500}, [SOFA, CAT]),
        ({CAT: 7, DOG: 9, SOFA: 7}, {"threshold": 1}, [DOG, CAT, SOFA]),
        ({CAT: 7, DOG: 9, SOFA: 7}, {"top_k": 2}, [DOG, CAT]),
        ({CAT: 3, DOG: 9}, {"threshold": 2}, [DOG, CAT]),  # what is advised below
    ],
)
def test_most_frequent_or_those_above_the_threshold_are_kept(times, choice, classes):
    assert offsets_of(build(counts_of(times), **choice)) == classes


@pytest.mark.parametrize(
    ("times", "choice", "advice"),
    [
        ({CAT: 3, DOG: 9}, {"threshold": 500}, "threshold 2"),
        ({CAT: 3, DOG: 9}, {"top_k": 5}, "top-k 2"),
        ({CAT: 3, DOG: 9}, {"top_k": 1}, "top-k"),
        ({}, {"threshold": 0}, "0 synsets"),
        ({CAT: 3, DOG: 9}, {"top_k": 2, "threshold": 1}, "threshold"),
    ],
)
def test_fewer_than_two_classes_are_refused_with_the_largest_count(times, choice, advice):
    with pytest.raises(InputError, match=advice):
        build(counts_of(times), **choice)


@pytest.mark.parametrize(
    ("captions", "threshold"), [(None, 2), (100, 2), (27_772, 17), (40_455, 20), (500_000, 71)]
)
def test_threshold_fits_the_number_of_captions(captions, threshold):
    assert fitting_threshold(captions) == threshold


def test_encoding_keeps_every_known_synset_in_its_sample():
    """Unknown ones are below, between and above the known, and in samples that keep nothing."""
    vocabulary = build(counts_of({CAT: 7, DOG: 5, SOFA: 9}), threshold=1)
    labels = labels_of([[], [1740], [TENCH, DOG, 2100000, CAT], [], [SOFA, 15300051], []])
    values, offsets = vocabulary.encode(labels.values, labels.offsets)
    assert (values.tolist(), offsets.tolist()) == ([2, 1, 0], [0, 0, 0, 2, 2, 3, 3])
    assert values.dtype == offsets.dtype == np.int64


@pytest.mark.parametrize(
    "content",
    [
        *("[]", "{", "[" * 100_000, "\xff", '{"schema": 1, "synsets": [[1]]}', None),
        {"threshold": "many"},
        {"synsets": [[DOG, "dog.n.01", 9]]},
        {"synsets": [[DOG, "dog.n.01", 9], [DOG, "dog.n.01", 9]]},
    ],
)
def test_file_that_is_no_vocabulary_is_refused(vocabulary, tmp_path, content):
    path = tmp_path / "vocabulary.json"
    if isinstance(content, dict):
        vocabulary.save(path)
        content = json.dumps(json.loads(path.read_text()) | content)
    if content is not None:
        path.write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=str(path)):
        Vocabulary.load(path)


def test_released_pickle_is_read_in_its_own_order(tmp_path):
    path = tmp_path / "vocab.pkl"
    path.write_bytes(pickle.dumps({"n5928118": 52_418_327, "n1740": 5, "n2084071": 7}, protocol=4))
    vocabulary = Vocabulary.from_release(path, top_k=2)
    ranked = [(each.name, each.count) for each in (*vocabulary.synsets, *vocabulary.pruned)]
    assert ranked == [("image.n.01", 52_418_327), ("entity.n.01", 5), ("dog.n.01", 7)]
    assert len(vocabulary) == 2
    assert (vocabulary.rule, vocabulary.top_k, vocabulary.source.captions) == ("corenet", 2, None)
    vocabulary.save(tmp_path / "vocabulary.json")
    assert Vocabulary.load(tmp_path / "vocabulary.json") == vocabulary


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"n1740": 5, "n3": 7}, r"\b3\b"),
        ({"n1740": 5, "v1740": 7}, r"vocab\.pkl"),
        ({"n1740": 5, "n2084071": 0}, r"vocab\.pkl"),
        ({"n1740": 5}, "top_k 2"),
        ({"n1740": 5, "n2084071": len}, "import"),
    ],
)
def test_anything_else_than_the_released_pickle_is_refused(tmp_path, entries, message):
    path = tmp_path / "vocab.pkl"
    path.write_bytes(pickle.dumps(entries))
    with pytest.raises(InputError, match=message):
        Vocabulary.from_release(path, top_k=2)


def test_labels_of_all_files_add_up_unless_they_cannot_be_counted_together(tmp_path):
    written = {
        "a": labels_of([[CAT, DOG], [], [DOG]]),
        "b": labels_of([[DOG, TENCH]], captions_sha256="cd"),
        "part": labels_of([[DOG]], part=1),
        "shard": labels_of([[DOG]], shard="1.tar"),
        "other": labels_of([[CAT, DOG]], shard="1.tar", rule="corenet", tagger=None),
        "low": labels_of([[CAT], [3]]),
        "high": labels_of([[CAT], [99_999_999]]),
    }
    for name, labels in written.items():
        write_sidecar(tmp_path / name, labels)
    counts = count([tmp_path / name for name in ("a", "b", "part", "shard")])
    ranked = [(synset.offset, synset.count) for synset in counts.ranked()]
    assert ranked == [(DOG, 5), (TENCH, 1), (CAT, 1)]
    assert (counts.source.captions, counts.source.without_label) == (6, 1)
    for names, message in (
        ("b a a", "a are counted"),
        ("a other", "other .*corenet.*a by .*paper"),
        ("", "no labels"),
        ("low", "low has"),
        ("high", "high has"),
    ):
        with pytest.raises(InputError, match=message):
            count([tmp_path / name for name in names.split()])
