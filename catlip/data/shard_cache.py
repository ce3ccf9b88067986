"""A folder of fetched files that never exceeds its size; the processes of a machine share it.

Each file is fetched whole under a temporary name, where it has its final size from the start, and
then renamed. So the sizes of the files in the folder add up to the space that is used and reserved,
and a file under its final name is always whole, even if a process is killed. The process that
fetches a file holds a lock on its temporary name, which the system releases when the process ends;
other processes wait and then find the file.

To make room, the files used longest ago are deleted. A process that has such a file open can still
read it: Linux keeps the content until the file is closed, in addition to the size of this cache.
"""

import errno
import fcntl
import io
import math
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from catlip.cli import InputError
from catlip.system.cache import in_cache
from catlip.system.lock import is_still_at, open_no_link

PART = ".part"  # ends the name of a file that is being fetched
LOCK = ".lock"
WAIT_S = 0.1  # between checks whether there is room, while other files are being fetched


class FileCache:
    """The files in a folder, of at most `limit` bytes together.

    Args:
        advice: ends the message about a file that is larger than `limit`.
    """

    def __init__(self, folder: Path, limit: int, advice: str):
        self.folder = folder
        self.limit = limit
        self.advice = advice

    def open(self, name: str, size: int, fill: Callable[[io.FileIO], None]) -> io.FileIO:
        """The file of this name and size in bytes, open for reading; if it is not there, `fill`
        writes its content.
        """
        while True:
            if file := self._opened(name, size):
                return file
            with self._fetching(name, wait=True) as part:
                if part and not self.touch(name):
                    self._make_room(part, size, math.inf)
                    return self._filled(part, name, fill)

    def add(
        self, name: str, size: int, fill: Callable[[io.FileIO], None], *, unused_since: float
    ) -> bool:
        """Fetch a file, unless it is there or another process is fetching it.

        Args:
            unused_since: only files that were last used before this time are deleted to make room.
        Returns: False when that does not make enough room.
        """
        if self.touch(name):
            return True
        with self._fetching(name, wait=False) as part:
            if not part or self.touch(name):
                return True
            if not self._make_room(part, size, unused_since):
                return False
            self._filled(part, name, fill).close()
        return True

    def touch(self, name: str) -> bool:
        """Count a file as used now. Returns: whether it exists."""
        try:
            os.utime(self.folder / name)
        except FileNotFoundError:
            return False
        return True

    def _opened(self, name: str, size: int) -> io.FileIO | None:
        """The file of this name, open for reading; None if it is not there.

        What is there in its place is deleted: a link, a pipe, or a file that was cut short.
        """
        path = self.folder / name
        try:
            # A pipe that is opened without O_NONBLOCK waits for a writer.
            file = io.FileIO(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK))
        except OSError as error:
            if error.errno == errno.ELOOP:
                path.unlink(missing_ok=True)
            elif error.errno != errno.ENOENT:
                raise
            return None
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            file.close()
            path.unlink(missing_ok=True)
            return None
        os.utime(file.fileno())
        return file

    @contextmanager
    def _fetching(self, name: str, wait: bool) -> Iterator[io.FileIO | None]:
        """The locked temporary file; None if another process has locked it and `wait` is false."""
        path = self.folder / f"{name}{PART}"
        while True:
            try:
                part = io.FileIO(open_no_link(path), "r+")
            except OSError as error:
                raise in_cache(error, path) from None
            if not _lock(part, wait):
                part.close()
                yield None
                return
            if is_still_at(part.fileno(), path):
                break
            part.close()  # it was renamed or deleted before it was locked here
        os.ftruncate(part.fileno(), 0)  # what a killed process left would count as reserved
        try:
            yield part
        finally:
            if is_still_at(part.fileno(), path):
                path.unlink()
            _release(part)

    def _filled(self, part: io.FileIO, name: str, fill: Callable[[io.FileIO], None]) -> io.FileIO:
        temporary, path = self.folder / f"{name}{PART}", self.folder / name
        try:
            fill(part)
            os.fsync(part.fileno())
            # Opened before it is renamed: from then on another process may delete it.
            file = io.FileIO(temporary)
            with self._accounts():  # who counts must find the file under one of its names
                os.rename(temporary, path)
        except OSError as error:
            raise in_cache(error, path) from None
        return file

    def _make_room(self, part: io.FileIO, size: int, unused_since: float) -> bool:
        """Give the temporary file its final size, once all files together fit into `limit` bytes.

        Waits while other files are being fetched. If `unused_since` restricts which files may be
        deleted, it returns False instead of waiting.
        """
        if size > self.limit:
            raise InputError(
                f"a file of {size / 1e9:.3g} GB is too large for the cache {self.folder} of "
                f"{self.limit / 1e9:.3g} GB; {self.advice}"
            )
        while True:
            with self._accounts():
                used = self._delete_down_to(self.limit - size, unused_since)
                if has_room := used + size <= self.limit:
                    os.ftruncate(part.fileno(), size)
            if has_room or unused_since < math.inf:
                return has_room
            time.sleep(WAIT_S)

    @contextmanager
    def _accounts(self) -> Iterator[None]:
        """Only one process at a time counts, deletes, reserves and renames."""
        lock = io.FileIO(open_no_link(self.folder / LOCK), "r+")
        _lock(lock, wait=True)
        try:
            yield
        finally:
            _release(lock)

    def _delete_down_to(self, most: int, unused_since: float) -> int:
        """Delete the files used longest ago, until at most `most` bytes are left.

        Files that were used at `unused_since` or later are kept.

        Returns: how many bytes are left, which may be more.
        """
        files = []
        for entry in os.scandir(self.folder):
            with suppress(FileNotFoundError):
                status = entry.stat()
                if entry.name != LOCK:
                    files.append((status.st_mtime, status.st_size, Path(entry)))
        used = sum(size for _, size, _ in files)
        for last_use, size, path in sorted(files):
            if used <= most:
                break
            if path.suffix == PART:
                used -= size if _delete_abandoned(path) else 0
            elif last_use < unused_since:
                path.unlink(missing_ok=True)
                used -= size
        return used


def _delete_abandoned(part: Path) -> bool:
    """Delete a temporary file if the process that fetched it has ended. Returns: whether it has."""
    try:
        file = io.FileIO(part)
    except FileNotFoundError:
        return False  # it was renamed, so its bytes are still in use
    if not _lock(file, wait=False):
        file.close()
        return False
    if is_still_at(file.fileno(), part):
        part.unlink()
    _release(file)
    return True


def _lock(file: io.FileIO, wait: bool) -> bool:
    """Lock an open file. Returns: whether that succeeded, which it always does with `wait`.

    This lock also keeps out other threads of this process, which a POSIX lock does not.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _release(file: io.FileIO) -> None:
    # A process forked meanwhile has the file open too: closing it here would not unlock it.
    fcntl.flock(file, fcntl.LOCK_UN)
    file.close()
