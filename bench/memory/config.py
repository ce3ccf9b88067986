from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from bench.measuring.factors import Factors, MethodNames, StepConfig
from catlip.program.ranges import Count, NotNegative


@dataclass(frozen=True)
class Memory(StepConfig):
    """Measure the peak memory of one training step of each method, and what it consists of.

    python -m bench.memory --model vit_b16
    python -m bench.memory --model vit_b16 --batch-sizes 64 128 256 --checkpointing --device cuda
    python -m bench.memory --model vit_l16 --precision bf16 --largest
    python -m bench.memory --model my_encoder.py:build --resolution 256 --batch-sizes 16 64

    --model also takes what --encoder of a linear probe does, but a run's folder: nothing is
    predicted of it, and the text tower is that of the ViT nearest to it in size.
    """

    takes_user_encoders = True

    methods: MethodNames = ("catlip", "clip")
    """Methods to measure."""
    batch_sizes: Annotated[tuple[Count, ...], tyro.conf.arg(aliases=("--batch-size",))] = ()
    """Images per step, one number or several; by default 4 on a CPU, and on a GPU 256, or fewer if
    256 do not fit.
    """
    checkpointing: bool = False
    """Compute each image block's activations again in the backward pass."""
    largest: bool = False
    """Also look for the largest batch that fits, by trying; on a CPU, in the memory given by
    --budget-gib.
    """
    budget_gib: NotNegative = 0.0
    """GiB of memory that a step may take; 0 for all of the device's."""
    out: Path = Path("runs/bench/memory")
    """Folder for the record."""

    def factors(self, method: str) -> Factors:
        return replace(super().factors(method), checkpointing=self.checkpointing)
