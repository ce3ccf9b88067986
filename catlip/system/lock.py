"""One writer at a time: a lock on a folder, which the system releases when the process ends."""

import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from catlip.program.errors import InputError

NAME = ".lock"
HELD = (errno.EACCES, errno.EAGAIN)


@contextmanager
def only_writer(folder: Path, wanted: bool = True, wait: bool = False) -> Iterator[None]:
    """Allow only one process at a time in this block for a folder, which is made if it is missing.

    If the file system has no locks, a warning is printed.

    Args:
        wanted: whether to lock at all; of several ranks, only the main one does.
        wait: whether to wait while another process has the lock.
    Raises: InputError that names the process that has the lock, if it is another one.
    """
    if not wanted:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = _acquire(folder, wait)
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


def open_no_link(path: Path) -> int:
    """The descriptor of a file to read and write, which is made if it is missing.

    A link is not followed: where others may write into the folder, it could lead to any file of
    this user, which would be overwritten.

    Raises: InputError when it is a link.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise InputError(f"{path} is a link, which is not followed; remove it") from None


def _acquire(folder: Path, wait: bool) -> int | None:
    """The descriptor of the locked file; None if the file system has no locks.

    A POSIX lock, unlike flock's, is not inherited by the data workers of a killed run.
    """
    while True:
        lock = open_no_link(folder / NAME)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in HELD:
                os.close(lock)
                print(
                    f"warning: {folder} cannot be locked ({error.strerror}); start no second run "
                    "in it",
                    file=sys.stderr,
                )
                return None
            holder = os.pread(lock, 20, 0).decode(errors="replace").strip()
            writing = (
                f"{f'process {holder}' if holder else 'another process'} is writing into {folder}"
            )
            if not wait:
                os.close(lock)
                raise InputError(f"{writing}; wait until it ends, or give another --out") from None
            print(f"{writing}; waiting until it ends", file=sys.stderr)
            fcntl.lockf(lock, fcntl.LOCK_EX)
        if _is(lock, folder / NAME):
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            return lock
        os.close(lock)  # the other process ended and removed it before it was locked here


def _is(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
