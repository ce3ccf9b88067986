"""The options that detection, segmentation and multi-label classification share."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from bench.downstream.outputs import fill_names
from catlip.program.options import ReadingOptions
from catlip.program.ranges import Count, Natural, Seed
from catlip.recipes.base import ImageRecipe


@dataclass(frozen=True)
class Dense(ReadingOptions):
    """The flags that the three programs share."""

    kind: ClassVar[str]  # of its record, and the task's name in catlip.recipes.fidelity

    encoder: str
    """A run's folder, FOLDER:raw, FILE.safetensors, released:vit_b16[:FILE], timm:NAME[:FILE]
    of a plain ViT, or random:NAME@RESOLUTION; see catlip.encoders."""
    data: str
    """The data set: ade20k:DIR for segmentation, coco:DIR for the others, in its own layout."""
    out: Path
    """The record to write; the run goes into a folder of the same name."""
    recipe: ImageRecipe
    seed: Seed = 0
    """Seed of the order of images, the crops, the head, and a random encoder."""
    num_workers: Natural = field(default=1, kw_only=True)
    """Processes that read images, per rank."""
    checkpoint_every: Count = 500
    """Optimizer steps between checkpoints."""
    dry_run: bool = False
    """Print the resolved recipe, and what differs from the release, and stop; needs no encoder and
    no data.
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", fill_names(self.out, self.data, self.encoder))

    @property
    def folder(self) -> Path:
        """The folder of the run, with its checkpoints and logs."""
        return self.out.with_suffix("")
