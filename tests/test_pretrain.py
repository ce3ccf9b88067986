"""The same seed gives the same run, whatever the workers, stopped and resumed or not."""

import json
import math
import os
import shutil
import signal
import tarfile
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import short_training
import torch
import torch.nn.functional as F
from one_line import one_line_error
from pictures import save
from PIL import Image
from short_training import outcome
from torch import nn

from baselines.siglip import Sigmoid
from catlip.categorical import Categorical
from catlip.data.augment import Augmentation
from catlip.data.loader import DataPath
from catlip.data.sampler import SampleOrder, StepPlan
from catlip.data.shard_set import open_shards
from catlip.data.shards import expand, write_shard
from catlip.encoder import build_encoder
from catlip.pretrain import PretrainCatLIP, method_of
from catlip.pretraining.method import add_range_augment, apply_recipe_start, encoder_of
from catlip.pretraining.run import prepare, pretrain, samples_of, summary
from catlip.recipes.pretrain import STARTER
from catlip.training.distributed import Rank

RANDOM = ("--range-augment", 40, 20, "--patch-drop-rate", 0.5)  # what draws numbers in a step


def command(method: str, starter, out: Path, *extra: object) -> list[str]:
    return short_training.command(method, starter, out, "--log-every", 1, *extra)


@pytest.fixture(scope="module")
def undisturbed(succeed, starter, tmp_path_factory) -> tuple[list[float], str]:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    succeed(*command("catlip", starter, out, *RANDOM))
    return outcome(out)


@pytest.mark.parametrize("method", ["catlip", "catlip_softmax", "clip_catlip"])
def test_loss_falls_in_a_run(succeed, starter, tmp_path, method) -> None:
    """The methods read labels, tokens or both, and count captions."""
    longer = ("--encoder", "hybrid_micro", "--iterations", 60, "--micro-batch", 16)
    succeed(*command(method, starter, tmp_path / "run", *longer))
    loss, _ = outcome(tmp_path / "run")
    assert len(loss) == 60
    assert sum(loss[-15:]) < 0.95 * sum(loss[:15])


def test_run_depends_on_its_seed_and_not_on_workers(succeed, starter, tmp_path, undisturbed):
    same = ("--num-workers", 2, "--deterministic")
    done = succeed(*command("catlip", starter, tmp_path / "run", *RANDOM, *same))
    assert "deterministic" not in done.stderr  # torch names an operation without such a kernel
    assert outcome(tmp_path / "run") == undisturbed
    succeed(*command("catlip", starter, tmp_path / "other", *RANDOM, "--seed", 1))
    assert outcome(tmp_path / "other")[0] != undisturbed[0]


def test_deterministic_kernels_are_chosen_before_the_device_starts(monkeypatch) -> None:
    class StartedError(Exception):
        pass

    def start(device: str, timeout: timedelta) -> None:
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
        raise StartedError

    monkeypatch.setattr("catlip.pretraining.run.init_distributed", start)
    monkeypatch.setattr(os, "environ", {})
    config = SimpleNamespace(deterministic=True, device="cuda", shards=(), recipe=None)
    try:
        with pytest.raises(StartedError):
            pretrain(config, method=None)
    finally:
        torch.use_deterministic_algorithms(False)


ONE_THAT_COUNTS = """import os, runpy, catlip.pretraining.run as run
if os.environ["RANK"] == "1":
    run.expand = run.open_shards = None
runpy.run_module("catlip.pretrain", run_name="__main__")"""


def test_two_ranks_are_one_that_accumulates(succeed, starter, tmp_path) -> None:
    """Each of two ranks has a lane; one alone looks at the shards."""
    (tmp_path / "program.py").write_text(ONE_THAT_COUNTS)
    without_batch_norm = ("--encoder", "vit_tiny16", "--num-devices", 16, "--micro-batch", 1)
    arguments = command("catlip", starter, tmp_path / "one", *without_batch_norm)
    succeed(*arguments, *RANDOM)
    two_ranks = (tmp_path / "program.py", *arguments[1:], *RANDOM, "--out", tmp_path / "two")
    succeed(*two_ranks, ranks=2)
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert one["notes"] == ["16 micro-steps per step keep the recipe's global batch"]
    assert two["notes"] == ["8 micro-steps per step keep the recipe's global batch"]
    for name in ("loss", "grad_norm", "brightness_high", "noise_low"):
        assert two["samples"][name] == pytest.approx(one["samples"][name], rel=2e-3), name


def test_pre_training_is_plain_torch_from_the_odds_of_the_vocabulary(starter) -> None:
    recipe = replace(
        STARTER,
        **{"encoder": "hybrid_micro", "epochs": 0, "iterations": 12, "micro_batch": 8},
        **{"num_devices": 2, "max_lr": 1e-2, "min_lr": 1e-3, "warmup_iterations": 1},
        **{"betas": (0.6, 0.8), "eps": 1e-3, "weight_decay": 0.1, "grad_clip": 0.5},
        **{"ema_decay": 0.9, "crop_scale": (0.3, 0.7), "flip": 0.2},
        **{"min_resolution": 32, "max_resolution": 96, "num_scales": 3, "initialization": "own"},
    )
    config = PretrainCatLIP(
        recipe,
        (str(starter.shards),),
        vocabulary=starter.vocabulary,
        labels_dir=starter.labels,
        **{"device": "cpu", "seed": 3, "quiet": True},
    )
    training = prepare(config, method_of(config), Rank(0, 1, torch.device("cpu")))
    trainer, data = training.trainer, training.data
    shards = open_shards(expand(str(starter.shards)))
    same = DataPath(
        shards,
        SampleOrder(shards.counts, seed=3),
        StepPlan(recipe.sizes(), 2, 12, seed=3),
        augmentation=Augmentation(crop_scale=(0.3, 0.7), flip=0.2),
        **{"seed": 3, "accumulation": 2},
    )
    batches = list(islice(data.batches(0, 0), 6))
    for batch, expected in zip(batches, same.batches(0, 0), strict=False):
        assert torch.equal(batch.images, expected.images)
        assert batch.keys == expected.keys
    assert len({batch.images.shape for batch in batches}) > 1
    vocabulary = json.loads(starter.vocabulary.read_text())
    captions = vocabulary["source"]["captions"]
    rates = torch.tensor([count / captions for _, _, count in vocabulary["synsets"]])
    bias = trainer.objective.classifier.bias.detach()
    torch.testing.assert_close(bias, (rates / (1 - rates)).log().clamp(max=0))
    assert trainer.objective.classifier.weight.std().item() == pytest.approx(0.02, rel=0.05)
    torch.manual_seed(3)
    weights = Categorical(build_encoder("hybrid_micro", 48), rates).state_dict()
    assert all(torch.equal(weights[k], v) for k, v in trainer.objective.state_dict().items())
    assert (trainer.seed, trainer.num_steps, trainer.accumulation) == (3, 12, 2)
    assert "lanes" not in training.identity
    two_lanes = replace(config, recipe=replace(recipe, num_devices=16))
    in_lanes = prepare(two_lanes, method_of(config), Rank(0, 1, torch.device("cpu")))
    assert (in_lanes.data.order.lanes, in_lanes.identity["lanes"]) == (2, 2)

    plain = deepcopy(trainer.objective)
    parameters = list(plain.parameters())
    decayed = [parameter for parameter in parameters if parameter.ndim >= 2]
    others = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer, averages = torch.optim.AdamW(groups, betas=(0.6, 0.8), eps=1e-3), []
    for step, rate in enumerate((1e-6, 1e-2, 1e-3 + 9e-3 * (1 + math.cos(math.pi / 11)) / 2)):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        losses = []
        for batch in batches[2 * step : 2 * step + 2]:
            target = torch.zeros(len(batch), len(rates))
            target[batch.labels.rows(), batch.labels.values] = 1
            logits = plain.classifier(plain.image_encoder(batch.images))
            loss = F.binary_cross_entropy_with_logits(logits, target, reduction="sum")
            loss = loss / len(batch)
            (loss / 2).backward()
            losses.append(loss.item())
        norm = nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.step()
        now = [parameter.detach().clone() for parameter in parameters]
        if step:
            now = [0.9 * a + 0.1 * b for a, b in zip(averages, now, strict=True)]
        averages = now
        found = trainer.train_step(iter(batches[2 * step : 2 * step + 2]))
        expected = (sum(losses) / 2, norm.item(), 2 * len(batch))
        assert (found.loss, found.grad_norm, found.images) == pytest.approx(expected, rel=1e-4)
    names = [name for name, _ in plain.named_parameters()]
    for name, average in zip(names, averages, strict=True):
        torch.testing.assert_close(trainer.weights()[name], average, rtol=1e-3, atol=1e-5)


def test_every_field_of_a_recipe_reaches_the_part_that_it_is_of() -> None:
    recipe = replace(
        STARTER,
        **{"encoder": "vit_tiny16", "drop_path": 0.3, "patch_drop_rate": 0.25},
        **{"attention": "naive", "checkpointing": True, "range_augment": (40.0, 10.0)},
        **{"temperature": 0.04, "logit_bias": -3.0},
    )
    encoder = encoder_of(recipe)
    assert encoder.pos_embed.shape[1] == 1 + (STARTER.resolution // 16) ** 2
    assert encoder.blocks[-1].drop_path1.drop_prob == pytest.approx(0.3)
    assert encoder.patch_drop.prob == 0.25
    assert encoder.grad_checkpointing
    assert not any(block.attn.fused_attn for block in encoder.blocks)
    objective = apply_recipe_start(Sigmoid.build(encoder, "vit_tiny16", None), recipe)
    assert objective.logit_scale.item() == pytest.approx(math.log(1 / 0.04))
    assert objective.logit_bias.item() == -3
    assert add_range_augment(objective, recipe).range_augment.psnr == (40, 10)


def test_killed_and_resumed_is_uninterrupted(starter, start, succeed, tmp_path, undisturbed):
    out = tmp_path / "run"
    arguments = command("catlip", starter, out, "--checkpoint-every", 1, *RANDOM)
    process = start(*arguments)
    short_training.wait_for_lines(out / "log.jsonl", 5, process, longest_s=120)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert out.with_name("run.json.partial").exists()
    succeed(*arguments)
    assert outcome(out) == undisturbed
    assert not out.with_name("run.json.partial").exists()


def test_second_run_in_the_folder_is_refused(
    starter, start, program, tmp_path, undisturbed
) -> None:
    out = tmp_path / "run"
    arguments = command("catlip", starter, out, *RANDOM)
    first = start(*arguments)
    short_training.wait_for_lines(out / "log.jsonl", 2, first, longest_s=120)
    first.send_signal(signal.SIGSTOP)  # so that it has not ended when the second comes to it
    try:
        one_line_error(program(*arguments), out, *first.pids)
    finally:
        first.send_signal(signal.SIGCONT)
    assert first.wait() == 0, (tmp_path / "errors").read_text()
    assert outcome(out) == undisturbed
    assert not (out / ".lock").exists()


def test_finished_run_is_not_trained_again(program, succeed, starter, tmp_path) -> None:
    arguments = command("catlip", starter, tmp_path / "run", "--iterations", 2)
    succeed(*arguments)
    record, run = tmp_path / "run.json", tmp_path / "run"
    content, checkpoint = json.loads(record.read_text()), next((run / "checkpoints").iterdir())
    environment, metrics = content["environment"], content["metrics"]
    assert environment["attention"] == "flash"
    assert environment["cpu_s"] > 0
    assert (metrics["iterations"], metrics["images_seen"]) == (2, 16)
    samples = open_shards(expand(str(starter.shards))).counts.sum()
    assert metrics["epochs_seen"] == pytest.approx(16 / samples)
    assert metrics["images_per_s"] == pytest.approx(16 / metrics["train_seconds"])
    before = checkpoint.stat().st_mtime_ns
    succeed(*arguments)
    assert json.loads(record.read_text()) == content
    record.unlink()
    succeed(*arguments)
    assert checkpoint.stat().st_mtime_ns == before
    assert json.loads(record.read_text())["metrics"] == metrics
    shutil.rmtree(run / "checkpoints")
    record.unlink()
    one_line_error(program(*arguments, "--max-lr", 0.5), "0.5 now")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_unreadable_images_are_in_the_record(program, succeed, tmp_path):
    """Two images are broken, and one name of a shard is not UTF-8."""
    noise = np.random.default_rng(0).integers(256, size=(12, 40, 40, 3), dtype=np.uint8)
    pictures = [save(Image.fromarray(pixels), "PNG") for pixels in noise]
    pictures[1], pictures[2] = b"", pictures[2][:300]
    samples = [(str(key), {"png": image, "txt": b"a dog"}) for key, image in enumerate(pictures)]
    write_shard(tmp_path / "shards" / "0.tar", samples)
    with tarfile.open(tmp_path / "shards" / "1.tar", "w", errors="surrogateescape") as tar:
        for name in ("\udcff.txt", "a.txt"):
            tar.addfile(tarfile.TarInfo(name))
    run = ["baselines.pretrain", "--method", "superclass", *short_training.SHORT.split()]
    run += ["--iterations", 2, "--warmup-iterations", 1, "--encoder", "hybrid_micro"]
    run += ["--shards", tmp_path / "shards", "--out", tmp_path / "run"]
    refused = program(*run, "--max-broken", 0)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ")
    assert not (tmp_path / "run.json").exists()
    succeed(*run)
    record = json.loads((tmp_path / "run.json").read_text())
    causes = {"empty", "cut short", "a name that is not UTF-8"}
    assert causes <= record["metrics"]["broken"].keys()
    shard = f"{tmp_path}/shards/0.tar"
    assert {f"{shard}:1 (empty)", f"{shard}:2 (cut short)"} <= {*record["samples"]["broken_keys"]}


def test_record_does_not_name_the_host_that_the_log_names() -> None:
    line = {"step": 1, "slowest_rank": 0, "slowest_host": "a-host"}
    assert samples_of([line], []) == {"step": [1], "slowest_rank": [0]}


def test_record_sums_up_the_lines_of_the_log() -> None:
    shares, peaks = np.linspace(0, 0.4, 40), [1.0, 3.0, *[2.0] * 38]  # two processes, one larger
    lines = [
        {"loss": float(i), "images_seen": 8 * i, "seconds": 2.0 * i, "peak_gib": peaks[i]}
        | {"data_wait_share": shares[i]}
        for i in range(40)
    ]
    objective = Categorical(build_encoder("vit_tiny16", 32), torch.full((2,), 0.5))
    trainer = SimpleNamespace(objective=objective, num_steps=40)
    data = SimpleNamespace(order=SimpleNamespace(total=100))
    found = summary(SimpleNamespace(trainer=trainer, data=data, classes=None), lines, 0, {})
    assert (found.final_loss, found.peak_gib, found.epochs_seen) == (38.5, 3, 3.12)
    assert (found.images_per_s, found.data_wait_share) == (4, pytest.approx(0.2))
