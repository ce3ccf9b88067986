"""Fine-tuning: how good is a classifier when the encoder learns with it?  (Section 4, Table 7b)"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.downstream.outputs import RECORD_NAME, recipe_configs
from bench.downstream.probe.config import Sweep
from catlip.cli import run
from catlip.recipes.transfer import FINETUNES


@dataclass(frozen=True, kw_only=True)
class Finetune(Sweep):
    """Train an encoder and a linear classifier on it; the same command goes on where it stopped.

    python -m bench.downstream.finetune --encoder runs/starter/pretrain/catlip-seed0 \\
        --data starter:data/starter

    torchrun --nproc-per-node 8 -m bench.downstream.finetune --recipe table_7b_512 \\
        --num-devices 8 --micro-batch 64 --encoder timm:vit_base_patch16_224.augreg_in21k \\
        --data places365:/data/places365
    """

    trained: ClassVar[str] = "finetune"

    out: Path = Path("runs/bench/finetune") / RECORD_NAME


RECIPES = recipe_configs(Finetune, FINETUNES)

if __name__ == "__main__":
    run(Finetune, "bench.downstream.probe.sweep:main", RECIPES)
