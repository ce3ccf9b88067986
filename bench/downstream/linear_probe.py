"""Linear probe: how well do a frozen encoder's features separate classes that it was never trained
on?  (Section 4, Table 7a)

As the paper does it, a classifier is trained on augmented images through the frozen encoder. With
`--cached-features` the features of the images as they are, without augmentation, are computed once,
standardised by the training images' mean and deviation, and the classifier is trained on those:
seconds instead of hours. The two do not give the same number.
"""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from bench.downstream.classify.accuracy import Features, extract, hits, rows_of
from bench.downstream.classify.classification import Score, train_classifier
from bench.downstream.classify.datasets import Task
from bench.downstream.encoders.load import LoadedEncoder, load_encoder
from bench.downstream.classify.fit import fitting
from bench.downstream.classify.heads import Init, on_standardised
from bench.downstream.outputs import BY_NAME, is_written
from bench.downstream.classify.sweep import Fit, Sweep, run_of, sweep
from catlip.cli import InputError, run
from catlip.dry_run import print_transfer
from catlip.recipes.transfer import PROBES, TransferRecipe
from catlip.record import Record
from catlip.training.distributed import Place, find_place

LEAST_DEVIATION = 1e-6
CACHED_NOTE = "features without augmentation, computed once: not the protocol of Table 7(a)"


@dataclass(frozen=True)
class LinearProbe(Sweep):
    """Train a linear classifier on the frozen features of an encoder.

    python -m bench.downstream.linear_probe --encoder runs/starter/pretrain/catlip-seed0 \\
        --data starter:data/starter

    python -m bench.downstream.linear_probe --recipe table_7a \\
        --encoder runs/cc3m/pretrain/catlip-seed0 --data imagenet:DIR

    python -m bench.downstream.linear_probe --recipe table_7a --cached-features \\
        --encoder released:vit_b16 --data imagenet:DIR --fraction 0.01 0.1 1 \\
        --init random transfer --vocabulary datacomp_1_2B_vocab.pkl

    An interrupted run goes on where it stopped, and under torchrun it uses every device; with
    cached features neither.
    """

    protocol: ClassVar[str] = "probe"

    out: Path = Path("runs/bench/linear_probe") / BY_NAME
    """The record to write; runs go into a folder of the same name."""
    cached_features: bool = False
    """Compute features once, without augmentation, at the encoder's own resolution, and train on
    them.
    """


def main(config: LinearProbe) -> None:
    """Probe, print, write the record."""
    place = find_place(config.device)
    if config.dry_run:
        print_transfer(config.recipe, config.protocol, place)
        return
    encoder = load_encoder(
        config.encoder,
        config.seed,
        place.device,
        0 if config.cached_features else config.recipe.resolution,
    )
    if is_written(config.out, config, encoder.digest(), place.is_main):
        return
    record = Record(config.out, kind="linear_probe", config=config)
    with record if place.is_main else nullcontext():
        if config.cached_features:
            if place.world_size > 1:
                raise InputError(
                    "--cached-features takes one process; without it, torchrun uses all devices"
                )
            record.notes.append(CACHED_NOTE)
            sweep(config, encoder, record, CachedFeatures(config, encoder))
        else:
            sweep(
                config,
                encoder,
                record,
                partial(_through_the_encoder, config, encoder, place),
                place.is_main,
            )
    if place.is_main:
        print(f"wrote {record.path}")


class CachedFeatures:
    """Fits classifiers on features that are computed once a task."""

    def __init__(self, config: LinearProbe, encoder: LoadedEncoder):
        self.config, self.encoder = config, encoder
        self.of: dict[str, tuple[Features, Features]] = {}

    def __call__(self, fit: Fit) -> Score:
        """Train and test one."""
        train, test = self._features(fit.task)
        broken = [*train.broken.images(), *test.broken.images()]
        if fit.fraction < 1:
            train = train.of(rows_of(fit.train, fit.task.train))
        return replace(
            fit_linear(train, test, fit.head, fit.init, self.config.recipe, fit.seed), broken=broken
        )

    def _features(self, task: Task) -> tuple[Features, Features]:
        if task.name not in self.of:
            module, preprocess = self.encoder.module, self.encoder.preprocess
            train, test = (
                extract(
                    module,
                    preprocess,
                    split,
                    self.config.num_workers,
                    self.config.quiet,
                    self.config.max_broken,
                )
                for split in (task.train, task.test)
            )
            self.of = {task.name: (train, test)}
        return self.of[task.name]


def fit_linear(
    train: Features, test: Features, head: nn.Linear, init: Init, recipe: TransferRecipe, seed: int
) -> Score:
    """Train a copy of `head` on features, standardised by the training features' mean and
    deviation, and test it.

    Args:
        init: a transferred head is for features as they are, so it is rewritten for standardised
            ones; a random one is not.
        recipe: its epochs or iterations, rates, decay and batch.
        seed: of the order of the images.
    """
    began = time.perf_counter()
    mean, deviation = (
        train.values.mean(0),
        train.values.std(0, correction=0).clamp_min(LEAST_DEVIATION),
    )
    classifier = on_standardised(head, mean, deviation) if init == "transfer" else deepcopy(head)
    classifier.to(mean.device)
    loss = _descend(classifier, (train.values - mean) / deviation, train.labels, recipe, seed)
    with torch.inference_mode():
        top1, top5 = (
            hits(classifier((test.values - mean) / deviation), test.labels) / len(test)
        ).tolist()
    return Score(top1, top5, time.perf_counter() - began, loss)


def _descend(
    classifier: nn.Linear, features: Tensor, labels: Tensor, recipe: TransferRecipe, seed: int
) -> float:
    """Train by AdamW with a cosine schedule; the loss of the last step."""
    optimizer = torch.optim.AdamW(
        classifier.parameters(), lr=recipe.max_lr, weight_decay=recipe.weight_decay, fused=True
    )
    batch = recipe.micro_batch * recipe.num_devices
    num_steps = recipe.iterations or max(1, round(recipe.epochs * -(-len(features) // batch)))
    schedule = CosineAnnealingLR(optimizer, num_steps, recipe.min_lr)
    for rows in islice(_batches(len(features), batch, features.device, seed), num_steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(
            classifier(features[rows]), labels[rows], label_smoothing=recipe.label_smoothing
        )
        loss.backward()
        optimizer.step()
        schedule.step()
    return loss.item()


def _batches(count: int, batch: int, device: torch.device, seed: int) -> Iterator[Tensor]:
    """The numbers below `count` in batches, epoch after epoch without end, each in another
    order.
    """
    draw = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(count, generator=draw).to(device).split(batch)


def _through_the_encoder(
    config: LinearProbe, encoder: LoadedEncoder, place: Place, fit: Fit
) -> Score:
    run_of_fit = run_of(fit, config, fitting(config.recipe, encoder), encoder, place, frozen=True)
    return train_classifier(run_of_fit, encoder, fit.head, fit.train, fit.task)


RECIPES = {
    name: LinearProbe(
        recipe, encoder=tyro.MISSING, data=tyro.MISSING, cached_features=name == "starter"
    )
    for name, recipe in PROBES.items()
}

if __name__ == "__main__":
    run(LinearProbe, main, RECIPES)
