"""Work ahead of a reader gives what the work gives, in order, and not too far ahead."""

import threading
import time

import pytest

from catlip.system.engines import THREADS, work_ahead


def test_results_are_in_order_and_threads_stay_a_little_ahead() -> None:
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        time.sleep(0.01 if item % 3 else 0)
        return item**2

    for item, squared in work_ahead(work, iter(range(100))):
        assert squared == item**2
        assert len(begun) <= item + THREADS + 1
    assert sorted(begun) == list(range(100))


def test_several_are_done_at_once() -> None:
    """None of them ends before all have begun."""
    meet = threading.Barrier(THREADS, timeout=60)
    assert len(list(work_ahead(lambda _: meet.wait(), range(THREADS)))) == THREADS


def test_an_error_is_raised_at_its_item() -> None:
    results = work_ahead(lambda item: 1 / (item - 5), range(9))
    assert [item for item, _ in (next(results) for _ in range(5))] == list(range(5))
    with pytest.raises(ZeroDivisionError):
        next(results)
