"""All shards of a data set; a shard is opened when one of its samples is read.

The number of samples of each shard, from which an epoch is planned, and the digests, by which data
sets are told apart, are stored in one small file in the user's cache. The first start reads every
shard, on all cores; a later start checks only each shard's size, times and inode. A remote shard,
once indexed, is not asked for at a start; the shards of the next window are fetched in the
background.
"""

import functools
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from catlip.cli import InputError
from catlip.data.remote import Prefetcher, identities_of, size_in, warn_if_above_cache
from catlip.data.shards import OPEN_SHARDS, Shard, open_shard, read_index, status_of
from catlip.data.starter import edition_of
from catlip.data.tar_index import DIGEST_DIGITS
from catlip.program.progress import progress
from catlip.system.cache import cache_dir, npz_bytes, read_npz, write_to_cache
from catlip.system.engines import worker_pool
from catlip.system.machine import processors
from catlip.system.urls import is_remote

EDITION = 5  # raised whenever the same shards give other counts, digests or skipped samples
FEW = 16  # up to this many shards are counted in this process: starting others would take longer
MAX_NAMED = 5  # shards that cannot be read, in one message; samples left out, for each cause
DIGEST = f"S{DIGEST_DIGITS}"

# Cause -> how many samples were left out, and the first of some shards as PATH:NAME.
Skipped = Mapping[str, tuple[int, list[str]]]


@dataclass(eq=False)
class ShardSet:
    """The shards at `paths` [S]; at most OPEN_SHARDS of them have their index in memory. `counts`
    [S] are numbers of samples, `digests` [S] of the contents.
    """

    paths: Sequence[Path]
    counts: NDArray[np.int64]
    digests: NDArray[np.bytes_]
    skipped: Skipped

    def __post_init__(self) -> None:
        self.remote = any(map(is_remote, self.paths))
        self._opened = functools.lru_cache(maxsize=OPEN_SHARDS)(self._open)
        self._prefetcher: Prefetcher | None = None
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
        """Fetch the remote shards among these in the background, those that are read now first."""
        expected = now.tolist(), next_.tolist()
        if expected == self._expected:
            return
        self._expected = expected
        if self._prefetcher is None or self._prefetcher.process != os.getpid():
            self._prefetcher = Prefetcher()
        windows = [[self.paths[number] for number in numbers] for numbers in expected]
        self._prefetcher.prefetch(*(list(filter(is_remote, window)) for window in windows))

    @property
    def digest(self) -> str:
        """A digest of the content of all shards in their order, without their paths and names."""
        return sha256(self.digests.tobytes()).hexdigest()[:16]

    def identity(self) -> dict[str, Any]:
        """What a record says of the data, computed when the shards were indexed."""
        identity = {"digest": self.digest, "samples": int(self.counts.sum())}
        return identity | edition_of(self.paths[0].parent)

    def skipped_by_cause(self) -> dict[str, int]:
        return {cause: count for cause, (count, _) in self.skipped.items()}

    def first_skipped(self) -> list[str]:
        return [f"{name} ({cause})" for cause, (_, names) in self.skipped.items() for name in names]

    def _open(self, number: int) -> Shard:
        path = self.paths[number]
        known = self._prefetcher.identities if self._prefetcher else {}
        shard = open_shard(path, known.get(path))
        if shard.digest.encode() != self.digests[number]:
            raise InputError(f"shard {path} has changed since the start; run the command again")
        return shard


def open_shards(
    paths: Sequence[Path], quiet: bool = False, patterns: Sequence[str] = ()
) -> ShardSet:
    """The shards at `paths`; they are counted unless the cache has their counts. With the patterns
    that the user gave for them, a line on stderr warns of remote shards that the cache cannot hold.
    """
    folder = "" if all(map(is_remote, paths)) else os.getcwd()
    named = "\n".join([f"{EDITION} {folder}", *map(str, paths)])
    file = cache_dir("counts") / f"{sha256(named.encode()).hexdigest()[:32]}.npz"
    with suppress(FileNotFoundError, ValueError):
        arrays = read_npz(file)
        if np.array_equal(arrays["statuses"], [status_of(path) for path in paths]):
            skipped = json.loads(arrays["skipped"].tobytes())
            warn_if_above_cache(patterns, int(arrays["remote_bytes"]))
            return ShardSet(paths, arrays["counts"], arrays["digests"], skipped)
    identities = identities_of(list(filter(is_remote, dict.fromkeys(paths))))
    remote_bytes = sum(map(size_in, identities.values()))
    warn_if_above_cache(patterns, remote_bytes)  # before they are fetched to be counted
    contents = _contents(paths, quiet)
    counts = np.array([content.num_samples for content in contents], dtype=np.int64)
    digests = np.array([content.digest.encode() for content in contents], dtype=DIGEST)
    skipped = {}
    for path, content in zip(paths, contents, strict=True):
        for cause, (count, name) in content.skipped.items():
            before, names = skipped.get(cause, (0, []))
            skipped[cause] = (before + count, [*names, f"{path}:{name}"][:MAX_NAMED])
    text = np.frombuffer(json.dumps(skipped).encode(), dtype=np.uint8)
    statuses = np.array([content.status for content in contents], dtype=np.int64)
    arrays = {"counts": counts, "digests": digests, "statuses": statuses, "skipped": text}
    arrays["remote_bytes"] = np.array(remote_bytes)
    write_to_cache(file, npz_bytes(arrays))
    return ShardSet(paths, counts, digests, skipped)


class Content(NamedTuple):
    """What is known of a shard without its index; its status is older than the rest."""

    status: tuple[int, ...]
    num_samples: int
    digest: str
    skipped: dict[str, tuple[int, str]]


def content_of(path: Path) -> Content:
    """The content of a shard, which is opened unless it is remote and was indexed before."""
    status, shard = status_of(path), None
    if is_remote(path):
        with suppress(FileNotFoundError, ValueError):
            shard = read_index(path)
    if shard is None:
        shard = open_shard(path)
        if is_remote(path):
            status = status_of(path)  # of the index that was just stored
    return Content(status, len(shard), shard.digest, shard.skipped)


def _contents(paths: Sequence[Path], quiet: bool) -> list[Content]:
    """What is in these shards; one InputError for all that cannot be read."""
    distinct = list(dict.fromkeys(paths))
    are_few = len(distinct) <= FEW
    hidden = quiet or (are_few and not any(map(is_remote, paths)))  # it takes a moment
    with worker_pool(1 if are_few else processors()) as apply:
        results, total = apply(content_of, distinct), len(distinct)
        bar = progress(results, "indexing", total, disable=hidden, unit=" shards", leave=False)
        contents = dict(bar)
    errors = [contents[path] for path in distinct if isinstance(contents[path], Exception)]
    for error in errors:
        if isinstance(error, OSError):
            raise error
    if errors:
        first = "; ".join(map(str, errors[:MAX_NAMED]))
        raise InputError(first if len(errors) <= MAX_NAMED else f"{len(errors)} shards: {first}")
    return [contents[path] for path in paths]
