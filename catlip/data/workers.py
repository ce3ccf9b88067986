"""Processes that read images for a loader; the program reports an error in one of them in one line.

torch sends an error of a worker as the text of its traceback. Here the error is sent as a value,
and raised in the main process.
"""

import io
import multiprocessing
import os
import pickle
import resource
import signal
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from threading import Thread
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from catlip.cli import InputError
from catlip.system.engines import STOPS, attempt, delay_stops
from catlip.system.machine import processors
from catlip.system.urls import is_remote

T = TypeVar("T")

# Seconds to wait for a batch: a worker that is spawned first imports torch, which takes minutes on
# a busy machine, and distant storage is slow.
TIMEOUT_S = 600
# Added where all remote shards of a window may have to be fetched before its first batch. A
# connection that hangs is closed long before that.
FETCH_S = 3600
# Added for the ranks that wait for another one's batch in a collective: they outlast its loader,
# which says what is wrong.
GROUP_MARGIN_S = 300
MAX_AHEAD, AHEAD_BYTES = 4, 2**32  # read ahead: batches per worker, bytes of all workers
# Seconds to wait for the signal of a worker's death, which arrives after its connections close.
DEATH_S = 5
# 64 open shards, batches that are handed over, and as much again for libraries. With fewer, a
# thread of multiprocessing prints a traceback, and the loader waits for a batch that never comes.
MIN_OPEN_FILES = 256


def patience_s(fetches: bool) -> int:
    """Seconds without a batch after which a loader's worker counts as hung."""
    return TIMEOUT_S + FETCH_S * fetches


def group_timeout(shards: Iterable[str]) -> timedelta:
    """How long ranks that train on these shards may wait for each other."""
    return timedelta(seconds=patience_s(any(map(is_remote, shards))) + GROUP_MARGIN_S)


class Items(Generic[T]):
    """The items of a data set, each a whole batch, read in this process or in `num_workers` others,
    on which the items do not depend.

    The data set must be picklable: workers are forked where Python's version or
    `multiprocessing.set_start_method` says so, else spawned. They are not started by a fork server:
    torch learns of the death of a worker at once only if the worker is its child.

    Args:
        num_workers: by default one, or with `pin_memory` all cores of this rank but one. With a
            single core there is none, because a worker would only add the cost of handing over
            batches; but there is one where this core waits for a GPU or for shards to be fetched.
        item_bytes: approximate size of the largest item.
        fetches: whether an item may need files that have to be fetched.
    """

    def __init__(
        self,
        items: Dataset[T],
        numbers: range,
        num_workers: int | None = None,
        *,
        pin_memory: bool = False,
        item_bytes: int = 0,
        fetches: bool = False,
    ):
        if (files := resource.getrlimit(resource.RLIMIT_NOFILE)[0]) < MIN_OPEN_FILES:
            raise InputError(
                f"only {files} files may be open at once, and reading images takes up to "
                f"{MIN_OPEN_FILES}: ulimit -n 1024"
            )
        if num_workers is None:
            # The processor cores of this machine for each rank on it, but for the main process.
            cores = processors() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
            fewest = int(pin_memory or fetches)
            num_workers = max(fewest, cores - 1 if pin_memory else min(1, cores - 1))
        fork = multiprocessing.get_start_method() == "fork"
        # What is read ahead is held in shared memory.
        ahead = min(MAX_AHEAD, AHEAD_BYTES // max(1, num_workers * item_bytes))
        self.loader: DataLoader[Any] = DataLoader(
            _Attempts(items),
            sampler=numbers,
            batch_size=None,  # an item is a whole batch already
            num_workers=num_workers,
            worker_init_fn=_begin_worker if num_workers else None,
            prefetch_factor=max(1, ahead) if num_workers else None,
            timeout=patience_s(fetches) if num_workers else 0,
            multiprocessing_context=("fork" if fork else "spawn") if num_workers else None,
            pin_memory=pin_memory,
        )

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[T]:
        """Raises: RuntimeError, which `catlip.cli` reports, when a worker dies or hangs."""
        try:
            with delay_stops():
                items = iter(self.loader)
            for item in items:
                if isinstance(item, (InputError, OSError)):
                    raise item
                yield item
        except (ConnectionResetError, EOFError) as error:
            # During this wait, torch's signal handler raises an error about the worker. Without the
            # wait, that error would come while this one is reported.
            time.sleep(DEATH_S)
            raise RuntimeError("DataLoader worker died while it handed over a batch") from error


class _Attempts(Dataset[T | InputError | OSError]):
    """The items; an item that cannot be read is replaced by its error."""

    def __init__(self, items: Dataset[T]):
        self.items = items

    def __getitem__(self, number: int) -> T | InputError | OSError:
        item = attempt(self.items.__getitem__, number)
        return item if get_worker_info() is None else attempt(_share, item)


class _Sharing(pickle.Pickler):
    """Moves all tensors of what it pickles to shared memory. If that is full, a thread of torch's
    would print a traceback, and the main process wait until its timeout.
    """

    def persistent_id(self, value: Any) -> str | None:
        if not isinstance(value, Tensor):
            return None
        value.share_memory_()
        return ""


def _share(item: T) -> T:
    try:
        _Sharing(io.BytesIO()).dump(item)
    except RuntimeError as error:
        raise InputError(
            f"shared memory has no room for a batch ({error}); give fewer workers, or make "
            "/dev/shm larger (docker run --shm-size 8g)"
        ) from None
    return item


def _begin_worker(worker: int) -> None:
    torch.set_num_threads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when its parent sends a stop signal, not when others do: a cluster signals
    all processes, and the training needs its workers for a last step.
    """
    while signal.sigwaitinfo(STOPS).si_pid != os.getppid():
        pass
    os._exit(0)
