"""The bench trains what catlip.pretrain would, from two biases on the same batches, and counts what
is saved as it says.
"""

import json
import math
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.bias_init import DEFAULTS, BiasInit, build, entropy, first_below, main
from bench.step_time.bias_init_result import BIASES
from catlip import pretrain
from catlip.pretrain import PretrainCatLIP
from catlip.pretraining.method import base_rates_of
from catlip.training.trainer import Trainer
from catlip.vocabulary import Vocabulary

STEPS, BATCH = 6, 16
ON_A_CPU: dict[str, Any] = {"num_workers": 0, "device": "cpu", "quiet": True}


def config(starter, out: Path, **recipe: Any) -> BiasInit:
    short = {"iterations": STEPS, "micro_batch": BATCH}
    small = replace(DEFAULTS["starter"].recipe, **short | recipe)
    places = {"shards": (str(starter.shards),), "vocabulary": starter.vocabulary}
    places |= {"labels_dir": starter.labels, "out": out}
    return replace(DEFAULTS["starter"], recipe=small, **ON_A_CPU, **places)


@pytest.fixture(scope="module")
def record(succeed, starter, tmp_path_factory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("bias_init") / "bias_init.json"
    done = succeed(
        "bench.bias_init", "--shards", starter.shards, "--labels-dir", starter.labels,
        "--vocabulary", starter.vocabulary,
        "--iterations", STEPS, "--micro-batch", BATCH, "--seeds", 2, "--device", "cpu", "--out",
        out, "--quiet",
    )  # fmt: skip
    assert f"wrote {out}" in done.stdout
    return json.loads(out.read_text())


def test_the_record_has_every_step_of_both_and_sums_each_seed_up(starter, record) -> None:
    samples, metrics = record["samples"], record["metrics"]
    assert record["kind"] == "bias_init"
    assert samples["seed"] == [0] * STEPS + [1] * STEPS
    assert samples["step"] == [*range(1, STEPS + 1)] * 2
    assert samples["images"] == [BATCH] * STEPS * 2
    assert metrics["images_seen"] == STEPS * BATCH
    assert metrics["num_classes"] == len(Vocabulary.load(starter.vocabulary))
    assert "steps_saved" not in metrics
    assert not [name for name in metrics if "_to_" in name], "so few steps have no such span"
    for bias in BIASES:
        losses = samples[f"{bias}_loss"]
        firsts = [losses[0], losses[STEPS]]
        assert firsts[0] != firsts[1]
        assert [row[f"{bias}_initial_loss"] for row in metrics["seeds"]] == firsts
        assert metrics[f"{bias}_initial_loss"] == pytest.approx(sum(firsts) / 2)


def test_a_zero_bias_begins_at_v_ln_2_and_the_base_rates_at_what_frequencies_alone_give(
    record,
) -> None:
    metrics, samples = record["metrics"], record["samples"]
    assert metrics["uniform_loss"] == pytest.approx(metrics["num_classes"] * math.log(2))
    assert metrics["zero_initial_loss"] == pytest.approx(metrics["uniform_loss"], rel=0.05)
    for seed in range(2):
        first = samples["base_rates_loss"][seed * STEPS]
        assert first == pytest.approx(samples["base_rates_alone_loss"][seed * STEPS], rel=0.1)
    assert metrics["base_rates_alone_loss"] == pytest.approx(metrics["base_rate_entropy"], rel=0.1)


def test_both_runs_see_the_same_images_and_differ_in_nothing_but_the_bias(
    starter, tmp_path, monkeypatch
) -> None:
    seen: dict[int, list[str]] = {}
    step = Trainer.train_step

    def watched(trainer: Trainer, batches: Any) -> Any:
        batches = list(batches)
        digests = [sha256(batch.images.numpy().tobytes()).hexdigest() for batch in batches]
        seen.setdefault(id(trainer), []).extend(digests)
        return step(trainer, iter(batches))

    monkeypatch.setattr(Trainer, "train_step", watched)
    given = config(starter, tmp_path / "bias_init.json", num_devices=2)
    main(given)
    one, other = seen.values()
    assert len(set(one)) == 2 * STEPS
    assert one == other
    base_rates = base_rates_of(Vocabulary.load(starter.vocabulary))
    zero, rates = (build(bias, given.recipe, base_rates, seed=3).state_dict() for bias in BIASES)
    differing = [name for name in zero if not torch.equal(zero[name], rates[name])]
    assert differing == ["classifier.bias"]
    assert not zero["classifier.bias"].any()


def test_from_the_base_rates_it_is_the_run_of_catlip_pretrain(starter, tmp_path) -> None:
    """Accumulated, and behind RangeAugment, whose own loss only the log of the run has in it."""
    given = config(starter, tmp_path / "bias_init.json", num_devices=2)
    main(given)
    run = ON_A_CPU | {"vocabulary": given.vocabulary, "labels_dir": given.labels_dir}
    pretrain.main(PretrainCatLIP(given.recipe, given.shards, tmp_path / "run", log_every=1, **run))
    ours = json.loads(given.out.read_text())["samples"]["base_rates_loss"]
    theirs = json.loads((tmp_path / "run.json").read_text())["samples"]["loss"]
    assert ours == pytest.approx(theirs, rel=1e-5)
    main(replace(given, recipe=replace(given.recipe, range_augment=(40.0, 20.0))))
    augmented = json.loads(given.out.read_text())
    assert augmented["samples"]["base_rates_loss"] != ours
    metrics = augmented["metrics"]
    assert metrics["zero_initial_loss"] == pytest.approx(metrics["uniform_loss"], rel=0.05)


def test_steps_are_saved_until_the_moving_average_is_below() -> None:
    losses = [10.0] * 30 + [1.0] * 30
    assert first_below(losses, 5.0) == 42  # of whose last 20 losses 12 are 1: 4.6
    assert first_below(losses, 11.0) == 20
    assert first_below(losses, 1.0) is None
    assert first_below(losses[:10], 11.0) is None


def test_the_entropy_is_that_of_each_class_being_there_or_not() -> None:
    rates = torch.tensor([0.5, 0.1], dtype=torch.float64)
    assert entropy(rates) == pytest.approx(math.log(2) - 0.1 * math.log(0.1) - 0.9 * math.log(0.9))
