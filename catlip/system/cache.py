"""Where fetched and derived files are kept between runs; what is damaged there is made again."""

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import platformdirs
from numpy.typing import NDArray

from catlip.record import write_atomically

HINT = "set CATLIP_CACHE to a folder with room that you may write to"

T = TypeVar("T")


def cache_dir(name: str) -> Path:
    """The folder `name` of the user's cache (`$CATLIP_CACHE`, else the system's own place), made if
    missing.

    Raises: OSError that names the folder and says what to do, when it cannot be made.
    """
    root = os.environ.get("CATLIP_CACHE") or platformdirs.user_cache_dir("catlip-bench")
    path = Path(root) / name
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise in_cache(error, path) from None
    return path


def kept(path: Path, make: Callable[[], bytes], read: Callable[[Path], T]) -> T:
    """What `read` makes of the file at `path` of the cache; of a new one by `make` if there is
    none, or `read` refuses it.

    Raises: OSError that names the file and says what to do, when it cannot be written; what `make`
        raises.
    """
    try:
        return read(path)
    except (FileNotFoundError, ValueError):
        content = make()
    write_to_cache(path, content)
    return read(path)


def write_to_cache(path: Path, content: bytes) -> None:
    """Put `content` at `path`, atomically.

    Raises: OSError that names the file and says what to do.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise in_cache(error, path) from None


def in_cache(error: OSError, path: Path) -> OSError:
    """The same error, with where it happened and what to do."""
    return OSError(error.errno, f"{error.strerror} in the cache; {HINT}", str(path))


def packed(arrays: Mapping[str, Any]) -> bytes:
    """Arrays as the content of an npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def unpacked(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file.

    Raises: ValueError when it is not a whole one, OSError when it cannot be opened.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    # Damage is found by zipfile, zlib, struct, numpy or for want of memory, each in its own way.
    except Exception as error:
        raise ValueError(f"not a whole npz file: {error}") from error
