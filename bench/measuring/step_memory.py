"""The memory of one training step, by part: measured, and as `bench.arithmetic.memory`
predicts it.

    parts, peaks = measure(Factors(method="clip", batch_size=64), place)
    parts.peak_gib, parts.activations_text_gib

On a GPU the peak is that of PyTorch's allocator. A CPU has no allocator that can be asked, so there
it is the most bytes of tensors that were alive at once (`bench.measuring.live_storage`).
Parameters, optimizer state and averaged weights are there all the time. Activations go as gradients
come, so the peak holds about the larger of the two; `other` is everything beside those: the batch,
work space, and the part of the smaller one that overlaps.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.arithmetic.memory import activation_bytes, peak_bytes, state_bytes
from bench.measuring.live_storage import LiveStorage
from bench.measuring.saved_tensors import saved_bytes, tensors_of
from bench.measuring.training_step import Factors, batch_of, build, free_memory
from bench.memory.result import MemoryParts
from catlip.costs import GIB
from catlip.data.loader import Batch
from catlip.training.distributed import Place
from catlip.training.trainer import Trainer

NUM_WARMUP = 2  # the optimizer's state is made in the first step
NUM_REPEATS = 2  # shows that the figure is the same each time


@dataclass(frozen=True)
class Peak:
    """Memory of one step: the most bytes allocated; and on a GPU the most bytes reserved, and how
    often the allocator had to try again.
    """

    allocated: int
    reserved: int = 0
    retries: int = 0


def peak_of(trainer: Trainer, batch: Batch) -> Peak:
    """Take one step and measure the most memory that it holds."""
    device = trainer.place.device
    if device.type == "cpu":
        with LiveStorage([*state_of(trainer), *tensors_of(batch)]) as live:
            trainer.train_step(iter([batch]))
        return Peak(live.peak_bytes)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_stats(device)["num_alloc_retries"]
    trainer.train_step(iter([batch]))
    torch.cuda.synchronize(device)
    retries = torch.cuda.memory_stats(device)["num_alloc_retries"] - before
    return Peak(
        torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device), retries
    )


def state_of(trainer: Trainer) -> Iterator[Tensor]:
    """Every tensor that a step finds when it begins: weights, the last gradients, optimizer,
    average.
    """
    yield from trainer.objective.parameters()
    yield from trainer.objective.buffers()
    yield from (p.grad for p in trainer.objective.parameters() if p.grad is not None)
    yield from moments_of(trainer)
    yield from trainer.weights().values()


def moments_of(trainer: Trainer) -> list[Tensor]:
    """What AdamW keeps of each parameter: two moments, and the number of its steps."""
    return [tensor for state in trainer.optimizer.state.values() for tensor in state.values()]


def measure(factors: Factors, place: Place) -> tuple[MemoryParts, list[Peak]]:
    """A step's peak and parts, and the peak of each repetition.

    Raises: torch.OutOfMemoryError.
    """
    trainer, batch = build(factors, place), batch_of(factors, place)
    for _ in range(NUM_WARMUP):
        trainer.train_step(iter([batch]))
    peaks = [peak_of(trainer, batch) for _ in range(NUM_REPEATS)]
    state = {
        "parameters": sum(p.nbytes for p in trainer.objective.parameters()),
        "gradients": sum(
            p.grad.nbytes for p in trainer.objective.parameters() if p.grad is not None
        ),
        "optimizer": sum(tensor.nbytes for tensor in moments_of(trainer)),
        "average": sum(tensor.nbytes for tensor in trainer.weights().values()),
    }
    trainer.optimizer.zero_grad(set_to_none=True)
    parts = _parts(max(peak.allocated for peak in peaks), state, saved_bytes(trainer, batch))
    if place.device.type == "cuda":
        parts = replace(parts, reserved_gib=max(peak.reserved for peak in peaks) / GIB)
    return parts, peaks


def predict(factors: Factors, device_type: str) -> MemoryParts:
    """What `measure` should find."""
    peak = peak_bytes(factors, device_type=device_type)
    activations = activation_bytes(factors, device_type=device_type)
    return _parts(peak, state_bytes(factors), activations)


def _parts(
    peak: float, state: Mapping[str, float], activations: Mapping[str, float]
) -> MemoryParts:
    """Bytes as GiB; `other` is what the peak holds beside all that stays and the larger of
    gradients and activations.
    """
    stays = state["parameters"] + state["optimizer"] + state["average"]
    other = peak - (stays + max(state["gradients"], sum(activations.values())))
    return MemoryParts(
        peak_gib=peak / GIB,
        parameters_gib=state["parameters"] / GIB,
        gradients_gib=state["gradients"] / GIB,
        optimizer_gib=state["optimizer"] / GIB,
        average_gib=state["average"] / GIB,
        activations_image_gib=activations["image_encoder"] / GIB,
        activations_text_gib=activations["text_tower"] / GIB,
        activations_logits_gib=activations["logits"] / GIB,
        other_gib=other / GIB,
    )


def attempt(factors: Factors, place: Place, budget: float) -> tuple[MemoryParts, list[Peak]] | None:
    """`measure`, or None if a step does not fit; what the step held is free again.

    On a CPU, a step that is predicted not to fit `budget` (bytes) is not tried: a machine without
    free memory stops answering.
    """
    result = None
    if _may_fit(factors, place, budget):
        with suppress(torch.OutOfMemoryError):
            result = measure(factors, place)
    free_memory()  # after the block above: until its end, the error's frames hold their tensors
    return result if result and result[0].peak_gib * GIB <= budget else None


def fitter(factors: Factors, place: Place, budget: float) -> Callable[[int], bool]:
    """A function that tells whether a step of so many images fits. It tries on one trainer, with
    the caution of `attempt`.

    Args:
        factors: those of the step; the batch size is ignored.
    """
    trainer = build(factors, place)
    with suppress(torch.OutOfMemoryError):  # if one image does not fit, no batch does
        trainer.train_step(iter([batch_of(replace(factors, batch_size=1), place)]))

    def fits(images: int) -> bool:
        step, peak = replace(factors, batch_size=images), math.inf
        if _may_fit(step, place, budget):
            with suppress(torch.OutOfMemoryError):
                peak = peak_of(trainer, batch_of(step, place)).allocated
        trainer.optimizer.zero_grad(set_to_none=True)
        free_memory()
        return peak <= budget and not math.isinf(peak)

    return fits


def _may_fit(factors: Factors, place: Place, budget: float) -> bool:
    return place.device.type == "cuda" or peak_bytes(factors, device_type="cpu") <= budget
