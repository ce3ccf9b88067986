"""The L2 sweep is scikit-learn's minimum; a hub's data give what a folder gives."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hub import Hub
from sklearn.linear_model import LogisticRegression
from small_data import ON_A_CPU, png, write_noise

from bench.downstream.linear_probe import LinearProbe
from bench.downstream.probe.datasets import load_tasks
from bench.downstream.probe.features import Extractor, Features
from bench.downstream.probe.l2_sweep import choose_strength, hits_of, regress
from bench.downstream.probe.result import CACHED_NOTE
from bench.downstream.probe.sweep import main as run_sweep
from catlip.data.shards import write_shard
from catlip.encoders.load import load_encoder
from catlip.recipes.transfer import STARTER_PROBE

RANDOM = "random:hybrid_micro@32"
CLASSES = ("cat", "dog", "golden retriever")
COUNTS = {"train": 5, "val": 2, "test": 3}  # of each class


def clouds(count: int, seed: int, spread: float = 1.0) -> Features:
    """Five clouds of points that overlap; features of different sizes, far from zero."""
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(5, 12))
    labels = np.arange(count) % 5
    values = (centres[labels] + spread * draw.normal(size=(count, 12))) * np.logspace(-1, 1, 12)
    return Features(
        torch.from_numpy(values + 7).float(), torch.from_numpy(labels), np.arange(count)
    )


@pytest.mark.parametrize(("strength", "classes"), [(1.0, 5), (1e3, 5), (10.0, 2)])
def test_minimum_is_that_of_scikit_learn_from_any_start(strength: float, classes: int) -> None:
    train = clouds(300, 1)
    train.labels.clamp_(max=classes - 1)
    values = train.values.double().numpy()
    inverse = (2 if classes == 2 else 1) / strength
    known = LogisticRegression(C=inverse, tol=1e-9, max_iter=5000)
    known.fit(values, train.labels.numpy())
    other = regress(train, 100 * strength, classes)
    for start in (None, other):
        weight, bias = regress(train, strength, classes, start=start)
        probabilities = torch.softmax(train.values.double() @ weight + bias, 1)
        np.testing.assert_allclose(probabilities, known.predict_proba(values), atol=2e-3)
        weights = weight.T if classes > 2 else (weight[:, 1] - weight[:, 0])[None]
        np.testing.assert_allclose(weights, known.coef_, atol=2e-3 * abs(known.coef_).max())


@pytest.mark.parametrize(("seed", "spread"), [(1, 2.0), (1, 4.0), (2, 4.0)])
def test_strength_is_the_best_on_held_out_images(seed: int, spread: float) -> None:
    train, held_out = clouds(100, seed, spread), clouds(200, 99 + seed, spread)
    unit = train.values.double().var(0, correction=0).mean().item()

    def right(strength: float) -> int:
        return int(hits_of(regress(train, strength, 5), held_out)[:, 0].sum())

    chosen = choose_strength(train, held_out, 5, quiet=True)
    assert right(chosen) >= max(right(unit * 10 ** (half / 2)) for half in range(-8, 13))
    assert chosen > choose_strength(train, train, 5, quiet=True)


def test_strength_has_the_unit_of_the_features() -> None:
    train, held_out = clouds(100, 1, spread=0.01), clouds(100, 2, spread=0.01)
    unit = train.values.double().var(0, correction=0).mean().item()
    chosen = choose_strength(train, held_out, 5, quiet=True)  # with nearly any, all are right
    assert chosen > 9e3 * unit
    train, held_out = (replace(part, values=8 * part.values) for part in (train, held_out))
    assert choose_strength(train, held_out, 5, quiet=True) == pytest.approx(64 * chosen)


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images in folders and, as clip-benchmark has them, in tars."""
    root = tmp_path_factory.mktemp("pets")
    for split, count in COUNTS.items():
        samples = []
        for label, number in itertools.product(range(len(CLASSES)), range(count)):
            image = png(120 * label, 100 * count + number)
            folder = root / "pets" / split / CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}.png").write_bytes(image)
            samples.append((f"{label}{number}", {"png": image, "cls": b"%d" % label}))
        half = len(samples) // 2
        for shard, part in enumerate((samples[:half], samples[half:])):
            write_shard(root / "wds_pets" / split / f"{shard}.tar", part)
        (root / "wds_pets" / split / "nshards.txt").write_text("2\n")
    (root / "wds_pets" / "classnames.txt").write_text("\n".join(CLASSES))
    return root


def probed(data: object, out: Path, **options: Any) -> dict[str, Any]:
    options = ON_A_CPU | {"protocol": "l2_sweep", "recipe": STARTER_PROBE} | options
    run_sweep(LinearProbe(RANDOM, str(data), out=out, **options))
    record: dict[str, Any] = json.loads(out.read_text())
    return record


def rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [row | {"seconds": 0} for row in record["samples"]["runs"]]


def test_data_of_a_hub_or_a_disk_in_tars_are_those_of_a_folder(pets, program, tmp_path) -> None:
    folder = probed(pets / "pets", tmp_path / "folder.json")
    tars = probed(f"wds:{pets / 'wds_pets'}", tmp_path / "tars.json")
    with Hub() as hub:
        hub.put_folder("clip-benchmark/wds_pets", pets / "wds_pets")
        words = ["--encoder", RANDOM, "--protocol", "l2_sweep", "--device", "cpu", "--quiet"]
        words += ["--data", "wds:hf://datasets/clip-benchmark/wds_pets"]
        environment = hub.environment | {"CATLIP_CACHE": str(tmp_path / "cache")}
        done = program("bench.downstream.linear_probe", *words, cwd=tmp_path, **environment)
    assert "pets: tested on test/\n" in done.stdout, done.stderr
    written = "runs/bench/l2_probe/random-hybrid_micro@32-wds-pets.json"
    remote = json.loads((tmp_path / written).read_text())
    assert rows(remote) == rows(tars) == rows(folder)
    for record in (remote, tars, folder):
        assert record["kind"] == "l2_probe"
        assert record["config"]["protocol"] == "l2_sweep"
        assert record["metrics"]["pets_num_test"] == 9
        assert record["notes"][0] == CACHED_NOTE
        assert record["notes"][2] == "pets: tested on test/"
        assert "chosen on val/" in record["notes"][3]
        assert record["samples"]["runs"][0]["l2"] > 0
    assert remote["metrics"] == tars["metrics"]


def test_each_seed_holds_out_other_images(tmp_path) -> None:
    """On noise, where the strength that is best depends on what is held out."""
    data = write_noise(tmp_path / "data", 80)
    (task,) = load_tasks(data)
    encoder = load_encoder(RANDOM, 0, torch.device("cpu"))
    features = Extractor(encoder, SimpleNamespace(**ON_A_CPU))
    train, test = features(task.train), features(task.test)
    expected = []
    for seed in range(2):
        others = task.train.subset(0.8, seed).keys
        held = np.array([key not in others for key in task.train.keys])
        part, judges = (train.take(np.flatnonzero(rows)) for rows in (~held, held))
        strength = choose_strength(part, judges, 4, quiet=True)
        right = hits_of(regress(train, strength, 4), test)[:, 0].double().mean().item()
        expected.append((strength, right))
    assert len(set(expected)) == 2
    found = probed(data, tmp_path / "l2.json", seeds=2)
    assert [(row["l2"], row["top1"]) for row in rows(found)] == expected
