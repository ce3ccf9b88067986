"""Builds the trainer of any method from the factors that the cost of its steps depends on, and
times its steps.
"""

import gc
from collections.abc import Callable, Iterable

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
