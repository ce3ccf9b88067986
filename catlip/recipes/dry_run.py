"""What a pre-training run would do and cost: `--dry-run` of any method's `pretrain`."""

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict

import torch
from torch import Tensor, nn

from catlip.costs import FLOAT32, GIB
from catlip.data.loader import Batch, RaggedLabels, caption_lengths
from catlip.objective import Objective
from catlip.recipes.base import ImageRecipe
from catlip.recipes.fidelity import differences
from catlip.recipes.pretrain import Recipe
from catlip.system.flops import count_flops
from catlip.system.matmul import matmul_flops_per_s
from catlip.training.distributed import Rank

# The fraction of the measured speed that well-tuned ViT training reaches; the estimate says so.
UTILISATION = 0.4


def describe(
    recipe: Recipe, objective: Objective, batch: Batch, *, num_samples: int, rank: Rank
) -> str:
    """The resolved recipe, what a step costs, and what differs from the release, as text.

    Args:
        objective: on the device "meta", in training mode.
        batch: a few images at the base resolution, with what the objective needs.
        num_samples: samples in the data set; 0 if unknown.
    """
    trained = sum(p.numel() for p in objective.parameters() if p.requires_grad)
    encoder = sum(p.numel() for p in objective.get_submodule("image_encoder").parameters())
    # Weights, gradients, two moments, and the average if there is one, in float32.
    state = FLOAT32 * trained * (4 + bool(recipe.ema_decay)) / GIB
    images = recipe.micro_batch * recipe.num_devices
    step_flops = flops_per_image(objective, batch.to(torch.device("meta"))) * images
    rate = statistics.median(matmul_flops_per_s(rank.device, recipe.precision))
    seconds = step_flops / rank.world_size / (rate * UTILISATION)
    num_steps = recipe.num_steps(num_samples) if num_samples or recipe.iterations else None
    if num_steps:
        steps, hours = f"{num_steps:,}", f"{seconds * num_steps / 3600:.3g} h in all"
    else:
        steps = f"{recipe.epochs:g} epochs (the number of samples is not known without --shards)"
        hours = f"{seconds * recipe.num_steps(10**6) / 3600:.3g} h for each million samples"
    lines = [
        *_what(recipe, rank, steps),
        f"parameters: {trained:,}, of them {encoder:,} in the image encoder",
        f"model and optimizer state: {state:.2f} GiB per process, unsharded",
        f"FLOPs a step: {step_flops:.3e}, all processes together (counted, forward and backward, "
        "at the base size)",
        f"expected time: {seconds:.3g} s a step, {hours}, at {UTILISATION:.0%} of this device's "
        f"measured {rate / 1e12:.3g} TFLOP/s in {recipe.precision}, if data and network keep up",
    ]
    return "\n".join([*lines, *differences(recipe, objective.name, num_steps)])


def print_transfer(recipe: ImageRecipe, protocol: str, rank: Rank) -> None:
    if rank.is_main:
        print(*_what(recipe, rank, recipe.length()), sep="\n")
        print(*differences(recipe, protocol), sep="\n")


def _what(recipe: ImageRecipe, rank: Rank, steps: str) -> list[str]:
    sizes = ", ".join(f"{size.resolution} px x {size.batch}" for size in recipe.sizes())
    images = recipe.micro_batch * recipe.num_devices
    return [
        f"recipe: {json.dumps(asdict(recipe), indent=2)}",
        f"sizes (per device and micro-step): {sizes}",
        f"steps: {steps}, each of {images:,} images at the base size",
        f"layout: {rank.world_size} on {rank.device.type}, each with "
        f"{recipe.accumulation(rank.world_size)} micro-steps a step; the recipe has "
        f"{recipe.num_devices} devices",
    ]


def made_up_batch(resolution: int, tokenize: Callable[[list[str]], Tensor] | None) -> Batch:
    """Two images, each with a caption and a label; only their shapes are used."""
    images = torch.zeros(2, 3, resolution, resolution, dtype=torch.uint8)
    tokens = tokenize(["a photograph"] * 2) if tokenize else None
    lengths = [] if tokens is None else caption_lengths(tokens)
    labels = RaggedLabels(torch.tensor([0, 0]), torch.tensor([0, 1, 2]))
    return Batch(images, ["0", "1"], labels, tokens=tokens, lengths=lengths)


def flops_per_image(objective: nn.Module, batch: Batch) -> float:
    """FLOPs of forward and backward per image of `batch`; a multiply-add counts as two."""
    flops = count_flops(lambda: objective(batch).backward())
    objective.zero_grad(set_to_none=True)
    return flops / len(batch)
