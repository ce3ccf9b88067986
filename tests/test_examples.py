"""Samples for people to look at: the very images, captions and classes of training, and none that
breaks the command.
"""

import numpy as np

from catlip.data.decode import open_picture
from catlip.data.shards import open_shard, write_shard
from catlip.examples import Examples, main
from catlip.label.sidecar import SUFFIX, read_sidecar
from catlip.record import read_record
from catlip.vocabulary import Vocabulary
from catlip.words.wordnet import nouns
from reports.render.panels import decoded


def examples(starter, out, **options):
    main(
        Examples(
            options.pop("shards", (str(starter.shards),)), starter.vocabulary, out=out, **options
        )
    )
    return read_record(out)


def test_the_classes_are_those_that_training_sees(starter, tmp_path):
    record = examples(starter, tmp_path / "examples.json", count=5)
    vocabulary = Vocabulary.load(starter.vocabulary)
    pictures = record["samples"]["pictures"]
    assert len({picture["key"] for picture in pictures}) == 5
    wanted = {picture["key"]: picture for picture in pictures}
    seen = 0
    for path in sorted(starter.shards.glob("*.tar")):
        shard, labels = (
            open_shard(path),
            read_sidecar(starter.labels / f"{path.stem}.paper{SUFFIX}"),
        )
        ids, offsets = vocabulary.encode(labels.values, labels.offsets)
        for number, key in enumerate(shard.keys):
            if picture := wanted.get(key):
                of_training = {
                    vocabulary.synsets[i].name for i in ids[offsets[number] : offsets[number + 1]]
                }
                all_labels = {
                    nouns().name(i)
                    for i in labels.values[labels.offsets[number] : labels.offsets[number + 1]]
                }
                assert set(picture["classes"]) == of_training
                assert set(picture["too_rare"]) == all_labels - of_training
                assert picture["caption"] == shard.caption(number)
                pixels, kept = (
                    np.array(open_picture(shard.image_bytes(number)).convert("RGB")),
                    decoded(picture["image"], "RGB"),
                )
                assert kept.shape == pixels.shape
                assert np.abs(kept.astype(int) - pixels).mean() < 16, (
                    "the same picture, but for a JPEG's loss"
                )
                seen += 1
    assert seen == 5


def test_a_sample_without_a_readable_image_is_noted(starter, tmp_path):
    write_shard(
        tmp_path / "0.tar", [("a", {"png": b"no picture", "txt": b"a dog"}), ("b", {"txt": b""})]
    )
    record = examples(
        starter, tmp_path / "examples.json", count=2, shards=(str(tmp_path / "0.tar"),)
    )
    assert [
        ("image" in picture, picture["caption"]) for picture in record["samples"]["pictures"]
    ] == [
        (False, "a dog"),
        (False, ""),
    ]
    assert len(record["notes"]) == 2
    assert "0.tar: a " in record["notes"][0]


def test_more_are_asked_for_than_there_are(starter, tmp_path):
    write_shard(tmp_path / "0.tar", [("a", {"txt": b"a dog"}), ("b", {"txt": b"a cat"})])
    record = examples(
        starter, tmp_path / "examples.json", count=9, shards=(str(tmp_path / "0.tar"),)
    )
    assert [picture["key"] for picture in record["samples"]["pictures"]] == ["a", "b"]


def test_captions_are_printed_without_control_characters(starter, tmp_path, capsys):
    write_shard(
        tmp_path / "0.tar", [("a", {"txt": "a \x1b[31mdog\x9b \u202eand\r a cat".encode()})]
    )
    examples(starter, tmp_path / "examples.json", count=1, shards=(str(tmp_path / "0.tar"),))
    printed = capsys.readouterr().out
    assert "dog" in printed
    assert printed.replace("\n", "").isprintable()
