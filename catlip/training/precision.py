"""The precisions of a training, and whether a processor supports them."""

import functools
import sys

import torch

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context of a forward pass in that precision; with fp32 it does nothing."""
    return torch.autocast(device.type, dtype=AUTOCAST.get(precision), enabled=precision in AUTOCAST)


@functools.cache  # a program that trains many small classifiers says it once
def warn_if_emulated(device: torch.device, precision: str) -> None:
    """Print a warning if the processor has no instructions for that precision.

    Matrix products then take some 70 times as long as in fp32. Of x86 processors, those with
    AVX-512 have instructions for bf16; most laptops do not.
    """
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return
    has = torch.ops.mkldnn
    native = {"bf16": has._is_mkldnn_bf16_supported, "fp16": has._is_mkldnn_fp16_supported}
    if precision in native and not native[precision]():
        print(
            f"this processor only emulates {precision}, which takes many times as long as fp32: "
            "give --precision fp32",
            file=sys.stderr,
        )
