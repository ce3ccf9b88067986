"""What linear probes and fine-tuning have in common: one encoder and one data set, with every
fraction of it, initialisation and seed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
import torch
import tyro
from torch import nn

from bench.downstream.classify.classification import Score, train_classifier
from bench.downstream.classify.datasets import Split, Task, load_tasks
from bench.downstream.classify.fit import Run as TrainingRun
from bench.downstream.classify.fit import fitting
from bench.downstream.classify.heads import (
    Init,
    TransferOptions,
    has_classifier,
    random_head,
    transfer_head,
)
from bench.downstream.encoders.load import LoadedEncoder, load_encoder
from bench.downstream.outputs import DataSpelling, filled_in, is_written
from bench.downstream.probe.result import Classifier, OnTasks, TaskResult
from catlip.cli import InputError
from catlip.dry_run import print_transfer
from catlip.fidelity import differences
from catlip.program.broken import MAX_BROKEN, BrokenImages, MaxBroken
from catlip.program.ranges import Count, Natural, PositiveFraction, Seed
from catlip.recipes.transfer import TransferRecipe
from catlip.record import Record
from catlip.results.run import Run
from catlip.training.distributed import Place, find_place

C = TypeVar("C", bound="Sweep")


@dataclass(frozen=True)
class Sweep:
    """The options that both programs share."""

    protocol: ClassVar[str]  # "probe" or "finetune"

    recipe: tyro.conf.OmitArgPrefixes[TransferRecipe]
    encoder: str
    """A run's folder, FOLDER:raw, FILE.safetensors, released:vit_b16[@512][:FILE],
    timm:NAME[:FILE], openclip:NAME/TAG, random:NAME@RESOLUTION, random:timm/NAME; each brings its
    own preprocessing."""
    data: DataSpelling
    out: Path
    """The record to write; runs go into a folder of the same name."""
    fraction: tuple[PositiveFraction, ...] = (1.0,)
    """Fractions of the training images of each class, in (0, 1], at least one image each. The
    images of a smaller fraction are among those of a larger one. If several fractions give the same
    images, only the largest is trained on.
    """
    init: tuple[Init, ...] = ("random",)
    """How the classifier is initialised: random, or transfer (Transfer Init, for encoders
    pre-trained by CatLIP).
    """
    transfer: tyro.conf.OmitArgPrefixes[TransferOptions] = field(default_factory=TransferOptions)
    seeds: Count = 1
    """Classifiers per fraction and initialisation; each seed chooses other images where the
    fraction is below 1.
    """
    seed: Seed = 0
    """Seed of a random encoder, and of the first classifier."""
    num_workers: Natural = 1
    """Processes that decode images, per rank."""
    max_broken: MaxBroken = MAX_BROKEN
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    compile: bool = False
    """Compile the transformer blocks, once for each image size."""
    checkpoint_every: Count = 200
    """Optimizer steps between checkpoints of a run."""
    quiet: bool = False
    """No progress bars."""
    dry_run: bool = False
    """Print the resolved recipe, and what differs from the release, and stop; needs no encoder and
    no data.
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", filled_in(self.out, self.data, self.encoder))
        if not self.fraction or not self.init:
            raise InputError("--fraction and --init: give one value or more")

    @property
    def input_side(self) -> int:
        """Side in pixels of the images that the encoder is loaded for; 0 for its own."""
        return self.recipe.resolution

    def load_encoder(self, device: torch.device) -> LoadedEncoder:
        """The encoder, with the preprocessing of test images. Raises: InputError."""
        return load_encoder(
            self.encoder,
            self.seed,
            device,
            resolution=self.input_side,
            resize=self.recipe.test_resize,
        )


@dataclass(frozen=True)
class Fit:
    """One classifier to train: its place in the sweep, its images and its initial head."""

    task: Task
    fraction: PositiveFraction
    init: Init
    seed: Seed
    train: Split
    head: nn.Linear

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return f"{self.task.name}-{self.fraction:g}-{self.init}-seed{self.seed}"

    def result(self, score: Score) -> Classifier:
        """What a record holds of the trained classifier."""
        return Classifier(
            task=self.task.name,
            fraction=self.fraction,
            init=self.init,
            seed=self.seed,
            top1=score.top1,
            top5=score.top5,
            num_train=len(self.train),
            seconds=score.seconds,
            correct=score.correct,
        )


def run_sweep(
    config: C,
    kind: type[OnTasks],
    start: Callable[[C, Place, LoadedEncoder, Record], Callable[[Fit], Score]],
) -> None:
    """Train and test every classifier of the sweep, print, and write the record.

    Args:
        kind: of the record.
        start: returns the function that trains and scores one classifier.
    """
    place = find_place(config.device)
    if config.dry_run:
        print_transfer(config.recipe, config.protocol, place)
        return
    encoder = config.load_encoder(place.device)
    if is_written(config.out, config, encoder.digest(), say=place.is_main):
        return
    record = Record(config.out, kind=kind, config=config)
    with record if place.is_main else nullcontext():
        fit = start(config, place, encoder, record)
        sweep(config, kind, encoder, record=record, fit=fit, say=place.is_main)
    if place.is_main:
        print(f"wrote {record.path}")


def sweep(
    config: Sweep,
    kind: type[OnTasks],
    encoder: LoadedEncoder,
    *,
    record: Record,
    fit: Callable[[Fit], Score],
    say: bool = True,
) -> Run[OnTasks]:
    """Train every classifier of the sweep, and put the scores into the record.

    Args:
        fit: trains and scores one classifier.
        say: whether this process prints.
    Returns: the run as the record holds it.
    """
    record.notes.append(f"images: {encoder.preprocess}")
    if "transfer" in config.init and not has_classifier(encoder) and len(config.init) > 1:
        record.notes.append(
            f"{config.encoder} has no classifier over a vocabulary, so only random heads were "
            "trained"
        )
    rows: list[Classifier] = []
    record.samples["runs"] = rows
    tasks: dict[str, TaskResult] = {}
    broken = BrokenImages()
    for task in load_tasks(config.data):
        for one in _fits(config, encoder, task, record=record):
            score = fit(one)
            broken.add(score.broken)
            if not getattr(config, "cached_features", False):
                num_steps = config.recipe.num_steps(len(one.train))
                notes = differences(config.recipe, config.protocol, num_steps)
                record.notes += [note for note in notes if note not in record.notes]
            rows.append(one.result(score))
            if say:
                what = f"{100 * one.fraction:g} % of {task.name}, {one.init}, seed {one.seed}"
                print(
                    f"{encoder.method:8} {what:40} top-1 {score.top1:.3f}  top-5 {score.top5:.3f}",
                    flush=True,
                )
        broken.note(record)
        tasks[task.name] = _result(task, [row for row in rows if row.task == task.name])
        measured = record.measured(
            kind(
                broken=broken.counts(),
                method=encoder.method,
                pretrain_seed=encoder.pretrain_seed,
                encoder_digest=encoder.digest(),
                tasks=tasks,
            )
        )
    return measured


def _fits(config: Sweep, encoder: LoadedEncoder, task: Task, record: Record) -> Iterator[Fit]:
    for seed in range(config.seed, config.seed + config.seeds):
        heads = _heads(config, encoder, task, seed=seed, record=record)
        parts = {
            fraction: task.train.subset(fraction, seed) for fraction in sorted(config.fraction)
        }
        # Several small fractions may all be one image of each class.
        distinct = {len(part): fraction for fraction, part in parts.items()}
        for fraction in sorted(distinct.values()):
            for init, head in heads.items():
                # A copy, because training changes the head.
                yield Fit(
                    task, fraction, init, seed=seed, train=parts[fraction], head=deepcopy(head)
                )


def _heads(
    config: Sweep, encoder: LoadedEncoder, task: Task, seed: int, record: Record
) -> dict[Init, nn.Linear]:
    """The initial head for each of `--init`; without transfer where nothing can be transferred.

    Raises: InputError when only transfer was asked for and nothing can be transferred.
    """
    heads: dict[Init, nn.Linear] = {}
    for init in config.init:
        if init == "random":
            heads[init] = random_head(
                encoder.num_features,
                task.num_classes,
                seed,
                initialization=config.recipe.initialization,
            )
        elif len(config.init) == 1 or has_classifier(encoder):
            try:
                heads[init], origins = transfer_head(
                    encoder, config.encoder, task.labels, options=config.transfer, seed=seed
                )
                record.samples[f"origins_{task.name}"] = [
                    origin.row() | {"test_images": np.flatnonzero(task.test.labels == place)}
                    for place, origin in enumerate(origins)
                ]
            except InputError as error:
                if len(config.init) == 1:
                    raise
                record.notes.append(f"{task.name} had random heads only: {error}")
    return heads


def _result(task: Task, rows: Sequence[Classifier]) -> TaskResult:
    """The sizes of a task, and the mean accuracy of those of its `rows` with all data and a random
    start.
    """
    whole = [row for row in rows if row.fraction == 1 and row.init == "random"]
    return TaskResult(
        num_classes=task.num_classes,
        num_train=len(task.train),
        num_test=len(task.test),
        top1=float(np.mean([row.top1 for row in whole])) if whole else None,
        top5=float(np.mean([row.top5 for row in whole])) if whole else None,
    )


def train_one(
    fit: Fit, config: Sweep, encoder: LoadedEncoder, *, place: Place, frozen: bool
) -> Score:
    """Train and score one classifier of a sweep, by a recipe that suits the encoder.

    Args:
        frozen: leave the encoder as it is; otherwise it is trained with the classifier.
    """
    recipe = fitting(config.recipe, encoder)
    ours = encoder.checkpoint
    identity = recipe.identity() | {
        # For opening the run's weights as an encoder again.
        "encoder": ours.encoder_name if ours else encoder.method,
        "method": f"{encoder.method} {'probed' if frozen else 'fine-tuned'}",
        "transferred": config.encoder,
        "trained_at": recipe.resolution,
        "encoder_digest": encoder.digest(),
        "data": config.data,
        "fit": fit.name,
        "transfer": str(config.transfer) if fit.init == "transfer" else "",
        "frozen": frozen,
        "seed": fit.seed,
    }
    if ours:
        identity |= {"resolution": ours.resolution, "pool": ours.pool, "resize": ours.resize}
    run = TrainingRun(
        config.out.with_suffix("") / fit.name,
        recipe,
        identity,
        frozen=frozen,
        seed=fit.seed,
        place=place,
        num_workers=config.num_workers,
        compile=config.compile,
        checkpoint_every=config.checkpoint_every,
        quiet=config.quiet,
        max_broken=config.max_broken,
    )
    return train_classifier(run, encoder, fit.head, train_split=fit.train, task=fit.task)
