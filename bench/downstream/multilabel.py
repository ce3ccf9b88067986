"""Multi-label classification on an encoder (Section 5.1, Tables 3 and 7c)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import tyro

from bench.downstream.dense.config import Dense
from bench.downstream.outputs import RECORD_NAME, recipe_configs
from bench.downstream.probe.config import TransferOptions
from catlip.cli import InputError, run
from catlip.recipes.transfer import MULTILABELS, TransferRecipe


@dataclass(frozen=True, kw_only=True)
class MultiLabel(Dense):
    """Train an encoder and a classifier that gives an image several labels; the same command goes
    on where it stopped.

    python -m bench.downstream.multilabel --encoder runs/starter/pretrain/catlip-seed0 \\
        --data coco:data/starter-scenes/coco

    torchrun --nproc-per-node 4 -m bench.downstream.multilabel --recipe table_7c --num-devices 4 \\
        --data coco:/data/coco --encoder runs/datacomp/pretrain/catlip-seed0 --init transfer
    """

    kind: ClassVar[str] = "multilabel"

    recipe: tyro.conf.OmitArgPrefixes[TransferRecipe]
    out: Path = Path("runs/bench/multilabel") / RECORD_NAME
    init: Literal["random", "transfer"] = "random"
    """How the classifier starts: random, or transfer (Transfer Init, for encoders by CatLIP)."""
    transfer: tyro.conf.OmitArgPrefixes[TransferOptions] = field(default_factory=TransferOptions)
    compile: bool = False
    """Compile the transformer blocks, once for each image size."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.recipe.label_smoothing:
            raise InputError("--label-smoothing: several labels have a loss without it")


RECIPES = recipe_configs(MultiLabel, MULTILABELS)

if __name__ == "__main__":
    run(MultiLabel, "bench.downstream.dense.harness:main", RECIPES)
