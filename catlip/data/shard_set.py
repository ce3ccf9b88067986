"""All shards of a data set; a shard is opened when one of its samples is read.

The number of samples of each shard, from which an epoch is planned, and the digests, by which data
sets are told apart, are stored in one small file in the user's cache. The first start reads every
shard, on all cores; a later start checks only each shard's size, times and inode. A remote shard,
once indexed, is not asked for at a start; those of the next window are fetched in the background.
"""

import functools
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catlip.cli import InputError
from catlip.data.remote import Ahead
from catlip.data.shards import OPEN_SHARDS, Content, Shard, content_of, open_shard, status_of
from catlip.data.tar_index import DIGEST_DIGITS, EDITION
from catlip.program.progress import progress
from catlip.system.cache import cache_dir, packed, unpacked, write_to_cache
from catlip.system.engines import local
from catlip.system.urls import is_remote

FEW = 16  # up to this many shards are counted in this process: starting others would take longer
MAX_NAMED = 5  # shards that cannot be read, in one message
DIGEST = f"S{DIGEST_DIGITS}"

# Cause -> how many samples of a shard were left out, and the first of them.
Skipped = Mapping[str, tuple[int, str]]


class ShardSet:
    """The shards at `paths` [S]; at most OPEN_SHARDS of them have their index in memory.

    Attributes:
        counts, digests: [S] how many samples each has, int64, and the digest of its content, bytes.
        skipped: number of a shard -> the samples left out of it; shards without any are absent.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        counts: NDArray[np.int64],
        digests: NDArray[np.bytes_],
        skipped: Mapping[int, Skipped],
    ):
        self.paths = paths
        self.counts = counts
        self.digests = digests
        self.skipped = skipped
        self.remote = any(map(is_remote, paths))
        self._opened = functools.lru_cache(maxsize=OPEN_SHARDS)(self._open)
        self._ahead: Ahead | None = None
        self._expected: tuple[list[int], list[int]] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Shard:
        """The shard of this number, which must be as it was when it was counted."""
        return self._opened(int(number))

    def __reduce__(self) -> tuple[type["ShardSet"], tuple[Any, ...]]:
        # Without the open shards: each worker opens its own.
        return ShardSet, (self.paths, self.counts, self.digests, self.skipped)

    def expect(self, now: NDArray[np.int64], next_: NDArray[np.int64]) -> None:
        """Fetch the remote shards among these in the background: those that are read `now` first,
        then those that are read after them.
        """
        expected = now.tolist(), next_.tolist()
        if not self.remote or expected == self._expected:
            return
        self._expected = expected
        if self._ahead is None or self._ahead.process != os.getpid():
            self._ahead = Ahead()
        paths = [[self.paths[number] for number in numbers] for numbers in expected]
        self._ahead.want(*(list(filter(is_remote, of_window)) for of_window in paths))

    @property
    def digest(self) -> str:
        """Of the content of all shards in their order, without their paths and names."""
        return sha256(self.digests.tobytes()).hexdigest()[:16]

    def skipped_by_cause(self) -> dict[str, int]:
        counts = Counter[str]()
        for by_cause in self.skipped.values():
            counts.update({cause: count for cause, (count, _) in by_cause.items()})
        return dict(counts)

    def first_skipped(self) -> list[str]:
        """The first sample left out of each shard for each cause, as "PATH:NAME (CAUSE)"."""
        return [
            f"{self.paths[number]}:{name} ({cause})"
            for number, by_cause in self.skipped.items()
            for cause, (_, name) in by_cause.items()
        ]

    def _open(self, number: int) -> Shard:
        path = self.paths[number]
        shard = open_shard(path, self._ahead.identities.get(path) if self._ahead else None)
        if shard.digest.encode() != self.digests[number]:
            raise InputError(f"shard {path} has changed since the start; run the command again")
        return shard


def open_shards(paths: Sequence[Path], quiet: bool = False) -> ShardSet:
    """The shards at `paths`; those that are new or have changed are counted."""
    statuses = _statuses(paths)
    counts, digests, skipped = _known(paths, statuses)
    if new := np.flatnonzero(counts < 0).tolist():
        contents = _contents(list(dict.fromkeys(paths[number] for number in new)), quiet)
        for number in new:
            statuses[number], counts[number], digest, left_out = contents[paths[number]]
            digests[number] = digest.encode()
            skipped.pop(number, None)
            if left_out:
                skipped[number] = left_out
        _keep(paths, counts, digests, skipped=skipped, statuses=statuses)
    return ShardSet(paths, counts, digests, skipped)


def _statuses(paths: Sequence[Path]) -> NDArray[np.int64]:
    """[S, 4], see `status_of`."""
    return np.array([status_of(path) for path in paths], dtype=np.int64).reshape(-1, 4)


def _counts_file(paths: Sequence[Path]) -> Path:
    folder = "" if all(map(is_remote, paths)) else os.getcwd()
    named = "\n".join([f"{EDITION} {folder}", *map(str, paths)])
    return cache_dir("counts") / f"{sha256(named.encode()).hexdigest()[:32]}.npz"


def _keep(
    paths: Sequence[Path],
    counts: NDArray[np.int64],
    digests: NDArray[np.bytes_],
    *,
    skipped: Mapping[int, Skipped],
    statuses: NDArray[np.int64],
) -> None:
    text = np.frombuffer(json.dumps(skipped).encode(), dtype=np.uint8)
    arrays = {"counts": counts, "digests": digests, "statuses": statuses, "skipped": text}
    write_to_cache(_counts_file(paths), packed(arrays))


def _known(
    paths: Sequence[Path], statuses: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bytes_], dict[int, Skipped]]:
    """Counts, digests and skipped samples from the cache; the count of an unknown shard is -1."""
    try:
        arrays = unpacked(_counts_file(paths))
    except (FileNotFoundError, ValueError):
        return np.full(len(paths), -1), np.zeros(len(paths), dtype=DIGEST), {}
    same = (arrays["statuses"] == statuses).all(axis=1)
    skipped = json.loads(arrays["skipped"].tobytes()).items()
    return (
        np.where(same, arrays["counts"], -1),
        arrays["digests"].astype(DIGEST),
        {int(number): by_cause for number, by_cause in skipped},
    )


def _contents(paths: Sequence[Path], quiet: bool) -> dict[Path, Content]:
    """What is in these shards; one InputError for all that cannot be read."""
    num_remote = sum(map(is_remote, paths))
    if num_remote and not quiet:
        print(
            f"{num_remote:,} remote shards are looked up; those that were never labelled or read "
            "are fetched once to be counted",
            file=sys.stderr,
        )
    few = len(paths) <= FEW
    with local(1 if few else len(os.sched_getaffinity(0))) as apply:
        results = progress(
            apply(content_of, paths),
            "indexing",
            len(paths),
            disable=quiet or (few and not num_remote),
            unit=" shards",
            leave=False,
        )
        contents = dict(results)
    errors = [contents[path] for path in paths if isinstance(contents[path], Exception)]
    for error in errors:
        if isinstance(error, OSError):
            raise error
    if errors:
        more = f" (and {len(errors) - MAX_NAMED} more)" if len(errors) > MAX_NAMED else ""
        raise InputError("; ".join(map(str, errors[:MAX_NAMED])) + more)
    return contents
