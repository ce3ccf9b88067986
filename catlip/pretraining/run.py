"""A run of any method: `pretrain` trains and writes the record.

Nothing here depends on which method it is.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from catlip.cli import InputError
from catlip.data.loader import Batch, DataPath, Shards
from catlip.data.sampler import SampleOrder, lanes_of
from catlip.data.shard_set import ShardSet, open_shards
from catlip.data.shards import expand
from catlip.data.workers import group_timeout
from catlip.objective import Objective
from catlip.pretraining.config import PretrainRun
from catlip.pretraining.method import Classes, Method, add_range_augment, apply_recipe_start
from catlip.pretraining.result import TRAININGS, Pretrain
from catlip.program.broken import MAX_LISTED, read_broken, too_many
from catlip.program.identity import refuse_another
from catlip.recipes.dry_run import describe, made_up_batch
from catlip.recipes.fidelity import differences
from catlip.recipes.pretrain import Recipe
from catlip.records.record import Record, note_data, plain
from catlip.records.table import print_tables
from catlip.system.lock import only_writer
from catlip.training.distributed import (
    Rank,
    choose_deterministic,
    from_rank0,
    init_distributed,
)
from catlip.training.loop import train
from catlip.training.parallel import PAYING_STEPS
from catlip.training.trainer import Implementation, Trainer
from catlip.vocabulary.sample_labels import VocabularyLabels
from catlip.weights.files import read_file

LABEL_SETTINGS = ("vocabulary", "labels_dir")  # only methods with labels need them


@dataclass(frozen=True)
class Training:
    """A training at its first step; `identity` goes to its files, `data_identity` to the record."""

    trainer: Trainer
    data: DataPath
    classes: Classes | None
    identity: dict[str, Any]
    data_identity: dict[str, Any]

    def batches(self, step: int, num_workers: int | None) -> Iterator[Batch]:
        pin_memory = self.trainer.rank.device.type == "cuda"
        return self.data.batches(step, num_workers, pin_memory=pin_memory)


def pretrain(config: PretrainRun, method: Method) -> Path | None:
    """Train by a recipe, with checkpoints and resume, and write the record."""
    if config.deterministic:
        choose_deterministic()
    rank = init_distributed(config.device, group_timeout(config.shards))
    if config.dry_run:
        _dry_run(config, method, rank)
        return None
    training = prepare(config, method, rank)
    with only_writer(config.out, rank.is_main):
        path = config.out.with_name(f"{config.out.name}.json")
        weights = config.out / "weights.safetensors"
        # A run that ended before its record left a partial one, and makes the record now.
        partial = path.with_name(f"{path.name}.partial")
        finished = weights.is_file()
        if finished:
            _, before = read_file(weights)
            before.pop("progress", None)  # of earlier versions
            refuse_another(config.out, before, training.identity)
        if finished and path.is_file() and not partial.exists():
            if rank.is_main:
                print(f"{path} is already there, from the same run; remove it to make it again")
        else:
            _train(config, training, path)
    return path


def _dry_run(config: PretrainRun, method: Method, rank: Rank) -> None:
    recipe = config.recipe
    shards = _shards(config, rank) if config.shards else None
    objective = _on_shapes(recipe, method, shards)
    num_samples = int(shards.counts.sum()) if shards else 0
    if rank.is_main:
        batch = made_up_batch(recipe.resolution, method.tokenize)
        print(describe(recipe, objective, batch, num_samples=num_samples, rank=rank))


def _on_shapes(recipe: Recipe, method: Method, shards: ShardSet | None) -> Objective:
    """The objective on the device "meta": even the largest takes no memory, and seconds."""
    meta = torch.device("meta")
    with meta:
        objective = apply_recipe_start(method.build(), recipe)
    if shards:
        method.fit(objective, shards)
    return add_range_augment(objective, recipe).to(meta)


def prepare(config: PretrainRun, method: Method, rank: Rank) -> Training:
    """The training that the config, the data and the seed determine, at its first step."""
    recipe, classes = config.recipe, method.classes
    shards = _shards(config, rank)
    labels = classes.labels if classes else None
    if isinstance(labels, VocabularyLabels) and rank.is_main:
        labels.check(shards, config.shards)
    lanes = lanes_of(recipe.num_devices, recipe.devices_per_lane)
    order = SampleOrder(shards.counts, config.seed, lanes)
    data = DataPath(
        shards,
        order,
        recipe.plan(order.total, config.seed),
        augmentation=recipe.augmentation(),
        seed=config.seed,
        accumulation=recipe.accumulation(rank.world_size),
        rank=rank.number,
        world_size=rank.world_size,
        labels=labels,
        tokenize=method.tokenize,
        max_broken=config.max_broken,
    )
    torch.manual_seed(config.seed)
    objective = apply_recipe_start(method.build(), recipe)
    fitted = from_rank0(lambda: method.fit(objective, shards), rank)
    if not rank.is_main:
        method.fit(objective, shards)  # from the cache that rank 0 has filled
    objective = add_range_augment(objective, recipe)
    identity = recipe.identity() | fitted
    if classes:
        identity |= classes.identity
    identity |= {"method": objective.name, "seed": config.seed, "data": shards.digest}
    if order.lanes > 1:  # a run from before there were lanes has one, and cannot go on with more
        identity["lanes"] = order.lanes
    pays = rank.device.type == "cuda" and len(data.plan) >= PAYING_STEPS * len(recipe.sizes())
    trainer = Trainer(
        objective,
        recipe,
        len(data.plan),
        rank=rank,
        accumulation=data.accumulation,
        implementation=Implementation(config.parallel, config.compile or pays),
        seed=config.seed,
    )
    return Training(trainer, data, classes, identity, data_identity=shards.identity())


def _train(config: PretrainRun, training: Training, path: Path) -> None:
    trainer, data = training.trainer, training.data
    rank, objective = trainer.rank, trainer.objective
    config = replace(config, compile=trainer.implementation.compile)
    settings = plain(config) | {"method": objective.name}
    if "labels" not in objective.needs:
        settings = {name: value for name, value in settings.items() if name not in LABEL_SETTINGS}
    record = Record(path, Pretrain, settings)
    record.environment["ranks"] = rank.world_size
    with record if rank.is_main else nullcontext():
        note_data({"pretrain": training.data_identity})
        lines = train(
            trainer,
            lambda step: training.batches(step, config.num_workers),
            config.out,
            config=training.identity,
            log_every=config.log_every,
            checkpoint_every=config.checkpoint_every,
            wandb=config.wandb,
            quiet=config.quiet,
        )
        broken, keys = broken_images(config.out, data.shards)
        record.samples |= samples_of(lines, keys)
        if trainer.accumulation > 1:
            record.notes.append(
                f"{trainer.accumulation} micro-steps per step keep the recipe's global batch"
            )
        record.notes += differences(config.recipe, objective.name)
        run = record.finish(summary(training, lines, config.seed, broken))
    if rank.is_main:
        print_tables([TRAININGS.fill([run])])


def _shards(config: PretrainRun, rank: Rank) -> ShardSet:
    """The shards, which rank 0 alone looks for and counts: the storage is asked once for each."""
    shards = from_rank0(
        lambda: open_shards(expand(config.shards), config.quiet, config.shards), rank
    )
    skipped = shards.skipped_by_cause()
    count = sum(skipped.values())
    if count and rank.is_main:
        print(f"{count:,} samples are left out: {skipped}; first: {shards.first_skipped()[0]}")
    total = count + int(shards.counts.sum())
    if too_many(count, total, config.max_broken):
        raise InputError(
            f"{count:,} of {total:,} samples are left out ({skipped}), more than --max-broken "
            f"{config.max_broken:g}; first: {shards.first_skipped()[0]}"
        )
    return shards


def broken_images(folder: Path, shards: Shards) -> tuple[dict[str, int], list[str]]:
    """What could not be used, in training or in the shards: counts by cause, and the first."""
    broken = read_broken(folder)
    counts, keys = broken.counts(), broken.listed()
    if isinstance(shards, ShardSet):
        counts |= shards.skipped_by_cause()
        keys += shards.first_skipped()
    return counts, keys[:MAX_LISTED]


def samples_of(lines: list[dict[str, Any]], broken_keys: list[str]) -> dict[str, list[Any]]:
    # A run that goes on on more ranks, or with a later version, has more columns from then on.
    # The log names a host; a record, which may be published, does not.
    left_out = ("broken", "slowest_host")
    names = [name for name in dict.fromkeys(chain(*lines)) if name not in left_out]
    samples: dict[str, list[Any]] = {name: [line.get(name) for line in lines] for name in names}
    return samples | ({"broken_keys": broken_keys} if broken_keys else {})


def summary(
    training: Training, lines: list[dict[str, Any]], seed: int, broken: dict[str, int]
) -> Pretrain:
    trainer, classes = training.trainer, training.classes
    objective = trainer.objective
    encoder = objective.get_submodule("image_encoder")
    last, tail = lines[-1], lines[-max(1, len(lines) // 20) :]
    return Pretrain(
        broken=broken,
        method=objective.name,
        seed=seed,
        iterations=trainer.num_steps,
        images_seen=last["images_seen"],
        epochs_seen=last["images_seen"] / training.data.order.total,
        final_loss=float(np.mean([line["loss"] for line in tail])),
        train_seconds=last["seconds"],
        images_per_s=last["images_seen"] / last["seconds"],
        data_wait_share=float(np.mean([line["data_wait_share"] for line in lines])),
        peak_gib=max(line["peak_gib"] for line in lines),  # of all processes that trained
        parameters_total=sum(p.numel() for p in objective.parameters()),
        parameters_image=sum(p.numel() for p in encoder.parameters()),
        num_classes=len(classes.base_rates) if classes else None,
        classes_per_caption=float(classes.base_rates.sum()) if classes else None,
    )
