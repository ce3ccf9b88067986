"""The same seed gives every method the same images, whatever reads them."""

import io
from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from baselines.openclip import CaptionTokenizer
from catlip.captions import Labeller
from catlip.cli import InputError
from catlip.data.augment import Augmentation
from catlip.data.loader import DataPath, RaggedLabels
from catlip.data.sampler import ImageSize, SampleOrder, StepPlan
from catlip.data.shards import Shard, expand, open_shard, write_shard
from catlip.label import label_source
from catlip.label.sources import TarShard
from catlip.program.broken import BrokenImages
from catlip.vocabulary import Vocabulary, build
from catlip.vocabulary.counts import count
from catlip.vocabulary.sample_labels import VocabularyLabels


def data_path(shards: list[Shard], *, replicas: int = 1, steps: int = 6, **fields) -> DataPath:
    sizes = [ImageSize(32, 6), ImageSize(48, 4)]
    order = SampleOrder([len(shard) for shard in shards], seed=0)
    return DataPath(
        shards, order, StepPlan(sizes, replicas, steps, 0), Augmentation(), seed=0, **fields
    )


def digest(path: DataPath, num_workers: int = 0, first_step: int = 0) -> list[str]:
    return [
        sha256(batch.images.contiguous().numpy().tobytes()).hexdigest()
        for batch in path.batches(first_step, num_workers)
    ]


@pytest.fixture(scope="module")
def shards(starter) -> list[Shard]:
    return [open_shard(path) for path in expand(str(starter.shards))]


def test_images_do_not_depend_on_the_method_or_the_workers(starter, shards) -> None:
    labels = VocabularyLabels(starter.labels, Vocabulary.load(starter.vocabulary))
    bare = digest(data_path(shards))
    assert len(set(bare)) == len(bare)
    assert digest(data_path(shards, labels=labels)) == bare
    assert digest(data_path(shards, tokenize=CaptionTokenizer(16)), num_workers=2) == bare


def test_starting_at_any_step_gives_the_batches_from_there(shards) -> None:
    whole = digest(data_path(shards))
    assert all(digest(data_path(shards), first_step=step) == whole[step:] for step in (1, 4))


def test_ranks_and_micro_steps_share_out_the_same_images(shards) -> None:
    def images(rank: int, world_size: int, accumulation: int) -> list[torch.Tensor]:
        path = data_path(
            shards, replicas=4, rank=rank, world_size=world_size, accumulation=accumulation
        )
        micro = [batch.images for batch in path.batches(0, 0)]
        return [torch.cat(micro[i : i + accumulation]) for i in range(0, len(micro), accumulation)]

    alone = images(0, 1, 4)
    four = list(zip(*(images(rank, 4, 1) for rank in range(4)), strict=True))
    assert all(torch.equal(torch.cat(ranks), step) for ranks, step in zip(four, alone, strict=True))


def test_labels_are_those_of_the_captions(starter, shards) -> None:
    vocabulary = Vocabulary.load(starter.vocabulary)
    labeller = Labeller("paper")
    class_of = {synset.offset: number for number, synset in enumerate(vocabulary.synsets)}
    captions = {shard.keys[i]: shard.caption(i) for shard in shards for i in range(len(shard))}
    labelled, path = 0, data_path(shards, labels=VocabularyLabels(starter.labels, vocabulary))
    for batch in path.batches(0, 0):
        values = batch.labels.values.tensor_split(batch.labels.offsets[1:-1])
        for key, found in zip(batch.keys, values, strict=True):
            expected = [class_of[s] for s in labeller(captions[key]) if s in class_of]
            assert sorted(found.tolist()) == sorted(expected)
            labelled += len(found) > 0
        assert batch.tokens is None
    assert labelled > 10


LINES = ["a dog on a couch", "a cat", "no noun: of it all", "two birds and a dog", "a red car"]


def test_of_several_captions_one_is_drawn_for_labels_and_tokens_alike(tmp_path: Path) -> None:
    """By seed, epoch and key: the same in any worker, on any rank, from any step."""
    samples = [(f"{i:02}", {"png": png(i), "txt": "\n".join(LINES).encode()}) for i in range(24)]
    samples.append(("alone", {"png": png(24), "txt": LINES[1].encode()}))
    write_shard(tmp_path / "0.tar", samples)
    shard = open_shard(tmp_path / "0.tar")
    label_source(TarShard(shard.path), tmp_path, "paper")
    counts = count([tmp_path / "0.paper.labels.npz"])
    vocabulary, labeller, tokenize = build(counts, 0), Labeller("paper"), CaptionTokenizer(16)
    dog = next(synset for synset in vocabulary.synsets if synset.name == "dog.n.01")
    assert (counts.source.captions, dog.count) == (24 * 5 + 1, 2 * 24)

    def drawn(first_step: int = 0, num_workers: int = 0, **fields) -> list[tuple[str, int]]:
        """(key, which of LINES) of each image."""
        labels = VocabularyLabels(tmp_path, vocabulary)
        path = data_path([shard], steps=40, labels=labels, tokenize=tokenize, **fields)
        images = []
        for batch in path.batches(first_step, num_workers):
            lines = [(batch.tokens[i] == tokenize(LINES)).all(1) for i in range(len(batch))]
            images += zip(batch.keys, [int(line.nonzero()) for line in lines], strict=True)
            for i in range(len(batch)):
                one, end = batch.labels.offsets[i : i + 2]
                names = {vocabulary.synsets[j].offset for j in batch.labels.values[one:end]}
                assert names == set(labeller(LINES[images[i - len(batch)][1]]))
        return images

    images = drawn()
    assert Counter(line for key, line in images if key != "alone").keys() == set(range(5))
    assert {line for key, line in images if key == "alone"} == {1}
    # An image has other captions in other epochs.
    assert min(len({line for k, line in images if k == key}) for key, _ in images[:25]) == 1
    assert len({line for key, line in images if key == "00"}) > 1
    assert drawn(num_workers=2) == images
    assert drawn(first_step=30) == images[-len(drawn(first_step=30)) :]
    ranks = [drawn(replicas=2, world_size=2, rank=rank) for rank in (0, 1)]
    assert Counter(ranks[0] + ranks[1]) == Counter(drawn(replicas=2, accumulation=2))


def test_rows_name_the_image_of_each_label() -> None:
    labels = RaggedLabels(torch.tensor([5, 1, 2, 9]), torch.tensor([0, 1, 1, 4, 4]))
    assert labels.rows().tolist() == [0, 2, 2, 2]
    assert len(labels) == 4


def png(colour: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), (colour, colour, colour)).save(buffer, "PNG")
    return buffer.getvalue()


def broken_shard(path: Path, count: int, broken: range) -> Shard:
    """Pictures of the grey level of their key, some of them broken."""
    pictures = [b"broken" if i in broken else png(i) for i in range(count)]
    write_shard(path, [(str(i), {"png": image, "txt": b""}) for i, image in enumerate(pictures)])
    return open_shard(path)


def test_a_broken_sample_is_replaced_by_a_neighbour_and_named(tmp_path: Path) -> None:
    shard = broken_shard(tmp_path / "0.tar", 200, range(7, 8))
    batches = list(data_path([shard], steps=30).batches(0, 0))
    named = {image for batch in batches for image in batch.broken}
    assert named == {(f"{tmp_path}/0.tar:7", "not a JPEG, PNG, WebP or GIF")}
    for batch in batches:
        assert "7" not in batch.keys
        assert batch.images[:, 0, 0, 0].tolist() == [int(key) for key in batch.keys]


def test_too_many_broken_samples_end_the_run(tmp_path: Path) -> None:
    shards = [broken_shard(tmp_path / "0.tar", 100, range(0, 100, 4))]
    with pytest.raises(InputError, match=r"0\.tar:\d+.*--max-broken"):
        list(data_path(shards, steps=60).batches(0, 0))
    met = BrokenImages()
    for batch in data_path(shards, steps=60, max_broken=0.5).batches(0, 0):
        met.add(batch.broken)
    assert met.counts() == {"not a JPEG, PNG, WebP or GIF": 25}


def test_images_are_uint8_of_the_step_size(shards) -> None:
    shapes = {tuple(batch.images.shape) for batch in data_path(shards, steps=12).batches(0, 0)}
    assert shapes == {(6, 3, 32, 32), (4, 3, 48, 48)}
    assert next(data_path(shards).batches(0, 0)).images.numpy().dtype == np.uint8
