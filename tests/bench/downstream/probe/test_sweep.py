"""Probes and fine-tuning end alike however stopped or shared, and train nothing twice."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_data import ON_A_CPU, png, write_folders, write_noise

from bench.downstream.finetune import Finetune
from bench.downstream.linear_probe import LinearProbe
from bench.downstream.probe import sweep as probe_sweep
from bench.downstream.probe.datasets import load_tasks
from bench.downstream.probe.result import (
    OnTasks,
    score_of,
    unpacked_ids,
)
from bench.downstream.probe.sweep import main as run_sweep
from catlip.cli import InputError
from catlip.encoders.load import load_encoder
from catlip.recipes.transfer import STARTER_FINETUNE, STARTER_PROBE
from catlip.records.estimate import mean_difference
from catlip.records.run import read_run
from catlip.training.trainer import Trainer

CPU = torch.device("cpu")
RANDOM = "random:hybrid_mini@32"
FIT = "data-1-random-seed0"  # a run's name
# A rate at which a few steps are enough.
CACHED = replace(STARTER_PROBE, max_lr=1e-2, micro_batch=64)
WAYS = ("cached", "probe", "finetune")

Sweep = Callable[..., dict[str, Any]]


@pytest.fixture
def sweep(cats_and_dogs, tiny_recipe, tmp_path) -> Sweep:
    """Runs a sweep in this process; its record."""

    def start(
        way: str,
        encoder: object = RANDOM,
        data: str = cats_and_dogs,
        name: str = "sweep",
        recipe: Any = None,
        **options: Any,
    ) -> dict[str, Any]:
        out, options = tmp_path / f"{name}.json", ON_A_CPU | options
        recipe = recipe or (CACHED if way == "cached" else tiny_recipe)
        if way == "finetune":
            run_sweep(Finetune(str(encoder), data, out=out, recipe=recipe, **options))
        else:
            options |= {"cached_features": way == "cached"}
            run_sweep(LinearProbe(str(encoder), data, out=out, recipe=recipe, **options))
        assert "NaN" not in out.read_text()
        return json.loads(out.read_text())

    return start


def rows_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [row | {"seconds": 0} for row in record["samples"]["runs"]]


def assert_same_weights(one: Path, other: Path) -> None:
    weights, others = (load_file(run / "weights.safetensors") for run in (one, other))
    assert all(torch.equal(weights[name], others[name]) for name in weights)


READ = {"epochs", "max_lr", "min_lr", "weight_decay", "micro_batch", "num_devices"}
READ |= {"min_steps", "label_smoothing", "initialization", "test_resize"}


@pytest.mark.parametrize("protocol", ["recipe", "l2_sweep"])
@pytest.mark.parametrize(
    "name", [name for name in vars(STARTER_PROBE) if name not in ("about", "source", "iterations")]
)
def test_setting_that_is_not_read_is_refused(name, protocol) -> None:
    """A probe on cached features reads few settings; the recipe's own value is not refused."""
    other = {"precision": "bf16", "initialization": "release", "per_epoch": True}
    other |= {"ema_rising": False, "betas": (0.5, 0.5), "crop_scale": (0.9, 0.9)}
    other |= {"range_augment": (40.0, 20.0)}
    value = getattr(STARTER_PROBE, name)
    if name not in other:
        other[name] = value + 200 if isinstance(value, int) else value / 2 + 1e-4
    changed = replace(STARTER_PROBE, **{name: other[name]})
    options = {"cached_features": protocol == "recipe", "protocol": protocol}
    LinearProbe(RANDOM, "data", recipe=STARTER_PROBE, **options)
    is_read = name in (READ if protocol == "recipe" else {"test_resize"})
    flag = f"--{name.replace('_', '-')}"
    with nullcontext() if is_read else pytest.raises(InputError, match=flag):
        LinearProbe(RANDOM, "data", recipe=changed, **options)
    LinearProbe(RANDOM, "data", recipe=changed)


def test_two_ranks_are_one_that_accumulates(succeed, sweep, tiny_recipe, tmp_path):
    """Two of seven test images are another class's, and an eighth is empty."""
    data = write_folders(tmp_path / "data", ("cat", "dog"))
    test = load_tasks(data)[0].test
    for number, content in ((1, b""), (2, png(255, 0)), (7, png(0, 0))):
        (tmp_path / "data" / "val" / test.keys[number]).write_bytes(content)
    recipe = replace(
        tiny_recipe,
        micro_batch=2,
        num_devices=2,
        range_augment=(40.0, 20.0),
        layer_decay=0.7,
        eps=1e-3,  # Adam makes whole steps of gradients of rounding alone, as of a key's bias
    )
    encoder = "random:vit_tiny16@32"  # without batch norm, which sees each micro-batch alone
    sweep("finetune", encoder, data=data, name="one", recipe=recipe)
    options = []
    for name, value in asdict(recipe).items():
        if value != getattr(STARTER_FINETUNE, name):
            values = value if isinstance(value, tuple) else (value,)
            options += [f"--{name.replace('_', '-')}", *values]
    done = succeed(
        "bench.downstream.finetune", *options,
        "--encoder", encoder, "--data", data, "--out", tmp_path / "two.json", "--device",
        "cpu", "--quiet", ranks=2,
    )  # fmt: skip
    assert done.stdout.count("wrote ") == 1
    one, two = (load_file(tmp_path / name / FIT / "weights.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert sum(name.startswith("range_augment.") for name in one) == 6
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=2e-6, msg=name)
    first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert rows_of(second) == rows_of(first)
    assert second["samples"]["test_images"] == first["samples"]["test_images"]
    by_image = score_of(read_run(second, OnTasks), "data").by_image
    assert np.flatnonzero(np.isnan(by_image)).tolist() == [1]
    assert by_image[2] != by_image[3], "the order of the images decides"


def test_finished_run_is_not_trained_again(sweep, tiny_recipe, tmp_path, monkeypatch) -> None:
    first = sweep("finetune")
    run = tmp_path / "sweep" / FIT
    for name in ("score.json", "weights.safetensors", "log.jsonl"):
        assert (run / name).is_file()
    assert not (run / "checkpoints").exists()
    monkeypatch.setattr(probe_sweep, "train", lambda *_: pytest.fail("it trains again"))
    assert sweep("finetune", num_workers=1)["samples"] == first["samples"]  # its record is kept
    (tmp_path / "sweep.json").unlink()
    again = sweep("finetune")
    assert again["metrics"] == first["metrics"]
    before = (tmp_path / "sweep.json").read_bytes()
    with pytest.raises(InputError, match=r"sweep\.json .*max_lr"):
        sweep("finetune", recipe=replace(tiny_recipe, max_lr=0.5))
    assert (tmp_path / "sweep.json").read_bytes() == before


def test_stopped_run_ends_as_another_bit_for_bit(sweep, tiny_recipe, tmp_path, monkeypatch):
    whole = sweep("finetune", name="whole")
    original = Trainer.train_step

    def stop(trainer: Trainer, *arguments: Any) -> Any:
        if trainer.step == 3:
            raise KeyboardInterrupt
        return original(trainer, *arguments)

    monkeypatch.setattr(Trainer, "train_step", stop)
    with pytest.raises(KeyboardInterrupt):
        sweep("finetune", checkpoint_every=2)
    monkeypatch.setattr(Trainer, "train_step", original)
    with pytest.raises(InputError, match="layer_decay"):
        sweep("finetune", recipe=replace(tiny_recipe, layer_decay=0.9))
    assert rows_of(sweep("finetune")) == rows_of(whole)
    assert_same_weights(tmp_path / "whole" / FIT, tmp_path / "sweep" / FIT)


def test_fine_tuned_run_of_ours_is_an_encoder_again(sweep, make_run, tmp_path) -> None:
    run = make_run()
    sweep("finetune", run)
    tuned, before = (load_encoder(str(path), 0, CPU) for path in (tmp_path / "sweep" / FIT, run))
    assert (tuned.method, tuned.resolution) == ("catlip fine-tuned", 32)
    assert tuned.module.state_dict().keys() == before.module.state_dict().keys()
    assert tuned.digest() != before.digest()


@pytest.mark.parametrize("way", WAYS)
def test_every_run_of_a_sweep_begins_where_it_would_alone(way, sweep, make_run, tmp_path) -> None:
    run = make_run()
    both = {"fraction": (0.5, 1.0), "init": ("random", "transfer")}
    record = sweep(way, run, name="all", seeds=2, **both)
    rows = rows_of(record)
    assert [(row["fraction"], row["init"], row["seed"]) for row in rows[:4]] == [
        (0.5, "random", 0), (0.5, "transfer", 0), (1.0, "random", 0), (1.0, "transfer", 0)
    ]  # fmt: skip
    assert [row["num_train"] for row in rows] == [4, 4, 8, 8] * 2
    (alone,) = rows_of(sweep(way, run, name="alone", init=("transfer",)))
    assert alone == rows[3]
    if way != "cached":
        sweep(way, run, name="second", seed=1, fraction=(0.5,))
        for name, fit in (("alone", "data-1-transfer-seed0"), ("second", "data-0.5-random-seed1")):
            assert_same_weights(tmp_path / "all" / fit, tmp_path / name / fit)
    metrics = record["metrics"]
    assert metrics["data_top1"] == np.mean([rows[2]["top1"], rows[6]["top1"]])
    assert metrics["encoder_digest"] == load_encoder(str(run), 0, CPU).digest()
    sizes = [metrics[f"data_{name}"] for name in ("num_classes", "num_train", "num_test")]
    assert sizes == [2, 8, 8]
    assert (metrics["method"], metrics["pretrain_seed"]) == ("catlip", 0)
    assert record["kind"] == ("finetune" if way == "finetune" else "linear_probe")
    assert any("Table 7(a)" in note for note in record["notes"]) == (way == "cached")
    origins = record["samples"]["origins_data"]
    assert [(row["label"], row["kind"]) for row in origins] == [("cat", "exact"), ("dog", "exact")]


def test_each_classifier_of_a_sweep_is_that_of_its_own_seed(sweep, make_run, tmp_path) -> None:
    """On noise, where every start, subset and order ends in other mistakes."""
    data = write_noise(tmp_path / "noise", 64)
    noise = {"encoder": make_run(), "data": data, "fraction": (0.5, 1.0)}
    both = rows_of(sweep("cached", name="both", seeds=2, **noise))
    first, second = (rows_of(sweep("cached", name=f"{s}", seed=s, **noise)) for s in (0, 1))
    assert both == [*first, *second]
    assert len({row["correct"] for row in both}) == 4
    released = replace(CACHED, initialization="release")
    (_, row) = rows_of(sweep("cached", name="released", recipe=released, **noise))
    assert row["correct"] != first[1]["correct"]


def test_test_images_are_resized_and_cropped_as_the_recipe_says(sweep, tiny_recipe) -> None:
    notes = sweep("finetune", recipe=replace(tiny_recipe, test_resize=36))["notes"]
    assert "images: shorter side to 36 (bilinear), central 32; pixels in [0, 1]" in notes
    with pytest.raises(InputError, match="--test-resize 31"):
        replace(tiny_recipe, test_resize=31)


def test_encoder_without_a_classifier_gets_random_heads(sweep) -> None:
    record = sweep("cached", init=("transfer", "random"), fraction=(0.25, 1.0))
    rows = record["samples"]["runs"]
    assert [(row["init"], row["fraction"]) for row in rows] == [("random", 0.25), ("random", 1)]
    assert record["metrics"]["data_top1"] == rows[1]["top1"] == 1  # light and dark
    assert any("no head by transfer" in note for note in record["notes"])
    with pytest.raises(InputError, match=RANDOM):
        sweep("cached", name="other", init=("transfer",))
    assert "data_top1" not in sweep("cached", name="part", fraction=(0.25,))["metrics"]


def test_record_says_which_test_images_are_drawings_of_one_concept(sweep, starter) -> None:
    record = sweep("cached", data=f"starter:{starter.root}")
    ids = {row["task"]: row["clusters"] for row in record["samples"]["test_images"]}
    for task in load_tasks(f"starter:{starter.root}"):
        numbers = unpacked_ids(ids[task.name])
        if task.name == "concepts":
            labels = task.test.labels
            same = labels[:, None] == labels
            assert np.array_equal(np.equal.outer(numbers, numbers), same)
            assert same.sum() > len(labels)  # several drawings of a concept
        assert len(numbers) == len(task.test)
    (own,) = sweep("cached", name="own")["samples"]["test_images"]
    assert (own["clusters"], own["unreadable"]) == ("", [])


@pytest.mark.parametrize("way", ["cached", "finetune"])
def test_classifier_starts_at_the_names_of_classes(way, sweep, untrained) -> None:
    record = sweep(way, untrained("clip"), init=("random", "names"))
    rows = record["samples"]["runs"]
    assert [row["init"] for row in rows] == ["random", "names"]
    assert record["metrics"]["data_top1"] == rows[0]["top1"]
    assert any("prompts are" in note for note in record["notes"])
    with pytest.raises(InputError, match="no text tower"):
        sweep(way, untrained("superclass"), name="other", init=("names",))


@pytest.mark.parametrize("unreadable", [[5], [0, 7, 13], [0, 1, 2, 3, 4, 5, 6, 14]])
def test_bits_stay_with_their_images_whatever_cannot_be_read(unreadable, sweep, tmp_path) -> None:
    """Light and dark pictures, of which two are in the folder of the others."""
    data = write_folders(tmp_path / "data", ("cat", "dog"), count=8)
    test = load_tasks(data)[0].test
    wrong, expected = [9, 11], np.ones(16)
    for number in wrong:
        (tmp_path / "data" / "val" / test.keys[number]).write_bytes(png(0, number))
    for number in unreadable:
        (tmp_path / "data" / "val" / test.keys[number]).write_bytes(b"")
    expected[wrong], expected[unreadable] = 0, np.nan
    run = read_run(sweep("cached", data=data), OnTasks)
    score = score_of(run, "data")
    np.testing.assert_array_equal(score.by_image, 100 * expected)
    assert score.value == pytest.approx(100 * (1 - 2 / (16 - len(unreadable))))
    estimate = mean_difference([score - score] * 6)
    assert (estimate.value, estimate.images) == (0, np.isfinite(expected).sum())
    older = replace(run, samples={"runs": run.samples["runs"]})
    assert score_of(older, "data").by_image is None, "it does not tell whose bits it has"


@pytest.mark.parametrize("way", ["cached", "finetune"])
def test_broken_pictures_are_named_in_the_record_and_not_trained_on(way, sweep, tmp_path) -> None:
    data = write_folders(tmp_path / "data", ("cat", "dog"))
    bad = [tmp_path / "data" / split / "dog" / "9.png" for split in ("train", "val")]
    for path in bad:
        path.write_bytes(png(0, 0)[:100])
    record = sweep(way, data=data)
    assert record["metrics"]["broken"] == {"cut short": 2}
    assert record["samples"]["broken_keys"] == [f"{path} (cut short)" for path in bad]
    assert record["metrics"]["data_top1"] * 8 in range(9)  # of eight images, not nine
    for number in range(11):
        (tmp_path / "data" / "val" / "dog" / f"bad{number}.png").write_bytes(b"")
    with pytest.raises(InputError, match="max-broken"):
        sweep(way, data=data, name="again")
