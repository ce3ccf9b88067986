"""Linear classifiers on features that are computed once, without augmentation."""

import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from bench.downstream.classify.accuracy import Extractor, Features, Reading, hits, rows_of
from bench.downstream.classify.classification import Score
from bench.downstream.classify.datasets import Task
from bench.downstream.classify.heads import Init, on_standardised
from bench.downstream.classify.sweep import Fit
from bench.downstream.encoders.load import LoadedEncoder
from bench.downstream.probe.result import packed
from catlip.recipes.transfer import TransferRecipe

LEAST_DEVIATION = 1e-6
CACHED_NOTE = "features without augmentation, computed once: not the protocol of Table 7(a)"


class CachedFeatures:
    """Fits classifiers on features that are computed once."""

    def __init__(self, encoder: LoadedEncoder, recipe: TransferRecipe, reading: Reading):
        self.recipe = recipe
        self.extract = Extractor(encoder.module, encoder.preprocess, reading)
        self.of: dict[str, tuple[Features, Features]] = {}  # training and test, by task

    def __call__(self, fit: Fit) -> Score:
        """Train and test one classifier."""
        train, test = self._features(fit.task)
        broken = [*train.broken.images(), *test.broken.images()]
        if fit.fraction < 1:
            train = train.of(rows_of(fit.train, fit.task.train))
        score = fit_linear(train, test, fit.head, init=fit.init, recipe=self.recipe, seed=fit.seed)
        return replace(score, broken=broken)

    def _features(self, task: Task) -> tuple[Features, Features]:
        if task.name not in self.of:
            self.of[task.name] = self.extract(task.train), self.extract(task.test)
        return self.of[task.name]


def fit_linear(
    train: Features, test: Features, head: nn.Linear, init: Init, recipe: TransferRecipe, seed: int
) -> Score:
    """Train a copy of `head` on features, standardised by the training features' mean and standard
    deviation, and test it.

    Args:
        init: a transferred head is for features that are not standardised, so it is converted; a
            random one is not.
        recipe: gives the epochs or iterations, rates, decay and batch.
        seed: of the order of the images.
    """
    began = time.perf_counter()
    mean = train.values.mean(0)
    deviation = train.values.std(0, correction=0).clamp_min(LEAST_DEVIATION)
    classifier = on_standardised(head, mean, deviation) if init == "transfer" else deepcopy(head)
    classifier.to(mean.device)
    standardised = (train.values - mean) / deviation
    loss = _descend(classifier, standardised, train.labels, recipe=recipe, seed=seed)
    with torch.inference_mode():
        right = hits(classifier((test.values - mean) / deviation), test.labels)
    top1, top5 = right.double().mean(0).tolist()
    return Score(
        top1,
        top5,
        time.perf_counter() - began,
        final_loss=loss,
        correct=packed(right[:, 0].cpu().numpy()),
    )


def _descend(
    classifier: nn.Linear, features: Tensor, labels: Tensor, recipe: TransferRecipe, seed: int
) -> float:
    """Train by AdamW with a cosine schedule; returns the loss of the last step."""
    optimizer = torch.optim.AdamW(
        classifier.parameters(), lr=recipe.max_lr, weight_decay=recipe.weight_decay, fused=True
    )
    batch = recipe.micro_batch * recipe.num_devices
    num_steps = recipe.iterations or max(1, round(recipe.epochs * -(-len(features) // batch)))
    schedule = CosineAnnealingLR(optimizer, num_steps, recipe.min_lr)
    for rows in islice(_batches(len(features), batch, features.device, seed=seed), num_steps):
        optimizer.zero_grad()
        logits = classifier(features[rows])
        loss = F.cross_entropy(logits, labels[rows], label_smoothing=recipe.label_smoothing)
        loss.backward()
        optimizer.step()
        schedule.step()
    return loss.item()


def _batches(count: int, batch: int, device: torch.device, seed: int) -> Iterator[Tensor]:
    """Endless batches of the numbers below `count`; each epoch has another order."""
    draw = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(count, generator=draw).to(device).split(batch)
