"""How many parameters a method has, and what a process holds of them between steps.

Counted on the objective itself, which torch's meta device builds without memory.
"""

from functools import cache

import torch

from bench.measuring import methods
from bench.measuring.training_step import Factors
from bench.memory.tensors import TOWERS
from catlip.costs import FLOAT32, StepShape
from catlip.objective import Objective
from catlip.training.precision import AUTOCAST


def product_bytes(factors: Factors) -> int:
    """Bytes of one number in the dtype of matrix products."""
    return AUTOCAST.get(factors.precision, torch.float32).itemsize


@cache
def bare_objective(method: str, model: str, resolution: int, num_classes: int) -> Objective:
    """The objective with shapes but without memory, on torch's meta device."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return methods.build(method, model, resolution, num_classes, seed=0)


def objective_of(factors: Factors) -> Objective:
    """`bare_objective` of these factors."""
    return bare_objective(
        factors.method, factors.model, factors.resolution, num_classes=factors.num_classes
    )


def step_shape(factors: Factors, world_size: int = 1, device_type: str = "cuda") -> StepShape:
    """The shape of the step whose costs a method states."""
    return StepShape(
        factors.batch_size, world_size, product_bytes(factors), device_type=device_type
    )


def parameters(factors: Factors) -> dict[str, int]:
    """How many parameters, by part: image_encoder, text_tower (with its projection), head
    (classifier, or image projection and scale).
    """
    counts = {"image_encoder": 0, "text_tower": 0, "head": 0}
    for name, parameter in objective_of(factors).named_parameters():
        counts[TOWERS.get(name.split(".")[0], "head")] += parameter.numel()
    return counts


def state_bytes(factors: Factors) -> dict[str, int]:
    """What a process holds between steps, unsharded: parameters, gradients, AdamW's two moments,
    the averaged weights.

    All of it is float32, except counters. `buffers` are masks and running statistics; the average
    holds the persistent ones.
    """
    objective = objective_of(factors)
    one = FLOAT32 * sum(parameters(factors).values())
    return {
        "parameters": one,
        "gradients": one,
        "optimizer": 2 * one,
        "average": sum(tensor.nbytes for tensor in objective.state_dict().values()),
        "buffers": sum(tensor.nbytes for tensor in objective.buffers()),
    }
