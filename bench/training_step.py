"""One training step of any method, made of the factors that its cost depends on: what every cost
bench takes.

    step = TrainingStep(Factors(method="clip", model="vit_b16", batch_size=64), find_place("cuda"))
    marks = step(step.batch())
    marks.laps_ms()         # forward, loss, backward, optimizer

The defaults of `Factors` are what the training loop does for both methods; the other values are
what the reference release does for one of them, or what people ask about. `bench.loop_overhead`
shows that the loop adds nothing to speak of.
"""

import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from bench import methods
from catlip.cli import InputError, choose, one_of
from catlip.data.loader import Batch
from catlip.encoder import ENCODERS
from catlip.training.attention import watched
from catlip.training.average import WeightAverage
from catlip.training.blocks import compile_blocks
from catlip.training.distributed import Place
from catlip.training.parallel import Parallel, distribute, finish_gradients, gradient_norm
from catlip.training.schedule import PRECISIONS, Optimization, adamw, autocast

EncoderName = Annotated[str, one_of(ENCODERS)]
MethodNames = Annotated[tuple[str, ...], one_of(methods.METHODS)]
PHASES = ("forward", "loss", "backward", "optimizer")
RECIPE = Optimization()
PRECISION = {"cuda": "bf16", "cpu": "fp32"}  # of a bench that is not told one, and
BATCH_SIZE = {"cuda": 256, "cpu": 4}  # images per step and device


@dataclass(frozen=True)
class Factors:
    """What the cost of a step depends on."""

    method: str = "catlip"
    """One of bench.methods.METHODS."""
    model: str = "vit_b16"
    """Image encoder, one of catlip.encoder.ENCODERS."""
    resolution: int = 224
    """Image side in pixels."""
    batch_size: int = 256
    """Images per device."""
    precision: str = "bf16"
    """fp32, bf16 (autocast) or fp16 (autocast and loss scaling)."""
    attention: Literal["sdpa", "naive"] = "sdpa"
    """PyTorch's fused attention, or one that writes out every attention matrix; of the image
    encoder.
    """
    checkpointing: bool = False
    """Compute each image block's activations again in the backward pass."""
    compile: bool = False
    """Compile the transformer blocks."""
    optimizer: Literal["fused", "foreach", "loop"] = "fused"
    """How AdamW goes through the parameters."""
    grad_norm: Literal["foreach", "loop", "none"] = "foreach"
    """How the gradient's norm is taken before clipping; "loop" asks the device once per parameter;
    "none" does not clip.
    """
    num_classes: int = 24_320
    """Size of CatLIP's vocabulary; the paper's is 24,320."""
    parallel: Parallel = "ddp"
    """With several processes: ddp, or fsdp."""
    seed: int = 0
    """Of the weights and of the synthetic batch."""

    def __post_init__(self) -> None:
        choose("method", self.method, methods.METHODS)
        choose("encoder", self.model, ENCODERS)
        if self.precision not in PRECISIONS:
            raise InputError(f"precision {self.precision!r} is not one of {', '.join(PRECISIONS)}")


def factors_of(config: Any, method: str, **others: Any) -> Factors:
    """The factors of a bench's config, field by field of the same name; `others` come first.

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
        self.marks: list[Any] = []

    def now(self) -> Any:
        """This moment, in the order of the device's work."""
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def mark(self, moment: Any = None) -> None:
        """Add a moment, by default this one."""
        self.marks.append(self.now() if moment is None else moment)

    def laps_ms(self, since: "Stopwatch | None" = None) -> list[float]:
        """Milliseconds between successive marks, those from the last mark of another stopwatch
        first if one is given.
        """
        pairs = list(itertools.pairwise([*(since.marks[-1:] if since else []), *self.marks]))
        if self.on_gpu:
            torch.cuda.synchronize()
            return [a.elapsed_time(b) for a, b in pairs]
        return [(b - a) * 1e3 for a, b in pairs]


class TrainingStep:
    """A method's objective with optimizer and averaged weights, taking one step at a time.

    Attributes:
        objective: of the method, on the device.
        optimizer: AdamW.
        average: the moving average of the weights, as the recipes have it.
    """

    def __init__(self, factors: Factors, place: Place):
        self.factors, self.place = factors, place
        self.objective = methods.build(
            factors.method,
            factors.model,
            factors.resolution,
            factors.num_classes,
            factors.seed,
            attention=factors.attention,
            checkpointing=factors.checkpointing,
        ).to(place.device)
        if factors.compile:
            compile_blocks(self.objective)
        self._watched = False
        self._forward_end: Any = None
        self._watch = Stopwatch(place.device)
        for child in self.objective.children():
            if any(True for _ in child.parameters()):
                child.register_forward_hook(self._end_of_forward)
        self.replica = distribute(self.objective, place, factors.parallel, factors.precision)
        self._parameters = list(self.objective.parameters())
        self.optimizer = adamw(self.objective, RECIPE, factors.optimizer)
        self.scaler = torch.amp.GradScaler(place.device.type, enabled=factors.precision == "fp16")
        self.average = WeightAverage(self.objective, RECIPE.ema_decay)

    def batch(self, batch_size: int | None = None, resolution: int | None = None) -> Batch:
        """A synthetic batch on the device, by default of the factors' size; ranks differ."""
        found = self.factors
        size, side = batch_size or found.batch_size, resolution or found.resolution
        seed = found.seed + self.place.rank
        return methods.synthetic_batch(size, found.model, side, found.num_classes, seed).to(
            self.place.device
        )

    def __call__(self, batch: Batch) -> Stopwatch:
        """One optimizer step; marks at its beginning and at the end of each of PHASES.

        The forward ends, and the loss begins, when the last part of the objective that has
        parameters is done.
        """
        self._watch = watch = Stopwatch(self.place.device)
        watch.mark()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.forward(batch)
        watch.mark(self._forward_end)
        watch.mark()
        self.scaler.scale(loss).backward()
        watch.mark()
        self.update()
        watch.mark()
        return watch

    def forward(self, batch: Batch) -> Tensor:
        """The loss under autocast."""
        with (
            autocast(self.place.device, self.factors.precision),
            watched(self.objective, not self._watched),
        ):
            loss: Tensor = self.replica(batch)
        self._watched = True
        return loss

    def update(self) -> None:
        """What follows the backward pass: the gradient's norm, clipping, AdamW, the average of the
        weights.
        """
        finish_gradients(self.replica)
        self.scaler.unscale_(self.optimizer)
        if self.factors.grad_norm != "none":
            norm = (
                gradient_norm(self._parameters)
                if self.factors.grad_norm == "foreach"
                else norm_by_loop(self._parameters)
            )
            nn.utils.clip_grads_with_norm_(self._parameters, RECIPE.grad_clip, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update(1)

    def _end_of_forward(self, *_: object) -> None:
        self._forward_end = self._watch.now()


def norm_by_loop(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The 2-norm of the gradient as the reference release takes it: one number fetched from the
    device per parameter.
    """
    norms: list[float] = [float(p.grad.norm()) for p in parameters if p.grad is not None]
    return torch.tensor(norms).norm()
