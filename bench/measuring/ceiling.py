"""What a device reaches in large matrix products, and what its datasheet promises: MFU is a share
of the one or the other.
"""

import re

import torch

from bench.measuring.statistics import summarise
from catlip.kinds import Ceiling
from catlip.matmul import matmul_flops_per_s

# Dense TFLOP/s of the vendor's datasheets; fp32 without tensor cores. Of two that begin alike, the
# longer comes first.
DATASHEETS: dict[str, dict[str, float]] = {
    "H200": {"bf16": 989, "fp16": 989, "fp32": 67},
    "H100 PCIe": {"bf16": 756, "fp16": 756, "fp32": 51},
    "H100": {"bf16": 989, "fp16": 989, "fp32": 67},
    "A100": {"bf16": 312, "fp16": 312, "fp32": 19.5},
    "A10G": {"bf16": 70, "fp16": 70, "fp32": 35},
    "L40S": {"bf16": 362, "fp16": 362, "fp32": 91.6},
    "L4": {"bf16": 121, "fp16": 121, "fp32": 30.3},
    "V100": {"fp16": 125, "fp32": 15.7},
    "T4": {"fp16": 65, "fp32": 8.1},
    "RTX 4090": {"bf16": 165, "fp16": 165, "fp32": 82.6},
    "RTX 3090": {"bf16": 71, "fp16": 71, "fp32": 35.6},
}


def measure_ceiling(device: torch.device, precision: str) -> Ceiling:
    """The measured ceiling with its spread, and the datasheet's where it is known."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return Ceiling(
        precision=precision,
        tflops=summarise([rate / 1e12 for rate in matmul_flops_per_s(device, precision)]),
        datasheet_tflops=datasheet_tflops(name, precision),
    )


def datasheet_tflops(device_name: str, precision: str) -> float | None:
    """TFLOP/s that the datasheet of a GPU of this name states for dense products, or None."""
    return next(
        (
            rates.get(precision)
            for name, rates in DATASHEETS.items()
            if re.search(rf"\b{name}\b", device_name)
        ),
        None,
    )
