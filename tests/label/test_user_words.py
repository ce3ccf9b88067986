"""Words of one's own make classes that WordNet does not know, and take labels away."""

from pathlib import Path

import pytest

import catlip
from catlip.captions import Labeller, LabelVersion
from catlip.cli import InputError
from catlip.data.shards import write_shard
from catlip.label import is_labelled, read_words
from catlip.label.__main__ import Label, main
from catlip.label.sidecar import read_sidecar
from catlip.label.sources import TarShard
from catlip.vocabulary import Vocabulary, build, count
from catlip.words.wordnet import nouns

WORDS = "tshirts,shirt\nMug,cup.n.02\ncolor,\n"


def write(path: Path, text: str = WORDS) -> Path:
    path.write_text(text)
    return path


def names(labeller: Labeller, caption: str) -> list[str]:
    return [nouns().name(synset) for synset in labeller.batch([caption])[0]]


@pytest.mark.parametrize("rule", ["paper", "corenet", "paper_multiword"])
def test_own_words_come_before_wordnets(rule: str, tmp_path: Path) -> None:
    words = read_words(write(tmp_path / "words.csv"))
    assert words == {"tshirts": "shirt.n.01", "mug": "cup.n.02", "color": ""}
    usual, own = Labeller(rule), Labeller(rule, words)
    caption = "two Tshirts of a dog's color, and mugs"
    assert "shirt.n.01" not in names(usual, caption)
    assert {"shirt.n.01", "cup.n.02", "dog.n.01"} <= {*names(own, caption)}
    assert "color.n.01" not in names(own, caption)
    kept = {word.word: not word.reason for word in own.explain(caption)}
    assert (kept["tshirts"], kept["color"], kept["mugs"]) == (True, False, True)
    assert names(own, "a dog on a couch") == names(usual, "a dog on a couch")


@pytest.mark.parametrize("line", ["tshirts,nosuchnoun", "a,b.n.99", "Mug,shirt"])
def test_word_of_no_noun_or_of_two_lines_is_refused(line: str, tmp_path: Path) -> None:
    path = write(tmp_path / "words.csv", f"mug,cup\n{line}\n")
    with pytest.raises(InputError, match=r"words\.csv, line 2"):
        read_words(path)


@pytest.mark.parametrize("rule", ["paper", "corenet", "paper_multiword"])
def test_words_that_occur_in_no_caption_are_said(rule: str, tmp_path: Path, capsys) -> None:
    captions = ["tshirts and mugs", "a dog", "a hot dog"]
    samples = [(str(n), {"txt": text.encode()}) for n, text in enumerate(captions)]
    write_shard(tmp_path / "0.tar", samples[:1])
    write_shard(tmp_path / "1.tar", samples[1:])
    words = write(tmp_path / "words.csv", WORDS + "hot_dog,dog\nbulldozers,car\n")
    config = Label((str(tmp_path),), rule=rule, labels_dir=tmp_path, words=words, quiet=True)
    main(config)
    unmet = "bulldozers, color" + ("" if rule == "paper_multiword" else ", hot_dog")
    assert f"of 5 words of {words} occur in no caption: {unmet}\n" in capsys.readouterr().out
    sidecar = tmp_path / f"0.{rule}.labels.npz"
    assert read_sidecar(sidecar).meta["words_met"] == ["mug", "tshirts"]


def test_other_words_make_labels_again_and_go_with_the_vocabulary(tmp_path: Path, capsys) -> None:
    path, words = tmp_path / "0.tar", write(tmp_path / "words.csv")
    captions = ["a dog in tshirts", "tshirts", "a cat"]
    write_shard(path, [(str(n), {"txt": text.encode()}) for n, text in enumerate(captions)])
    main(Label((str(path),), labels_dir=tmp_path, quiet=True))
    sidecar, shard = path.with_suffix(".paper.labels.npz"), TarShard(path)
    assert "words" not in read_sidecar(sidecar).meta  # as labels of before
    usual, own = (Labeller("paper", read_words(path)).version for path in (None, words))
    assert is_labelled(shard, tmp_path, usual)
    assert not is_labelled(shard, tmp_path, own)
    main(Label((str(path),), labels_dir=tmp_path, words=words, quiet=True))
    assert is_labelled(shard, tmp_path, own)
    assert not is_labelled(shard, tmp_path, usual)
    vocabulary = build(count([sidecar]), threshold=0)
    assert {one.name: one.count for one in vocabulary.synsets}["shirt.n.01"] == 2
    vocabulary.save(tmp_path / "v.json")
    again = Vocabulary.load(tmp_path / "v.json")
    assert again == vocabulary
    assert again.label_version == LabelVersion.from_meta(read_sidecar(sidecar).meta)
    assert len(again.targets(["two tshirts"]).values) == 1
    same = catlip.Vocabulary.from_captions(captions, threshold=0, words=read_words(words))
    assert same.synsets == vocabulary.synsets
    write(words, "tshirts,coat\n")
    assert not is_labelled(shard, tmp_path, Labeller("paper", read_words(words)).version)
