"""Progress on stderr: tqdm's bar on a terminal, some lines in a log file, nothing when quiet."""

import sys
import threading
import time
from collections.abc import Iterable
from typing import Any, TypeAlias

from tqdm import tqdm

Bar: TypeAlias = tqdm  # what `progress` returns, for annotations
SECONDS_PER_LINE = 30.0
LINE = "{desc}: {n_fmt}/{total_fmt} in {elapsed}, {rate_fmt}, {remaining} left{postfix}"
LINE_WITHOUT_TOTAL = "{desc}: {n_fmt} in {elapsed}, {rate_fmt}{postfix}"

# Only the process that makes a bar draws it. tqdm's default lock is one between processes, which
# needs a semaphore.
tqdm.set_lock(threading.RLock())


def progress(
    iterable: Iterable[Any] | None = None,
    desc: str | None = None,
    total: float | None = None,
    **options: Any,
) -> Bar:
    """A tqdm, with its arguments and methods: a bar if stderr is a terminal, otherwise lines.

    A line is written every 30 seconds and at the end.
    """
    kind = tqdm if sys.stderr.isatty() else Lines
    return kind(iterable, desc, total, **options)


class Lines(tqdm):  # type: ignore[type-arg]
    """A tqdm that writes whole lines and never moves the cursor."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._last_line = time.monotonic()
        # gui: this class draws, not tqdm. miniters: check the clock in each update, since nothing
        # redraws in between.
        options |= {"gui": True, "miniters": 1, "mininterval": 1.0, "smoothing": 0.0}
        super().__init__(*arguments, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write a line, unless the last one is younger than 30 seconds.

        tqdm calls this after an update and for a postfix.
        """
        now = time.monotonic()
        if now - self._last_line >= SECONDS_PER_LINE:
            self._last_line = now
            self.bar_format = LINE if self.total else LINE_WITHOUT_TOTAL
            self.fp.write(f"{self}\n")
            self.fp.flush()

    def close(self) -> None:
        """Write the last state, unless the bar has `leave=False`."""
        # After an interrupt within __init__, tqdm also closes the incomplete bar.
        if not getattr(self, "disable", True) and self.leave:
            self._last_line = -SECONDS_PER_LINE
            self.display()
        super().close()
