from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.measuring.factors import EncoderName
from catlip.program.options import RunOptions
from catlip.program.ranges import Count, Natural, NotNegative
from catlip.records.record import OMIT_DEFAULT

Order = Literal["forward", "reverse"]


@dataclass(frozen=True)
class Waterfall(RunOptions):
    """Change the released CLIP configuration into the released CatLIP one, one factor at a time,
    and time the step before and after each change.

    python -m bench.waterfall     # on a CPU: a small encoder and small batches
    python -m bench.waterfall --model vit_b16_conv --device cuda
    torchrun --nproc-per-node 8 -m bench.waterfall
    """

    model: EncoderName = ""
    """Image encoder; by default vit_b16_conv on a GPU and vit_tiny16 on a CPU."""
    batch_size: Natural = 0
    """Images per device of the CLIP configuration; CatLIP's has four times as many. 0 for 256 on a
    GPU, or fewer if CatLIP's do not fit, and for 8 on a CPU.
    """
    resolution: Natural = 0
    """Image side in pixels to which the released sizes are scaled; 0 for 224, and 112 on a CPU."""
    num_classes: Count = 24_320
    """Size of CatLIP's vocabulary; the paper's is 24,320."""
    caption_tokens: NotNegative = field(default=0.0, metadata=OMIT_DEFAULT)
    """Tokens of a caption, its start and end among them, in the mean; 0 for what goes with the
    encoder: 8.3 of 24, or 14 of 77.
    """
    num_rounds: Natural = 0
    """Timed rounds of each pair; 0 for the fewest that give an interval (15 minutes on a CPU)."""
    orders: tuple[Order, ...] = field(default=("forward", "reverse"), metadata=OMIT_DEFAULT)
    """Orders in which the changes are made."""
    out: Path = Path("runs/bench/waterfall")
    """Folder for the record, named by model, batch, ranks, torch and device."""
