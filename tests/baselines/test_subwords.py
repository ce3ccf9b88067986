"""Subwords as classes: which they are, how frequent, and those of a caption, by plain counting."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from baselines.idf import distinct_subwords
from baselines.openclip import END, START, CaptionTokenizer
from baselines.subwords import Subwords, count_subwords
from bench.measuring import methods
from bench.measuring.factors import Factors
from catlip.data.shard_set import open_shards
from catlip.data.shards import expand, open_shard, write_shard
from catlip.vocabulary import fitting_threshold

CAPTIONS = ["A dog runs on a beach!", "two dogs, a ball", "the beach at night", "a dog"] * 12
CONTEXT = 24


def subwords_of(caption: str, context: int = CONTEXT) -> set[int]:
    """Of as many tokens as fit beside those that open and close a caption."""
    return {*CaptionTokenizer(context).tokenizer.encode(caption.lower())[: context - 2]}


def test_frequent_subwords_of_all_captions_are_classes(tmp_path: Path) -> None:
    texts = ["\n".join(CAPTIONS[i : i + 2]) for i in range(0, len(CAPTIONS), 2)]
    texts[0] += "\nthe rarest"
    samples = [(f"{i:03}", {"jpg": b"", "txt": text.encode()}) for i, text in enumerate(texts)]
    write_shard(tmp_path / "0.tar", samples)
    captions = [caption for text in texts for caption in text.split("\n")]
    counts = Counter(token for caption in captions for token in subwords_of(caption))
    least = fitting_threshold(len(captions))
    frequent = sorted(token for token, count in counts.items() if count > least)

    subwords = count_subwords(open_shards(expand(str(tmp_path))), CONTEXT)
    assert subwords.tokens.tolist() == frequent
    rates = [counts[token] / len(captions) for token in frequent]
    assert np.allclose(subwords.base_rates, rates)

    shard = open_shard(tmp_path / "0.tar")
    values, offsets = subwords([(shard, 0, 2), (shard, 0, 0), (shard, 1, 1)])
    found = [{*subwords.tokens[row]} for row in np.split(values, offsets[1:-1])]
    said = ["the rarest", CAPTIONS[0], CAPTIONS[3]]
    assert found == [subwords_of(caption) & {*frequent} for caption in said]


def test_more_captions_ask_for_more_frequent_subwords() -> None:
    counts = np.array([0, 20, 21, 5000])
    assert Subwords(CONTEXT, 40_000, counts).tokens.tolist() == [2, 3]  # above 200 / 10


def test_subwords_beyond_the_context_are_not_read(tmp_path: Path) -> None:
    text = "one two three four five six seven eight nine ten"
    samples = [(str(i), {"jpg": b"", "txt": text.encode()}) for i in range(4)]
    write_shard(tmp_path / "0.tar", samples)
    subwords = count_subwords(open_shards(expand(str(tmp_path))), context=6)
    assert {*subwords.tokens} == subwords_of("one two three four")


# --- SuperClass counts the subwords of captions: which, and when.


def test_exclamation_mark_counts_though_its_token_is_that_of_padding() -> None:
    tokens = CaptionTokenizer(24)(["a dog !%", "a dog"])
    assert tokens[0, 3] == tokens[0, -1] == 0
    subwords, present = distinct_subwords(tokens)
    rows, values = subwords.rows()[present], subwords.values[present]
    assert [set(values[rows == row].tolist()) for row in (0, 1)] == [
        {0, *tokens[0, 1:5].tolist()},
        set(tokens[1, 1:3].tolist()),
    ]


@pytest.mark.parametrize("method", ["superclass", "catlip_softmax"])
def test_captions_are_counted_in_training_only(method) -> None:
    objective = methods.build(Factors(method, "hybrid_mini", 32, num_classes=10, seed=0))
    batch = methods.synthetic_batch(Factors("catlip", "hybrid_mini", 32, 4, num_classes=10), seed=0)
    objective.eval()(batch)
    assert objective.idf.captions_seen.item() == 0
    objective.train()(batch)
    assert objective.idf.captions_seen.item() == 4
    subwords = [{*caption} - {START, END} for caption in batch.tokens.tolist()]
    expected = 4 * 3 if objective.needs == {"labels"} else sum(map(len, subwords))
    assert objective.idf.captions_with.sum() == expected
