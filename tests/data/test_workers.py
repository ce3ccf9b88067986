"""Loaders work however processes are started, and an error in one of them is the program's."""

import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from baselines.openclip import CaptionTokenizer
from bench.data_path.photographs import cut, shipped_photographs
from bench.downstream.classify.accuracy import extract
from bench.downstream.classify.datasets import Split
from bench.downstream.encoders.preprocess import central_square
from catlip.cli import InputError, run
from catlip.data.augment import Augmentation
from catlip.data.loader import DataPath
from catlip.data.sampler import ImageSize, SampleOrder, StepPlan
from catlip.data.shard_set import open_shards
from catlip.data.shards import expand, write_shard
from catlip.data.workers import (
    AHEAD_BYTES,
    MOST_AHEAD,
    START_S,
    TIMEOUT_S,
    TIMEOUT_S_PER_MB,
    Items,
    ahead,
    cores_of_a_rank,
    timeout_s,
)
from catlip.label import label_source
from catlip.label.sources import TarShard
from catlip.vocabulary import Vocabulary
from catlip.vocabulary.counts import Source, Synset
from catlip.vocabulary.sample_labels import VocabularyLabels
from catlip.words.wordnet import nouns

STEPS = 3


@pytest.fixture(params=["fork", "forkserver", "spawn"])
def method(request) -> Iterator[str]:
    """A way to start processes, for one test; Python 3.14's default is forkserver."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(before, force=True)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Twelve photographs with captions, and their labels."""
    images, shard = cut(shipped_photographs(), 12, seed=0), tmp_path / "shards" / "0.tar"
    members = [{"jpg": image, "txt": b"a dog and a cat"} for image in images]
    write_shard(shard, [(f"{number}", each) for number, each in enumerate(members)])
    label_source(TarShard(shard), tmp_path / "labels", "corenet")
    return tmp_path


def vocabulary() -> Vocabulary:
    offsets = dict(zip(nouns().names, nouns().offsets.tolist(), strict=True))
    synsets = tuple(Synset(offsets[name], name, 9) for name in ("dog.n.01", "cat.n.01", "car.n.01"))
    return Vocabulary("corenet", "3.0", None, Source(None, ()), None, 3, synsets)


def data_path(folder: Path, **fields) -> DataPath:
    shards = open_shards(expand(str(folder / "shards")), quiet=True)
    plan = StepPlan([ImageSize(32, 4)], 1, STEPS, seed=0)
    return DataPath(shards, SampleOrder(shards.counts, 0), plan, Augmentation(), seed=0, **fields)


def test_batches_are_the_same_however_workers_are_started(folder, method) -> None:
    labels = VocabularyLabels(folder / "labels", vocabulary())
    path = data_path(folder, labels=labels, tokenize=CaptionTokenizer(16))
    here, there = (list(path.batches(0, num_workers)) for num_workers in (0, 1))
    assert len(here) == len(there) == STEPS
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels.values, other.labels.values)
        assert one.labels.values.tolist() == [0, 1] * 4
        assert torch.equal(one.tokens, other.tokens)


def test_labels_that_were_read_are_pickled_without_what_was_read(folder) -> None:
    path = data_path(folder, labels=VocabularyLabels(folder / "labels", vocabulary()))
    before = [batch.labels.values.tolist() for batch in path.batches(0, 0)]
    again = pickle.loads(pickle.dumps(path))
    assert [batch.labels.values.tolist() for batch in again.batches(0, 0)] == before


class Mean(nn.Module):
    """An encoder of one feature."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean((1, 2, 3))[:, None] * self.scale


class Failing:
    """Stands for the labels or the images of a shard that is replaced while it is read."""

    def __call__(self, number: object) -> object:
        raise InputError("shard 0.tar changed from 12 to 11 samples; start again")


def test_an_error_in_a_worker_is_the_same_error_in_training(folder) -> None:
    with pytest.raises(InputError) as raised:
        list(data_path(folder, labels=Failing()).batches(0, 1))
    assert str(raised.value) == "shard 0.tar changed from 12 to 11 samples; start again"


@pytest.mark.parametrize("num_workers", [0, 1])
def test_and_in_extraction_where_it_is_no_broken_image(num_workers) -> None:
    split = Split(Path("x"), ["a", "b"], np.array([0, 1]), Failing())
    reading = SimpleNamespace(num_workers=num_workers, quiet=True, max_broken=0.01)
    with pytest.raises(InputError) as raised:
        extract(Mean(), central_square(8), split, reading)
    assert str(raised.value) == "shard 0.tar changed from 12 to 11 samples; start again"


@dataclass(frozen=True)
class Program:
    """A program without options."""


class Dying:
    """Labels that cost the process its life."""

    def __call__(self, samples: object) -> object:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_a_worker_that_is_killed_is_one_line_before_the_time_is_up(
    folder, method, monkeypatch, capsys
) -> None:
    path = data_path(folder, labels=Dying())
    monkeypatch.setattr("sys.argv", ["program"])
    start = time.monotonic()
    with pytest.raises(SystemExit) as end:
        run(Program, lambda _: list(path.batches(0, 1)))
    assert end.value.code == 2
    assert time.monotonic() - start < TIMEOUT_S + START_S
    (line,) = capsys.readouterr().err.splitlines()
    assert "--num-workers" in line


class ClosedBeforeDeath:
    """Items of a worker whose connections close before the signal of its death arrives."""

    def __getitem__(self, number: int) -> int:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        raise EOFError


def test_the_signal_of_a_worker_s_death_does_not_come_while_the_death_is_reported(
    monkeypatch, capsys
) -> None:
    def tell(*_: object) -> None:
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")

    before = signal.signal(signal.SIGALRM, tell)
    monkeypatch.setattr("sys.argv", ["program"])
    try:
        with pytest.raises(SystemExit):
            run(Program, lambda _: list(Items(ClosedBeforeDeath(), range(1), 0)))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert "(pid 1)" in capsys.readouterr().err


class Numbers:
    """Items that are their own numbers."""

    def __getitem__(self, number: int) -> int:
        return number


def test_a_worker_outlives_a_cluster_s_sigterm_and_ends_by_its_parent_s(method) -> None:
    items = iter(Items(Numbers(), range(40), 1))
    assert next(items) == 0
    (worker,) = multiprocessing.active_children()
    for name in ("TERM", "USR1"):
        subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)
    assert list(items) == list(range(1, 40))
    items = iter(Items(Numbers(), range(40), 1))
    next(items)
    (worker,) = multiprocessing.active_children()
    worker.terminate()
    worker.join(60)
    assert worker.exitcode == 0


class WithoutSharedMemory:
    """Tensors of a worker whose shared memory is full; a limit on file size has the same effect."""

    def __getitem__(self, number: int) -> torch.Tensor:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        return torch.zeros(10_000)


def test_full_shared_memory_is_one_line_at_once(capfd) -> None:
    begin = time.monotonic()
    with pytest.raises(InputError, match="--num-workers"):
        list(Items(WithoutSharedMemory(), range(1), 1))
    assert time.monotonic() - begin < TIMEOUT_S
    assert capfd.readouterr().err == ""


def test_what_workers_read_ahead_is_bounded_by_bytes_and_their_patience_grows_with_them() -> None:
    batch = 154_000_000  # 1,024 images of 224 pixels
    assert ahead(1, 1_000) == MOST_AHEAD
    assert ahead(15, batch) == 1
    assert 4 * ahead(4, batch) * batch <= AHEAD_BYTES
    assert ahead(200, batch) == 1  # a worker without one would do nothing
    assert timeout_s(0, fork=True) == TIMEOUT_S
    patience = TIMEOUT_S + START_S + 154 * TIMEOUT_S_PER_MB
    assert timeout_s(batch, fork=False) == pytest.approx(patience)


def test_ranks_of_one_machine_share_its_cores(monkeypatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(16))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert cores_of_a_rank() == 4
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "64")
    assert cores_of_a_rank() == 2


@pytest.mark.parametrize(("on_gpu", "workers"), [(False, 1), (True, 7)])
def test_unless_told_there_is_one_worker_or_beside_a_gpu_as_many_as_cores_allow(
    monkeypatch, on_gpu, workers
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8))
    items = Items(["a"], range(1), pin_memory=on_gpu)
    assert items.loader.num_workers == workers
