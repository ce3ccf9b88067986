"""All shards of a data set, opened when a sample of theirs is asked for.

To plan an epoch takes the number of samples of each shard and no more, so the counts of a set are kept in one small file of
the user's cache. The first start walks every shard, over all cores; a later one looks at each shard's size and time.
"""

import functools
import io
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catlip.cache import cache_dir
from catlip.cli import InputError
from catlip.data.shards import OPEN_SHARDS, Shard, open_shard
from catlip.engines import local
from catlip.progress import progress
from catlip.record import write_atomically

FEW = 16  # shards are counted here before other processes have started


class ShardSet:
    """The shards at `paths`; at most OPEN_SHARDS of them have their index in memory.

    Attributes:
        paths: [S] the tars.
        counts: [S] int64, samples in each.
    """

    def __init__(self, paths: Sequence[Path], counts: NDArray[np.int64]):
        self.paths = paths
        self.counts = counts
        self._opened = functools.lru_cache(maxsize=OPEN_SHARDS)(self._open)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Shard:
        """The shard of this number. Raises: InputError when it cannot be read, or has other samples than were counted."""
        return self._opened(int(number))

    def __reduce__(self) -> tuple[type["ShardSet"], tuple[Sequence[Path], NDArray[np.int64]]]:
        return ShardSet, (self.paths, self.counts)  # a worker opens shards of its own

    def _open(self, number: int) -> Shard:
        if number >= len(self):
            raise IndexError(number)
        shard = open_shard(self.paths[number])
        if len(shard) != self.counts[number]:
            raise InputError(f"shard {shard.path} changed from {self.counts[number]} to {len(shard)} samples; start again")
        return shard


def open_shards(paths: Sequence[Path], quiet: bool = False) -> ShardSet:
    """The shards at `paths`, counted if they are new or changed; the progress bar is on stderr unless `quiet`.

    Raises: InputError for the first shard that is missing or refused.
    """
    sizes_and_times = _sizes_and_times(paths)
    counts = _known_counts(paths, sizes_and_times)
    if new := np.flatnonzero(counts < 0).tolist():
        counts[new] = _count([paths[number] for number in new], quiet)
        keep_counts(paths, counts, sizes_and_times)
    return ShardSet(paths, counts)


def keep_counts(paths: Sequence[Path], counts: NDArray[np.int64], sizes_and_times: NDArray[np.int64] | None = None) -> None:
    """Note in the user's cache how many samples each shard has, as long as its size and time stay what they are."""
    if sizes_and_times is None:
        sizes_and_times = _sizes_and_times(paths)
    buffer = io.BytesIO()
    np.savez(buffer, counts=counts, sizes_and_times=sizes_and_times)
    write_atomically(_counts_file(paths), buffer.getvalue())


def _known_counts(paths: Sequence[Path], sizes_and_times: NDArray[np.int64]) -> NDArray[np.int64]:
    """[S] samples of each shard, -1 where it is not known."""
    file = _counts_file(paths)
    if not file.exists():
        return np.full(len(paths), -1, dtype=np.int64)
    with np.load(file, allow_pickle=False) as kept:
        same = (kept["sizes_and_times"] == sizes_and_times).all(axis=1)
        return np.where(same, kept["counts"], -1)


def _sizes_and_times(paths: Sequence[Path]) -> NDArray[np.int64]:
    found = np.empty((len(paths), 2), dtype=np.int64)
    for number, path in enumerate(paths):
        try:
            status = os.stat(path)
        except FileNotFoundError:
            raise InputError(f"shard {path} does not exist") from None
        found[number] = status.st_size, status.st_mtime_ns
    return found


def _counts_file(paths: Sequence[Path]) -> Path:
    named = "\n".join([os.getcwd(), *map(str, paths)])
    return cache_dir("counts") / f"{sha256(named.encode()).hexdigest()[:32]}.npz"


def _count(paths: Sequence[Path], quiet: bool) -> list[int]:
    counts: dict[Path, int] = {}
    with local(len(os.sched_getaffinity(0)) if len(paths) > FEW else 1) as apply:
        for path, result in progress(
            apply(_samples, paths), "indexing", len(paths), disable=quiet or len(paths) <= FEW, unit=" shards", leave=False
        ):
            if isinstance(result, Exception):
                raise result
            counts[path] = result
    return [counts[path] for path in paths]


def _samples(path: Path) -> int:
    return len(open_shard(path))
