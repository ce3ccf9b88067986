"""What the vendors' datasheets say of GPUs: how fast, how large, and how they are connected."""

import re
from dataclasses import dataclass

SLOWEST_LINK = "pcie4_8x_100gbit"  # of devices whose link is not known


@dataclass(frozen=True)
class Gpu:
    """One GPU by its datasheet.

    Attributes:
        memory_gb: of the device, in the vendor's GB.
        tflops: dense, by precision; fp32 without tensor cores.
        link: how it is usually connected, one of bench.arithmetic.link.PRESETS.
    """

    memory_gb: float
    tflops: dict[str, float]
    link: str = SLOWEST_LINK


# Of two names that begin alike, the longer comes first.
GPUS: dict[str, Gpu] = {
    "H200": Gpu(141, {"bf16": 989, "fp16": 989, "fp32": 67}, "h100_8x_nvlink_400gbit"),
    "H100 PCIe": Gpu(80, {"bf16": 756, "fp16": 756, "fp32": 51}),
    "H100 NVL": Gpu(94, {"bf16": 835, "fp16": 835, "fp32": 60}),
    "H100": Gpu(80, {"bf16": 989, "fp16": 989, "fp32": 67}, "h100_8x_nvlink_400gbit"),
    "A100": Gpu(80, {"bf16": 312, "fp16": 312, "fp32": 19.5}, "a100_8x_nvlink_200gbit"),
    "A10G": Gpu(24, {"bf16": 70, "fp16": 70, "fp32": 35}),
    "L40S": Gpu(48, {"bf16": 362, "fp16": 362, "fp32": 91.6}),
    "L4": Gpu(24, {"bf16": 121, "fp16": 121, "fp32": 30.3}),
    "V100": Gpu(32, {"fp16": 125, "fp32": 15.7}),
    "T4": Gpu(16, {"fp16": 65, "fp32": 8.1}),
    "RTX 4090": Gpu(24, {"bf16": 165, "fp16": 165, "fp32": 82.6}),
    "RTX 3090": Gpu(24, {"bf16": 71, "fp16": 71, "fp32": 35.6}),
}


def gpu_of(device: str) -> Gpu | None:
    """The GPU that a device's name holds, in either case; None for any other device."""
    return next(
        (gpu for name, gpu in GPUS.items() if re.search(rf"\b{name}\b", device, re.IGNORECASE)),
        None,
    )


def datasheet_tflops(device: str, precision: str) -> float | None:
    """TFLOP/s that the datasheet of a GPU of this name states for dense products, or None."""
    gpu = gpu_of(device)
    return gpu.tflops.get(precision) if gpu else None
