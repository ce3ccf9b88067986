"""Safe reading of files from others, and safe printing of words in them.

Such a file must not hang a program or fill its memory; the words must not control a terminal.
"""

import errno
import os
import re
import stat
from pathlib import Path

LARGEST_FILE = 64 * 2**20  # bytes; the largest record of this project has 0.3 MB

# Everything that moves a cursor, adds line ends, or reverses text: the control characters except
# tab and line feed, the separators of lines and paragraphs, and the marks of direction.
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]"
)


class UnreadableError(ValueError):
    """Why a file is not read; the message is the reason without the path."""


def read_regular(path: Path, most: int | None = None) -> bytes:
    """The contents of a regular file, or of the regular file that a link points to.

    A pipe would block, and a device may never end, so neither is opened.

    Args:
        most: read only this many bytes from the start.
    Raises: UnreadableError when it is not a regular file, is empty or is larger than LARGEST_FILE,
        OSError as `open`.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise UnreadableError("not a regular file")
    # Not blocking: the file may have been replaced by a pipe since it was checked.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        opened = os.fstat(file.fileno())
        if not stat.S_ISREG(opened.st_mode):
            raise UnreadableError("not a regular file")
        # The kernel's files, such as /proc/kmsg, are regular and empty, but reading them may block.
        if not opened.st_size:
            raise UnreadableError("empty")
        # A large file is not read; one that grows is read no further.
        is_large = most is None and opened.st_size > LARGEST_FILE
        content = b"" if is_large else file.read(LARGEST_FILE + 1 if most is None else most)
        if is_large or len(content) > LARGEST_FILE:
            raise UnreadableError(f"larger than {LARGEST_FILE / 2**20:g} MiB")
    return content


def printable(words: str) -> str:
    """The words without characters that could control a terminal; tabs and line feeds stay."""
    return UNPRINTABLE.sub("", words)
