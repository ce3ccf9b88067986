"""The options of a pre-training run, the same for every method."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from catlip.program.options import ReadingOptions
from catlip.program.ranges import Count, Seed, checkpoint_seconds
from catlip.recipes.pretrain import Recipe


@dataclass(frozen=True)
class PretrainRun(ReadingOptions):
    """The options of a pre-training run by any method."""

    recipe: Recipe
    shards: tuple[str, ...] = ()
    """Image-caption shards: paths or URLs (s3:// ...), folders, globs or braces."""
    out: Path = Path("runs/pretrain")
    """Folder of the run; its record is written beside it, as NAME.json."""
    seed: Seed = 0
    """Seed of the weights, the order of the samples, and their crops."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """ddp, or fsdp, which shards weights and optimizer over processes, and keeps weights and
    activations of blocks in 16 bits."""
    compile: bool = False
    """Compile the transformer blocks, once for each image size. On a GPU this is done anyway if the
    training has at least 1,000 steps per size and TORCH_COMPILE_DISABLE=1 is not set."""
    deterministic: bool = False
    """Use only deterministic kernels and orders of sums: a run that was stopped and resumed then
    gives the same bits as an uninterrupted one on a GPU and on three ranks or more, too; steps may
    take longer."""
    log_every: Count = 20
    """Optimizer steps per line of the log."""
    checkpoint_every: Count | str | None = None
    """Steps between checkpoints, or minutes as 10min; by default 200 steps."""
    wandb: str = ""
    """A Weights & Biases project to log to as well."""
    dry_run: bool = False
    """Print the recipe, what a step costs and what differs from the release; needs no data."""
    vocabulary: Path | None = None
    """The vocabulary, a file made by catlip.vocabulary; a dry run does not need one."""
    labels_dir: Path = Path("labels")
    """Folder of the labels of these shards, made by catlip.label."""

    def __post_init__(self) -> None:
        if isinstance(self.checkpoint_every, str):
            checkpoint_seconds(self.checkpoint_every)
