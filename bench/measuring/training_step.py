"""Builds the trainer of any method from the factors that the cost of its steps depends on; every
cost bench times its steps.

    factors = Factors(method="clip", model="vit_b16", batch_size=64)
    watch = Stopwatch(place.device)
    trainer = build(factors, place, watch.mark)
    trainer.train_step(repeat(batch_of(factors, place)))
    watch.laps_ms()  # [("forward", ...), ("loss", ...), ("backward", ...), ("optimizer", ...)]

The defaults of `Factors` are those of a training; the other values are what the reference release
does for one of the methods, or what people ask about.
"""

import gc
import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from bench.measuring import methods
from catlip.cli import InputError, choose, one_of
from catlip.data.loader import Batch
from catlip.encoder import ENCODERS
from catlip.pretraining.method import augmented
from catlip.program.ranges import Count, Seed
from catlip.recipes.pretrain import CATLIP
from catlip.training.distributed import Place
from catlip.training.parallel import Parallel, gradient_norm
from catlip.training.schedule import PRECISIONS, AdamWForm, Optimization
from catlip.training.trainer import Implementation, Trainer, unmarked

EncoderName = Annotated[str, one_of(ENCODERS)]
MethodNames = Annotated[tuple[str, ...], one_of(methods.METHODS)]
PHASES = ("forward", "loss", "backward", "optimizer")
RECIPE = Optimization()
RUN_STEPS = 1_000_000  # of the run whose first steps a bench takes
PRECISION = {"cuda": "bf16", "cpu": "fp32"}  # the default of a bench
ON_A_CPU = 4  # images per step by default


@dataclass(frozen=True)
class Factors:
    """What the cost of a step depends on."""

    method: str = "catlip"
    """One of bench.measuring.methods.METHODS."""
    model: str = "vit_b16"
    """Image encoder, one of catlip.encoder.ENCODERS."""
    resolution: int = 224
    """Image side in pixels."""
    batch_size: int = 256
    """Images per device."""
    precision: str = "bf16"
    """fp32, bf16 (autocast) or fp16 (autocast and loss scaling)."""
    attention: Literal["sdpa", "naive"] = "sdpa"
    """Attention of the image encoder: PyTorch's fused attention (sdpa), or one that writes out
    every attention matrix (naive).
    """
    checkpointing: bool = False
    """Compute each image block's activations again in the backward pass."""
    patch_drop_rate: float = 0.0
    """Fraction of the image encoder's patch tokens that are dropped."""
    range_augment: bool = False
    """Draw each image's brightness, contrast and noise on the device, as the paper's recipes do."""
    compile: bool = False
    """Compile the transformer blocks."""
    optimizer: AdamWForm = "fused"
    """How AdamW goes through the parameters."""
    grad_norm: Literal["foreach", "loop"] = "foreach"
    """How the gradient's norm is taken before clipping; "loop" asks the device once per
    parameter.
    """
    num_classes: int = 24_320
    """Size of CatLIP's vocabulary; the paper's is 24,320."""
    parallel: Parallel = "ddp"
    """With several processes: ddp, or fsdp."""
    seed: int = 0
    """Seed of the weights and of the synthetic batch."""

    def __post_init__(self) -> None:
        choose("method", self.method, methods.METHODS)
        choose("encoder", self.model, ENCODERS)
        if self.precision not in PRECISIONS:
            raise InputError(f"precision {self.precision!r} is not one of {', '.join(PRECISIONS)}")


@dataclass(frozen=True)
class StepConfig:
    """The flags that the benches of a training step share."""

    model: EncoderName = "vit_b16"
    """Image encoder."""
    resolution: Count = 224
    """Image side in pixels."""
    num_classes: Count = 24_320
    """Size of CatLIP's vocabulary; the paper's is 24,320."""
    precision: str = ""
    """fp32, bf16 or fp16; by default bf16 on a GPU and fp32 on a CPU."""
    seed: Seed = 0
    """Seed of the weights and of the synthetic batches."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    quiet: bool = False
    """No progress bar."""


def factors_of(config: Any, method: str, **others: Any) -> Factors:
    """The factors of a bench's config: each from the field of the same name; `others` take
    precedence.

    Raises: InputError, as Factors.
    """
    same = {
        name: value for name, value in vars(config).items() if name in Factors.__dataclass_fields__
    }
    return Factors(**same | {"method": method} | others)


class Stopwatch:
    """Marks on the device's own clock; reading them waits for the device once, at the end."""

    def __init__(self, device: torch.device):
        self.on_gpu = device.type == "cuda"
        self.marks: list[tuple[str, Any]] = []

    def mark(self, part: str = "") -> None:
        """Mark that `part` ends at this moment, in the order of the device's work."""
        if self.on_gpu:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append((part, event))
        else:
            self.marks.append((part, time.perf_counter()))

    def laps_ms(self) -> list[tuple[str, float]]:
        """What ended at each mark but the first, and the milliseconds since the mark before."""
        if self.on_gpu:
            torch.cuda.synchronize()
        return [
            (part, begin.elapsed_time(end) if self.on_gpu else (end - begin) * 1e3)
            for (_, begin), (part, end) in itertools.pairwise(self.marks)
        ]


def build(factors: Factors, place: Place, mark: Callable[[str], None] = unmarked) -> Trainer:
    """The trainer with these factors, at the beginning of a run by the default recipe.

    Args:
        mark: called with each of PHASES when it ends. The forward ends, and the loss begins, when
            the last part of the objective that has parameters is done; it is called with "forward"
            after the parts before it as well.
    """
    objective = methods.build(
        factors.method,
        factors.model,
        factors.resolution,
        num_classes=factors.num_classes,
        seed=factors.seed,
        attention=factors.attention,
        checkpointing=factors.checkpointing,
        patch_drop_rate=factors.patch_drop_rate,
    )
    for child in objective.children():
        if list(child.parameters()):
            child.register_forward_hook(lambda *_: mark("forward"))
    if factors.range_augment:
        objective = augmented(objective, CATLIP["datacomp_b16"])
    return Trainer(
        objective,
        replace(RECIPE, precision=factors.precision),
        RUN_STEPS,
        place=place,
        implementation=Implementation(
            parallel=factors.parallel,
            compile=factors.compile,
            optimizer=factors.optimizer,
            norm=norm_by_loop if factors.grad_norm == "loop" else gradient_norm,
        ),
        seed=factors.seed,
        mark=mark,
    )


def batch_of(factors: Factors, place: Place) -> Batch:
    """A synthetic batch of the factors' size, on the device; each rank gets another."""
    return methods.synthetic_batch(
        factors.batch_size,
        factors.model,
        factors.resolution,
        num_classes=factors.num_classes,
        seed=factors.seed + place.rank,
        device=place.device,
    )


def free_memory() -> None:
    """Free the memory of steps that are over. After a step that ran out of memory, call this
    outside of the handler: until that ends, the error's frames hold the tensors.
    """
    gc.collect()
    torch.cuda.empty_cache()


def norm_by_loop(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The 2-norm of the gradient as the reference release takes it: one number fetched from the
    device per parameter.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = [gradient.norm().item() for gradient in gradients]
    return torch.tensor(norms, device=gradients[0].device).norm()
