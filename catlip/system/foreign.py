"""What others wrote: files that must not hang a program or fill its memory, and words that must not
steer a terminal.
"""

import errno
import os
import re
import stat
from pathlib import Path

LARGEST_FILE = 64 * 2**20  # bytes; the largest record of this project's own has 0.3 MB

# Everything that moves a cursor, ends a line where none should end, or turns text around: the
# control characters but tab and line feed, the separators of lines and paragraphs, and the marks of
# direction.
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]"
)


class UnreadableError(ValueError):
    """Why a file is not read; the message is the reason without the path."""


def read_regular(path: Path, most: int = LARGEST_FILE) -> bytes:
    """The contents of a regular file, or of one that a link leads to.

    A pipe would be waited for, and a device may never end, so neither is opened.

    Raises: UnreadableError where it is no regular file or has more than `most` bytes, OSError as
        `open`.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise UnreadableError("not a regular file")
    # Not blocking: what was a file a moment ago may be a pipe by now.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableError("not a regular file")
        content = file.read(most + 1) if found.st_size <= most else None
    if content is None or len(content) > most:  # it may grow while it is read
        raise UnreadableError(f"larger than {most / 2**20:g} MiB")
    return content


def printable(words: str) -> str:
    """The words without what could steer a terminal; tabs and line feeds stay."""
    return UNPRINTABLE.sub("", words)
