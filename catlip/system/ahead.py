"""Work on items in threads, a little ahead of the reader of the results."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
THREADS = 16  # most of which wait for a network


def work_ahead(function: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R]]:
    """Each item with the function's result, in the order of the items. No more than THREADS results
    wait to be read.

    Raises: what the function raises.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        begun: deque[tuple[T, Future[R]]] = deque()
        for item in items:
            begun.append((item, pool.submit(function, item)))
            if len(begun) > THREADS:
                first, done = begun.popleft()
                yield first, done.result()
        for item, done in begun:
            yield item, done.result()
