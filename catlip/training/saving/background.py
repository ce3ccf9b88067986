"""Writes in the background of a training, so that no step waits for a disk or a network."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self


class Background:
    """Runs one task at a time in a thread; a `with` block ends when the last task is done.

    An error of a task is raised by the next `do` or `wait`, or at the end of the block, unless the
    block itself raises one.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="background")
        self._last: Future[None] | None = None

    @property
    def failed(self) -> bool:
        """Whether `wait` would raise at once."""
        last = self._last
        return last is not None and last.done() and last.exception() is not None

    def do(self, task: Callable[[], None]) -> None:
        """Wait for the last task, then start this one."""
        self.wait()
        self._last = self._thread.submit(task)

    def wait(self) -> None:
        """Wait for the last task, and raise its error if there is one."""
        last, self._last = self._last, None
        if last:
            last.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        if kind is None:
            self.wait()
