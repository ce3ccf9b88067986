"""A folder of fetched files that never exceeds its size; the processes of a machine share it.

Each file is fetched whole under a temporary name, where it has its final size from the start, and
then renamed. So the sizes of the files in the folder add up to the space that is used and reserved,
and a file under its final name is always whole, even if a process is killed. The process that
fetches a file holds a lock on its temporary name, which the system releases when the process ends;
other processes wait and then find the file.

To make room, the files used longest ago are deleted, but only files with names that this cache
gives: others may be the user's. A process that has such a file open can still read it: Linux keeps
the content until the file is closed, in addition to the size of this cache.
"""

import fcntl
import io
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from catlip.cli import InputError
from catlip.system.cache import cache_error
from catlip.system.lock import is_still_at, open_no_link

CACHE_SIZE = "CATLIP_SHARD_CACHE_GB"
PARTIAL_SUFFIX = ".part"  # ends the name of a file that is being fetched
CACHE_NAME = re.compile(rf"[0-9a-f]{{32}}({re.escape(PARTIAL_SUFFIX)})?")
LOCK = ".lock"
WAIT_S = 0.1  # between checks whether there is room, while other files are being fetched
Fill = Callable[[io.FileIO], None]  # writes the content of a file


class NoRoomError(Exception):
    """There is no room for a file that is not needed yet."""


@dataclass(frozen=True)
class FileCache:
    """The files in `folder`, of at most `limit` bytes together."""

    folder: Path
    limit: int

    def open(self, name: str, size: int, fill: Fill) -> io.FileIO:
        """The file of this name and size in bytes, open for reading."""
        while True:
            if file := self._open_existing(name, size) or self._fetch(name, size, fill, math.inf):
                return file

    def add(self, name: str, size: int, fill: Fill, *, unused_since: float) -> bool:
        """Fetch a file, unless it is there or another process is fetching it. To make room, only
        files last used before `unused_since` are deleted; False if that does not suffice.
        """
        try:
            if not self.touch(name) and (file := self._fetch(name, size, fill, unused_since)):
                file.close()
        except NoRoomError:
            return False
        return True

    def touch(self, name: str) -> bool:
        """Count a file as used now. Returns: whether it exists."""
        try:
            _mark_used(self.folder / name)
        except FileNotFoundError:
            return False
        return True

    def _open_existing(self, name: str, size: int) -> io.FileIO | None:
        path = self.folder / name
        try:
            file = io.FileIO(open_no_link(path, os.O_RDONLY))
        except FileNotFoundError:
            return None
        status = os.fstat(file.fileno())
        if (status.st_size, status.st_mtime) == (size, _stamp(name)):
            _mark_used(file.fileno())
            return file
        path.unlink(missing_ok=True)  # somebody has cut it short, or replaced it
        return None

    def _fetch(self, name: str, size: int, fill: Fill, unused_since: float) -> io.FileIO | None:
        """The file; None if another process has fetched it, or does so and there is no hurry."""
        path, temporary = self.folder / name, self.folder / f"{name}{PARTIAL_SUFFIX}"
        part = io.FileIO(open_no_link(temporary), "r+")
        if not _lock(part, wait=unused_since == math.inf):
            return None
        try:
            if not is_still_at(part.fileno(), temporary) or self.touch(name):
                return None
            os.ftruncate(part.fileno(), 0)  # what a killed process left would count as reserved
            self._reserve(part, size, unused_since)
            fill(part)
            os.fsync(part.fileno())
            os.utime(part.fileno(), (time.time(), _stamp(name)))
            with self._accounts():  # who counts must find the file under one of its names
                os.rename(temporary, path)
            part.seek(0)
            return part
        except OSError as error:
            raise cache_error(error, path) from None
        finally:
            if is_still_at(part.fileno(), temporary):
                temporary.unlink()
            # A process forked meanwhile has the file open too: closing it would not unlock it.
            fcntl.flock(part, fcntl.LOCK_UN)

    def _reserve(self, part: io.FileIO, size: int, unused_since: float) -> None:
        """Give the temporary file its final size, once all files together fit into `limit` bytes;
        wait for that while other files are being fetched, unless `unused_since` is finite.
        """
        if size > self.limit:
            larger = f"{size / 1e9:.3g} GB is larger than the cache of {self.limit / 1e9:.3g} GB"
            raise InputError(f"a file of {larger}; increase {CACHE_SIZE}")
        while True:
            with self._accounts():
                if self._delete_down_to(self.limit - size, unused_since):
                    os.ftruncate(part.fileno(), size)
                    return
            if unused_since < math.inf:
                raise NoRoomError
            time.sleep(WAIT_S)

    @contextmanager
    def _accounts(self) -> Iterator[None]:
        """Only one process at a time counts, deletes, reserves and renames."""
        with io.FileIO(open_no_link(self.folder / LOCK), "r+") as lock:
            _lock(lock, wait=True)
            try:
                yield
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)

    def _delete_down_to(self, limit: int, unused_since: float) -> bool:
        """Delete the files used longest ago, and before `unused_since`, until at most `limit` bytes
        are left. Returns: whether that sufficed.
        """
        files = []
        for entry in os.scandir(self.folder):
            if CACHE_NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    files.append((status.st_atime, status.st_size, Path(entry)))
        used = sum(size for _, size, _ in files)
        for last_use, size, path in sorted(files):
            if used <= limit:
                break
            if path.suffix == PARTIAL_SUFFIX:
                # It can be locked if the process that fetched it has ended.
                with suppress(FileNotFoundError), io.FileIO(path) as part:
                    if _lock(part, wait=False) and is_still_at(part.fileno(), path):
                        path.unlink()
                        used -= size
            elif last_use < unused_since:
                path.unlink(missing_ok=True)
                used -= size
        return used <= limit


def _stamp(name: str) -> int:
    """The time of modification that a whole file of this name has; whoever writes to it changes
    that. The time of its last access tells when it was used.
    """
    return int(name[:7], 16)


def _mark_used(file: int | Path) -> None:
    os.utime(file, (time.time(), os.stat(file).st_mtime))


def _lock(file: io.FileIO, wait: bool) -> bool:
    """Whether an open file could be locked; with `wait` it can. Unlike a POSIX lock, this one also
    keeps out other threads of this process.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
