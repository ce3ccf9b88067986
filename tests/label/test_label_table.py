"""The table of `python -m catlip.label --out`: each caption's nouns, in the order of captions."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest
from glosses import glosses, make_shard

import catlip
from catlip.data.shards import open_shard, write_shard
from catlip.label.__main__ import Label, main
from catlip.label.sidecar import sidecar_path
from catlip.label.sources import TarShard
from catlip.label.table import write_table
from catlip.vocabulary import Vocabulary
from catlip.words.wordnet import nouns

RULES = ("paper", "corenet", "paper_multiword")


@pytest.fixture(autouse=True)
def _in_a_new_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def shards(tmp_path):
    """Two shards of real sentences; the second has a sample of two captions, and one of none."""
    one = make_shard(tmp_path / "0.tar", glosses()[::900])
    captions = {"captions": ["two hot dogs", "a dog, tall as 3 dogs \ud83d"]}
    samples = [
        ("pair", {"jpg": b"x", "json": json.dumps(captions).encode()}),
        ("none", {"jpg": b"x"}),
        ("empty", {"jpg": b"x", "txt": b"  "}),
    ]
    write_shard(tmp_path / "1.tar", samples)
    return [one, tmp_path / "1.tar"]


def tabulate(shards, out, **options):
    sources = tuple(map(str, shards))
    main(Label(sources, labels_dir=out.parent / "labels", quiet=True, out=out, **options))
    return pd.read_parquet(out)


@pytest.mark.parametrize("rule", RULES)
def test_each_caption_has_its_nouns_and_classes(shards, tmp_path, rule):
    vocabulary = Vocabulary.from_captions(glosses()[::450], top_k=300, rule=rule)
    vocabulary.save(tmp_path / "v.json")
    options = {"rule": rule, "vocabulary": tmp_path / "v.json", "workers": 1}
    table = tabulate(shards, tmp_path / "labels.parquet", **options)
    captions = [
        open_shard(path).captions(n) for path in shards for n in range(len(open_shard(path)))
    ]
    captions = [caption for of_sample in captions for caption in of_sample]
    assert [*table.key[-4:]] == ["pair", "pair", "none", "empty"]
    assert [*table.source] == ["0.tar"] * (len(table) - 4) + ["1.tar"] * 4
    labeller = catlip.Labeller(rule)
    targets = vocabulary.targets([caption or "" for caption in captions])
    assert len(table) == len(captions) == len(targets.offsets) - 1
    for number, row in enumerate(table.itertuples()):
        caption = captions[number]
        assert row.caption == caption or not caption or "\ud83d" in caption
        # The tagger may call the word's second place a noun: the order may differ.
        assert {*row.synsets} == {noun.synset for noun in labeller(caption or "")}
        assert [nouns().name(labeller.synset(word)) for word in row.words] == [*row.synsets]
        classes = targets.values[targets.offsets[number] : targets.offsets[number + 1]]
        assert sorted(row.classes) == sorted(classes.tolist())
    assert table.classes.map(len).sum() > 100
    assert table.caption[-2:].isna().tolist() == [True, False]


def test_rows_are_in_the_order_of_the_sources_and_made_again_when_labels_change(shards, tmp_path):
    whole, out = tmp_path / "whole.parquet", tmp_path / "labels.parquet"
    rows = len(tabulate(shards, whole, workers=1))
    assert pq.read_metadata(whole).num_row_groups == 2
    assert not [*tmp_path.glob(".*")], "nothing else is left"
    sources = [*map(TarShard, shards)]
    sidecars = {source: sidecar_path(source, tmp_path / "labels", "paper") for source in sources}
    assert write_table(out, sidecars) == rows
    assert out.read_bytes() == whole.read_bytes()
    make_shard(shards[0], ["a dog"])
    table = tabulate(shards, out, workers=1)
    assert [*table.synsets[0]] == ["dog.n.01"]
