"""Pre-train an image encoder by classifying the nouns of captions: CatLIP (Section 3.2).

`pretrain` below is what every method runs: it turns a recipe, shards and an objective into a run
folder and a record, and never asks which objective it is.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from catlip.categorical import Categorical
from catlip.cli import InputError, run
from catlip.data.loader import Batch, DataPath, LabelSource, Shards
from catlip.data.sampler import SampleOrder
from catlip.data.shard_set import ShardSet, open_shards
from catlip.data.shards import expand
from catlip.dry_run import describe, made_up_batch
from catlip.encoder import ImageEncoder, build_encoder
from catlip.fidelity import differences
from catlip.initialization import encoder_as_release, linear_as_release
from catlip.kinds import Pretrain
from catlip.kinds.transfer.pretrain import pretrain_table
from catlip.mirror import Mirror, open_mirror
from catlip.objective import Objective, shown_as
from catlip.program.broken import FEW, MAX_BROKEN, MOST_LISTED, MaxBroken, read_broken
from catlip.program.ranges import Count, Natural, Positive, Seed
from catlip.range_augment import Augmented, RangeAugment
from catlip.recipes.base import ImageRecipe
from catlip.recipes.pretrain import CATLIP, Recipe
from catlip.record import LATER, Record, from_plain, plain
from catlip.system.lock import only_writer
from catlip.system.urls import is_remote
from catlip.table import as_text
from catlip.training.blocks import compiling_pays
from catlip.training.deterministic import choose_deterministic
from catlip.training.distributed import Place, barrier, find_place, in_turn, peak_gib
from catlip.training.folder import discard
from catlip.training.loop import Implementation, Trainer, train
from catlip.training.parallel import Parallel
from catlip.training.saving.writer import nothing
from catlip.vocabulary import Vocabulary, vocabulary_identity
from catlip.vocabulary.sample_labels import VocabularyLabels

UNKNOWN_LABELS_PER_CAPTION = 3  # a DataComp caption's, about
OF_LABELS = ("vocabulary", "num_classes", "labels_dir")  # settings that only labels need


@dataclass(frozen=True)
class PretrainRun:
    """What any method's pre-training run is started with."""

    recipe: tyro.conf.OmitArgPrefixes[Recipe]
    shards: tuple[str, ...] = ()
    """Image-caption shards: paths or URLs (s3:// ...), folders, globs or braces."""
    out: Path = Path("runs/pretrain")
    """Folder of the run; its record is written beside it, as NAME.json."""
    seed: Seed = 0
    """Seed of the weights, the order of the samples, and their crops."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    num_workers: Natural | None = None
    """Processes that read and decode images, per rank; the batches do not depend on it. By default
    one, and beside a GPU all its share of the cores but one.
    """
    max_broken: MaxBroken = MAX_BROKEN
    parallel: Parallel = "ddp"
    """With several processes: ddp, or fsdp, which shards weights, gradients and optimizer over
    them.
    """
    compile: bool = False
    """Compile the transformer blocks, once for each image size; by default on a GPU, in a training
    of at least 1,000 steps a size.
    """
    eager: bool = field(default=False, metadata=LATER)
    """Never compile."""
    deterministic: bool = False
    """Only kernels that give the same result each time, so that a run that was stopped ends as one
    that was not, to the bit, on a GPU too; bench.step_time says what that costs.
    """
    log_every: Count = 20
    """Optimizer steps per line of the log."""
    checkpoint_every: Count | None = None
    """Optimizer steps between checkpoints; by default 200, or as many more that checkpoints take no
    more than 2 % of the time.
    """
    checkpoint_minutes: Positive | None = field(default=None, metadata=LATER)
    """Minutes between checkpoints, in place of steps."""
    mirror: Path | None = field(default=None, metadata=LATER)
    """A URL (s3:// ...) to which the run's folder is copied with each checkpoint, and from which it
    goes on where its own folder is lost.
    """
    snapshots: Count = 1
    """At how many evenly spaced steps to keep the weights to transfer; the end,
    weights.safetensors, is the last of them.
    """
    restart: bool = False
    """Discard the run that is in the folder instead of going on with it."""
    wandb: str = ""
    """A Weights & Biases project to log to as well."""
    trackio: str = field(default="", metadata=LATER)
    """A trackio project to log to as well, in the folder of the run."""
    dry_run: bool = False
    """Print the resolved recipe, what a step costs and what differs from the release, and stop;
    needs no data.
    """
    quiet: bool = False
    """No progress bar."""

    def __post_init__(self) -> None:
        if self.compile and self.eager:
            raise InputError("--compile and --eager exclude each other")
        if self.checkpoint_every and self.checkpoint_minutes:
            raise InputError("give --checkpoint-every or --checkpoint-minutes, not both")
        if self.mirror and not is_remote(self.mirror):
            raise InputError(
                f"--mirror {self.mirror} is no URL; a folder of this machine is file:///..."
            )


@dataclass(frozen=True)
class LabelledRun(PretrainRun):
    """What a run of a method that classifies is started with."""

    vocabulary: Path | None = None
    """Made by catlip.vocabulary; a dry run can do without."""
    num_classes: Count = 24_320
    """Size of the vocabulary that a dry run assumes when none is given; the release's is 24,320."""
    labels_dir: Path = Path("labels")
    """Where catlip.label put the labels of these shards."""


@dataclass(frozen=True)
class PretrainCatLIP(LabelledRun):
    """Pre-train an image encoder with CatLIP; run the same command again to go on where it stopped.
    SIGTERM and SIGUSR1 stop it after a step, with a checkpoint and exit code 75.

    python -m catlip.pretrain --recipe starter --shards data/starter/pretrain \\
        --vocabulary runs/starter/vocabulary.json --labels-dir runs/starter/labels \\
        --out runs/starter/pretrain/catlip-seed0
    """

    chunk_classes: Natural = 0
    """Classes whose logits are in memory at a time; 0 for all of them. The result is the same."""


@dataclass(frozen=True)
class Classes:
    """What a method that classifies is trained with.

    Attributes:
        base_rates: [V] float32, the fraction of captions that name each class.
        identity: what determines a run: the vocabulary.
        labels: of the samples; None where a dry run does without a vocabulary.
    """

    base_rates: Tensor
    identity: dict[str, Any]
    labels: LabelSource | None


@dataclass(frozen=True)
class Method:
    """How a method is trained.

    Attributes:
        build: makes the objective, after the seed is set.
        classes, tokenize: how to make the labels and the tokens that the objective needs.
    """

    build: Callable[[], Objective]
    classes: Classes | None = None
    tokenize: Callable[[list[str]], Tensor] | None = None


@dataclass(frozen=True)
class Training:
    """A training at its first step.

    Attributes:
        identity: what determines the run; its checkpoints and weights hold it.
    """

    trainer: Trainer
    data: DataPath
    identity: dict[str, Any]

    def batches(self, step: int, num_workers: int | None) -> Iterator[Batch]:
        """The micro-batches of this rank from `step` on."""
        pin_memory = self.trainer.place.device.type == "cuda"
        return self.data.batches(step, num_workers, pin_memory=pin_memory)


def pretrain(config: PretrainRun, method: Method) -> Path | None:
    """Train by a recipe, with checkpoints and resume, and write the record.

    Returns: the path of the record; None after a dry run.
    """
    if config.deterministic:
        choose_deterministic()
    place = find_place(config.device)
    if config.dry_run:
        _dry_run(config, method, place)
        return None
    training = prepare(config, method, place)
    # Not when torchrun starts these processes again after a fault.
    restart = config.restart and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    with only_writer(config.out, place.is_main):
        if restart:
            _discard(config.out, place)
        mirror = open_mirror(
            config.mirror, config.out, training.identity, place=place, restart=restart
        )
        path = _train(config, training, mirror)
        if mirror:
            mirror.send_record(path)
    return path


def _dry_run(config: PretrainRun, method: Method, place: Place) -> None:
    recipe = config.recipe
    with torch.device("meta"):  # shapes alone: the largest encoder takes no memory, and seconds
        objective = augmented(started(method.build(), recipe), recipe)
    num_samples = 0
    if config.shards and not recipe.iterations:
        num_samples = int(_shards(config, place).counts.sum())
    if place.is_main:
        batch = made_up_batch(recipe.resolution, method.tokenize)
        print(describe(recipe, objective, batch, num_samples=num_samples, place=place))


def prepare(config: PretrainRun, method: Method, place: Place) -> Training:
    """The training as its config, its data and its seed determine it.

    Raises: InputError when the data cannot be read, or the labels are not of these shards.
    """
    recipe, classes = config.recipe, method.classes
    shards, labels = _shards(config, place), classes.labels if classes else None
    if isinstance(labels, VocabularyLabels) and place.is_main:
        labels.check(shards, config.shards)
    order = SampleOrder(shards.counts, config.seed)
    data = DataPath(
        shards,
        order,
        recipe.plan(order.total, config.seed),
        augmentation=recipe.augmentation(),
        seed=config.seed,
        accumulation=recipe.accumulation(place.world_size),
        rank=place.rank,
        world_size=place.world_size,
        labels=labels,
        tokenize=method.tokenize,
        max_broken=config.max_broken,
    )
    torch.manual_seed(config.seed)
    objective = augmented(started(method.build(), recipe), recipe)
    identity = (
        recipe.identity()
        | (classes.identity if classes else {})
        | {"method": objective.name, "seed": config.seed, "data": shards.digest}
    )
    pays = compiling_pays(place.device, len(data.plan), len(recipe.sizes()))
    trainer = Trainer(
        objective,
        recipe,
        len(data.plan),
        place=place,
        accumulation=data.accumulation,
        implementation=Implementation(
            config.parallel, config.compile or (pays and not config.eager)
        ),
        seed=config.seed,
    )
    return Training(trainer, data, identity)


def _train(config: PretrainRun, training: Training, mirror: Mirror | None) -> Path:
    """Train in the run's folder, from its last checkpoint if there is one, and write the record;
    its path.
    """
    trainer, data = training.trainer, training.data
    place, objective = trainer.place, trainer.objective
    method = objective.name
    config = replace(config, compile=trainer.implementation.compile)
    settings = plain(config) | {"method": method}
    if "labels" not in objective.needs:
        settings = {name: value for name, value in settings.items() if name not in OF_LABELS}
    record = Record(config.out.with_name(config.out.name + ".json"), Pretrain, settings)
    record.environment["ranks"] = place.world_size
    with record if place.is_main else nullcontext():
        lines = train(
            trainer,
            lambda step: training.batches(step, config.num_workers),
            config.out,
            config=training.identity,
            log_every=config.log_every,
            checkpoint_every=config.checkpoint_every,
            checkpoint_minutes=config.checkpoint_minutes,
            snapshots=config.snapshots,
            projects={"wandb": config.wandb, "trackio": config.trackio},
            quiet=config.quiet,
            after_checkpoint=mirror.send_or_warn if mirror else nothing,
        )
        record.shown_as[method] = shown_as(objective)
        record.samples |= {
            name: [line[name] for line in lines] for name in lines[0] if name != "broken"
        }
        broken = _list_broken(record, config.out, data.shards)
        if trainer.accumulation > 1:
            record.notes.append(
                f"{trainer.accumulation} micro-steps a step keep the recipe's global batch"
            )
        record.notes += differences(config.recipe, method)
        measured = record.measured(
            summary(trainer, lines, config.seed, samples=data.order.total, broken=broken)
        )
    if place.is_main:
        print(as_text(pretrain_table("training", "This training", [measured])))
    return record.path


def _shards(config: PretrainRun, place: Place) -> ShardSet:
    """The shards, counted by one process if they are new; the others then read its counts."""
    quiet = config.quiet or not place.is_main
    shards = in_turn(lambda: open_shards(expand(config.shards), quiet), place)
    skipped = shards.skipped_by_cause()
    count = sum(skipped.values())
    if count and place.is_main:
        print(
            f"{count:,} samples of the shards are left out: {skipped}; first: "
            f"{shards.first_skipped()[0]}"
        )
    total = count + int(shards.counts.sum())
    if count > max(FEW if config.max_broken else 0, config.max_broken * total):
        raise InputError(
            f"{count:,} of {total:,} samples are left out ({skipped}; first: "
            f"{shards.first_skipped()[0]}), over --max-broken {config.max_broken:g}: make the "
            "shards again, or raise --max-broken"
        )
    return shards


def _list_broken(record: Record, folder: Path, shards: Shards) -> dict[str, int]:
    """List in the record the images that could not be used: those met in training, and what was
    left out of the shards; their counts by cause.
    """
    broken = read_broken(folder)
    counts, keys = broken.counts(), broken.listed()
    if isinstance(shards, ShardSet):
        counts |= shards.skipped_by_cause()
        keys += shards.first_skipped()
    if counts:
        record.samples["broken_keys"] = keys[:MOST_LISTED]
    return counts


def _discard(folder: Path, place: Place) -> None:
    """Delete the run in `folder`. Raises: InputError."""
    if place.is_main:
        discard(folder)
    barrier()


def encoder_of(recipe: Recipe) -> ImageEncoder:
    """The recipe's image encoder, freshly initialised."""
    encoder = build_encoder(
        recipe.encoder,
        recipe.resolution,
        attention=recipe.attention,
        drop_path=recipe.drop_path,
        patch_drop_rate=recipe.patch_drop_rate,
        checkpointing=recipe.checkpointing,
    )
    if recipe.initialization == "release":
        encoder_as_release(encoder)
    return encoder


def started(objective: Objective, recipe: Recipe) -> Objective:
    """The objective, its learned temperature and bias where the recipe starts them.

    Raises: InputError where the recipe starts one that the method does not have.
    """
    scale = None if recipe.temperature is None else -math.log(recipe.temperature)
    for name, parameter, start in (
        ("temperature", "logit_scale", scale),
        ("logit_bias", "logit_bias", recipe.logit_bias),
    ):
        if start is None:
            continue
        if name not in objective.starts:
            raise InputError(f"--{name.replace('_', '-')}: {objective.label} has none")
        nn.init.constant_(objective.get_parameter(parameter), start)
    return objective


def augmented(objective: Objective, recipe: ImageRecipe) -> Objective:
    """The objective behind RangeAugment, if the recipe has it; no method knows."""
    if not recipe.range_augment:
        return objective
    start, end = recipe.range_augment
    return Augmented(objective, RangeAugment((start, end)))


def summary(
    trainer: Trainer,
    lines: list[dict[str, float]],
    seed: int,
    *,
    samples: int,
    broken: dict[str, int],
) -> Pretrain:
    """The numbers that the report shows, from the log of a finished run over so many samples."""
    objective = trainer.objective
    last, tail = lines[-1], lines[-max(1, len(lines) // 20) :]
    return Pretrain(
        broken=broken,
        method=objective.name,
        seed=seed,
        iterations=trainer.num_steps,
        images_seen=last["images_seen"],
        epochs_seen=last["images_seen"] / samples,
        final_loss=float(np.mean([line["loss"] for line in tail])),
        train_seconds=last["seconds"],
        images_per_s=last["images_seen"] / last["seconds"],
        data_wait_share=float(np.mean([line["data_wait_share"] for line in lines])),
        peak_gib=peak_gib(trainer.place.device),
        parameters_total=sum(p.numel() for p in objective.parameters()),
        parameters_image=sum(
            p.numel() for p in objective.get_submodule("image_encoder").parameters()
        ),
    )


def base_rates_of(vocabulary: Vocabulary) -> Tensor:
    """[V] float32, the share of captions that name each class; equal shares when the number of
    captions is unknown.
    """
    if vocabulary.source.captions is None:
        return torch.full((len(vocabulary),), UNKNOWN_LABELS_PER_CAPTION / len(vocabulary))
    counts = torch.tensor([synset.count for synset in vocabulary.synsets], dtype=torch.float64)
    return (counts / vocabulary.source.captions).clamp(1e-8, 0.5).float()


def categorical(recipe: Recipe, base_rates: Tensor, chunk_classes: int = 0) -> Categorical:
    """CatLIP's objective as the recipe starts it."""
    objective = Categorical(encoder_of(recipe), base_rates, chunk_classes)
    if recipe.initialization == "release":
        linear_as_release(objective.classifier)
    return objective


def classes_of(config: LabelledRun) -> Classes:
    """The classes of a run: those of its vocabulary.

    Raises: InputError when none is given, and it is no dry run.
    """
    if config.vocabulary is None:
        if not config.dry_run:
            raise InputError(
                "which nouns are the classes? give --vocabulary FILE, made by python -m "
                "catlip.vocabulary"
            )
        equal = UNKNOWN_LABELS_PER_CAPTION / config.num_classes
        return Classes(torch.full((config.num_classes,), equal), identity={}, labels=None)
    vocabulary = Vocabulary.load(config.vocabulary)
    return Classes(
        base_rates_of(vocabulary),
        {"vocabulary": vocabulary_identity(config.vocabulary), "num_classes": len(vocabulary)},
        VocabularyLabels(config.labels_dir, vocabulary),
    )


def method_of(config: PretrainCatLIP) -> Method:
    """How CatLIP is trained in this run."""
    classes = classes_of(config)
    return Method(
        lambda: categorical(config.recipe, classes.base_rates, config.chunk_classes), classes
    )


def recorded(settings: dict[str, Any]) -> tuple[PretrainRun, Method]:
    """The run that the config of a record describes."""
    config = from_plain(settings, PretrainCatLIP)
    return config, method_of(config)


def main(config: PretrainCatLIP) -> None:
    if record := pretrain(config, method_of(config)):
        print(record)


if __name__ == "__main__":
    run(PretrainCatLIP, main, {name: PretrainCatLIP(recipe) for name, recipe in CATLIP.items()})
