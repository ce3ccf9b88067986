"""Three steps of a method, replicated and sharded, on the same batches: how far apart they come
out.

torchrun --nproc-per-node 2 tests/training/parity.py catlip vit_tiny16 fp32
"""

import json
import sys
from dataclasses import replace

import torch

from bench.measuring import methods
from bench.measuring.factors import Factors
from catlip.recipes.pretrain import STARTER
from catlip.training.distributed import init_distributed
from catlip.training.parallel import Parallel
from catlip.training.trainer import Implementation, Trainer


def three_steps(
    parallel: Parallel, method: str, model: str, precision: str
) -> tuple[list[tuple[float, float]], dict[str, torch.Tensor]]:
    """Losses and gradient norms, and all weights and their average, whole."""
    rank = init_distributed("cpu")
    factors = Factors(method, model, 32, batch_size=4, num_classes=20)
    objective = methods.build(factors)
    recipe = replace(STARTER, precision=precision, ema_decay=0.5, warmup_iterations=0)
    trainer = Trainer(
        objective, recipe, 10, rank=rank, accumulation=2, implementation=Implementation(parallel)
    )
    numbers = []
    for step in range(3):
        seeds = [10 * step + 2 * micro_step + rank.number for micro_step in range(2)]
        done = trainer.train_step(methods.synthetic_batch(factors, seed=seed) for seed in seeds)
        numbers.append((done.loss, done.grad_norm))
    averaged = {f"averaged {name}": value for name, value in trainer.weights().items()}
    trainer.average = None
    return numbers, averaged | trainer.weights()


def main(method: str, model: str, precision: str) -> None:
    """Print the numbers of both, and how far apart they end, in learning rates, which is what Adam
    moves a weight in a step.

    That is the root mean square over a tensor, of the tensor where it is largest: Adam makes whole
    steps of gradients that are zero but for rounding, so a single weight says little, but a tensor
    that is not trained alike is a step or more apart.
    """
    torch.set_num_threads(1)
    replicated, weights = three_steps("ddp", method, model, precision)
    sharded, others = three_steps("fsdp", method, model, precision)
    assert weights.keys() == others.keys()
    gaps = [(weights[name] - others[name]).float() for name in weights]
    apart = max(gap.square().mean().sqrt().item() for gap in gaps) / STARTER.max_lr
    if init_distributed("cpu").is_main:
        print(json.dumps({"ddp": replicated, "fsdp": sharded, "apart": apart}))


if __name__ == "__main__":
    main(*sys.argv[1:])
