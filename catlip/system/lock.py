"""One writer at a time: a lock on a folder, which the system releases when the process ends."""

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from catlip.program.errors import InputError

NAME = ".lock"


@contextmanager
def only_writer(folder: Path, wanted: bool = True) -> Iterator[None]:
    """Allow only one process at a time in this block for a folder, which is made if it is missing;
    another is refused with an InputError.

    Args:
        wanted: whether to lock at all; of several ranks, only the main one does.
    """
    if not wanted:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = _acquire(folder)
    try:
        yield
    finally:
        if lock is not None:
            # Before the lock is released: a process that has opened the file meanwhile then sees
            # that it is gone.
            (folder / NAME).unlink(missing_ok=True)
            os.close(lock)
        with suppress(OSError):
            folder.rmdir()  # if nothing was written


def _acquire(folder: Path) -> int | None:
    """The descriptor of the locked file; None, with a warning, if the file system has no locks.
    Unlike flock's, data workers of a killed run do not inherit it.
    """
    while True:
        lock = open_no_link(folder / NAME)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                os.close(lock)
                print(f"warning: {folder} cannot be locked; start no second run", file=sys.stderr)
                return None
            holder = os.pread(lock, 20, 0).decode(errors="replace").strip()
            os.close(lock)
            raise InputError(
                f"process {holder} is writing into {folder}; wait until it ends, or give another "
                "--out"
            ) from None
        if is_still_at(lock, folder / NAME):
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            return lock
        os.close(lock)  # the other process ended and removed it before it was locked here


def open_no_link(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    """The descriptor of a file, by default to read and write, made if missing. Refused with an
    InputError are a link, which could lead to any file of this user, and what is no regular file:
    a pipe would block.
    """
    try:
        file = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR):
            raise
        raise InputError(f"{path} is a link or a folder, not a file; remove it") from None
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    raise InputError(f"{path} is not a regular file; remove it")


def is_still_at(file: int, path: Path) -> bool:
    """Whether an open file has still this path: nobody has renamed, replaced or deleted it."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
