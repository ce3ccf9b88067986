"""WebDataset tar shards, read by sample number.

A shard is a tar in which `KEY.jpg|png|webp|gif`, `KEY.txt` and `KEY.json` are one sample. Its
headers are read once; the offset of each member is stored in the user's cache, for the shard's
path, size, times and inode (if remote: URL, size and ETag). After that, reading a sample takes one
`pread`, in any order. Labels and runs refer to the digest of the content, not to a path or time:
shards may be moved and copied. A remote shard is fetched when it is read.
"""

import functools
import glob
import io
import json
import os
import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import braceexpand
import numpy as np
from numpy.typing import NDArray

from catlip import streams
from catlip.cli import InputError
from catlip.data.layout import TAR
from catlip.data.remote import find_remote, identity_of, open_remote
from catlip.data.tar_index import EDITION, KINDS, captions_at, index_tar, read_member, read_metadata
from catlip.system.cache import cache_dir, npz_bytes, read_npz, read_or_make
from catlip.system.files import write_atomically
from catlip.system.urls import is_remote, take_credentials, url_of

TABLE = ".parquet"  # of a hub: catlip.data.fetch reads them
# Indexes and files that a process holds; two shuffle windows of up to 16 lanes touch half as many.
OPEN_SHARDS = 64


@dataclass(frozen=True, eq=False)
class Shard:
    """A tar whose samples can be read.

    Attributes:
        keys: [N], in the order of the tar.
        image, text, meta: [N, 2] int64, offset and size in bytes of the image, of the `.txt` (or
            `.cls`) and of the `.json` member; -1 where absent.
        num_captions: [N] int64, how many captions each sample has (see `captions_at`).
        skipped: cause -> how many samples were left out, and the first member among them.
        identity: changes when the file does (its path, size, times or inode; if remote, its size or
            ETag).
    """

    keys: list[str]
    image: NDArray[np.int64]
    text: NDArray[np.int64]
    meta: NDArray[np.int64]
    num_captions: NDArray[np.int64]
    digest: str
    skipped: dict[str, tuple[int, str]]
    path: Path
    identity: str

    def __len__(self) -> int:
        return len(self.keys)

    def image_bytes(self, number: int) -> bytes:
        """The encoded image of sample `number`, empty when it has none."""
        return read_member(self._descriptor, self.image[number])

    def metadata(self, number: int) -> dict[str, object]:
        """The `.json` member of sample `number`, {} of none; ValueError if it is not an object."""
        try:
            return read_metadata(read_member(self._descriptor, self.meta[number]))
        except ValueError as error:
            raise ValueError(f"{self.path}: {self.keys[number]}.json: {error}") from None

    def captions(self, number: int) -> list[str | None]:
        """The captions of sample `number`, one or more (see `captions_at`); [None] of none."""
        return captions_at(self._descriptor, self.text[number], self.meta[number])

    def caption(self, number: int, which: int = 0) -> str | None:
        return self.captions(number)[which]

    def draw_caption(self, number: int, seed: int, epoch: int) -> int:
        """The number of the caption that a sample has in an epoch: the same for every method."""
        if (count := int(self.num_captions[number])) == 1:
            return 0
        key = zlib.crc32(self.keys[number].encode())
        return streams.seed_at(seed, streams.CAPTIONS, epoch, key) % count

    @functools.cached_property
    def first_captions(self) -> NDArray[np.int64]:
        """[N], the position of each sample's first caption among all captions of the shard."""
        return np.cumsum(self.num_captions) - self.num_captions

    @property
    def _descriptor(self) -> int:
        return _file(self.path, self.identity).fileno()


def expand(patterns: str | Iterable[str]) -> list[Path]:
    """Shard paths of brace (`{00000..00331}.tar`), glob and plain patterns, sorted in each pattern.
    Only remote folders and globs cause a request: any other shard is asked for when it is opened.
    """
    paths: list[Path] = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if remote := is_remote(pattern):
            pattern = url_of(take_credentials(pattern))
            is_folder = not (pattern.lower().endswith((TAR, TABLE)) or glob.has_magic(pattern))
        else:
            is_folder = Path(pattern).is_dir()
        if is_folder:
            pattern = f"{pattern.rstrip('/')}/*{TAR}"
        for name in braceexpand.braceexpand(pattern):
            if glob.has_magic(name):
                matches = find_remote(name) if remote else [*map(Path, sorted(glob.glob(name)))]
            else:
                matches = [Path(name)] if remote or os.path.exists(name) else []
            if not matches:
                raise InputError(f"no shard matches {name!r}")
            paths += matches
    if not paths:
        raise InputError("no shards given")
    return paths


def open_shard(path: Path, identity: str | None = None) -> Shard:
    """The shard at `path`, its index cached; a remote one is asked for its identity if that is not
    given. Raises: InputError if it is missing, no tar, cut short, empty, or hostile.
    """
    return _indexed(path, identity or _identity(path))


def write_shard(path: Path, samples: Iterable[tuple[str, dict[str, bytes]]]) -> int:
    """Write `(key, {suffix: content})` samples as a tar, atomically. Returns their number."""
    buffer, count = io.BytesIO(), 0
    with tarfile.open(fileobj=buffer, mode="w", encoding="utf-8") as tar:
        for key, members in samples:
            count += 1
            for suffix, content in members.items():
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    write_atomically(path, buffer.getvalue())
    return count


def status_of(path: Path) -> tuple[int, ...]:
    """Stat fields that detect a changed shard: size, two times, and inode. Those of a remote shard
    are of its stored index, or zeros: a training does not ask the storage about all shards when it
    starts, and notices a change when it opens one.
    """
    remote = is_remote(path)
    try:
        status = os.stat(_index_file(path) if remote else path)
    except FileNotFoundError:
        if remote:
            return 0, 0, 0, 0
        raise InputError(f"shard {path} does not exist") from None
    # A file system's inode numbers may use all 64 bits; NumPy stores them signed.
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino % 2**63


def _identity(path: Path) -> str:
    if is_remote(path):
        return identity_of(path)
    return sha256(f"{path.resolve()}\n{status_of(path)}".encode()).hexdigest()[:32]


@functools.lru_cache(maxsize=OPEN_SHARDS)
def _indexed(path: Path, identity: str) -> Shard:
    def make() -> bytes:
        index = index_tar(path, open_remote(path, identity) if is_remote(path) else None)
        head = {"identity": identity, "digest": index["digest"], "skipped": index["skipped"]}
        lines = {"keys": "\n".join(index["keys"]), "about": json.dumps(head)}
        texts = {name: np.frombuffer(text.encode(), dtype=np.uint8) for name, text in lines.items()}
        # A fifth of its size: offsets by themselves, and sizes, are alike.
        columns = {name: np.asfortranarray(index[name]) for name in (*KINDS, "num_captions")}
        return npz_bytes(texts | columns, compress=True)

    return read_or_make(_index_file(path), make, lambda _: read_index(path, identity))


def read_index(path: Path, identity: str | None = None) -> Shard:
    """The shard from its stored index. Raises: FileNotFoundError; ValueError if it is of another
    version of the shard.
    """
    arrays: dict[str, Any] = {**read_npz(_index_file(path))}
    head = json.loads(arrays.pop("about").tobytes())
    if identity and head["identity"] != identity:
        raise ValueError("the index of another version of the shard")
    head["skipped"] = {cause: tuple(entry) for cause, entry in head["skipped"].items()}
    keys = arrays.pop("keys").tobytes().decode().split("\n")
    return Shard(keys, **arrays, **head, path=path)


def _index_file(path: Path) -> Path:
    # Named after the path alone, so that the index of a changed shard replaces the old one.
    named = path if is_remote(path) else path.resolve()
    name = sha256(f"{EDITION} {named}".encode()).hexdigest()[:32]
    return cache_dir("indexes") / f"{name}.npz"


@functools.lru_cache(maxsize=OPEN_SHARDS)
def _file(path: Path, identity: str) -> io.FileIO:
    if is_remote(path):
        return open_remote(path, identity)
    file = io.FileIO(path)  # closed when it leaves the cache and is collected
    if _identity(path) != identity:
        raise InputError(f"shard {path} has changed since it was opened; run the command again")
    return file
