"""A file appears whole under its name or not at all, whoever reads or writes it meanwhile."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[BinaryIO]:
    """A new file, which replaces `path` if the block ends without an error, on a full disk too.

    Args:
        sync: whether it must reach the disk first, so that a power cut cannot damage it.
    Raises: OSError that names `path`.
    """
    # Not by process id: containers that share a folder may have the same ids.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
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
    with replacing(path, sync) as file:
        file.write(content)


def remove_leftovers(folder: Path, names: str) -> None:
    """Delete what killed processes left of the files `names`, a glob; for their only writer."""
    for left in folder.glob(f".{names}.*.tmp"):
        left.unlink(missing_ok=True)
