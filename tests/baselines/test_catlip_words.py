"""Subwords as classes: which they are, how frequent, and those of a caption, by plain counting."""

from collections import Counter
from pathlib import Path

import numpy as np

from baselines.openclip import CaptionTokenizer
from baselines.subwords import count_subwords
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


def test_subwords_beyond_the_context_are_not_read(tmp_path: Path) -> None:
    text = "one two three four five six seven eight nine ten"
    samples = [(str(i), {"jpg": b"", "txt": text.encode()}) for i in range(4)]
    write_shard(tmp_path / "0.tar", samples)
    subwords = count_subwords(open_shards(expand(str(tmp_path))), context=6)
    assert {*subwords.tokens} == subwords_of("one two three four")
