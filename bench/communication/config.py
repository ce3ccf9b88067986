from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from bench.measuring.factors import FOUR, Factors, MethodNames, Parallel, StepConfig
from catlip.program.ranges import Natural


@dataclass(frozen=True)
class Communication(StepConfig):
    """Intercept and time the collectives of each method's training step, on several ranks.

    torchrun --nproc-per-node 2 -m bench.communication --model vit_tiny16
    torchrun --nproc-per-node 8 -m bench.communication --model vit_b16 --methods catlip clip \\
        --parallel fsdp
    """

    methods: MethodNames = FOUR
    """Methods to measure; the other forms of CatLIP send the same."""
    batch_size: Natural = 0
    """Images per step and rank; 0 for 4 on a CPU, and on a GPU for 256, or fewer if 256 do not fit.
    """
    parallel: Parallel = "ddp"
    """ddp, or fsdp."""
    num_steps: Natural = 0
    """Number of timed steps with exchange, of timed steps without, and of repetitions of bare
    collectives; 0 for 50 on a GPU and 10 on a CPU.
    """
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", kw_only=True)
    """auto, cpu (gloo) or cuda (NCCL, one GPU per rank)."""
    out: Path = Path("runs/bench/communication")
    """Folder for the record."""

    def factors(self, method: str) -> Factors:
        step = super().factors(method)
        return replace(step, batch_size=self.batch_size, parallel=self.parallel)
