"""The least time of a step by its operations: each takes at least its FLOPs at the rate of a large
matrix product, and at least its bytes at the rate of a large copy in memory, whichever is longer.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, shape_wrapper

from catlip.recipes.dry_run import CPU_ATTENTION

aten = torch.ops.aten
UNWRITTEN = {aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty}
UNREAD = {aten.copy_, aten.zero_, aten.fill_}  # what they write to
PICKED = {aten.embedding, aten.index, aten.index_select, aten.gather}  # read what they return
FLOPS: Mapping[Any, Callable[..., int]] = {
    **flop_registry,
    **{operation: shape_wrapper(count) for operation, count in CPU_ATTENTION.items()},
}


class Operations(TorchDispatchMode):
    """Counts the FLOPs, and the bytes read plus written, of each operation while it is active. A
    view moves none, a tensor that is expanded its storage.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[tuple[int, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        packet = func.overloadpacket
        count = FLOPS.get(packet)
        flops = count(*args, **kwargs, out_val=result) if count else 0
        self.counted.append((flops, _bytes_moved(func, packet, args, kwargs, result)))
        return result

    def least_seconds(self, flops_per_s: float, bytes_per_s: float) -> float:
        return sum(max(flops / flops_per_s, moved / bytes_per_s) for flops, moved in self.counted)


def _bytes_moved(func: Any, packet: Any, args: Any, kwargs: Any, result: Any) -> int:
    read = _tensors((args, kwargs))
    changed = dict[int, Tensor]()
    for argument, value in zip(func._schema.arguments, args, strict=False):
        if argument.alias_info is not None and argument.alias_info.is_write:
            changed |= _tensors(value)
    made = {key: tensor for key, tensor in _tensors(result).items() if key not in read}
    if packet in UNWRITTEN or not (made or changed):
        return 0
    written = made | changed
    if packet in UNREAD:
        read = {key: tensor for key, tensor in read.items() if key not in changed}
    elif packet in PICKED:
        read = made
    return sum(map(_nbytes, (*read.values(), *written.values())))


def _tensors(tree: Any) -> dict[int, Tensor]:
    """The address of each storage in a tree -> a tensor of it."""
    tensors = (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
    return {tensor.untyped_storage()._cdata: tensor for tensor in tensors}


def _nbytes(tensor: Tensor) -> int:
    return min(tensor.nbytes, tensor.untyped_storage().nbytes())
