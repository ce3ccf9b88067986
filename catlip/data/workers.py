"""Processes that read images for a loader: what goes wrong in one is one line in the program.

torch carries an error out of a worker as the text of its traceback. Here it comes as a value, and
is raised where it arrives.
"""

import multiprocessing
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from catlip.cli import InputError
from catlip.system.engines import attempt

T = TypeVar("T")

TIMEOUT_S = 60  # for a batch
# A worker that is not forked imports torch before its first batch; on a busy machine that takes
# minutes.
START_S = 240


class _Attempts(Dataset[T | InputError | OSError]):
    """The items of a data set, or why one cannot be had."""

    def __init__(self, items: Dataset[T]):
        self.items = items

    def __getitem__(self, number: int) -> T | InputError | OSError:
        return attempt(self.items.__getitem__, number)


class Items(Generic[T]):
    """The items of a data set, read by so many other processes, or in this one; they do not depend
    on how many.

    A data set gives whole batches. It must be picklable: workers are forked, spawned or started by
    a server, as Python's version and `multiprocessing.set_start_method` say.

    Args:
        numbers: which items, in order.
    """

    def __init__(
        self, items: Dataset[T], numbers: range, num_workers: int, pin_memory: bool = False
    ):
        self.loader: DataLoader[Any] = DataLoader(
            _Attempts(items),
            sampler=numbers,
            batch_size=None,
            num_workers=num_workers,
            worker_init_fn=_one_thread if num_workers else None,
            prefetch_factor=4 if num_workers else None,
            timeout=_timeout_s() if num_workers else 0,
            pin_memory=pin_memory,
        )

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[T]:
        """Raises: InputError and OSError as in a worker; RuntimeError when one dies or hangs, which
        `catlip.cli` knows.
        """
        for item in self.loader:
            if isinstance(item, (InputError, OSError)):
                raise item
            yield item


def _timeout_s() -> int:
    return TIMEOUT_S + (0 if multiprocessing.get_start_method() == "fork" else START_S)


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
