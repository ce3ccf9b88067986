"""Which attention kernel runs: PyTorch chooses one for each call, by device, type, shape and mask.

The choice is visible where operations are dispatched, also in modules of other libraries. Compiled
blocks are not watched: if they were, they would run uncompiled, and with other rounding.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from catlip.records.record import note_attention

KERNELS = {
    "aten::_scaled_dot_product_flash_attention": "flash",
    "aten::_scaled_dot_product_flash_attention_for_cpu": "flash",
    "aten::_scaled_dot_product_efficient_attention": "efficient",
    "aten::_scaled_dot_product_cudnn_attention": "cudnn",
    # In inference mode the first of these two is dispatched. Otherwise only its parts are; the
    # second is one of them, and nothing else uses it.
    "aten::_scaled_dot_product_attention_math": "math",
    "aten::_safe_softmax": "math",
}


class _Watch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        # In inference mode this operation is dispatched before its kernel is chosen.
        if name == "aten::scaled_dot_product_attention":
            with self:
                return func.decompose(*args, **(kwargs or {}))
        if name in KERNELS:
            note_attention([KERNELS[name]])
        return func(*args, **(kwargs or {}))


def note_kernels(module: nn.Module, wanted: bool = True) -> AbstractContextManager[object]:
    """A context for a forward pass of `module` that notes its attention kernels in the record."""
    if not wanted or any(part._compiled_call_impl is not None for part in module.modules()):
        return nullcontext()
    return _Watch()
