"""Progress on stderr: tqdm's bar on a terminal, some lines in a log file, nothing when quiet."""

import io
import sys
import threading
from collections.abc import Iterable
from typing import Any, TypeAlias

from tqdm import tqdm

Bar: TypeAlias = tqdm  # what `progress` returns, for annotations
SECONDS_PER_LINE = 30.0
LINE = "{desc}: {n_fmt}/{total_fmt} in {elapsed}, {rate_fmt}, {remaining} left{postfix}"

# Only the process that makes a bar draws it. tqdm's default lock is one between processes, which
# needs a semaphore; its monitor is a thread that draws more often.
tqdm.set_lock(threading.RLock())
tqdm.monitor_interval = 0


class _Lines(io.TextIOBase):
    """Whole lines on stderr in place of what tqdm draws."""

    def write(self, text: str) -> int:
        if line := text.strip():
            sys.stderr.write(f"{line}\n")
        return len(text)


def progress(
    iterable: Iterable[Any] | None = None,
    desc: str | None = None,
    total: float | None = None,
    **options: Any,
) -> Bar:
    """A tqdm, with its arguments and methods: a bar if stderr is a terminal, otherwise a line every
    30 seconds and at the end. Call its `set_postfix` with `refresh=False`.
    """
    if not sys.stderr.isatty():
        # No delay would draw a line at the start.
        options |= {"file": _Lines(), "mininterval": SECONDS_PER_LINE, "miniters": 1, "delay": 1e-9}
        options |= {"bar_format": LINE, "smoothing": 0.0}
    return tqdm(iterable, desc, total, **options)
