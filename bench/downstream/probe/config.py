"""The options of linear probes, fine-tuning and readouts; without torch, so that `--help` is
quick.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import tyro

from bench.downstream.outputs import DataSpelling, filled_in
from bench.downstream.probe.result import Init
from catlip.cli import InputError
from catlip.program.broken import MAX_BROKEN, MaxBroken
from catlip.program.ranges import Count, Natural, PositiveFraction, Seed
from catlip.recipes.transfer import TransferRecipe
from catlip.transfer_init import ALPHA, Bias, Scale, Ties


@dataclass(frozen=True)
class TransferOptions:
    """Options of Transfer Init that the paper leaves open."""

    vocabulary: Path | None = None
    """Vocabulary of the encoder's own classifier; by default the one that the record of its run
    names.
    """
    alpha: PositiveFraction = ALPHA
    """Least path similarity, 1 / (1 + steps), of a class that may stand for a label; 1 for exact
    matches only.
    """
    ties: Ties = "frequent"
    """Among classes equally near: frequent takes the most frequent one, mean the mean of all."""
    bias: Bias = "zero"
    """Bias of the new classifier: zero, copy (those of the copied rows) or fresh (as in a fresh
    nn.Linear).
    """
    scale: Scale = "as_is"
    """Scale of the copied rows: as_is, fresh (the standard deviation of a fresh nn.Linear) or unit
    (a mean norm of 1).
    """


@dataclass(frozen=True)
class OnTasks:
    """What probes, fine-tuning and readouts share."""

    encoder: str
    """A run's folder, FOLDER:raw, FILE.safetensors, released:vit_b16[:FILE], timm:NAME[:FILE],
    openclip:NAME/TAG, random:NAME@RESOLUTION, random:timm/NAME; each brings its own
    preprocessing."""
    data: DataSpelling
    out: Path
    """The record to write; runs go into a folder of the same name."""
    transfer: tyro.conf.OmitArgPrefixes[TransferOptions] = field(default_factory=TransferOptions)
    seed: Seed = 0
    """Seed of a random encoder, and of the first classifier."""
    num_workers: Natural = 1
    """Processes that decode images, per rank."""
    max_broken: MaxBroken = MAX_BROKEN
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    quiet: bool = False
    """No progress bars."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", filled_in(self.out, self.data, self.encoder))


@dataclass(frozen=True, kw_only=True)
class Sweep(OnTasks):
    protocol: ClassVar[str]  # "probe" or "finetune"

    recipe: tyro.conf.OmitArgPrefixes[TransferRecipe]
    fraction: tuple[PositiveFraction, ...] = (1.0,)
    """Fractions of the training images of each class, in (0, 1], at least one image each. The
    images of a smaller fraction are among those of a larger one. If several fractions give the same
    images, only the largest is trained on.
    """
    init: tuple[Init, ...] = ("random",)
    """How the classifier is initialised: random, or transfer (Transfer Init, for encoders
    pre-trained by CatLIP).
    """
    seeds: Count = 1
    """Classifiers per fraction and initialisation; each seed chooses other images where the
    fraction is below 1.
    """
    compile: bool = False
    """Compile the transformer blocks, once for each image size."""
    checkpoint_every: Count = 200
    """Optimizer steps between checkpoints of a run."""
    dry_run: bool = False
    """Print the resolved recipe, and what differs from the release, and stop; needs no encoder and
    no data.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.fraction or not self.init:
            raise InputError("--fraction and --init: give one value or more")

    @property
    def on_cached_features(self) -> bool:
        return getattr(self, "cached_features", False)
