"""Counts the floating-point operations of work while it runs; a multiply-add counts as two."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils.flop_counter import (
    FlopCounterMode,
    conv_flop_count,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

aten = torch.ops.aten
CPU_ATTENTION = aten._scaled_dot_product_flash_attention_for_cpu
CPU_ATTENTION_BACKWARD = aten._scaled_dot_product_flash_attention_for_cpu_backward


def _convolution_backward(
    grad: list[int], images: list[int], weight: list[int], *how: Any, **_: Any
) -> int:
    """Each gradient takes as many operations as the forward pass. torch's own formula counts the
    weight's as if all channels were one group.
    """
    transposed, wanted = how[4], how[7]
    return conv_flop_count(images, weight, grad, transposed) * sum(wanted[:2])


# Where torch's counter has no formula, or a wrong one.
FORMULAS: Mapping[Any, Callable[..., int]] = {
    aten.convolution_backward: _convolution_backward,
    CPU_ATTENTION: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    CPU_ATTENTION_BACKWARD: lambda grad, *qkv, **_: sdpa_backward_flop_count(grad, *qkv[:3]),
}


def count_flops(work: Callable[[], object], recompute: bool = True) -> int:
    """FLOPs of `work`; without `recompute` less the scores of fused attention, which its backward
    pass on a CPU computes once more.
    """
    formulas = dict(FORMULAS)
    if not recompute:
        formulas[CPU_ATTENTION_BACKWARD] = lambda grad, *qkv, **_: 2 * sdpa_flop_count(*qkv[:3])
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        work()
    return counter.get_total_flops()
