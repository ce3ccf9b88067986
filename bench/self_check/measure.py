"""Computes the loss and the gradient of each method in every way that a training can, and in
float32 on the CPU, from the same weights and batch.
"""

import itertools
import traceback
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from bench.measuring.deadline import until_deadline
from bench.measuring.factors import Factors
from bench.measuring.methods import CPU, synthetic_batch
from bench.measuring.training_step import build
from bench.memory.tensors import TOWERS
from bench.self_check import result
from bench.self_check.config import SelfCheck
from bench.self_check.result import Check
from bench.step_time.config import StepTime
from bench.step_time.measure import resolve, variants
from catlip.cli import InputError
from catlip.program.progress import progress
from catlip.records.record import Record, build_name
from catlip.records.table import print_tables
from catlip.training.distributed import Rank, init_distributed
from catlip.training.parallel import finish_gradients, local_part

MAX_ERROR = 200  # characters of an error's message
# The greatest relative errors of a loss, and of the gradient of an encoder or of the head. Those of
# ViT-Tiny on a CPU are a third of these in 16 bits; in float32, a GPU convolves in TF32.
BOUNDS = {"fp32": (5e-4, 1e-2), "bf16": (6e-3, 0.15), "fp16": (1e-3, 2e-2)}
# Of the loss: in fp16 small gradients would be 0 without it, and SigLIP's infinite with 65,536.
SCALE = 1_024


@dataclass(frozen=True)
class Step:
    """A loss, the gradient of each part on the CPU, and the weights that they are of."""

    loss: float
    gradients: dict[str, Tensor]
    weights: dict[str, Tensor]


def main(config: SelfCheck) -> None:
    """Check each method in every way, print, write the record; raises InputError if one fails."""
    rank = init_distributed(config.device)
    if rank.world_size > 1:
        raise InputError("bench.self_check checks one process: start it without torchrun")
    steps = StepTime(
        config.model,
        config.resolution,
        config.num_classes,
        config.precision,
        methods=config.methods,
        batch_size=config.batch_size,
        packed_captions=True,
        compile=config.compile,
    )
    steps = resolve(steps, rank.device)
    config = replace(config, precision=steps.precision, compile=steps.compile)
    name = f"{config.model}-{config.precision}-{build_name(rank.device)}"
    loss_bound, gradient_bound = BOUNDS[steps.precision]
    found = result.SelfCheck(
        precision=steps.precision, loss_bound=loss_bound, gradient_bound=gradient_bound
    )
    record = Record(config.out / f"{name}.json", kind=result.SelfCheck, config=config)
    try:
        with record:
            check_methods(steps, rank, found, record, quiet=config.quiet)
            run = record.finish(found)
        print_tables([result.CHECKS.fill([run])])
        print(*record.notes, f"wrote {record.path}", sep="\n")
    finally:  # what has failed counts when time is over, too
        if found.failed:
            raise InputError(f"the self-check failed: {'; '.join(found.failed)}")


def check_methods(
    steps: StepTime, rank: Rank, found: result.SelfCheck, record: Record, *, quiet: bool
) -> None:
    """Every method in every way, while there is time; the record has each check as it is done."""
    ways: dict[str, dict[str, Any]] = {"eager": {"compile": False}}
    ways |= {"compiled": {"compile": True}} if steps.compile else {}
    ways |= {"FSDP2": {"compile": False, "parallel": "fsdp"}}
    runs = list(itertools.product(ways.items(), variants(steps).items()))
    expected: dict[str, Step] = {}
    rounds = progress(until_deadline(runs, record), "self-check", len(runs), disable=quiet)
    for (way, changes), (variant, factors) in rounds:
        if (method := factors.method) not in expected:
            alone = replace(factors, precision="fp32", compile=False)
            expected[method] = compute(alone, Rank(0, 1, CPU))
            found.expected[method] = expected[method].loss
        # Packed captions change neither loss nor gradient.
        made = check(replace(factors, **changes), rank, expected[method], found)
        found.checks.setdefault(variant, {})[way] = made
        record.metrics = found.as_dict()
        record.save()
    if dist.is_initialized():  # otherwise later steps in this process would exchange with nobody
        dist.destroy_process_group()


def check(factors: Factors, rank: Rank, expected: Step, bounds: result.SelfCheck) -> Check:
    try:
        step = compute(factors, rank, expected.weights)
    except Exception as error:  # whatever the device, its driver or its compiler raises
        traceback.print_exc()
        return Check(error=f"{type(error).__name__}: {error}"[:MAX_ERROR])
    gradient_errors = {
        part: ((step.gradients[part] - gradient).norm() / gradient.norm()).item()
        for part, gradient in expected.gradients.items()
    }
    loss_error = abs(step.loss / expected.loss - 1)
    passed = loss_error <= bounds.loss_bound  # a NaN is not
    passed &= all(error <= bounds.gradient_bound for error in gradient_errors.values())
    return Check(
        passed=passed, loss=step.loss, loss_error=loss_error, gradient_errors=gradient_errors
    )


def compute(factors: Factors, rank: Rank, weights: dict[str, Tensor] | None = None) -> Step:
    """The step of one batch, the same on every device, from `weights`, or those that it draws."""
    trainer = build(factors, rank)
    state = trainer.objective.state_dict()
    for name, tensor in (weights or {}).items():  # each device draws others
        local_part(state[name]).copy_(tensor)
    loss = trainer.loss(synthetic_batch(factors).to(rank.device))
    (SCALE * loss).backward()
    finish_gradients(trainer.replica)
    gradients = defaultdict(list)
    for name, parameter in trainer.objective.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        part = TOWERS.get(name.partition(".")[0], "head")
        gradients[part].append(local_part(gradient).flatten().cpu() / SCALE)
    return Step(loss.item(), {part: torch.cat(rows) for part, rows in gradients.items()}, state)
