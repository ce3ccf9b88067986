"""The options of linear probes, fine-tuning and readouts; without torch, so that `--help` is
quick.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import tyro

from bench.downstream.outputs import RECORD_NAME, DataSpelling, fill_names
from bench.downstream.probe.result import Init
from catlip.program.options import ReadingOptions
from catlip.program.ranges import Count, PositiveFraction, Seed
from catlip.recipes.transfer import TransferRecipe
from catlip.transfer_init import ALPHA


@dataclass(frozen=True)
class TransferOptions:
    """Options of Transfer Init that the paper leaves open."""

    vocabulary: Path | None = None
    """Vocabulary of the encoder's own classifier; by default that of its run's record."""
    alpha: PositiveFraction = ALPHA
    """Least path similarity, 1 / (1 + steps), of a class that may stand for a label."""


@dataclass(frozen=True)
class OnTasks(ReadingOptions):
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", fill_names(self.out, self.data, self.encoder))


@dataclass(frozen=True, kw_only=True)
class Sweep(OnTasks):
    trained: ClassVar[str]  # "probe" or "finetune"

    recipe: tyro.conf.OmitArgPrefixes[TransferRecipe]
    fraction: tuple[PositiveFraction, ...] = (1.0,)
    """Fractions of the training images of each class, at least one image each; a smaller one is
    part of a larger one. If several give the same images, only the largest is trained on."""
    init: tuple[Init, ...] = ("random",)
    """How the classifier starts: random, transfer (Transfer Init, for encoders by CatLIP), or names
    (the embeddings of the classes' names, for runs with a text tower)."""
    seeds: Count = 1
    """Classifiers per fraction and start; each seed chooses other images of a fraction."""
    compile: bool = False
    """Compile the transformer blocks, once for each image size."""
    checkpoint_every: Count = 200
    """Optimizer steps between checkpoints of a run."""
    dry_run: bool = False
    """Print the resolved recipe, and what differs from the release, and stop."""

    @property
    def uses_cached_features(self) -> bool:
        return getattr(self, "cached_features", False) or self.is_l2_sweep

    @property
    def is_l2_sweep(self) -> bool:
        return getattr(self, "protocol", "") == "l2_sweep"


@dataclass(frozen=True)
class Readouts(OnTasks):
    """Classify by k nearest neighbours and, where the encoder allows it, zero-shot; nothing is
    trained.

    python -m bench.downstream.readouts --encoder runs/starter/pretrain/catlip-seed0 \\
        --data starter:data/starter

    python -m bench.downstream.readouts --encoder openclip:ViT-B-16/datacomp_xl_s13b_b90k \\
        --data imagenet:/data/imagenet

    Zero-shot classification works for a run of CatLIP, by the rows of its classifier, and for a run
    of CLIP or an OpenCLIP model, by prompts.
    """

    out: Path = Path("runs/bench/readout") / RECORD_NAME
    neighbours: Count = 20
    """Number of nearest training images that vote, each with weight exp(cosine / 0.07)."""
