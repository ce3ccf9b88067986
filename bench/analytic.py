"""What a training step costs by arithmetic alone, on any number of devices: operations, parameters,
bytes kept and bytes sent.

The parts are in `bench.arithmetic.flops`, `bench.arithmetic.state`, `bench.arithmetic.activations`
and `bench.arithmetic.exchanges`; this program puts them in one table.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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
from bench.methods import METHODS, shown
from bench.training_step import EncoderName, Factors, MethodNames, factors_of
from catlip.cli import InputError, run
from catlip.costs import Exchange
from catlip.program.ranges import Count
from catlip.recipes.pretrain import CATLIP, CLIP
from catlip.record import Record

GIB = 2**30
OWN_SIZES = {
    "catlip": CATLIP["datacomp_b16"],
    "clip": CLIP["datacomp_b16_release"],
}  # recipes with the released samplers


@dataclass(frozen=True)
class Analytic:
    """Compute, without running anything, what one training step of each method costs.

    python -m bench.analytic --model vit_b16
    python -m bench.analytic --model vit_h16 --methods catlip clip --world-size 1
    """

    model: EncoderName = "vit_b16"
    """Image encoder."""
    methods: MethodNames = tuple(METHODS)
    """What to compute; the first is the denominator of every ratio."""
    batch_size: Count = 256
    """Images per step and device."""
    world_size: Count = 256
    """Devices; with 256 images on each, the paper's CLIP on DataComp (Table 6b)."""
    resolution: Count = 224
    """Image side in pixels."""
    precision: str = "bf16"
    """fp32, bf16 or fp16."""
    attention: Literal["sdpa", "naive"] = "sdpa"
    """PyTorch's fused attention, or one that writes out every attention matrix; of the image
    encoder.
    """
    checkpointing: bool = False
    """Compute each image block's activations again in the backward pass."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """How weights and gradients are spread over devices; what is kept is given unsharded."""
    num_classes: Count = 24_320
    """Size of CatLIP's vocabulary; the paper's is 24,320."""
    out: Path = Path("runs/bench/analytic")
    """Folder for the record, named by model, batch, devices and precision."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.world_size < 1:
            raise InputError(
                f"batch size {self.batch_size} and world size {self.world_size} must be at least 1"
            )


def costs(factors: Factors, world_size: int) -> dict[str, Any]:
    """All of one method: GFLOPs (1e9) per image, numbers of parameters, GiB kept and MB sent by one
    GPU.
    """
    per_image = 1e9 * factors.batch_size
    objective, kept = objective_of(factors), activation_bytes(factors, world_size)
    heads = forward_flops(objective.matmuls(step_shape(factors, world_size)))
    return {
        "forward_gflops": {
            "image_encoder": image_flops(factors.model, factors.resolution) / 1e9,
            "text_tower": text_flops(objective.text) / 1e9 if objective.text else 0.0,
            "head": heads / per_image,
        },
        "step_gflops_per_image": step_flops(factors, world_size) / per_image,
        "recomputed_gflops_per_image": recomputed_flops(factors) / per_image,
        "parameters": parameters(factors),
        "state_gib": {part: size / GIB for part, size in state_bytes(factors).items()},
        "activations_gib": {part: size / GIB for part, size in kept.items()},
        "peak_gib": peak_bytes(factors, world_size) / GIB,
        "sent_mb": sent_mb(sent(factors, world_size)),
    }


def sent_mb(exchanges: list[Exchange]) -> dict[str, float]:
    """By what is sent, and in total: per rank and step, round a ring."""
    found: dict[str, float] = {}
    for exchange in exchanges:
        found[exchange.what] = found.get(exchange.what, 0.0) + exchange.sent_bytes / 1e6
    return found | {"total": sum(found.values())}


def ratio_with_own_sizes(config: Analytic) -> float:
    """CLIP's operations per image by CatLIP's, each with the image sizes and the devices that it
    was published with.
    """
    clip, catlip = (
        mean_flops_per_sample(factors_of(config, method), recipe.sizes(), recipe.num_devices)
        for method, recipe in (("clip", OWN_SIZES["clip"]), ("catlip", OWN_SIZES["catlip"]))
    )
    return clip / catlip


def main(config: Analytic) -> None:
    """Compute, print, write the record."""
    found = {
        method: costs(factors_of(config, method), config.world_size) for method in config.methods
    }
    name = f"{config.model}-b{config.batch_size}x{config.world_size}-{config.precision}"
    with Record(config.out / f"{name}.json", kind="analytic", config=config) as record:
        first = found[config.methods[0]]["step_gflops_per_image"]
        record.shown_as = shown(config.methods)
        record.metrics = {
            "methods": found,
            "flops_ratios": {
                f"{m}/{config.methods[0]}": found[m]["step_gflops_per_image"] / first
                for m in config.methods[1:]
            },
            "flops_ratio_with_own_sizes": ratio_with_own_sizes(config),
        }
        record.notes.append(
            "computed, not measured; memory is that of a GPU's kernels, without what they take for "
            "themselves"
        )
        print(_table(config, record))
    print(f"wrote {record.path}")


def _table(config: Analytic, record: Record) -> str:
    devices = f"{config.batch_size} images on each of {config.world_size} devices"
    lines = [
        (
            f"{config.model}, {config.resolution} px, {config.precision}, {devices}; per device; "
            "GF "
            "per image, 1e9 operations"
        )
    ]
    titles = (
        "image GF",
        "text GF",
        "head GF",
        "step GF",
        "ratio",
        "again GF",
        "params M",
        "state GiB",
        "kept GiB",
        "peak GiB",
    )
    lines.append(f"{'':14}" + "".join(f"{title:>10}" for title in (*titles, "sent MB")))
    first = record.metrics["methods"][config.methods[0]]["step_gflops_per_image"]
    for method, found in record.metrics["methods"].items():
        step = found["step_gflops_per_image"]
        forward = "".join(f"{value:10.2f}" for value in found["forward_gflops"].values())
        memory = (sum(found[kind].values()) for kind in ("state_gib", "activations_gib"))
        rest = (*memory, found["peak_gib"], found["sent_mb"]["total"])
        counts = f"{sum(found['parameters'].values()) / 1e6:10.1f}"
        costs = f"{step:10.1f}{step / first:10.3f}{found['recomputed_gflops_per_image']:10.1f}"
        lines.append(
            f"{method:14}{forward}{costs}{counts}" + "".join(f"{value:10.2f}" for value in rest)
        )
    own = f"{record.metrics['flops_ratio_with_own_sizes']:.3f}"
    lines.append(
        f"clip/catlip = {own} in operations per image, with the image sizes of each one's released "
        "ViT-B/16 recipe"
    )
    return "\n".join([*lines, *record.notes])


if __name__ == "__main__":
    run(Analytic, main)
