"""One encoder and one data set: a classifier for each fraction of the data, start and seed, trained
and tested on a frozen encoder, with the encoder, or on cached features.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from bench.downstream.outputs import load_or_measure
from bench.downstream.probe import result
from bench.downstream.probe.config import Sweep
from bench.downstream.probe.datasets import HELD_OUT, Split, Task, hold_out, load_tasks
from bench.downstream.probe.features import Extractor, Features, extract_part, hits
from bench.downstream.probe.l2_sweep import choose_strength, hits_of, regress
from bench.downstream.probe.readouts import names_head, transfer_head
from bench.downstream.probe.result import IMAGES, Classifier, Init, TaskResult, TestImages, packed
from catlip.categorical import sparse_binary_cross_entropy
from catlip.cli import InputError
from catlip.data.loader import Batch, DataPath
from catlip.data.sampler import SampleOrder, StepPlan
from catlip.encoder import init_linear_as_release
from catlip.encoders.load import LoadedEncoder, load_encoder
from catlip.objective import Objective
from catlip.pretraining.method import add_range_augment
from catlip.program.broken import BrokenImage, BrokenImages, read_broken
from catlip.program.identity import is_recorded
from catlip.recipes.base import Initialization
from catlip.recipes.dry_run import print_transfer
from catlip.recipes.fidelity import differences, warmup_steps
from catlip.recipes.transfer import TransferRecipe
from catlip.records.record import Record
from catlip.training.distributed import Rank, all_gather_objects, init_distributed
from catlip.training.loop import train
from catlip.training.schedule import layer_decay_scales
from catlip.training.trainer import Implementation, Trainer

if TYPE_CHECKING:
    from bench.downstream.dense.config import Dense

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
    """How to train on an encoder, and the folder of the checkpoints, log, weights and score."""

    folder: Path
    recipe: Any  # an ImageRecipe; a TransferRecipe for a classifier
    identity: dict[str, Any]
    seed: int
    rank: Rank
    options: "Sweep | Dense"
    compile: bool = False


class Data(Protocol):
    """The micro-batches of a rank, from a step on."""

    @property
    def plan(self) -> StepPlan: ...

    def batches(
        self, first_step: int, num_workers: int | None, pin_memory: bool
    ) -> Iterator[Any]: ...


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
    frozen = result.L2Probe if config.is_l2_sweep else result.LinearProbe
    kind = frozen if config.trained == "probe" else result.Finetune
    record = Record(config.out, kind=kind, config=config)
    rows: list[Classifier] = []
    record.samples["runs"] = rows
    tasks: dict[str, TaskResult] = {}
    broken = BrokenImages()
    with record if rank.is_main else nullcontext():
        features = Extractor(encoder, config)
        measure = _fit_function(config, encoder, features, rank=rank, record=record)
        record.notes.append(f"images: {encoder.preprocess}")
        for task in load_tasks(config.data):
            task.note_in(record, say=rank.is_main)
            if config.is_l2_sweep:
                part = f"{HELD_OUT:.0%} of the training images of each class, drawn by the seed"
                record.notes.append(
                    result.L2_NOTE.format(f"{task.val.path.name}/" if task.val else part)
                )
            unreadable: list[int] | None = None
            for fit in _fits(config, encoder, task, features=features, record=record):
                score = measure(fit)
                unreadable = score.unreadable
                broken.add(score.broken)
                row = Classifier(
                    task=task.name,
                    fraction=fit.fraction,
                    init=fit.init,
                    seed=fit.seed,
                    top1=score.top1,
                    top5=score.top5,
                    num_train=len(fit.train),
                    num_test=len(task.test),
                    seconds=score.seconds,
                    correct=score.correct,
                    l2=score.l2,
                )
                rows.append(row)
                if rank.is_main:
                    what = f"{100 * fit.fraction:g} % of {task.name}, {fit.init}, seed {fit.seed}"
                    accuracies = f"top-1 {score.top1:.3f}  top-5 {score.top5:.3f}"
                    chosen = f"  L2 {score.l2:.2g}" if score.l2 else ""
                    print(f"{encoder.method:8} {what:40} {accuracies}{chosen}", flush=True)
            broken.note(record)
            clusters = "" if task.clusters is None else result.packed_ids(task.clusters)
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
    """Those of each seed and fraction, with each of `--init` that the encoder can have."""
    # The same for every seed, and computed only if --init asks for it.
    head_by_names = cache(lambda: names_head(encoder, config.encoder, task, features(task.train)))
    for seed in range(config.seed, config.seed + config.seeds):
        heads: dict[Init, nn.Linear] = {}
        for init in config.init:
            try:
                if init == "random":
                    how = config.recipe.initialization
                    heads[init] = random_head(encoder.num_features, task.num_classes, seed, how)
                elif init == "names":
                    heads[init], words = head_by_names()
                    record.notes.append(f"{task.name}, seed {seed}: prompts are {words}")
                else:
                    heads[init], origins = transfer_head(
                        encoder, config.encoder, task.labels, options=config.transfer, seed=seed
                    )
                    record.samples[f"origins_{task.name}"] = [origin.row() for origin in origins]
            except InputError as error:
                if len(config.init) == 1:
                    raise
                record.notes.append(f"{task.name}, seed {seed}: no head by {init}: {error}")
        parts = {part: task.train.subset(part, seed) for part in sorted(config.fraction)}
        # Several small fractions may all be one image of each class.
        distinct = {len(part): fraction for fraction, part in parts.items()}
        for fraction in sorted(distinct.values()):
            for init, head in heads.items():
                copy = deepcopy(head)  # training changes it
                yield Fit(task, fraction, init, seed=seed, train=parts[fraction], head=copy)


def _fit_function(
    config: Sweep, encoder: LoadedEncoder, features: Extractor, *, rank: Rank, record: Record
) -> Callable[[Fit], Score]:
    """The function that trains and scores one classifier."""
    if config.uses_cached_features:
        if rank.world_size > 1:
            raise InputError("cached features take one process")
        record.notes.append(result.CACHED_NOTE)
        probe_recipe = None if config.is_l2_sweep else config.recipe
        return lambda fit: fit_on_features(fit, features, probe_recipe)
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

    def measure(fit: Fit) -> Score:
        notes = differences(config.recipe, config.trained, config.recipe.num_steps(len(fit.train)))
        record.notes += [note for note in notes if note not in record.notes]
        # Fine-tuning changes the encoder's weights, so each classifier gets a new copy.
        copy = encoder if frozen else _load(config, rank.device)
        fit_identity = {
            "fit": fit.name,
            "transfer": str(config.transfer) if fit.init == "transfer" else "",
            "seed": fit.seed,
        }
        folder = config.out.with_suffix("") / fit.name
        training = Training(
            folder,
            recipe,
            identity | fit_identity,
            seed=fit.seed,
            rank=rank,
            options=config,
            compile=config.compile,
        )
        return train_classifier(training, copy, fit, frozen=frozen)

    return measure


def train_classifier(training: Training, encoder: LoadedEncoder, fit: Fit, frozen: bool) -> Score:
    """Train from the last checkpoint, if there is one, and test the averaged weights."""
    classification = Classification(encoder.module, fit.head, training.recipe, frozen=frozen)

    def train_and_test() -> dict[str, Any]:
        objective = add_range_augment(classification, training.recipe)
        last = train_objective(training, objective, data_path(training, fit.train))[-1]
        tested = evaluate(encoder, classification, fit.task.test, training)
        broken = [*read_broken(training.folder).images(), *tested["broken"]]
        trained = {"seconds": last["seconds"], "final_loss": last["loss"]}
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


def data_path(training: Training, split: Split) -> DataPath:
    recipe, rank = training.recipe, training.rank
    return DataPath(
        [split],  # type: ignore[list-item]  # it has what a shard is asked for
        SampleOrder([len(split)], training.seed),
        recipe.plan(len(split), training.seed),
        augmentation=recipe.augmentation(),
        seed=training.seed,
        accumulation=recipe.accumulation(rank.world_size),
        rank=rank.number,
        world_size=rank.world_size,
        labels=split.ragged_labels,
        max_broken=training.options.max_broken,
    )


def train_objective(training: Training, objective: Objective, data: Data) -> list[dict[str, Any]]:
    """Train by the loop of pre-training; leave the averaged weights in `objective`. Returns the
    lines of the log.
    """
    recipe, rank, options = training.recipe, training.rank, training.options
    trainer = Trainer(
        objective.train(),
        replace(recipe, warmup_iterations=warmup_steps(recipe, len(data.plan))),
        len(data.plan),
        rank=rank,
        accumulation=recipe.accumulation(rank.world_size),
        implementation=Implementation(compile=training.compile),
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
    objective.load_state_dict(trainer.weights())
    return lines


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


def random_head(
    num_features: int, num_classes: int, seed: int, initialization: Initialization = "own"
) -> nn.Linear:
    """A linear classifier as torch initialises it, or as the release does."""
    torch.manual_seed(seed)
    head = nn.Linear(num_features, num_classes)
    if initialization == "release":
        init_linear_as_release(head)
    return head
