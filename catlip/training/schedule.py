"""How the weights are optimised: a recipe's numbers, its optimizer, and its learning rate."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from catlip.cli import InputError
from catlip.program.ranges import Natural, NotNegative, PartialFraction, Positive, check_ranges

if TYPE_CHECKING:  # recipes and the command line are read without torch
    import torch
    from torch import nn

PRECISIONS = ("fp32", "bf16", "fp16")
WARMUP_FROM = 1e-6  # the release's warm-up starts here
BLOCK = re.compile(r"blocks\.(\d+)\.")  # in the name of a parameter
AdamWForm = Literal["fused", "foreach"]


@dataclass(frozen=True)
class Optimization:
    """AdamW with linear warm-up, cosine annealing, gradient clipping and weight averaging."""

    epochs: NotNegative = 0.0
    """Passes over the data; 0 if the length of the run is given in iterations."""
    max_lr: Positive = 1e-3
    """Learning rate at the end of the warm-up."""
    min_lr: NotNegative = 1e-5
    """Learning rate at the end of training."""
    warmup_iterations: Natural = 10_000
    """Optimizer steps of linear warm-up, at most a fifth of the run's."""
    per_epoch: bool = False
    """Change learning rate and RangeAugment's target once an epoch, as the release fine-tunes."""
    betas: tuple[PartialFraction, PartialFraction] = (0.9, 0.999)
    """AdamW's decay of its two moments."""
    eps: Positive = 1e-8
    """AdamW's epsilon."""
    weight_decay: NotNegative = 0.2
    """Decoupled weight decay of parameters of two dimensions or more."""
    grad_clip: NotNegative = 1.0
    """Largest gradient norm; 0 for no clipping."""
    ema_decay: PartialFraction = 0.9995
    """Decay of the moving average of the weights, which is what is transferred; 0 for none."""
    ema_rising: bool = False
    """Let the decay rise to its value as (1 + step) / (10 + step), for short runs."""
    precision: str = "bf16"
    """fp32, bf16 (autocast) or fp16 (autocast and loss scaling)."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.precision not in PRECISIONS:
            raise InputError(f"precision {self.precision!r} is not one of {', '.join(PRECISIONS)}")
        if self.min_lr > self.max_lr:
            raise InputError(f"--min-lr {self.min_lr} is above --max-lr {self.max_lr}")
        if self.per_epoch and not self.epochs:
            raise InputError(
                "--per-epoch works only with --epochs: give --epochs, or --no-per-epoch"
            )

    def learning_rate(self, step: int, num_steps: int) -> float:
        """Linear warm-up, then half a cosine; with `per_epoch` a staircase along it."""
        warmup = min(self.warmup_iterations, num_steps // 5)
        if step < warmup:
            return WARMUP_FROM + (self.max_lr - WARMUP_FROM) * step / warmup
        if self.per_epoch:
            done = epoch_of(step, num_steps, self) / self.epochs
        else:
            done = (step - warmup) / max(1, num_steps - warmup)
        return self.min_lr + (self.max_lr - self.min_lr) * (1 + math.cos(math.pi * done)) / 2


class Trained(Protocol):
    """A module that states how its parameters learn: an Objective, or another library's model."""

    def named_parameters(self) -> Iterator[tuple[str, "nn.Parameter"]]: ...

    def lr_scale(self, name: str) -> float: ...

    def decays(self, name: str) -> bool: ...


def adamw(
    objective: Trained, recipe: Optimization, form: AdamWForm = "fused"
) -> "torch.optim.AdamW":
    """AdamW for an objective: weight decay of parameters of two dimensions or more for which the
    objective's `decays` is true, and learning rates multiplied by its `lr_scale`.

    This is the release's rule for biases and norms, and OpenCLIP's for the temperature; the release
    also decays 0-D parameters.

    Args:
        form: one kernel for all parameters ("fused"), or one per operation ("foreach"). The result
            is the same.
    """
    import torch

    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            decay = recipe.weight_decay if parameter.ndim >= 2 and objective.decays(name) else 0.0
            groups.setdefault((decay, objective.lr_scale(name)), []).append(parameter)
    by_decay = sorted(groups.items(), key=lambda item: -item[0][0])
    options = [
        {"params": parameters, "weight_decay": decay, "lr_scale": scale}
        for (decay, scale), parameters in by_decay
    ]
    forms = {"fused": form == "fused", "foreach": form == "foreach"}
    return torch.optim.AdamW(options, lr=recipe.max_lr, betas=recipe.betas, eps=recipe.eps, **forms)


def layer_decay_scales(encoder: "nn.Module", decay: float, prefix: str) -> dict[str, float]:
    """The factor of the learning rate of each parameter of a ViT, by its name after `prefix`. At
    layer decay r: r for the last norm and the last block, r^depth for the first block, and
    r^(depth + 1) for what comes before the blocks: stem and positions.

    Raises: InputError if it has no series of numbered blocks, unless r is 1.
    """
    names = [name for name, _ in encoder.named_parameters()]
    blocks = {i: block for i, name in enumerate(names) if (block := BLOCK.search(name))}
    if decay != 1 and len({block.string[: block.start()] for block in blocks.values()}) != 1:
        raise InputError(
            "--layer-decay needs an encoder with one series of numbered blocks, as a ViT has; "
            "for others, such as a CNN, give --layer-decay 1"
        )
    depth = 1 + max((int(block[1]) for block in blocks.values()), default=-1)
    scales = {}
    for i, name in enumerate(names):
        if i in blocks:
            layers_above = depth - int(blocks[i][1])
        else:
            layers_above = depth + 1 if i < min(blocks, default=0) else 1
        scales[f"{prefix}{name}"] = decay**layers_above
    return scales


def augmentation_progress(step: int, num_steps: int, optimization: Optimization) -> float:
    """The progress of RangeAugment's target, in [0, 1]. With `per_epoch` it is epoch / (epochs +
    1), as in the release, whose table of targets has one entry more than there are epochs.
    """
    if not optimization.per_epoch:
        return step / num_steps
    return epoch_of(step, num_steps, optimization) / (optimization.epochs + 1)


def epoch_of(step: int, num_steps: int, optimization: Optimization) -> int:
    """The pass over the data in which a step is, counted from 0."""
    return int(step * optimization.epochs / num_steps)
