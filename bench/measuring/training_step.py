"""Builds the trainer of any method from the factors that the cost of its steps depends on, and
times its steps.
"""

import gc
import itertools
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bench.measuring import methods
from bench.measuring.factors import Factors
from catlip.data.loader import Batch
from catlip.range_augment import AugmentedObjective, RangeAugment
from catlip.training.distributed import Rank
from catlip.training.parallel import gradient_norm
from catlip.training.schedule import Optimization
from catlip.training.trainer import Implementation, Trainer

PHASES = ("forward", "loss", "backward", "optimizer")
RUN_STEPS = 1_000_000  # of the run whose first steps a bench takes


class Stopwatch:
    """Marks on the device's own clock; reading them waits for the device once, at the end.

    A step in `bench.step_time`, and the part that ends at each mark:

        data_wait   what the bench does between two steps
        forward     the trainer clears the gradients, and asks for a batch
        data_wait   the batch is on the device
        forward     RangeAugment and each tower or head; then, by "loss", the loss alone
        backward    the gradients are there
        optimizer   gradients are clipped, weights updated and averaged: the step ends
    """

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


def build(factors: Factors, rank: Rank, mark: Callable[[str], object] = lambda _: None) -> Trainer:
    """The trainer with these factors, at the beginning of a run by the default recipe. `mark` is
    called with each of PHASES when it ends; with "forward" after every part with parameters.
    """
    with rank.device:  # a CPU takes ten seconds to draw the weights of a ViT-H
        objective = methods.build(factors)
    for child in objective.children():
        if list(child.parameters()):
            child.register_forward_hook(lambda *_: mark("forward"))
    if factors.range_augment:
        objective = AugmentedObjective(objective, RangeAugment())
    return Trainer(
        objective,
        Optimization(precision=factors.precision),
        RUN_STEPS,
        rank=rank,
        implementation=Implementation(
            parallel=factors.parallel,
            compile=factors.compile,
            optimizer=factors.optimizer,
            norm=norm_by_loop if factors.grad_norm == "loop" else gradient_norm,
        ),
        seed=factors.seed,
        mark=mark,
    )


def batch_of(factors: Factors, rank: Rank) -> Batch:
    """A synthetic batch of the factors' size, on the device; each rank gets another."""
    return methods.synthetic_batch(factors, factors.seed + rank.number, rank.device)


def free_memory() -> None:
    """After a step that ran out of memory, call this outside of the handler: until that ends, the
    error's frames hold the tensors.
    """
    gc.collect()
    torch.cuda.empty_cache()


def norm_by_loop(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The gradient's norm as the reference release takes it: one number fetched from the device
    per parameter.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = [gradient.norm().item() for gradient in gradients]
    return torch.tensor(norms, device=gradients[0].device).norm()
