"""A file appears whole under its name or not at all, whoever reads or writes it meanwhile."""

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import BinaryIO

UNFINISHED = re.compile(r"(^|/)\.([^/]+)\.[0-9a-f]+\.tmp$")  # as `replacing` calls a file


@contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[BinaryIO]:
    """A new file, which replaces `path` if the block ends without an error, on a full disk too. Its
    folder is made if missing.

    Args:
        sync: whether the content must be on the disk first, safe from a power cut.
    Raises: OSError that names `path`.
    """
    # Not by process id: containers that share a folder may have the same ids.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes, sync: bool = True) -> None:
    with replacing(path, sync) as file:
        file.write(content)


def remove_written(folder: Path, names: str) -> None:
    """Delete the files of a folder that this program wrote: those whose paths in it match a regular
    expression, and what a killed process left of them. Then its folders that this has emptied. All
    other files stay.
    """
    emptied: set[str] = set()
    for place, folders, files in os.walk(folder, topdown=False):
        paths = [Path(place, name) for name in files]
        ours = [
            path
            for path in paths
            if re.fullmatch(names, UNFINISHED.sub(r"\1\2", str(path.relative_to(folder))))
        ]
        for path in ours:
            path.unlink()
        if ours or any(os.path.join(place, name) in emptied for name in folders):
            with contextlib.suppress(OSError):
                os.rmdir(place)
                emptied.add(place)


def remove_leftovers(folder: Path, names: str) -> None:
    """Delete what killed processes left of the files `names`, a glob; for their only writer."""
    for left in folder.glob(f".{names}.*.tmp"):
        left.unlink(missing_ok=True)
