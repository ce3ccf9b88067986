"""What fits on a device: the bytes of steps that take turns in one process, the bytes of one of
many ranks, and the largest batch that fits.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from bench.arithmetic.activations import peak_bytes
from bench.arithmetic.state import state_bytes
from bench.measuring.training_step import ON_A_CPU, Factors

# Usable part of a device's memory: the driver, NCCL and the gaps between blocks of the allocator
# take the rest.
USABLE = 0.9
MOST_IMAGES = 256  # of a bench whose user gives no batch size


def device_bytes(factors: Factors, devices: int) -> float:
    """The most bytes that one of `devices` devices holds in a whole step. With FSDP a device keeps
    1 / devices of the parameters, the optimizer state and the averaged weights; what it gathers for
    a block is not counted.
    """
    peak = peak_bytes(factors, devices)
    if factors.parallel == "ddp":
        return peak
    state = state_bytes(factors)
    sharded = state["parameters"] + state["optimizer"] + state["average"]
    return peak - sharded * (1 - 1 / devices)


def in_turns_bytes(steps: Sequence[Factors]) -> float:
    """The most bytes held while these steps take turns on one device: the state of all, their last
    gradients included, and what one of them takes beyond its own state.
    """
    states = [sum(state_bytes(step).values()) for step in steps]
    own = max(peak_bytes(step) - state for step, state in zip(steps, states, strict=True))
    return sum(states) + max(0.0, own)


def images_that_fit(steps: Sequence[Factors], memory_bytes: float, most: int = MOST_IMAGES) -> int:
    """The batch with which these steps can take turns on a device: `most`, halved until they fit;
    at least 1.

    Args:
        steps: their batch sizes are ignored.
    """
    images = most
    while images > 1 and (
        in_turns_bytes([replace(step, batch_size=images) for step in steps]) > USABLE * memory_bytes
    ):
        images //= 2
    return images


def default_batch(steps: Sequence[Factors], device: torch.device) -> int:
    """The batch size of these steps, which take turns, if the user gives none."""
    if device.type == "cpu":
        return ON_A_CPU
    return images_that_fit(steps, torch.cuda.get_device_properties(device).total_memory)
