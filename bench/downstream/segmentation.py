"""Semantic segmentation on an encoder (Section 5.2, Tables 4 and 7d)."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import tyro

from bench.downstream.dense.config import Dense
from bench.downstream.outputs import RECORD_NAME, recipe_configs
from catlip.cli import run
from catlip.recipes.dense import SEGMENTATIONS, SegmentationRecipe


@dataclass(frozen=True, kw_only=True)
class Segmentation(Dense):
    """Train DeepLabv3 and its encoder; the same command goes on where it stopped.

    python -m bench.downstream.segmentation --encoder runs/starter/pretrain/catlip-seed0 \\
        --data ade20k:data/starter-scenes/ade20k

    torchrun --nproc-per-node 8 -m bench.downstream.segmentation --recipe table_7d \\
        --data ade20k:/data/ADEChallengeData2016 --encoder runs/datacomp/pretrain/catlip-seed0
    """

    kind: ClassVar[str] = "segmentation"

    recipe: tyro.conf.OmitArgPrefixes[SegmentationRecipe]
    out: Path = Path("runs/bench/segmentation") / RECORD_NAME


RECIPES = recipe_configs(Segmentation, SEGMENTATIONS)

if __name__ == "__main__":
    run(Segmentation, "bench.downstream.dense.harness:main", RECIPES)
