"""The same seed gives the same images, whatever reads them; a worker fails as the program does."""

import multiprocessing
import os
import resource
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from one_line import one_line_exit
from pictures import crops_of_photographs, plain, write_pictures

from baselines.openclip import CaptionTokenizer
from bench.step_time import measure as step_time
from catlip.captions import Labeller
from catlip.cli import InputError, run
from catlip.data import loader
from catlip.data.augment import Augmentation
from catlip.data.decode import whole_pixels
from catlip.data.loader import DataPath
from catlip.data.sampler import ImageSize, SampleOrder, StepPlan
from catlip.data.shard_set import open_shards
from catlip.data.shards import Shard, expand, open_shard, write_shard
from catlip.data.workers import TIMEOUT_S, Items
from catlip.label import label_source
from catlip.label.sources import TarShard
from catlip.pretraining.config import PretrainRun
from catlip.pretraining.run import pretrain
from catlip.program.broken import BrokenImages
from catlip.recipes.pretrain import CATLIP
from catlip.system.engines import STOPS
from catlip.vocabulary import Vocabulary, build, count
from catlip.vocabulary.sample_labels import VocabularyLabels


def data_path(
    shards: list[Shard],
    *,
    replicas: int = 1,
    lanes: int = 1,
    steps: int = 6,
    seed: int = 0,
    **fields,
) -> DataPath:
    sizes = [ImageSize(32, 6), ImageSize(48, 4)]
    order = SampleOrder([len(shard) for shard in shards], 0, lanes)
    return DataPath(
        shards, order, StepPlan(sizes, replicas, steps, 0), Augmentation(), seed=seed, **fields
    )


def digests(path: DataPath, num_workers: int = 0, first_step: int = 0) -> list[str]:
    """A digest for each batch: its images, and the labels and tokens that there are."""
    found = []
    for batch in path.batches(first_step, num_workers):
        tensors = [batch.images.contiguous()]
        if batch.labels:
            tensors += [batch.labels.values, batch.labels.offsets, batch.tokens]
        found.append(sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest())
    return found


@pytest.fixture(scope="module")
def shards(starter) -> list[Shard]:
    return [open_shard(path) for path in expand(str(starter.shards))]


@pytest.fixture
def labels(starter) -> VocabularyLabels:
    return VocabularyLabels(starter.labels, Vocabulary.load(starter.vocabulary))


@pytest.fixture(params=["fork", "spawn"])
def method(request) -> Iterator[str]:
    """A way to start processes, for one test."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.parametrize("method", ["spawn"], indirect=True)  # a fork has even more in common
def test_batches_are_the_same_whatever_reads_them_from_any_step(starter, labels, method) -> None:
    every = open_shards(expand(str(starter.shards)))
    fields = {"labels": labels, "tokenize": CaptionTokenizer(16)}
    path = data_path([every[i] for i in range(len(every))], **fields)
    here = digests(path)
    assert len(set(here)) == len(here)
    lazy = DataPath(every, path.order, path.plan, path.augmentation, path.seed, **fields)
    assert digests(lazy, num_workers=1) == here
    assert all(digests(path, first_step=step) == here[step:] for step in (1, 4))
    multiprocessing.set_start_method("fork", force=True)
    assert digests(lazy, num_workers=1) == here


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_ranks_and_micro_steps_share_out_the_same_images(shards, lanes) -> None:
    """The same devices of the recipe have them, too."""

    def images(rank: int, world_size: int, accumulation: int) -> list[torch.Tensor]:
        sizes = {"replicas": 4, "lanes": lanes, "accumulation": accumulation}
        path = data_path(shards, **sizes, rank=rank, world_size=world_size)
        micro = [batch.images for batch in path.batches(0, 0)]
        return [torch.cat(micro[i : i + accumulation]) for i in range(0, len(micro), accumulation)]

    alone = images(0, 1, 4)
    four = list(zip(*(images(rank, 4, 1) for rank in range(4)), strict=True))
    assert all(torch.equal(torch.cat(ranks), step) for ranks, step in zip(four, alone, strict=True))
    for *two, step in zip(images(0, 2, 2), images(1, 2, 2), alone, strict=True):
        assert torch.equal(torch.cat(two), step)


@pytest.mark.parametrize(
    ("decoded_bytes", "steps", "decodings"),
    [
        (2**30, 60, 8),  # each once: they fit
        (2**20, 60, 1),  # one shows that they do not fit, and then none is decoded to be kept
        (2**30, 3, 0),  # less than two epochs
        (0, 60, 0),
    ],
)
def test_kept_pictures_give_the_same_images(decoded_bytes, steps, decodings, tmp_path, monkeypatch):
    samples = [(f"{i}", {"jpg": jpg}) for i, jpg in enumerate(crops_of_photographs(7))]
    broken = ("broken", {"jpg": b"broken"})
    write_shard(tmp_path / "0.tar", [*samples, ("png", {"png": plain("blue", (300, 200))}), broken])
    path = data_path([open_shard(tmp_path / "0.tar")], steps=steps, max_broken=0.5)
    expected = digests(replace(path, decoded_bytes=0))
    whole: list[bytes] = []

    def counted(encoded: bytes) -> NDArray[np.uint8]:
        whole.append(encoded)
        return whole_pixels(encoded)

    monkeypatch.setattr(loader, "whole_pixels", counted)
    kept = replace(path, decoded_bytes=decoded_bytes)
    assert digests(kept) == expected
    assert len([encoded for encoded in whole if encoded != b"broken"]) == decodings
    assert digests(kept, num_workers=2) == expected
    assert digests(kept, first_step=2) == expected[2:]


LINES = ["a dog on a couch", "a cat", "no noun: of it all", "two birds and a dog", "a red car"]


def test_one_caption_is_drawn_for_labels_and_tokens_alike(tmp_path: Path) -> None:
    """By seed, epoch and key: the same in any worker, on any rank, from any step."""
    several = "\n".join(LINES).encode()
    samples = [(f"{i:02}", {"png": plain((i, i, i)), "txt": several}) for i in range(24)]
    write_shard(tmp_path / "0.tar", [*samples, ("alone", {"png": plain(), "txt": b"a cat"})])
    shard = open_shard(tmp_path / "0.tar")
    label_source(TarShard(shard.path), tmp_path, Labeller("paper").version)
    counts = count([tmp_path / "0.paper.labels.npz"])
    vocabulary, labeller, tokenize = build(counts, 0), Labeller("paper"), CaptionTokenizer(16)
    dog = next(synset for synset in vocabulary.synsets if synset.name == "dog.n.01")
    tokens = tokenize(LINES)
    assert (counts.source.captions, dog.count) == (24 * 5 + 1, 2 * 24)

    def drawn(first_step: int = 0, num_workers: int = 0, **fields) -> list[tuple[str, int]]:
        """(key, which of LINES) of each image."""
        labels = VocabularyLabels(tmp_path, vocabulary)
        path = data_path([shard], steps=20, labels=labels, tokenize=tokenize, **fields)
        images = []
        for batch in path.batches(first_step, num_workers):
            assert batch.lengths == batch.tokens.count_nonzero(dim=1).tolist()
            lines = [(batch.tokens[i] == tokens).all(1) for i in range(len(batch))]
            images += zip(batch.keys, [int(line.nonzero()) for line in lines], strict=True)
            for i in range(len(batch)):
                one, end = batch.labels.offsets[i : i + 2]
                names = {vocabulary.synsets[j].offset for j in batch.labels.values[one:end]}
                assert names == {*labeller.batch([LINES[images[i - len(batch)][1]]])[0]}
                assert len(names) == end - one
        return images

    images = drawn()
    assert Counter(line for key, line in images if key != "alone").keys() == set(range(5))
    assert {line for key, line in images if key == "alone"} == {1}
    by_key = [{line for k, line in images if k == key} for key, _ in images[:25] if key != "alone"]
    assert min(map(len, by_key)) > 1  # an image has other captions in other epochs
    other = drawn(seed=1)
    assert [key for key, _ in other] == [key for key, _ in images]
    assert other != images
    assert drawn(num_workers=1) == images
    resumed = drawn(first_step=11)
    assert resumed == images[-len(resumed) :]
    ranks = [drawn(replicas=2, rank=rank, world_size=2) for rank in range(2)]
    assert Counter(ranks[0] + ranks[1]) == Counter(drawn(replicas=2, accumulation=2))


def test_broken_samples_are_replaced_by_a_neighbour_and_named(tmp_path):
    shards = [open_shard(write_pictures(tmp_path / "0.tar", 100, broken=range(0, 100, 4)))]
    with pytest.raises(InputError, match=r"0\.tar:\d+"):
        list(data_path(shards, steps=60).batches(0, 0))
    named = BrokenImages()
    for batch in data_path(shards, steps=60, max_broken=0.5).batches(0, 0):
        named.add(batch.broken)
        assert batch.images[:, 0, 0, 0].tolist() == [int(key) for key in batch.keys]
    assert named.counts() == {"not a JPEG, PNG, WebP or GIF": 25}
    assert f"{tmp_path}/0.tar:4" in named.causes


# Workers


@dataclass(frozen=True)
class Program:
    """A program without options."""


class Failing:
    """Labels of a shard that is replaced while it is read."""

    def __call__(self, samples: object) -> object:
        raise InputError("shard 0.tar changed")


class Dying:
    """Labels that cost the process its life."""

    def __call__(self, samples: object) -> object:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_error_in_a_worker_is_the_same_and_its_death_is_one_line(shards, monkeypatch, capsys):
    with pytest.raises(InputError, match=r"^shard 0\.tar changed$"):
        list(data_path(shards, labels=Failing()).batches(0, 1))
    monkeypatch.setattr("sys.argv", ["program"])
    start = time.monotonic()
    with one_line_exit(capsys, "--num-workers"):
        run(Program, lambda _: list(data_path(shards, labels=Dying()).batches(0, 1)))
    assert time.monotonic() - start < TIMEOUT_S


def test_worker_outlives_a_cluster_s_signals_and_ends_by_its_parent_s(method) -> None:
    others = {*multiprocessing.active_children()}  # of other tests
    items = iter(Items(range(40), range(40), 1))
    assert next(items) == 0
    (worker,) = {*multiprocessing.active_children()} - others
    for stop in STOPS:
        subprocess.run(["kill", f"-{stop.name}", str(worker.pid)], check=True)
    assert [next(items) for _ in range(30)] == list(range(1, 31))
    for _ in range(60):  # a signal is lost while another of its kind has not been taken
        worker.terminate()
        worker.join(1)
        if worker.exitcode is not None:
            break
    assert worker.exitcode == 0


@pytest.mark.parametrize(
    ("cores", "options", "expected"),
    [
        (1, {}, 0),
        (1, {"fetches": True}, 1),
        (1, {"pin_memory": True}, 1),
        (8, {}, 1),
        (8, {"pin_memory": True}, 7),
    ],
)
def test_single_core_reads_without_a_worker(cores, options, expected, monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert Items(range(1), range(1), **options).loader.num_workers == expected


JOINING = {
    "pretrain": lambda shards: pretrain(
        PretrainRun(CATLIP["starter"], (shards,), device="cpu"), method=None
    ),
    "step_time": lambda shards: step_time.main(step_time.StepTime(data=shards, device="cpu")),
}


@pytest.mark.parametrize("shards", ["data/{0..9}.tar", "s3://bucket/{0..9}.tar"])
@pytest.mark.parametrize("program", JOINING)
def test_ranks_wait_for_each_other_longer_than_for_a_loader(shards, program, monkeypatch) -> None:
    given = {}

    def join(**options: object) -> None:
        given.update(options)
        raise InterruptedError

    monkeypatch.setattr(torch.distributed, "init_process_group", join)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InterruptedError):
        JOINING[program](shards)
    loader = Items(range(1), range(1), 1, fetches=shards.startswith("s3")).loader
    assert given["timeout"].total_seconds() >= loader.timeout + 60


class WithoutSharedMemory:
    """Tensors of a worker whose shared memory is full; a limit on file size has the same effect."""

    def __getitem__(self, number: int) -> torch.Tensor:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        return torch.zeros(10_000)


def test_too_few_open_files_are_one_line_before_anything_is_read() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (255, hard))
    try:
        for workers in (0, 1):
            with pytest.raises(InputError, match="ulimit -n"):
                Items(range(1), range(1), workers)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_full_shared_memory_is_one_line_at_once(capfd) -> None:
    begin = time.monotonic()
    with pytest.raises(InputError, match="fewer workers"):
        list(Items(WithoutSharedMemory(), range(1), 1))
    assert time.monotonic() - begin < TIMEOUT_S
    assert capfd.readouterr().err == ""
