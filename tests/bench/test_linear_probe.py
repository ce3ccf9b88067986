"""The probe finds what is there, and nothing where nothing is."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from bench.downstream.datasets import Split, Task, load_tasks
from bench.downstream.encoders import load_encoder
from bench.downstream.linear_probe import LinearProbe, probe
from catlip.cli import InputError

CONFIG = LinearProbe(encoder="", data="")


def task(train: np.ndarray, test: np.ndarray, num_classes: int) -> Task:
    return Task("task", [str(i) for i in range(num_classes)], Split(lambda i: b"", train), Split(lambda i: b"", test))


def clusters(count: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(20, 32)) * 3
    labels = draw.integers(20, size=count)
    return torch.from_numpy(centres[labels] + draw.normal(size=(count, 32)) * 0.1).float(), labels


def test_separable_features_are_separated() -> None:
    (train, train_labels), (test, test_labels) = clusters(400, 1), clusters(200, 2)
    assert probe(train, test, task(train_labels, test_labels, 20), CONFIG, seed=0) == (1.0, 1.0)


def test_shuffled_labels_give_chance() -> None:
    (train, train_labels), (test, test_labels) = clusters(1000, 1), clusters(1000, 2)
    shuffled = np.random.default_rng(0).permutation(train_labels)
    top1, top5 = probe(train, test, task(shuffled, test_labels, 20), CONFIG, seed=0)
    assert top1 < 0.2
    assert 0.05 < top5 < 0.5


def test_top_5_counts_the_five_best() -> None:
    features = torch.eye(6).repeat(40, 1)
    labels = np.arange(240) % 6
    confused = task(labels, (labels + 1) % 6, 6)
    top1, top5 = probe(features, features, confused, CONFIG, seed=0)
    assert top1 == 0
    assert 0 < top5 < 1


def test_a_starter_probe_writes_its_record_twice_the_same(program, starter, tmp_path) -> None:
    samples = []
    for name in ("one", "two"):
        done = program(
            "bench.downstream.linear_probe", "--encoder", "random:hybrid_tiny@48", "--data", f"starter:{starter.root}",
            "--out", tmp_path / f"{name}.json", "--epochs", 5, "--quiet",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        record = json.loads((tmp_path / f"{name}.json").read_text())
        assert record["metrics"]["method"] == "random"
        assert {"concepts_top1", "subgroups_top1", "concepts_num_classes"} <= record["metrics"].keys()
        samples.append(record["samples"])
    assert samples[0] == samples[1]


def test_a_loaded_encoder_is_the_trained_one_and_frozen(program, starter, tmp_path) -> None:
    done = program(
        "baselines.pretrain", "--shards", starter.shards, "--out", tmp_path / "run", "--iterations", 2, "--epochs", 0,
        "--micro-batch", 8, "--quiet",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded = load_encoder(str(tmp_path / "run"), 0, torch.device("cpu"))
    untrained = load_encoder("random:hybrid_tiny@48", 0, torch.device("cpu"))
    assert (loaded.method, loaded.resolution, loaded.pretrain_seed) == ("clip", 48, 0)
    assert not loaded.module.training
    assert not any(parameter.requires_grad for parameter in loaded.module.parameters())
    assert not torch.equal(loaded.module.blocks[0].attn.qkv.weight, untrained.module.blocks[0].attn.qkv.weight)


def test_image_folders_are_read_and_a_missing_class_is_named(tmp_path) -> None:
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / split / name / "0.png")
    (found,) = load_tasks(f"imagenet:{tmp_path}")
    assert found.class_names == ["cat", "dog"]
    assert found.train.labels.tolist() == [0, 1]
    assert found.test.read(1) == (tmp_path / "val" / "dog" / "0.png").read_bytes()
    (tmp_path / "train" / "owl").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "train" / "owl" / "0.png")
    with pytest.raises(InputError, match="owl"):
        load_tasks(f"imagenet:{tmp_path}")
    with pytest.raises(InputError, match="no folder train/"):
        load_tasks(f"imagenet:{tmp_path}/train")
