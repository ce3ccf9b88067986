"""Detection and instance segmentation on an encoder (Section 5.2, Tables 5 and 7e)."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import tyro

from bench.downstream.dense.config import Dense
from bench.downstream.outputs import RECORD_NAME, recipe_configs
from catlip.cli import run
from catlip.recipes.dense import DETECTIONS, DetectionRecipe


@dataclass(frozen=True, kw_only=True)
class Detection(Dense):
    """Train Mask R-CNN and its encoder; the same command goes on where it stopped.

    python -m bench.downstream.detection --encoder runs/starter/pretrain/catlip-seed0 \\
        --data coco:data/starter-scenes/coco

    torchrun --nproc-per-node 8 -m bench.downstream.detection --recipe table_7e_b16 \\
        --data coco:/data/coco --encoder runs/datacomp/pretrain/catlip-seed0
    """

    kind: ClassVar[str] = "detection"

    recipe: tyro.conf.OmitArgPrefixes[DetectionRecipe]
    out: Path = Path("runs/bench/detection") / RECORD_NAME


RECIPES = recipe_configs(Detection, DETECTIONS)

if __name__ == "__main__":
    run(Detection, "bench.downstream.dense.harness:main", RECIPES)
