from dataclasses import dataclass
from pathlib import Path

from bench.measuring.factors import FOUR, EncoderName, MethodNames, StepConfig
from catlip.program.ranges import Count


@dataclass(frozen=True)
class SelfCheck(StepConfig):
    """Compare the loss and the gradient of each method, as this device computes them eager,
    compiled, sharded and with packed captions, with those of float32 on the CPU.

    python -m bench.self_check
    python -m bench.self_check --device cuda --precision fp16
    """

    model: EncoderName = "vit_tiny16"
    """Image encoder."""
    resolution: Count = 64
    """Image side in pixels."""
    num_classes: Count = 1_000
    """Size of CatLIP's vocabulary."""
    methods: MethodNames = FOUR
    """Methods to check; those with a text tower also with packed captions."""
    batch_size: Count = 8
    """Images of the one batch."""
    compile: bool | None = None
    """Also check compiled blocks; by default on a GPU only."""
    out: Path = Path("runs/bench/self_check")
    """Folder for the record, named by model, precision, torch and card."""
