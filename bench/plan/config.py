"""The settings of a plan."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bench.arithmetic.gpus import GPUS, gpu_of
from bench.measuring.training_step import EncoderName, MethodNames
from catlip.cli import InputError
from catlip.program.ranges import Count, Fraction, NotNegative, Positive


@dataclass(frozen=True)
class Plan:
    """Plan a pre-training: for each method the layout that fits, hours, money, memory and bytes.

    python -m bench.plan --model vit_b16 --images 12.8e9 --gpu h100 --gpus 64 --price 2.5
    python -m bench.plan --model vit_b16 vit_l16 vit_h16 --gpu a100 h100 --gpus 8 64 256
    python -m bench.plan --step-time runs/bench/step_time/X.json --gpus 8
    python -m bench.plan --step-time B64.json B32.json --against runs/starter/pretrain/*.json
    """

    models: Annotated[tuple[EncoderName, ...], tyro.conf.arg(name="model")] = ("vit_b16",)
    """Image encoders; with --step-time, the record's is used instead."""
    methods: MethodNames = ()
    """Methods to plan, the first as the denominator of every ratio; by default those of the
    step-time record when one is given, else catlip, clip, siglip and superclass.
    """
    images: Positive = 13.1e9
    """Images that the pre-training sees; the paper's is 200,000 steps of 65,536."""
    gpu: tuple[str, ...] = ("H100",)
    """Kinds of GPU, by the names of their datasheets, in upper or lower case."""
    gpus: tuple[Count, ...] = (64,)
    """Numbers of GPUs."""
    price: NotNegative = 0.0
    """Price of one device for an hour, in any currency."""
    global_batch: Count = 65_536
    """Images of a step on all devices together."""
    resolution: Count = 224
    """Image side in pixels; with --step-time, the record's is used instead."""
    num_classes: Count = 24_320
    """Size of CatLIP's vocabulary; the paper's is 24,320."""
    precision: str = "bf16"
    """fp32, bf16 or fp16; with --step-time, the record's is used instead."""
    mfu: tuple[Fraction, Fraction] = (0.3, 0.45)
    """Least and greatest MFU, as fractions of the datasheet's peak, of a device that was not
    measured.
    """
    memory_gb: NotNegative = 0.0
    """Memory of a device; 0 for what its datasheet says."""
    link: str = ""
    """One of bench.arithmetic.link.PRESETS; by default the usual one of such a GPU."""
    step_time: tuple[Path, ...] = ()
    """Records of bench.step_time. The plan is for the device of the first; the others are of the
    same device, at the batch sizes of the trainings of --against.
    """
    records: tuple[Path, ...] = (Path("runs"), Path("reports/records"))
    """Folders in which to look for records of bench.step_time of such GPUs."""
    against: tuple[Path, ...] = ()
    """Records of trainings on the device of --step-time; each is compared with the plan from the
    step-time record whose batch size is nearest to its own.
    """
    out: Path = Path("runs/bench/plan")
    """Folder for the record, named by models, GPUs and their numbers."""

    def __post_init__(self) -> None:
        for gpu in self.gpu:
            if gpu_of(gpu) is None:
                raise InputError(f"no datasheet of GPU {gpu!r}; choose one of: {', '.join(GPUS)}")
        if not 0 < self.mfu[0] <= self.mfu[1]:
            raise InputError(
                f"--mfu {self.mfu[0]} {self.mfu[1]}: give two fractions above 0, the smaller first"
            )
        if self.against and not self.step_time:
            raise InputError("--against needs --step-time, records of the same device")
