"""The audit counts, by caption, the words that a rule drops and those that it may keep wrongly."""

from collections import Counter

import pytest

from catlip.captions import Labeller
from catlip.label.audit import audit_captions, take_captions
from catlip.label.sources import find

CAPTIONS = [
    "a free white couch and a dog",
    "two couches, a couch and a bank",
    "the dog is free, the cat sleeps on the bank",
    "xylofoos and a dog :-(",
]


def column(rows, *names):
    return {tuple(row[name] for name in names): row["captions"] for row in rows}


def test_released_rule_drops_nouns_of_other_names():
    metrics, tables = audit_captions(CAPTIONS, Labeller("corenet"))
    dropped = column(tables["dropped"], "word", "reason")
    assert dropped["couch", "its first sense is named sofa.n.01"] == 2
    assert dropped["xylofoos", "no noun of WordNet"] == 1  # the tagger calls it a noun
    assert column(tables["not_nouns"], "word", "synset", "tag")["free", "free.n.01", "JJ"] == 2
    assert "dog" not in {row["word"] for row in tables["not_nouns"]}
    assert column(tables["many_senses"], "word", "synset", "senses")["bank", "bank.n.01", 10] == 2
    verdicts = metrics.words_by_verdict
    assert verdicts["its first sense is named otherwise"] >= 3  # of couch alone
    assert sum(verdicts.values()) == metrics.words == 7 + 8 + 11 + 7
    assert metrics.captions == 4


@pytest.mark.parametrize(
    ("num_files", "most", "expected"), [(3, 5, [2, 2, 1]), (250, 100, [2] * 16 + [1] * 68)]
)
def test_captions_are_taken_evenly_from_not_too_many_files(tmp_path, num_files, most, expected):
    for number in range(num_files):
        (tmp_path / f"{number:03d}.csv").write_text("text\n" + f"file {number}\n" * 50)
    taken = take_captions(find([str(tmp_path)]), most)
    assert list(Counter(taken).values()) == expected
