"""Pictures of what encoders make of test images: predictions as probed, and real neighbours."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from one_line import one_line_exit
from small_data import ON_A_CPU, write_folders

from bench.downstream.gallery.config import Gallery
from bench.downstream.gallery.measure import main
from bench.downstream.linear_probe import RECIPES
from bench.downstream.probe.datasets import load_tasks
from bench.downstream.probe.features import extract
from bench.downstream.probe.result import unpacked
from bench.downstream.probe.sweep import main as probe
from catlip.cli import run
from catlip.encoders.load import load_encoder
from catlip.records.panels import decoded

ENCODERS = ("random:hybrid_mini@32", "random:timm/test_resnet")
NAMES = ("cat", "dog", "fish", "owl", "fox")


def gallery(out: Path, data: str, encoders: tuple[str, ...] = ENCODERS, seed: int = 0) -> Any:
    main(Gallery(encoders, data, out, seed=seed, **ON_A_CPU))
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def animals(tmp_path_factory) -> str:
    return write_folders(tmp_path_factory.mktemp("animals") / "data", NAMES)


@pytest.fixture(scope="module")
def record(animals, tmp_path_factory) -> Any:
    return gallery(tmp_path_factory.mktemp("gallery") / "gallery.json", animals)


def test_seed_alone_draws_the_images(record, animals, tmp_path) -> None:
    assert gallery(tmp_path / "again.json", animals)["samples"] == record["samples"]
    other = gallery(tmp_path / "other.json", animals, seed=1)
    keys, others = (
        [picture["key"] for picture in one["samples"]["pictures"]] for one in (record, other)
    )
    assert len({*keys}) == len(keys) == 15 < 20
    assert keys != others


def test_predictions_are_those_of_a_linear_probe_on_cached_features(record, animals, tmp_path):
    metrics, (task,) = record["metrics"], load_tasks(animals)
    assert (metrics["task"], metrics["num_train"], metrics["num_test"]) == ("data", 20, 20)
    for i, encoder in enumerate(ENCODERS):
        out = tmp_path / f"{i}.json"
        probe(replace(RECIPES["starter"], encoder=encoder, data=animals, out=out, **ON_A_CPU))
        (classifier,) = json.loads(out.read_text())["samples"]["runs"]
        assert metrics["encoders"][i]["top1"] == classifier["top1"]
        correct = unpacked(classifier["correct"], 20)
        for picture in record["samples"]["pictures"]:
            assert picture["label"] == Path(picture["key"]).parent.name
            is_right = picture["predicted"][i] == picture["label"]
            assert is_right == correct[task.test.keys.index(picture["key"])]


def test_nearest_training_images_are_shown(record, animals) -> None:
    (task,), reading = load_tasks(animals), SimpleNamespace(**ON_A_CPU, max_broken=0)
    pictures = record["samples"]["pictures"]
    for i, spelling in enumerate(ENCODERS):
        encoder = load_encoder(spelling, 0, torch.device("cpu"))
        train, test = (
            F.normalize(extract(encoder.module, encoder.preprocess, split, reading).values)
            for split in (task.train, task.test)
        )
        for picture in pictures[:4]:
            cosines = train @ test[task.test.keys.index(picture["key"])]
            rows = [task.train.keys.index(near["key"]) for near in picture["neighbours"][i]]
            expected = cosines.sort(descending=True).values[:4]
            assert cosines[rows].tolist() == pytest.approx(expected.tolist())
    assert not any(any(picture["neighbours"]) for picture in pictures[4:])


def test_pictures_are_small_and_a_broken_one_is_left_out(record, animals, tmp_path) -> None:
    assert len(json.dumps(record)) < 400_000
    images = [picture["image"] for picture in record["samples"]["pictures"]]
    assert {decoded(image, "RGB").shape for image in images} == {(64, 64, 3)}
    data = write_folders(tmp_path / "data", ("cat", "dog"))
    (tmp_path / "data/val/dog/0.png").write_bytes(b"no picture")
    other = gallery(tmp_path / "out.json", data)
    assert other["metrics"]["num_test"] == 7
    assert sum(other["metrics"]["broken"].values()) == 1


@pytest.mark.parametrize("count", [0, 5])
def test_number_of_encoders_is_limited(count, animals, tmp_path, capsys, monkeypatch) -> None:
    encoders = ["--encoders", *ENCODERS[:1] * count] if count else ["--encoders"]
    words = ["x", *encoders, "--data", animals, "--out", str(tmp_path / "out.json")]
    monkeypatch.setattr("sys.argv", words)
    with one_line_exit(capsys, "one to four"):
        run(Gallery, main)
