"""Test images drawn at random, with what each encoder makes of them."""

from dataclasses import dataclass, field
from pathlib import Path

from bench.downstream.outputs import DataSpelling, fill_names
from catlip.program.options import ReadingOptions
from catlip.program.ranges import Count, Natural, Seed


@dataclass(frozen=True)
class Gallery(ReadingOptions):
    """Write small pictures of test images into a record for the report, with what a linear
    classifier on each encoder's features predicts, and which training images are nearest.

    python -m bench.downstream.gallery --data starter:data/starter \\
        --encoders runs/starter/pretrain/catlip-seed0 runs/starter/pretrain/clip-seed0

    The report then shows these pictures: pass it on only if you may pass on the images.
    """

    encoders: tuple[str, ...]
    """One to four encoders, each spelled as for a linear probe."""
    data: DataSpelling
    out: Path = Path("runs/bench/gallery/{data}.json")
    """The record to write."""
    max_images: Count = 10_000
    """Images of each split to encode; of a larger split, so many are drawn."""
    seed: Seed = 0
    """Which images are drawn; also the seed of the classifier and of a random encoder."""
    num_workers: Natural = field(default=1, kw_only=True)
    """Processes that decode images."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", fill_names(self.out, self.data, encoder=""))
