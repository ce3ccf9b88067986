"""How many bytes of tensors are alive, for a CPU, which has no allocator that can be asked; and
what autograd keeps between the forward and the backward pass, by the part that it is kept for.
"""

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from catlip.data.loader import Batch
from catlip.training.trainer import Trainer

# Member of an objective -> name of the part.
TOWERS = {"image_encoder": "image_encoder", "text_encoder": "text_tower"}
REST = "logits"  # heads, embeddings, logits and targets


class LiveStorage(TorchDispatchMode):
    """Counts the bytes of what is alive while it is entered, now and at most; the `existing`
    tensors count from the start.

    Each operator's results are counted by storage, so that views count once, from when they are
    made until nothing refers to them. The work space of a running kernel, and what the system's
    allocator keeps, are not counted.
    """

    def __init__(self, existing: Iterable[Tensor] = ()):
        super().__init__()
        self.bytes = self.peak_bytes = 0
        self._known: set[int] = set()
        for tensor in existing:
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


class SavedTensors(saved_tensors_hooks):
    """While entered, notes each storage that autograd saves, once, for the part that saves it
    first: a member of `objective` in TOWERS, or else REST. Storages in `excluded` do not count.
    """

    def __init__(self, objective: nn.Module, excluded: set[int]):
        super().__init__(self._keep, lambda tensor: tensor)
        self._excluded, self._part = excluded, REST
        self._saved: dict[int, tuple[StorageWeakRef, str, int]] = {}
        for member, part in TOWERS.items():
            if hasattr(objective, member):
                tower = objective.get_submodule(member)
                tower.register_forward_pre_hook(lambda *_, part=part: self._enter(part))
                tower.register_forward_hook(lambda *_: self._enter(REST))

    def bytes(self) -> dict[str, int]:
        """Bytes of what is still kept, by part."""
        by_part = dict.fromkeys((*TOWERS.values(), REST), 0)
        for reference, part, size in self._saved.values():
            by_part[part] += 0 if reference.expired() else size
        return by_part

    def _enter(self, part: str) -> None:
        self._part = part

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        known = self._saved.get(storage._cdata)
        # A new storage can have the address of an expired one: checkpointing drops tensors, and
        # others take their place.
        if storage._cdata not in self._excluded and (known is None or known[0].expired()):
            self._saved[storage._cdata] = StorageWeakRef(storage), self._part, storage.nbytes()
        # An operation's result that is kept with its history would keep itself alive for ever.
        return tensor.detach()


def saved_bytes(trainer: Trainer, batch: Batch) -> dict[str, int]:
    """Bytes of what one forward pass keeps, by part, without parameters, buffers and the batch."""
    objective = trainer.objective
    known = [*objective.parameters(), *objective.buffers(), *tensors_of(batch)]
    saved = SavedTensors(objective, {tensor.untyped_storage()._cdata for tensor in known})
    with saved:
        loss = trainer.loss(batch)
    by_part = saved.bytes()
    del loss  # until here, the loss held what was saved
    return by_part


def tensors_of(batch: Batch) -> list[Tensor]:
    tensors = [batch.images]
    if batch.labels is not None:
        tensors += [batch.labels.values, batch.labels.offsets]
    if batch.tokens is not None:
        tensors.append(batch.tokens)
    return tensors
