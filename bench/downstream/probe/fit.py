"""Trains and tests one classifier: on a frozen encoder, with the encoder, or on cached features."""

import itertools
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from bench.downstream.outputs import load_or_measure
from bench.downstream.probe.config import Sweep, TransferOptions
from bench.downstream.probe.datasets import Split, Task, hold_out
from bench.downstream.probe.features import Extractor, Features, extract_part, hits
from bench.downstream.probe.l2_sweep import choose_strength, hits_of, regress
from bench.downstream.probe.result import Init, packed
from catlip.categorical import sparse_binary_cross_entropy
from catlip.cli import InputError
from catlip.data.loader import Batch, DataPath
from catlip.data.sampler import SampleOrder
from catlip.encoder import init_linear_as_release
from catlip.encoders.load import LoadedEncoder
from catlip.objective import Objective
from catlip.pretraining.method import add_range_augment
from catlip.program.broken import BrokenImage, read_broken
from catlip.recipes.base import Initialization
from catlip.recipes.fidelity import warmup_steps
from catlip.recipes.transfer import TransferRecipe
from catlip.training.distributed import Rank, all_gather_objects
from catlip.training.loop import train
from catlip.training.schedule import layer_decay_scales
from catlip.training.trainer import Implementation, Trainer
from catlip.transfer_init import Origin
from catlip.transfer_init.head import transfer_rows
from catlip.vocabulary.label_sets import LabelSet
from catlip.weights.checkpoint import vocabulary_of

if TYPE_CHECKING:
    from bench.downstream.multilabel import MultiLabel

MIN_DEVIATION = 1e-6
LOG_EVERY = 20


@dataclass(frozen=True)
class Score:
    """How good a classifier is, how its training went, and the images that were left out."""

    top1: float
    top5: float
    seconds: float
    final_loss: float = float("nan")
    correct: str = ""
    unreadable: list[int] | None = None  # positions of the test images without a bit
    broken: Sequence[BrokenImage] = ()
    l2: float | None = None  # the strength that was chosen


@dataclass(frozen=True)
class Fit:
    """One classifier to train: its place in a sweep, its images and its initial head."""

    task: Task
    fraction: float
    init: Init
    seed: int
    train: Split
    head: nn.Linear

    @property
    def name(self) -> str:
        return f"{self.task.name}-{self.fraction:g}-{self.init}-seed{self.seed}"


@dataclass(frozen=True)
class Training:
    """How to train a classifier, and the folder of its checkpoints, log, weights and score."""

    folder: Path
    recipe: TransferRecipe
    identity: dict[str, Any]
    seed: int
    rank: Rank
    options: "Sweep | MultiLabel"


def train_classifier(training: Training, encoder: LoadedEncoder, fit: Fit, frozen: bool) -> Score:
    """Train from the last checkpoint, if there is one, and test the averaged weights."""
    classification = Classification(encoder.module, fit.head, training.recipe, frozen=frozen)

    def train_and_test() -> dict[str, Any]:
        trained = train_weights(training, classification, fit.train)
        tested = evaluate(encoder, classification, fit.task.test, training)
        broken = [*read_broken(training.folder).images(), *tested["broken"]]
        return {**trained, **tested, "broken": broken}

    score = load_or_measure(
        training.folder, training.identity, training.rank, measure=train_and_test
    )
    broken = [BrokenImage(*image) for image in score["broken"]]
    return Score(**{**score, "broken": broken})


class Classification(Objective):
    """An image encoder, a linear classifier over the classes of a data set, and softmax
    cross-entropy; if an image can be of several classes, CatLIP's own binary cross-entropy.
    """

    needs = frozenset({"labels"})

    def __init__(
        self,
        image_encoder: nn.Module,
        head: nn.Linear,
        recipe: TransferRecipe,
        frozen: bool,
        multi_label: bool = False,
    ):
        super().__init__()
        if frozen:
            # Not registered: it is not averaged, checkpointed or written.
            self.__dict__["image_encoder"] = image_encoder
        else:
            self.image_encoder = image_encoder
        self.head = head
        self.label_smoothing = recipe.label_smoothing
        self.frozen, self.multi_label = frozen, multi_label
        image_encoder.requires_grad_(not frozen)
        self.lr_scales = layer_decay_scales(image_encoder, recipe.layer_decay, "image_encoder.")
        self.train()

    def train(self, mode: bool = True) -> "Classification":
        super().train(mode)
        self.image_encoder.train(mode and not self.frozen)
        return self

    def forward(self, batch: Batch) -> Tensor:
        """Nats per image."""
        assert batch.labels is not None, "the loader makes what `needs` names"
        with torch.set_grad_enabled(not self.frozen and torch.is_grad_enabled()):
            features = self.image_encoder(batch.images)
        logits = self.head(features)
        if self.multi_label:
            return sparse_binary_cross_entropy(logits, batch.labels)
        labels, smoothing = batch.labels.values, self.label_smoothing
        return F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)

    def lr_scale(self, name: str) -> float:
        return self.lr_scales.get(name, 1.0)


def train_weights(training: Training, classification: Objective, split: Split) -> dict[str, float]:
    """Train by the loop of pre-training; leave the averaged weights in `classification`."""
    recipe, rank, options = training.recipe, training.rank, training.options
    data = DataPath(
        [split],  # type: ignore[list-item]  # it has what a shard is asked for
        SampleOrder([len(split)], training.seed),
        recipe.plan(len(split), training.seed),
        augmentation=recipe.augmentation(),
        seed=training.seed,
        accumulation=recipe.accumulation(rank.world_size),
        rank=rank.number,
        world_size=rank.world_size,
        labels=split.ragged_labels,
        max_broken=options.max_broken,
    )
    trainer = Trainer(
        add_range_augment(classification, recipe),
        replace(recipe, warmup_iterations=warmup_steps(recipe, len(data.plan))),
        len(data.plan),
        rank=rank,
        accumulation=data.accumulation,
        implementation=Implementation(compile=options.compile),
        seed=training.seed,
    )
    pin = rank.device.type == "cuda"
    lines = train(
        trainer,
        lambda step: data.batches(step, options.num_workers, pin_memory=pin),
        training.folder,
        config=training.identity,
        log_every=LOG_EVERY,
        checkpoint_every=options.checkpoint_every,
        quiet=options.quiet,
    )
    trainer.objective.load_state_dict(trainer.weights())
    classification.eval()
    return {"seconds": lines[-1]["seconds"], "final_loss": lines[-1]["loss"]}


@torch.inference_mode()
def evaluate(
    encoder: LoadedEncoder, classification: Classification, test: Split, training: Training
) -> dict[str, Any]:
    """Fields of a Score; each rank tests a part of the images."""
    classification.eval()
    features = extract_part(encoder, test, training.options, training.rank)
    right = hits(classification.head(features.values), features.labels).cpu().numpy()
    broken = list(itertools.chain(*all_gather_objects(features.broken.images())))
    part = list(zip(features.numbers.tolist(), right.tolist(), strict=True))
    hits_by_image = dict(sorted(itertools.chain(*all_gather_objects(part))))
    tested = np.array([*hits_by_image.values()])
    top1, top5 = tested.mean(axis=0).tolist()
    return {
        "top1": top1,
        "top5": top5,
        "correct": packed(tested[:, 0]),
        "unreadable": [number for number in range(len(test)) if number not in hits_by_image],
        "broken": broken,
    }


def recipe_for_encoder(recipe: TransferRecipe, encoder: LoadedEncoder) -> TransferRecipe:
    """The recipe, without its other sizes if the encoder takes images of one size only."""
    if encoder.any_size:
        return recipe
    side = recipe.resolution
    return replace(recipe, min_resolution=side, max_resolution=side, num_scales=1)


def fit_on_features(fit: Fit, features: Extractor, recipe: TransferRecipe | None) -> Score:
    """Train on features computed once; without a recipe, by the best L2 on held-out images."""
    whole, test = features(fit.task.train), features(fit.task.test)
    broken = [*whole.broken.images(), *test.broken.images()]
    unreadable = np.setdiff1d(np.arange(len(fit.task.test)), test.numbers).tolist()
    numbers = {key: number for number, key in enumerate(fit.task.train.keys)}

    def take(split: Split) -> Features:
        return whole.take(np.array([numbers[key] for key in split.keys], dtype=np.int64))

    train = whole if fit.fraction == 1 else take(fit.train)
    if recipe:
        score = fit_linear(train, test, fit.head, init=fit.init, recipe=recipe, seed=fit.seed)
        return replace(score, unreadable=unreadable, broken=broken)
    if fit.task.val:
        part, judges = train, features(fit.task.val)
        broken += judges.broken.images()
    else:
        part, judges = map(take, hold_out(fit.train, fit.seed))
    began, classes = time.perf_counter(), fit.task.num_classes
    strength = choose_strength(part, judges, classes, features.reading.quiet)
    classifier = regress(train, strength, classes)
    score = _score_of(hits_of(classifier, test), began)
    return replace(score, l2=strength, unreadable=unreadable, broken=broken)


def _score_of(right: Tensor, began: float) -> Score:
    top1, top5 = right.double().mean(0).tolist()
    correct = packed(right[:, 0].cpu().numpy())
    return Score(top1, top5, time.perf_counter() - began, correct=correct)


def fit_linear(
    train: Features, test: Features, head: nn.Linear, init: Init, recipe: TransferRecipe, seed: int
) -> Score:
    """Train a copy of `head` on standardised features, and test it. A head of pre-training is for
    features that are not standardised, so it is converted; a random one is not.
    """
    began = time.perf_counter()
    mean = train.values.mean(0)
    deviation = train.values.std(0, correction=0).clamp_min(MIN_DEVIATION)
    classifier = deepcopy(head)
    if init != "random":
        with torch.no_grad():
            classifier.bias.add_(classifier.weight @ mean.cpu())
            classifier.weight.mul_(deviation.cpu())
    classifier.to(mean.device)
    features = (train.values - mean) / deviation

    optimizer = torch.optim.AdamW(
        classifier.parameters(), lr=recipe.max_lr, weight_decay=recipe.weight_decay, fused=True
    )
    batch = recipe.micro_batch * recipe.num_devices
    num_steps = recipe.iterations or max(
        1, recipe.min_steps, round(recipe.epochs * -(-len(features) // batch))
    )
    schedule = CosineAnnealingLR(optimizer, num_steps, recipe.min_lr)
    for rows in islice(_batches(len(features), batch, features.device, seed=seed), num_steps):
        optimizer.zero_grad()
        logits = classifier(features[rows])
        loss = F.cross_entropy(logits, train.labels[rows], label_smoothing=recipe.label_smoothing)
        loss.backward()
        optimizer.step()
        schedule.step()

    with torch.inference_mode():
        scores = classifier((test.values - mean) / deviation)
    score = _score_of(hits(scores, test.labels), began)
    return replace(score, final_loss=loss.item())


def _batches(count: int, batch: int, device: torch.device, seed: int) -> Iterator[Tensor]:
    """Endless batches of numbers below `count`, in another order each epoch."""
    draw = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(count, generator=draw).to(device).split(batch)


# How a classifier starts: at random, or from the pre-trained one (Transfer Init, Section 4.2)


def random_head(
    num_features: int, num_classes: int, seed: int, initialization: Initialization = "own"
) -> nn.Linear:
    """A linear classifier as torch initialises it, or as the release does."""
    torch.manual_seed(seed)
    head = nn.Linear(num_features, num_classes)
    if initialization == "release":
        init_linear_as_release(head)
    return head


def transfer_head(
    encoder: LoadedEncoder,
    spelling: str,
    labels: LabelSet,
    options: TransferOptions,
    seed: int,
    copy_bias: bool = False,
) -> tuple[nn.Linear, Sequence[Origin]]:
    """A linear classifier over `labels`, made of the rows that pre-training learnt for the same
    nouns (random ones for labels without a class), and the origin of each row.
    """
    vocabulary = vocabulary_of(encoder.checkpoint, spelling, options.vocabulary)
    assert encoder.checkpoint is not None, "refused above"
    head = transfer_rows(
        encoder.checkpoint.classifier["weight"],
        encoder.checkpoint.classifier["bias"],
        vocabulary,
        labels=labels,
        alpha=options.alpha,
        copy_bias=copy_bias,
        seed=seed,
    )
    if not any(origin.matched for origin in head.origins):
        raise InputError(f"none of {labels.name}'s labels has a class at alpha {options.alpha:g}")
    linear = nn.Linear(head.weight.shape[1], len(head.bias))
    linear.load_state_dict({"weight": head.weight.float(), "bias": head.bias.float()})
    return linear, head.origins


def has_classifier(encoder: LoadedEncoder) -> bool:
    """Whether it has a classifier over a vocabulary of nouns (SuperClass's is over subwords)."""
    return encoder.checkpoint is not None and encoder.checkpoint.has_nouns
