"""One encoder and one data set: a classifier for each fraction of the data, start and seed."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from copy import deepcopy
from functools import cache

import numpy as np
import torch
from torch import nn

from bench.downstream.probe.config import Sweep
from bench.downstream.probe.datasets import HELD_OUT, Task, load_tasks
from bench.downstream.probe.features import Extractor
from bench.downstream.probe.fit import (
    Fit,
    Score,
    Training,
    fit_on_features,
    random_head,
    recipe_for_encoder,
    train_classifier,
    transfer_head,
)
from bench.downstream.probe.readouts import names_head
from bench.downstream.probe.result import (
    CACHED_NOTE,
    IMAGES,
    L2_NOTE,
    Classifier,
    Finetune,
    Init,
    L2Probe,
    LinearProbe,
    TaskResult,
    TestImages,
    packed_ids,
)
from catlip.cli import InputError
from catlip.encoders.load import LoadedEncoder, load_encoder
from catlip.program.broken import BrokenImages
from catlip.program.identity import is_recorded
from catlip.recipes.dry_run import print_transfer
from catlip.recipes.fidelity import differences
from catlip.records.record import Record
from catlip.training.distributed import Rank, init_distributed


def main(config: Sweep) -> None:
    """Train and test every classifier of the sweep, print, and write the record."""
    rank = init_distributed(config.device)
    if config.dry_run:
        if config.is_l2_sweep:
            raise InputError("--protocol l2_sweep has no recipe that --dry-run could print")
        print_transfer(config.recipe, config.trained, rank)
        return
    encoder = _load(config, rank.device)
    inputs = {"encoder_digest": encoder.digest()}
    if is_recorded(config.out, config, inputs, say=rank.is_main):
        return
    frozen: type[LinearProbe | L2Probe] = L2Probe if config.is_l2_sweep else LinearProbe
    kind = frozen if config.trained == "probe" else Finetune
    record = Record(config.out, kind=kind, config=config)
    rows: list[Classifier] = []
    record.samples["runs"] = rows
    tasks: dict[str, TaskResult] = {}
    broken = BrokenImages()
    with record if rank.is_main else nullcontext():
        features = Extractor(encoder, config)
        fit = _fit_function(config, encoder, features, rank=rank, record=record)
        record.notes.append(f"images: {encoder.preprocess}")
        for task in load_tasks(config.data):
            task.note_in(record, say=rank.is_main)
            if config.is_l2_sweep:
                part = f"{HELD_OUT:.0%} of the training images of each class, drawn by the seed"
                record.notes.append(L2_NOTE.format(f"{task.val.path.name}/" if task.val else part))
            unreadable: list[int] | None = None
            for one in _fits(config, encoder, task, features=features, record=record):
                score = fit(one)
                unreadable = score.unreadable
                broken.add(score.broken)
                row = Classifier(
                    task=task.name,
                    fraction=one.fraction,
                    init=one.init,
                    seed=one.seed,
                    top1=score.top1,
                    top5=score.top5,
                    num_train=len(one.train),
                    num_test=len(task.test),
                    seconds=score.seconds,
                    correct=score.correct,
                    l2=score.l2,
                )
                rows.append(row)
                if rank.is_main:
                    what = f"{100 * one.fraction:g} % of {task.name}, {one.init}, seed {one.seed}"
                    accuracies = f"top-1 {score.top1:.3f}  top-5 {score.top5:.3f}"
                    chosen = f"  L2 {score.l2:.2g}" if score.l2 else ""
                    print(f"{encoder.method:8} {what:40} {accuracies}{chosen}", flush=True)
            broken.note(record)
            clusters = "" if task.clusters is None else packed_ids(task.clusters)
            images = record.samples.setdefault(IMAGES, [])
            images.append(TestImages(task.name, clusters, unreadable=unreadable))
            key = (task.name, 1, "random")
            whole = [row for row in rows if (row.task, row.fraction, row.init) == key]
            tasks[task.name] = TaskResult(
                num_classes=task.num_classes,
                num_train=len(task.train),
                num_test=len(task.test),
                top1=float(np.mean([row.top1 for row in whole])) if whole else None,
                top5=float(np.mean([row.top5 for row in whole])) if whole else None,
            )
            record.finish(
                kind(
                    broken=broken.counts(),
                    method=encoder.method,
                    pretrain_seed=encoder.pretrain_seed,
                    encoder_digest=encoder.digest(),
                    tasks=tasks,
                )
            )
    if rank.is_main:
        print(f"wrote {record.path}")


def _load(config: Sweep, device: torch.device) -> LoadedEncoder:
    # Features are cached at the encoder's size, not at the recipe's.
    side = 0 if config.uses_cached_features else config.recipe.resolution
    resize = config.recipe.test_resize
    return load_encoder(config.encoder, config.seed, device, resolution=side, resize=resize)


def _fits(
    config: Sweep, encoder: LoadedEncoder, task: Task, *, features: Extractor, record: Record
) -> Iterator[Fit]:
    # The same for every seed, and computed only if --init asks for it.
    head_by_names = cache(lambda: names_head(encoder, config.encoder, task, features(task.train)))
    for seed in range(config.seed, config.seed + config.seeds):
        heads = _heads(config, encoder, task, seed=seed, head_by_names=head_by_names, record=record)
        parts = {part: task.train.subset(part, seed) for part in sorted(config.fraction)}
        # Several small fractions may all be one image of each class.
        distinct = {len(part): fraction for fraction, part in parts.items()}
        for fraction in sorted(distinct.values()):
            for init, head in heads.items():
                copy = deepcopy(head)  # training changes it
                yield Fit(task, fraction, init, seed=seed, train=parts[fraction], head=copy)


def _heads(
    config: Sweep,
    encoder: LoadedEncoder,
    task: Task,
    *,
    seed: int,
    head_by_names: Callable[[], tuple[nn.Linear, str]],
    record: Record,
) -> dict[Init, nn.Linear]:
    """The initial head for each of `--init` that the encoder can have."""
    heads: dict[Init, nn.Linear] = {}
    for init in config.init:
        if init == "random":
            how = config.recipe.initialization
            heads[init] = random_head(encoder.num_features, task.num_classes, seed, how)
            continue
        try:
            if init == "names":
                heads[init], words = head_by_names()
                record.notes.append(f"{task.name}, seed {seed}: prompts are {words}")
                continue
            heads[init], origins = transfer_head(
                encoder, config.encoder, task.labels, options=config.transfer, seed=seed
            )
        except InputError as error:
            if len(config.init) == 1:
                raise
            record.notes.append(f"{task.name}, seed {seed}: no head by {init}: {error}")
        else:
            record.samples[f"origins_{task.name}"] = [origin.row() for origin in origins]
    return heads


def _fit_function(
    config: Sweep, encoder: LoadedEncoder, features: Extractor, *, rank: Rank, record: Record
) -> Callable[[Fit], Score]:
    """The function that trains and scores one classifier."""
    if config.uses_cached_features:
        if rank.world_size > 1:
            raise InputError("cached features take one process")
        record.notes.append(CACHED_NOTE)
        probe_recipe = None if config.is_l2_sweep else config.recipe
        return lambda one: fit_on_features(one, features, probe_recipe)
    frozen, checkpoint = config.trained == "probe", encoder.checkpoint
    recipe = recipe_for_encoder(config.recipe, encoder)
    if not frozen and len(recipe.sizes()) < len(config.recipe.sizes()):
        record.notes.append(
            f"{config.encoder} takes images of one size, so it was trained without the other sizes"
        )
    identity = recipe.identity() | {
        # For opening the run's weights as an encoder again.
        "encoder": checkpoint.encoder_name if checkpoint else encoder.method,
        "method": f"{encoder.method} {'probed' if frozen else 'fine-tuned'}",
        "transferred": config.encoder,
        "trained_at": recipe.resolution,
        "encoder_digest": encoder.digest(),
        "data": config.data,
        "frozen": frozen,
    }
    if checkpoint:
        for name in ("resolution", "pool", "resize"):
            identity[name] = getattr(checkpoint, name)

    def fit(one: Fit) -> Score:
        notes = differences(config.recipe, config.trained, config.recipe.num_steps(len(one.train)))
        record.notes += [note for note in notes if note not in record.notes]
        # Fine-tuning changes the encoder's weights, so each classifier gets a new copy.
        copy = encoder if frozen else _load(config, rank.device)
        fit_identity = {
            "fit": one.name,
            "transfer": str(config.transfer) if one.init == "transfer" else "",
            "seed": one.seed,
        }
        folder = config.out.with_suffix("") / one.name
        training = Training(folder, recipe, identity | fit_identity, one.seed, rank, options=config)
        return train_classifier(training, copy, one, frozen=frozen)

    return fit
