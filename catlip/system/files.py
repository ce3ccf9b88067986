"""A file appears under its name whole, or not at all: the one way in which this project replaces
files that others may read meanwhile.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def temporary_name(path: Path) -> Path:
    """A name beside `path` that no other process takes: two containers that share a folder may have
    the same process ids.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


@contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[BinaryIO]:
    """A new file, which replaces `path` if the block ends without an error, and is deleted if not.

    Args:
        sync: whether it must be on the disk first, so that a power cut leaves the old or the new.
    Raises: OSError that names `path`, as when the disk is full.
    """
    temporary = temporary_name(path)
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes, sync: bool = True) -> None:
    """Write a file so that there is either the old one or the whole new one, on a full disk too."""
    with replacing(path, sync) as file:
        file.write(content)


def remove_leftovers(folder: Path, names: str) -> None:
    """Delete what killed processes left of the files `names`, a glob; for their only writer."""
    for left in folder.glob(f".{names}.*.tmp"):
        left.unlink(missing_ok=True)
