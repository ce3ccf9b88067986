"""Samples for people to look at are the very images, captions and classes of training."""

import base64
import io

import numpy as np
from PIL import Image

from catlip.data.decode import open_picture
from catlip.data.shards import open_shard, write_shard
from catlip.examples import Examples, main
from catlip.label.sidecar import SUFFIX, read_sidecar
from catlip.records.record import read_record
from catlip.vocabulary import Vocabulary
from catlip.words.wordnet import nouns


def examples(starter, folder, count, samples=None):
    """The record of the starter's samples, or of these."""
    shards, out = starter.shards, folder / "examples.json"
    if samples:
        shards = folder / "0.tar"
        write_shard(shards, samples)
    main(Examples((str(shards),), starter.vocabulary, count, out=out))
    return read_record(out)


def test_classes_are_those_that_training_sees(starter, tmp_path):
    record = examples(starter, tmp_path, count=5)
    vocabulary = Vocabulary.load(starter.vocabulary)
    wanted = {picture["key"]: picture for picture in record["samples"]["pictures"]}
    assert len(wanted) == len(record["samples"]["pictures"]) == 5
    for path in sorted(starter.shards.glob("*.tar")):
        shard = open_shard(path)
        labels = read_sidecar(starter.labels / f"{path.stem}.paper{SUFFIX}")
        ids, offsets = vocabulary.encode(labels.values, labels.offsets)
        for number, key in enumerate(shard.keys):
            if not (picture := wanted.pop(key, None)):
                continue
            known = ids[offsets[number] : offsets[number + 1]]
            every = labels.values[labels.offsets[number] : labels.offsets[number + 1]]
            of_training = {vocabulary.synsets[i].name for i in known}
            assert set(picture["classes"]) == of_training
            assert picture["caption"] == shard.caption(number)
            nouns_with_label = {synset for _, tag, synset in picture["words"] if tag[:2] == "NN"}
            assert nouns_with_label - {""} == {nouns().name(i) for i in every}
            assert not any(synset for _, tag, synset in picture["words"] if tag[:2] != "NN")
            kept = np.array(Image.open(io.BytesIO(base64.b64decode(picture["image"])))).astype(int)
            pixels = np.array(open_picture(shard.image_bytes(number)).convert("RGB"))
            assert np.abs(kept - pixels).mean() < 16  # but for a JPEG's loss
    assert not wanted


def test_one_of_several_captions_is_shown(starter, tmp_path):
    captions = [f"a dog and {number} cats" for number in range(9)]
    samples = [(str(number), {"txt": "\n".join(captions).encode()}) for number in range(9)]
    pictures = examples(starter, tmp_path, 9, samples)["samples"]["pictures"]
    assert len({picture["caption"] for picture in pictures} & set(captions)) > 2


def test_broken_images_are_noted_and_control_characters_not_printed(starter, tmp_path, capsys):
    caption = "a \x1b[31mdog\x9b \u202eand\r a cat"
    samples = [("a", {"png": b"no picture", "txt": caption.encode()}), ("b", {"txt": b""})]
    record = examples(starter, tmp_path, 9, samples)  # more than there are
    pictures = record["samples"]["pictures"]
    assert [picture["key"] for picture in pictures] == ["a", "b"]
    assert not any("image" in picture for picture in pictures)
    assert len(record["notes"]) == 2
    assert "0.tar: a " in record["notes"][0]
    printed = capsys.readouterr().out
    assert "dog" in printed
    assert printed.replace("\n", "").isprintable()
