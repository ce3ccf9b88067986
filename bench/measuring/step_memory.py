"""The memory of one training step, by part: measured, and as `bench.arithmetic.activations`
predicts it.

    parts, peaks = measure(Factors(method="clip", batch_size=64), place)
    parts["peak_gib"], parts["activations_text_gib"]

On a GPU the peak is that of PyTorch's allocator. A CPU's cannot be asked, so there it is the most
bytes of tensors that were alive at once (`bench.measuring.live_storage`). Parameters, optimizer and
averaged weights are there all the time. Activations go as gradients come, so the peak holds about
the larger of the two; `other` is all beside those: the batch, what is computed with, and whatever
of the smaller overlaps.
"""

import gc
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.arithmetic.activations import activation_bytes, peak_bytes
from bench.arithmetic.state import state_bytes
from bench.measuring.live_storage import LiveStorage
from bench.measuring.saved_tensors import saved_bytes, tensors_of
from bench.training_step import Factors, batch_of, build
from catlip.data.loader import Batch
from catlip.training.distributed import Place
from catlip.training.loop import Trainer

GIB = 2**30
NUM_WARMUP = 2  # the optimizer's state is made in the first step
NUM_REPEATS = 2  # shows that the figure is the same each time
ACTIVATIONS = {
    "image_encoder": "activations_image_gib",
    "text_tower": "activations_text_gib",
    "logits": "activations_logits_gib",
}


@dataclass(frozen=True)
class Peak:
    """Of one step: bytes allocated at most; and on a GPU bytes reserved, and how often the
    allocator had to try again.
    """

    allocated: int
    reserved: int = 0
    retries: int = 0


def peak_of(trainer: Trainer, batch: Batch) -> Peak:
    """Take one step and see the most memory that it holds."""
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
    """AdamW's state."""
    return [tensor for state in trainer.optimizer.state.values() for tensor in state.values()]


def measure(factors: Factors, place: Place) -> tuple[dict[str, float], list[Peak]]:
    """A step's peak and parts in GiB, and the peak of each repetition.

    Raises: torch.OutOfMemoryError.
    """
    trainer, batch = build(factors, place), batch_of(factors, place)
    for _ in range(NUM_WARMUP):
        trainer.train_step(iter([batch]))
    peaks = [peak_of(trainer, batch) for _ in range(NUM_REPEATS)]
    gradients = sum(p.grad.nbytes for p in trainer.objective.parameters() if p.grad is not None)
    found: dict[str, float] = {
        "peak_gib": max(peak.allocated for peak in peaks),
        "parameters_gib": sum(p.nbytes for p in trainer.objective.parameters()),
        "gradients_gib": gradients,
        "optimizer_gib": sum(tensor.nbytes for tensor in moments_of(trainer)),
        "average_gib": sum(tensor.nbytes for tensor in trainer.weights().values()),
    }
    trainer.optimizer.zero_grad(set_to_none=True)
    found |= {ACTIVATIONS[part]: size for part, size in saved_bytes(trainer, batch).items()}
    found["other_gib"] = found["peak_gib"] - sum_of_parts(found)
    if place.device.type == "cuda":
        found["reserved_gib"] = max(peak.reserved for peak in peaks)
    return {name: size / GIB for name, size in found.items()}, peaks


def sum_of_parts(found: dict[str, float]) -> float:
    """What the peak holds: all that stays, and the larger of gradients and activations."""
    stays = found["parameters_gib"] + found["optimizer_gib"] + found["average_gib"]
    return stays + max(found["gradients_gib"], activations_of(found))


def activations_of(found: dict[str, float]) -> float:
    """Of all parts."""
    return sum(found[name] for name in ACTIVATIONS.values())


def predict(factors: Factors, device_type: str) -> dict[str, float]:
    """What `measure` should find, in GiB."""
    state = state_bytes(factors)
    found: dict[str, float] = {"peak_gib": peak_bytes(factors, device_type=device_type)}
    found |= {
        f"{part}_gib": state[part] for part in ("parameters", "gradients", "optimizer", "average")
    }
    found |= {
        ACTIVATIONS[part]: size
        for part, size in activation_bytes(factors, device_type=device_type).items()
    }
    found["other_gib"] = found["peak_gib"] - sum_of_parts(found)
    return {name: size / GIB for name, size in found.items()}


def attempt(
    factors: Factors, place: Place, budget: float
) -> tuple[dict[str, float], list[Peak]] | None:
    """`measure`, or None when a step does not fit; what it held is free again.

    On a CPU nothing is tried that is predicted not to fit `budget` (bytes): a machine without
    memory stops answering.
    """
    result = None
    if place.device.type == "cuda" or peak_bytes(factors, device_type="cpu") <= budget:
        with suppress(torch.OutOfMemoryError):
            result = measure(factors, place)
    gc.collect()  # after the block above: until its end, the error's frames hold their tensors
    if place.device.type == "cuda":
        torch.cuda.empty_cache()
    return result if result and result[0]["peak_gib"] * GIB <= budget else None
