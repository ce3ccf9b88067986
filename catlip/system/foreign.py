"""Safe reading of damaged files, and of those from others, and safe printing of words in them.

Such a file must not hang a program, fill its memory or run anything; the words must not control a
terminal.
"""

import errno
import io
import json
import os
import pickle
import pickletools
import re
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any

from catlip.program.errors import InputError

LARGEST_FILE = 64 * 2**20  # bytes; the largest record of this project has 0.3 MB

# Everything that moves a cursor, adds line ends, or reverses text: the control characters except
# tab and line feed, the separators of lines and paragraphs, and the marks of direction.
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]"
)
AGAIN = "remove it, to make it again"
BUILTINS = ("builtins", "__builtin__")  # Python 3's and Python 2's name for it


class UnreadableError(ValueError):
    """Why a file is not read; the message is the reason without the path."""


def read_regular(path: Path, most: int | None = None) -> bytes:
    """The contents of a regular file, or its first `most` bytes: a pipe would block, a device may
    never end. Raises: UnreadableError if it is none, empty or larger than LARGEST_FILE.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise UnreadableError("not a regular file")
    with open(path, "rb") as file:
        # The kernel's files, such as /proc/kmsg, are regular and empty, but reading them may block.
        size = os.fstat(file.fileno()).st_size
        if not size:
            raise UnreadableError("empty")
        if most is None and size > LARGEST_FILE:
            raise UnreadableError(f"larger than {LARGEST_FILE / 2**20:g} MiB")
        return file.read(size if most is None else most)  # and no further, if it grows


def read_json(
    path: Path, fix: str = AGAIN, of: type[Any] = dict, content: bytes | None = None, **fields: type
) -> Any:
    """The JSON value in a file of our own, or in its `content`: of the type `of`, an object with
    these `fields`. Raises: InputError for a damaged one, with `fix`: what to do; OSError.
    """
    try:
        value: Any = json.loads(read_regular(path) if content is None else content)
        if isinstance(value, of) and all(isinstance(value.get(n), t) for n, t in fields.items()):
            return value
        reason = "not what this program writes"
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise InputError(f"{path} is damaged ({reason}): {fix}")


def printable(words: str) -> str:
    """The words without characters that could control a terminal; tabs and line feeds stay."""
    return UNPRINTABLE.sub("", words)


def load_plain(content: bytes, what: str, admitted: Collection[str] = ()) -> Any:
    """The value of a pickle made of plain data; `what` it should be is for the error.

    A pickle is a program that may import and call anything. The two that this project reads, the
    released vocabulary and the tagger's weights, need only containers, strings and numbers, which
    have their own opcodes. Every import is refused but the built-in types `admitted`, as "set".
    """

    class PlainUnpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if module in BUILTINS and name in admitted:
                return super().find_class("builtins", name)
            raise InputError(
                f"{what} is refused: its pickle wants to import {module}.{name}; a genuine one "
                "holds only plain data"
            )

    try:
        for opcode, slot, _ in pickletools.genops(content):
            # The reader would allocate all memo slots below this one.
            if opcode.name in ("PUT", "LONG_BINPUT") and int(slot or 0) > len(content):
                raise ValueError(f"memo slot {slot} in a pickle of {len(content)} bytes")
        return PlainUnpickler(io.BytesIO(content)).load()
    except InputError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise InputError(
            f"{what} is not a whole pickle of plain data ({type(error).__name__}: {error})"
        ) from None
