"""What a training step costs by arithmetic alone, on any number of devices: operations, parameters,
bytes kept and bytes sent.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.arithmetic.activations import activation_bytes, peak_bytes
from bench.arithmetic.exchanges import sent
from bench.arithmetic.flops import (
    forward_flops,
    image_flops,
    mean_flops_per_sample,
    recomputed_flops,
    step_flops,
    text_flops,
)
from bench.arithmetic.state import objective_of, parameters, state_bytes, step_shape
from bench.measuring.methods import METHODS, shown
from bench.measuring.training_step import EncoderName, Factors, MethodNames, factors_of
from bench.plan import analytic_result as result
from bench.plan.analytic_result import analytic_table
from catlip.cli import run
from catlip.costs import GIB, Exchange
from catlip.program.ranges import Count, PartialFraction
from catlip.recipes.pretrain import CATLIP, CLIP
from catlip.record import LATER, Record
from catlip.table import print_tables

# Recipes with the released samplers.
OWN_SIZES = {"catlip": CATLIP["datacomp_b16"], "clip": CLIP["datacomp_b16_release"]}


@dataclass(frozen=True)
class Analytic:
    """Compute, without running anything, what one training step of each method costs.

    python -m bench.analytic --model vit_b16
    python -m bench.analytic --model vit_h16 --methods catlip clip --world-size 1
    """

    model: EncoderName = "vit_b16"
    """Image encoder."""
    methods: MethodNames = tuple(METHODS)
    """Methods to compute; the first is the denominator of every ratio."""
    batch_size: Count = 256
    """Images per step and device."""
    world_size: Count = 256
    """Devices; with 256 images on each, the paper's CLIP on DataComp (Table 6b)."""
    resolution: Count = 224
    """Image side in pixels."""
    precision: str = "bf16"
    """fp32, bf16 or fp16."""
    attention: Literal["sdpa", "naive"] = "sdpa"
    """Attention of the image encoder: PyTorch's fused attention (sdpa), or one that writes out
    every attention matrix (naive).
    """
    checkpointing: bool = False
    """Compute each image block's activations again in the backward pass."""
    patch_drop_rate: PartialFraction = field(default=0.0, metadata=LATER)
    """Fraction of the patch tokens that are dropped, as in FLIP."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """How weights and gradients are spread over devices; memory is always given for unsharded ones.
    """
    num_classes: Count = 24_320
    """Size of CatLIP's vocabulary; the paper's is 24,320."""
    out: Path = Path("runs/bench/analytic")
    """Folder for the record, named by model, batch, devices and precision."""


def costs(factors: Factors, world_size: int) -> result.MethodCosts:
    """The costs of one method: GFLOPs (1e9) per image, numbers of parameters, GiB kept and MB sent
    by one GPU.
    """
    per_image = 1e9 * factors.batch_size
    objective, kept = objective_of(factors), activation_bytes(factors, world_size)
    heads = forward_flops(objective.matmuls(step_shape(factors, world_size)))
    encoder = image_flops(factors.model, factors.resolution, factors.patch_drop_rate)
    return result.MethodCosts(
        forward_gflops={
            "image_encoder": encoder / 1e9,
            "text_tower": text_flops(objective.text) / 1e9 if objective.text else 0.0,
            "head": heads / per_image,
        },
        step_gflops_per_image=step_flops(factors, world_size) / per_image,
        recomputed_gflops_per_image=recomputed_flops(factors) / per_image,
        parameters=parameters(factors),
        state_gib={part: size / GIB for part, size in state_bytes(factors).items()},
        activations_gib={part: size / GIB for part, size in kept.items()},
        peak_gib=peak_bytes(factors, world_size) / GIB,
        sent_mb=sent_mb(sent(factors, world_size)),
    )


def sent_mb(exchanges: list[Exchange]) -> dict[str, float]:
    """MB that one rank sends in a step when collectives run round a ring, by what is sent, and in
    total.
    """
    by_exchange: dict[str, float] = {}
    for exchange in exchanges:
        by_exchange[exchange.what] = by_exchange.get(exchange.what, 0.0) + exchange.sent_bytes / 1e6
    return by_exchange | {"total": sum(by_exchange.values())}


def ratio_with_own_sizes(config: Analytic) -> float:
    """CLIP's operations per image divided by CatLIP's, each with the image sizes and the number of
    devices that it was published with.
    """
    catlip, clip = (
        mean_flops_per_sample(factors_of(config, method), recipe.sizes(), recipe.num_devices)
        for method, recipe in OWN_SIZES.items()
    )
    return clip / catlip


def main(config: Analytic) -> None:
    """Compute, print, write the record."""
    methods = {
        method: costs(factors_of(config, method), config.world_size) for method in config.methods
    }
    name = f"{config.model}-b{config.batch_size}x{config.world_size}-{config.precision}"
    if config.patch_drop_rate:
        name += f"-drop{config.patch_drop_rate:g}"
    with Record(config.out / f"{name}.json", kind=result.Analytic, config=config) as record:
        first, *others = config.methods
        gflops = {method: of.step_gflops_per_image for method, of in methods.items()}
        own_sizes = ratio_with_own_sizes(config)
        record.shown_as = shown(config.methods)
        record.notes.append(
            "computed, not measured; memory is that of a GPU's kernels, without their own work "
            "space"
        )
        computed = record.measured(
            result.Analytic(
                methods=methods,
                flops_ratios={f"{m}/{first}": gflops[m] / gflops[first] for m in others},
                flops_ratio_with_own_sizes=own_sizes,
            )
        )
    print_tables([analytic_table(computed)])
    print(
        f"clip/catlip = {own_sizes:.3f} in operations per image, with the image sizes of each "
        "method's released ViT-B/16 recipe"
    )
    print("\n".join(record.notes))
    print(f"wrote {record.path}")


if __name__ == "__main__":
    run(Analytic, main)
