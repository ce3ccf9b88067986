"""How many bytes of tensors are alive, now and at most so far: for a CPU, which has no allocator
that can be asked.

    with LiveStorage(held) as live:
        step(batch)
    live.peak_bytes

Each operator's results are counted by storage, so that views count once, from when they are made
until nothing refers to them. The work space of a running kernel, and what the system's allocator
keeps, are not counted.
"""

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveStorage(TorchDispatchMode):
    """Counts what is alive while it is entered.

    Args:
        held: tensors that exist already, to be counted too.
    Attributes:
        bytes, peak_bytes: now, and at most so far.
    """

    def __init__(self, held: Iterable[Tensor] = ()):
        super().__init__()
        self.bytes = self.peak_bytes = 0
        self._known: set[int] = set()
        for tensor in held:
            self._count(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **kwargs or {})
        for result in tree_leaves(results):
            if isinstance(result, Tensor):
                self._count(result)
        return results

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._known:
            return
        self._known.add(storage._cdata)
        self.bytes += storage.nbytes()
        self.peak_bytes = max(self.peak_bytes, self.bytes)
        weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())

    def _forget(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.bytes -= size
