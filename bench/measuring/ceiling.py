"""What a device reaches in large matrix products, and what its datasheet promises: the two rates
that MFU is a fraction of.
"""

import torch

from bench.arithmetic.devices import datasheet_tflops
from bench.measuring.statistics import summarise
from bench.step_time.result import Ceiling
from catlip.matmul import matmul_flops_per_s


def measure_ceiling(device: torch.device, precision: str) -> Ceiling:
    """The measured ceiling with its spread, and the datasheet's where it is known."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return Ceiling(
        precision=precision,
        tflops=summarise([rate / 1e12 for rate in matmul_flops_per_s(device, precision)]),
        datasheet_tflops=datasheet_tflops(name, precision),
    )
