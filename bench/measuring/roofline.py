"""The least time of a step by its operations: each takes at least its FLOPs at the rate of a large
matrix product, and at least its bytes at the rate of a large copy in memory, whichever is longer.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, shape_wrapper

from catlip.system.flops import FORMULAS

FLOPS: Mapping[Any, Callable[..., int]] = {
    **flop_registry,
    **{operation: shape_wrapper(count) for operation, count in FORMULAS.items()},
}
# What does not move each of its arguments once, by name: `new_zeros`, `zeros_like` and the like
# read only a shape.
UNWRITTEN = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
OVERWRITING = {"copy_", "zero_", "fill_", "normal_", "uniform_", "bernoulli_", "random_"}
OVERWRITING |= {"_foreach_copy_", "_foreach_zero_"}
# The first read what they return, the second change some rows of a target.
PICKING = {"embedding", "_embedding_bag", "index", "index_select", "gather"}
PUTTING = {"index_put_", "_index_put_impl_", "index_add_", "index_copy_"}
PUTTING |= {"scatter_", "scatter_add_"}


class Operations(TorchDispatchMode):
    """Counts the FLOPs, and the bytes read plus written, of each operation while it is active. A
    view moves none, and what is read or written twice counts once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[tuple[int, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        count = FLOPS.get(func.overloadpacket)
        flops = count(*args, **kwargs, out_val=result) if count else 0
        self.counted.append((flops, _bytes_moved(func, args, kwargs, result)))
        return result

    def least_seconds(self, flops_per_s: float, bytes_per_s: float) -> float:
        return sum(max(flops / flops_per_s, moved / bytes_per_s) for flops, moved in self.counted)


def _bytes_moved(func: Any, args: Any, kwargs: Any, result: Any) -> int:
    name = func.overloadpacket.__name__
    schema = func._schema.arguments
    given = dict(zip((one.name for one in schema), args, strict=False)) | kwargs
    changed = _bytes_by_storage(
        [
            given.get(one.name)
            for one in schema
            if one.alias_info is not None
            and one.alias_info.is_write
            and (name, one.name) != ("_fused_adamw_", "grads")  # changed by a gradient scale alone
        ]
    )
    read = _bytes_by_storage([given.get(one.name) for one in schema if not one.is_out])
    made = {key: size for key, size in _bytes_by_storage(result).items() if key not in read}
    if name in UNWRITTEN or not (made or changed):
        return 0
    if name in PUTTING:  # the rows read and written, and what is added to them read
        largest = max((v for key, v in read.items() if key not in changed), default=0)
        return 3 * largest
    if name in PICKING:
        read = made
    elif name in OVERWRITING:
        read = {key: size for key, size in read.items() if key not in changed}
    elif name.startswith("new_") or name.endswith("_like"):
        read = {}
    return sum(read.values()) + sum((made | changed).values())


def _bytes_by_storage(tree: Any) -> dict[int, int]:
    """The address of each storage in a tree -> the bytes of it that the tree's tensors have."""
    parts: dict[int, dict[Any, Tensor]] = {}
    for leaf in tree_leaves(tree):
        if isinstance(leaf, Tensor):
            where = (leaf.storage_offset(), leaf.shape, leaf.stride())
            parts.setdefault(leaf.untyped_storage()._cdata, {})[where] = leaf
    return {
        storage: min(
            sum(tensor.nbytes for tensor in tensors.values()),
            next(iter(tensors.values())).untyped_storage().nbytes(),
        )
        for storage, tensors in parts.items()
    }
