from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bench.arithmetic.devices import GPUS, gpu_of
from catlip.cli import InputError
from catlip.program.ranges import Count, Fraction, NotNegative, Positive


@dataclass(frozen=True)
class Plan:
    """What a pre-training costs with each method, by arithmetic: a step's operations, memory and
    bytes sent; and a whole run on your devices, with hours and money. The paper has 256 devices for
    CLIP and 64 for CatLIP.

    python -m bench.plan --model vit_b16 --images 12.8e9 --gpu h100 --gpus 64 --price 2.5
    python -m bench.plan --model vit_b16 vit_h16 --gpu a100 --gpus 8 64 256
    python -m bench.plan --step-time runs/bench/step_time/X.json --gpus 8
    """

    models: Annotated[tuple[str, ...], tyro.conf.arg(name="model")] = ("vit_b16",)
    """Image encoders, such as vit_b16, vit_l16 and vit_h16 (an unknown name lists all); with
    --step-time, the record's is used instead.
    """
    methods: tuple[str, ...] = ()
    """Methods, the first as the denominator of every ratio; by default the methods of the
    step-time record when one is given, else catlip, clip, siglip and superclass.
    """
    images: Positive = 13.1e9
    """Images that the pre-training sees; the paper's is 200,000 steps of 65,536."""
    gpu: tuple[str, ...] = ("H100",)
    """Kinds of GPU, by the names of their datasheets, in upper or lower case. The rate is assumed,
    and the plan gives the range in which it is assumed to lie; --step-time gives a measured one.
    """
    gpus: tuple[Count, ...] = (64,)
    """Numbers of GPUs."""
    price: NotNegative = 0.0
    """Price of one device for an hour, in any currency."""
    global_batch: Count = 65_536
    """Images of a step on all devices together."""
    batch_size: Count = 256
    """Images that a device computes at once. Where its part of the global batch takes several
    times, a contrastive method embeds everything twice: the largest that fits is fairest to it.
    """
    checkpointing: bool = False
    """Compute each image block's activations again in the backward pass, to save memory."""
    resolution: Count = 224
    """Image side in pixels; with --step-time, the record's is used instead."""
    num_classes: Count = 24_320
    """Size of CatLIP's vocabulary; the paper's is 24,320."""
    precision: str = "bf16"
    """fp32, bf16 or fp16; with --step-time, the record's is used instead."""
    mfu: tuple[Fraction, Fraction] = (0.13, 0.45)
    """Least and greatest MFU, as fractions of the datasheet's peak, of a device that was not
    measured; published OpenCLIP trainings of ViT-B/16 reached 0.13 to 0.16.
    """
    step_time: Path | None = None
    """Record of bench.step_time on one device; the plan is for such devices."""
    out: Path = Path("runs/bench/plan")
    """Folder for the records: of each encoder's step, and of the plan of all."""

    def __post_init__(self) -> None:
        for gpu in self.gpu:
            if gpu_of(gpu) is None:
                raise InputError(f"no datasheet of GPU {gpu!r}; choose one of: {', '.join(GPUS)}")
        if not 0 < self.mfu[0] <= self.mfu[1]:
            raise InputError(
                f"--mfu {self.mfu[0]} {self.mfu[1]}: give two fractions above 0, the smaller first"
            )
