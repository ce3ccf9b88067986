"""Processes that read images for a loader; an error in one becomes one line in the program.

torch sends an error of a worker as the text of its traceback. Here the error is sent as a value,
and raised in the main process.
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
# A worker that is spawned imports torch before its first batch; on a busy machine that takes
# minutes.
START_S = 240


class _Attempts(Dataset[T | InputError | OSError]):
    """The items of a data set, or the error with which one could not be read."""

    def __init__(self, items: Dataset[T]):
        self.items = items

    def __getitem__(self, number: int) -> T | InputError | OSError:
        return attempt(self.items.__getitem__, number)


class Items(Generic[T]):
    """The items of a data set, read in this process or in `num_workers` others.

    The items do not depend on the number of workers.

    A data set gives whole batches. It must be picklable: workers are forked where Python's version
    or `multiprocessing.set_start_method` says so, else spawned. They are not started by a server:
    torch learns of the death of a worker at once only if the worker is its own child.

    Args:
        numbers: which items, in order.
    """

    def __init__(
        self, items: Dataset[T], numbers: range, num_workers: int, pin_memory: bool = False
    ):
        fork = multiprocessing.get_start_method() == "fork"
        self.loader: DataLoader[Any] = DataLoader(
            _Attempts(items),
            sampler=numbers,
            batch_size=None,
            num_workers=num_workers,
            worker_init_fn=_one_thread if num_workers else None,
            prefetch_factor=4 if num_workers else None,
            timeout=(TIMEOUT_S if fork else TIMEOUT_S + START_S) if num_workers else 0,
            multiprocessing_context=("fork" if fork else "spawn") if num_workers else None,
            pin_memory=pin_memory,
        )

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[T]:
        """The items in the order of `numbers`.

        Raises: InputError and OSError from a worker; RuntimeError, which `catlip.cli` reports, when
        a worker dies or hangs.
        """
        try:
            for item in self.loader:
                if isinstance(item, (InputError, OSError)):
                    raise item
                yield item
        except (ConnectionResetError, EOFError) as error:
            raise RuntimeError("DataLoader worker died while it handed over a batch") from error


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
