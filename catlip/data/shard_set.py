"""All shards of a data set; a shard is opened when one of its samples is read.

An epoch is planned from the number of samples of each shard, and data sets are told apart by the
digests of their shards. Both are stored in one small file in the user's cache. The first start
reads every shard, on all cores; a later start checks only each shard's size, times and inode. For a
remote shard, both are known once it was indexed, by `catlip.label` for example, and no later start
asks its storage. A remote shard is fetched when it is read; those of the next window are fetched in
the background.
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
MOST_NAMED = 5  # shards that cannot be read, in one message
DIGEST = f"S{DIGEST_DIGITS}"

# Cause -> how many samples of a shard were left out, and the first of them.
Skipped = Mapping[str, tuple[int, str]]


class ShardSet:
    """The shards at `paths`; at most OPEN_SHARDS of them have their index in memory.

    Attributes:
        paths: [S] the tars.
        counts: [S] int64, samples in each.
        digests: [S] bytes, of the content of each.
        skipped: number of a shard -> the samples left out of it; shards without any are absent.
        remote: whether any shard is remote.
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
        """The shard of this number.

        Raises: InputError when it cannot be read, or has changed since it was counted.
        """
        return self._opened(int(number))

    def __reduce__(self) -> tuple[type["ShardSet"], tuple[Any, ...]]:
        # Without the open shards: each worker opens its own.
        return ShardSet, (self.paths, self.counts, self.digests, self.skipped)

    def expect(self, now: NDArray[np.int64], next_: NDArray[np.int64]) -> None:
        """Fetch the remote shards among these in the background.

        Does nothing when both lists are the same as in the last call.

        Args:
            now: numbers of the shards that are read from now on; they are fetched first.
            next_: numbers of the shards that are read after those.
        """
        expected = now.tolist(), next_.tolist()
        if not self.remote or expected == self._expected:
            return
        self._expected = expected
        if self._ahead is None or not self._ahead.here:
            self._ahead = Ahead()
        self._ahead.want(*map(self._remote_paths, expected))

    @property
    def digest(self) -> str:
        """A digest of the content of all shards in their order, without their paths and names."""
        return sha256(self.digests.tobytes()).hexdigest()[:16]

    def skipped_by_cause(self) -> dict[str, int]:
        """Cause -> how many samples of all shards were left out."""
        counts = Counter[str]()
        for by_cause in self.skipped.values():
            counts.update({cause: count for cause, (count, _) in by_cause.items()})
        return dict(counts)

    def first_skipped(self) -> list[str]:
        """The first sample left out of each shard for each cause, as "PATH:NAME (CAUSE)"."""
        lines = []
        for number, by_cause in self.skipped.items():
            for cause, (_, name) in by_cause.items():
                lines.append(f"{self.paths[number]}:{name} ({cause})")
        return lines

    def _remote_paths(self, numbers: Sequence[int]) -> list[Path]:
        return [self.paths[number] for number in numbers if is_remote(self.paths[number])]

    def _open(self, number: int) -> Shard:
        path = self.paths[number]
        shard = open_shard(path, self._ahead.identity_of(path) if self._ahead else None)
        if shard.digest.encode() != self.digests[number]:
            raise InputError(
                f"shard {shard.path} has changed since the start; run the command again"
            )
        return shard


def open_shards(paths: Sequence[Path], quiet: bool = False) -> ShardSet:
    """The shards at `paths`; those that are new or have changed are counted.

    A progress bar is shown on stderr unless `quiet`.

    Raises: InputError that names the shards that are missing or refused.
    """
    statuses = _statuses(paths)
    shards = _known(paths, statuses)
    if new := np.flatnonzero(shards.counts < 0).tolist():
        contents = _contents([paths[number] for number in new], len(paths), quiet)
        for number in new:
            statuses[number] = contents[paths[number]].status
        shards = _counted(shards, new, contents)
        _keep(shards, statuses)
    return shards


def keep_counts(paths: Sequence[Path], counts: NDArray[np.int64]) -> None:
    """Store how many samples each shard has; the counts are used until the shard changes."""
    _keep(ShardSet(paths, counts, np.zeros(len(paths), dtype=DIGEST), skipped={}), _statuses(paths))


def _keep(shards: ShardSet, statuses: NDArray[np.int64]) -> None:
    skipped = np.frombuffer(json.dumps(shards.skipped).encode(), dtype=np.uint8)
    arrays = {"counts": shards.counts, "digests": shards.digests, "statuses": statuses}
    write_to_cache(_counts_file(shards.paths), packed({**arrays, "skipped": skipped}))


def _known(paths: Sequence[Path], statuses: NDArray[np.int64]) -> ShardSet:
    """The shards with the counts in the cache; -1 where it has no valid count."""
    try:
        arrays = unpacked(_counts_file(paths))
        same = (arrays["statuses"] == statuses).all(axis=1)
        counts, digests = np.where(same, arrays["counts"], -1), arrays["digests"].astype(DIGEST)
        if counts.shape != digests.shape or counts.shape != (len(paths),):
            raise ValueError("the counts of other shards")
        skipped: dict[int, Skipped] = {}
        for number, by_cause in json.loads(arrays["skipped"].tobytes()).items():
            skipped[int(number)] = {
                cause: (count, first) for cause, (count, first) in by_cause.items()
            }
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        unknown = np.full(len(paths), -1, dtype=np.int64)
        return ShardSet(paths, unknown, np.zeros(len(paths), dtype=DIGEST), skipped={})
    return ShardSet(paths, counts, digests, skipped=skipped)


def _statuses(paths: Sequence[Path]) -> NDArray[np.int64]:
    """[S, 4], see `status_of`."""
    return np.array([status_of(path) for path in paths], dtype=np.int64).reshape(-1, 4)


def _counts_file(paths: Sequence[Path]) -> Path:
    folder = "" if all(map(is_remote, paths)) else os.getcwd()
    named = "\n".join([f"{EDITION} {folder}", *map(str, paths)])
    return cache_dir("counts") / f"{sha256(named.encode()).hexdigest()[:32]}.npz"


def _contents(new: Sequence[Path], num_shards: int, quiet: bool) -> dict[Path, Content]:
    """What is in the new shards, each opened once.

    Raises: InputError that names the shards that cannot be read.
    """
    paths = list(dict.fromkeys(new))
    num_remote = sum(map(is_remote, paths))
    contents: dict[Path, Content] = {}
    refused: dict[Path, InputError] = {}
    few = len(paths) <= FEW
    hidden = quiet or (few and not num_remote)
    if num_remote and not quiet:
        print(
            f"{num_remote:,} remote shards are looked up; those that were never labelled or read "
            "are fetched once to be counted",
            file=sys.stderr,
        )
    with local(1 if few else len(os.sched_getaffinity(0))) as apply:
        results = apply(content_of, paths)
        for path, result in progress(
            results, "indexing", len(paths), disable=hidden, unit=" shards", leave=False
        ):
            if isinstance(result, OSError):
                raise result
            if isinstance(result, InputError):
                refused[path] = result
            else:
                contents[path] = result
    if refused:
        raise _refusal({path: refused[path] for path in paths if path in refused}, num_shards)
    return contents


def _counted(shards: ShardSet, new: Sequence[int], contents: Mapping[Path, Content]) -> ShardSet:
    """The shards, with the contents of those numbered `new` filled in."""
    counts, digests, skipped = shards.counts.copy(), shards.digests.copy(), dict(shards.skipped)
    for number in new:
        content = contents[shards.paths[number]]
        counts[number], digests[number] = content.count, content.digest.encode()
        skipped[number] = content.skipped
    skipped = {number: by_cause for number, by_cause in skipped.items() if by_cause}
    return ShardSet(shards.paths, counts, digests, skipped=skipped)


def _refusal(errors: Mapping[Path, InputError], num_shards: int) -> InputError:
    """One error for all shards that cannot be read."""
    first = next(iter(errors.values()))
    if len(errors) == 1:
        return first
    names = ", ".join(path.name for path in list(errors)[1:MOST_NAMED])
    more = f" and {len(errors) - MOST_NAMED} more" if len(errors) > MOST_NAMED else ""
    return InputError(
        f"{len(errors)} of {num_shards} shards cannot be read: {first}; also {names}{more}"
    )
