"""The probe finds what is there and nothing where nothing is, leaves the encoder alone, and says
what it could not read.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_data import ON_A_CPU, png, write_folders

from bench.downstream.classify import cached_features
from bench.downstream.classify.accuracy import Features, rows_of
from bench.downstream.classify.cached_features import fit_linear
from bench.downstream.classify.datasets import load_tasks
from bench.downstream.classify.heads import TransferOptions, random_head
from bench.downstream.encoders.load import load_encoder
from bench.downstream.linear_probe import RECIPES, LinearProbe, main
from catlip.cli import InputError
from catlip.recipes.transfer import STARTER_PROBE

CPU = torch.device("cpu")
# A rate at which a few steps are enough.
PROBE = replace(STARTER_PROBE, max_lr=1e-2, micro_batch=64, precision="fp32")
RANDOM = "random:hybrid_mini@32"


def clusters(count: int, seed: int, spread: float = 0.1) -> Features:
    """Twenty clouds of points, one a class."""
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(20, 32)) * 3
    labels = np.arange(count) % 20
    values = torch.from_numpy(centres[labels] + draw.normal(size=(count, 32)) * spread).float()
    return Features(values, torch.from_numpy(labels), np.arange(count))


def fitted(train: Features, test: Features, recipe=PROBE, seed: int = 0):
    head = random_head(train.values.shape[1], 20, seed)
    return fit_linear(train, test, head, "random", recipe, seed)


def test_separable_features_are_separated() -> None:
    score = fitted(clusters(400, 1), clusters(200, 2))
    assert (score.top1, score.top5) == (1.0, 1.0)
    assert score.final_loss < 0.05


def test_features_of_very_different_sizes_are_separated_too() -> None:
    train, test = clusters(400, 1), clusters(200, 2)
    sizes = torch.logspace(-4, 4, 32)
    train, test = (
        replace(part, values=part.values * sizes + 1e4 * sizes) for part in (train, test)
    )
    assert fitted(train, test).top1 == 1


def test_shuffled_labels_give_chance() -> None:
    train, test = clusters(1000, 1, spread=1), clusters(1000, 2, spread=1)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    shuffled = replace(train, labels=train.labels[order])
    score = fitted(shuffled, test, replace(PROBE, epochs=20))
    assert 0 < score.top1 < 0.2
    assert 0.05 < score.top5 < 0.5


def test_top_5_counts_the_five_best() -> None:
    train = clusters(400, 1)
    confused = replace(train, labels=(train.labels + 1) % 20)
    score = fitted(train, confused)
    assert score.top1 == 0
    assert 0 < score.top5 < 1


def test_a_transferred_head_is_rewritten_for_standardised_features_and_a_random_one_is_not() -> (
    None
):
    train, head = clusters(400, 1), random_head(32, 20, 0)
    stretch = torch.linspace(0.1, 3, 32)
    with torch.no_grad():  # the right classifier of the stretched features, far from their mean
        centres = torch.stack([train.values[train.labels == label].mean(0) for label in range(20)])
        head.weight.copy_(centres / stretch)
        head.bias.copy_(-centres.square().sum(1) / 2)
    still = replace(PROBE, max_lr=1e-12, min_lr=0.0, iterations=1, epochs=0)
    shifted = replace(train, values=train.values * stretch)
    transferred, random = (
        fit_linear(shifted, shifted, head, init, still, 0).top1 for init in ("transfer", "random")
    )
    assert transferred == 1
    assert random < 1


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"epochs": 3}, 21),
        ({"epochs": 0.5}, 4),
        ({"epochs": 0, "iterations": 5}, 5),
        ({"epochs": 1e-6}, 1),
    ],
)
def test_a_recipe_of_epochs_or_of_iterations_trains_as_long_as_it_says(
    changes, steps, monkeypatch
) -> None:
    taken = []
    original = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW) -> None:
        taken.append(self.param_groups[0]["lr"])
        original(self)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    # Seven batches an epoch.
    score = fitted(clusters(400, 1), clusters(40, 2), replace(PROBE, **changes))
    assert len(taken) == steps
    assert taken[0] == PROBE.max_lr
    assert np.isfinite(score.final_loss)


def probe(out: Path, encoder: object, data: str, recipe=PROBE, **options: Any) -> dict[str, Any]:
    """The record of a probe."""
    changed = ON_A_CPU | {"cached_features": True} | options
    main(LinearProbe(recipe, str(encoder), data, out, **changed))
    return json.loads(out.read_text())


@pytest.mark.parametrize("cached", [True, False])
def test_a_probe_is_the_same_twice_and_its_rows_are_those_of_the_sweep(
    cached, cats_and_dogs, tiny_recipe, tmp_path
) -> None:
    recipe = PROBE if cached else tiny_recipe
    options = {"cached_features": cached, "fraction": (0.5, 1.0), "seeds": 2, "seed": 3}
    one, two = (
        probe(tmp_path / f"{name}.json", RANDOM, cats_and_dogs, recipe, **options) for name in "ab"
    )
    rows, again = (
        [row | {"seconds": 0} for row in record["samples"]["runs"]] for record in (one, two)
    )
    assert rows == again
    found = [(row["fraction"], row["seed"], row["num_train"]) for row in rows]
    assert found == [(0.5, 3, 4), (1.0, 3, 8), (0.5, 4, 4), (1.0, 4, 8)]
    assert {row["init"] for row in rows} == {"random"}
    metrics = one["metrics"]
    assert metrics["encoder_digest"] == load_encoder(RANDOM, 3, CPU).digest()
    sizes = [metrics[f"data_{name}"] for name in ("num_classes", "num_train", "num_test")]
    assert sizes == [2, 8, 8]
    of_the_whole = [row["top1"] for row in rows if row["fraction"] == 1]
    assert metrics["data_top1"] == pytest.approx(np.mean(of_the_whole))
    assert (metrics["method"], metrics["pretrain_seed"]) == ("random", 3)
    assert one["kind"] == "linear_probe"
    assert "NaN" not in (tmp_path / "a.json").read_text()
    assert any("Table 7(a)" in note for note in one["notes"]) == cached
    if cached:
        assert metrics["data_top1"] == 1  # light and dark


def test_a_classifier_on_cached_features_sees_its_share_of_them(
    cats_and_dogs, tmp_path, monkeypatch
) -> None:
    seen: list[Features] = []
    original = cached_features.fit_linear

    def fit(train: Features, *rest: Any, **how: Any) -> Any:
        seen.append(train)
        return original(train, *rest, **how)

    monkeypatch.setattr(cached_features, "fit_linear", fit)
    fractions = (0.25, 0.5, 1.0)
    probe(tmp_path / "probe.json", RANDOM, cats_and_dogs, fraction=fractions)
    parts = [load_tasks(cats_and_dogs)[0].train.subset(fraction, 0) for fraction in fractions]
    assert [len(part) for part in seen] == [len(part) for part in parts] == [2, 4, 8]
    whole = seen[-1]
    for features, part in zip(seen, parts, strict=True):
        assert features.labels.tolist() == part.labels.tolist()
        assert torch.equal(features.values, whole.values[rows_of(part, parts[-1])])


def test_the_starter_s_tasks_are_probed_alike_by_the_program(succeed, starter, tmp_path) -> None:
    done = succeed(
        "bench.downstream.linear_probe", "--encoder", "random:hybrid_mini@48", "--data",
        f"starter:{starter.root}",
        "--out", tmp_path / "probe.json", "--epochs", 5, "--seeds", 2, "--quiet",
    )  # fmt: skip
    record = json.loads((tmp_path / "probe.json").read_text())
    tasks = [row["task"] for row in record["samples"]["runs"]]
    assert tasks == ["concepts"] * 2 + ["subgroups"] * 2
    assert {"concepts_top1", "subgroups_top5", "concepts_num_classes"} <= record["metrics"].keys()
    assert done.stdout.count("100 % of concepts, random, seed") == 2
    assert done.stdout.splitlines()[-1] == f"wrote {tmp_path / 'probe.json'}"


def test_a_run_is_probed_by_its_own_weights(trained, cats_and_dogs, tmp_path) -> None:
    record = probe(tmp_path / "probe.json", trained["clip"], cats_and_dogs)
    assert (record["metrics"]["method"], record["metrics"]["pretrain_seed"]) == ("clip", 0)
    loaded = load_encoder(str(trained["clip"]), 0, CPU)
    untrained = load_encoder("random:hybrid_mini@48", 0, CPU)
    assert record["metrics"]["encoder_digest"] == loaded.digest() != untrained.digest()
    assert not loaded.module.training
    assert not any(parameter.requires_grad for parameter in loaded.module.parameters())


@pytest.mark.parametrize("inits", [("random", "transfer"), ("transfer", "random")])
def test_without_a_classifier_only_random_heads_are_trained_and_the_record_says_so(
    inits, cats_and_dogs, tmp_path
) -> None:
    record = probe(tmp_path / "probe.json", RANDOM, cats_and_dogs, init=inits)
    assert [row["init"] for row in record["samples"]["runs"]] == ["random"]
    assert record["metrics"]["data_top1"] == 1
    assert record["notes"]
    with pytest.raises(InputError, match=RANDOM):
        probe(tmp_path / "other.json", RANDOM, cats_and_dogs, init=("transfer",))


def test_both_starts_and_where_the_rows_came_from_are_recorded(
    make_run, cats_and_dogs, tmp_path
) -> None:
    run = make_run()
    both = ("random", "transfer")
    record = probe(tmp_path / "probe.json", run, cats_and_dogs, init=both, fraction=(0.25,))
    assert [row["init"] for row in record["samples"]["runs"]] == ["random", "transfer"]
    origins = record["samples"]["origins_data"]
    found = [(row["label"], row["kind"]) for row in origins]
    assert found == [("cat", "exact"), ("dog", "exact")]
    images = [row["test_images"] for row in origins]
    assert sorted(images[0] + images[1]) == list(range(record["metrics"]["data_num_test"]))
    assert "data_top1" not in record["metrics"]  # which is of all the images
    options = TransferOptions(vocabulary=tmp_path / "run.json")
    with pytest.raises(InputError, match=r"run\.json"):
        probe(tmp_path / "other.json", run, cats_and_dogs, init=("transfer",), transfer=options)


@pytest.mark.parametrize("cached", [True, False])
def test_broken_pictures_are_named_in_the_record_and_not_trained_on(
    cached, tiny_recipe, tmp_path
) -> None:
    data = write_folders(tmp_path / "data", ("cat", "dog"))
    bad = [tmp_path / "data" / split / "dog" / "9.png" for split in ("train", "val")]
    for path in bad:
        path.write_bytes(png(0, 0)[:100])
    recipe = PROBE if cached else tiny_recipe
    record = probe(tmp_path / "probe.json", RANDOM, data, recipe, cached_features=cached)
    assert record["metrics"]["broken"] == {"cut short": 2}
    assert record["samples"]["broken_keys"] == [f"{path} (cut short)" for path in bad]
    assert record["metrics"]["data_top1"] * 8 in range(9)  # of eight images, not nine
    for number in range(11):
        (tmp_path / "data" / "val" / "dog" / f"bad{number}.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"1\d empty.*--max-broken"):
        probe(tmp_path / "again.json", RANDOM, data, recipe, cached_features=cached)


def test_the_recipes_are_table_7_through_the_encoder_and_the_starter_on_cached_features() -> None:
    assert {name: recipe.cached_features for name, recipe in RECIPES.items()} == {
        "starter": True,
        "table_7a": False,
    }
