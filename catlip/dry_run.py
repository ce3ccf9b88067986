"""What a pre-training run would do and cost: `--dry-run` of any method's `pretrain`.

It works for any method: it counts the parameters of the objective, counts floating-point operations
by passing the shapes of two images and their captions through it, and takes the speed of a large
matrix product as that of the device.
"""

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from catlip.costs import FLOAT32, GIB
from catlip.data.loader import Batch, RaggedLabels
from catlip.fidelity import differences
from catlip.matmul import matmul_flops_per_s
from catlip.objective import Objective
from catlip.recipes.base import ImageRecipe
from catlip.recipes.pretrain import Recipe
from catlip.training.distributed import Place

# The fraction of the measured speed that well-tuned ViT training reaches; the estimate says so.
UTILISATION = 0.4
# torch's counter knows every attention kernel but the CPU's.
CPU_ATTENTION: dict[Any, Any] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: (
        sdpa_flop_count(q, k, v)
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v)
    ),
}


def describe(
    recipe: Recipe, objective: Objective, batch: Batch, *, num_samples: int, place: Place
) -> str:
    """The resolved recipe, what a step costs, and what differs from the release, as text.

    Args:
        objective: on the device "meta", in training mode.
        batch: a few images at the base resolution, with what the objective needs.
        num_samples: samples in the data set; 0 if unknown.
        place: the rank and device that would train.
    """
    world_size, accumulation = place.world_size, recipe.accumulation(place.world_size)
    trained = sum(p.numel() for p in objective.parameters() if p.requires_grad)
    images = recipe.micro_batch * recipe.num_devices
    step_flops = flops_per_image(objective, batch.to(torch.device("meta"))) * images
    rate = statistics.median(matmul_flops_per_s(place.device, recipe.precision))
    seconds = step_flops / world_size / (rate * UTILISATION)
    sent = FLOAT32 * trained * 2 * (world_size - 1) / world_size
    reached = (
        f"{UTILISATION:.0%} of this device's measured {rate / 1e12:.3g} TFLOP/s in "
        f"{recipe.precision}"
    )
    num_steps = recipe.num_steps(num_samples) if num_samples or recipe.iterations else None
    if num_steps:
        steps, hours = f"{num_steps:,}", f"{seconds * num_steps / 3600:.3g} h in all"
    else:
        steps = f"{recipe.epochs:g} epochs (the number of samples is not known without --shards)"
        hours = f"{seconds * recipe.num_steps(10**6) / 3600:.3g} h for each million samples"
    lines = {
        "recipe": json.dumps(asdict(recipe), indent=2),
        "sizes (per device and micro-step)": _sizes(recipe),
        "steps": f"{steps}, each of {images:,} images at the base size",
        "layout": f"{_processes(place, accumulation)}; {_layout(recipe, world_size)}",
        "parameters": (
            f"{trained:,}, of them {_size(objective.get_submodule('image_encoder')):,} in the "
            "image encoder"
        ),
        "model and optimizer state": (
            f"{_state_bytes(trained, recipe) / GIB:.2f} GiB per process, unsharded"
        ),
        "FLOPs a step": (
            f"{step_flops:.3e}, all processes together (counted, forward and backward, at the base "
            "size)"
        ),
        "bytes sent a step": (
            f"{sent / 1e6:,.0f} MB per process for gradients (ring); a contrastive loss sends "
            "features too"
        ),
        "expected time": (
            f"{seconds:.3g} s a step, {hours}, at {reached}, if data and network keep up"
        ),
    }
    description = [f"{name}: {value}" for name, value in lines.items()]
    return "\n".join([*description, *differences(recipe, objective.name, num_steps)])


def print_transfer(recipe: ImageRecipe, protocol: str, place: Place) -> None:
    """Print what a transfer by this recipe would do, and how it differs from the release."""
    if not place.is_main:
        return
    images = recipe.micro_batch * recipe.num_devices
    accumulation = recipe.accumulation(place.world_size)
    print("recipe:", json.dumps(asdict(recipe), indent=2))
    print("sizes (per device and micro-step):", _sizes(recipe))
    print(f"steps: {recipe.length()}, each of {images:,} images at the base size")
    print("layout:", _processes(place, accumulation))
    for difference in differences(recipe, protocol):
        print(difference)


def _sizes(recipe: ImageRecipe) -> str:
    return ", ".join(f"{size.resolution} px x {size.batch}" for size in recipe.sizes())


def made_up_batch(resolution: int, tokenize: Callable[[list[str]], Tensor] | None) -> Batch:
    """Two images, each with a caption and a label; only their shapes are used."""
    images = torch.zeros(2, 3, resolution, resolution, dtype=torch.uint8)
    tokens = tokenize(["a photograph"] * 2) if tokenize else None
    labels = RaggedLabels(torch.tensor([0, 0]), torch.tensor([0, 1, 2]))
    return Batch(images, ["0", "1"], labels, tokens=tokens)


def flops_per_image(objective: nn.Module, batch: Batch) -> float:
    """FLOPs of forward and backward per image of `batch`; a multiply-add counts as two."""
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        objective(batch).backward()
    objective.zero_grad(set_to_none=True)
    return counter.get_total_flops() / len(batch)


def _processes(place: Place, accumulation: int) -> str:
    return (
        f"{place.world_size} process{'es' * (place.world_size != 1)} on {place.device.type}, "
        f"{accumulation} micro-step{'s' * (accumulation != 1)}"
    )


def _layout(recipe: Recipe, world_size: int) -> str:
    if world_size == recipe.num_devices:
        return "as in the recipe"
    return f"the recipe has {recipe.num_devices} devices: the global batch is kept by accumulation"


def _state_bytes(trained: int, recipe: Recipe) -> float:
    """Bytes of weights, gradients, two moments, and the average if there is one, in float32."""
    return FLOAT32 * trained * (4 + bool(recipe.ema_decay))


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
