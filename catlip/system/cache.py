"""The user's cache of fetched and derived files; damaged files in it are made again."""

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import platformdirs
from numpy.typing import NDArray

from catlip.system.files import write_atomically

HINT = "set CATLIP_CACHE to a writable folder with free space"
T = TypeVar("T")


def cache_dir(name: str) -> Path:
    """The folder `name` of `$CATLIP_CACHE` or else of the system's usual cache, made if missing."""
    root = os.environ.get("CATLIP_CACHE") or platformdirs.user_cache_dir("catlip-bench")
    path = Path(root) / name
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cache_error(error, path) from None
    return path


def read_or_make(path: Path, make: Callable[[], bytes], read: Callable[[Path], T]) -> T:
    """What `read` gives for a file; if there is none, or it is refused, `make` makes it anew."""
    try:
        return read(path)
    except (FileNotFoundError, ValueError):
        write_to_cache(path, make())
    return read(path)


def write_to_cache(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise cache_error(error, path) from None


def cache_error(error: OSError, path: Path) -> OSError:
    """The same error, with the path and what to do."""
    return OSError(error.errno, f"{error.strerror} in the cache; {HINT}", str(path))


def npz_bytes(arrays: Mapping[str, Any], compress: bool = False) -> bytes:
    buffer, save = io.BytesIO(), np.savez_compressed if compress else np.savez
    save(buffer, **arrays)
    return buffer.getvalue()


def read_npz(path: Path | BinaryIO) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file. Raises: ValueError if damaged, OSError if it cannot be opened."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    # zipfile, zlib, struct and numpy each raise other errors for damage, and memory may run out.
    except Exception as error:
        raise ValueError(f"not a whole npz file: {error}") from error
