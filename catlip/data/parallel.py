"""The same work in this process or in several, with the same results in the same order."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

Map = Callable[..., Iterator[Any]]


@contextmanager
def in_processes(count: int) -> Iterator[Map]:
    """`map` in this process or in `count` others; results come in the order of the inputs."""
    if count == 1:
        yield map
        return
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        yield lambda function, *inputs: pool.map(function, *inputs, chunksize=32)
