"""Programs as processes: one at a time, or several side by side, each on cores of its own.

A training of a small encoder uses two cores badly: two trainings of one thread each, each on its
own core, take much less time than one after the other with two threads.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event, Thread
from types import FrameType
from typing import Any

Cores = frozenset[int]

running: set[subprocess.Popen[Any]] = set()
terminated = Event()  # by SIGTERM: no further program starts


def run_command(command: Sequence[str], cores: Cores | None = None) -> int:
    """Run a command to its end, and return its exit code.

    Args:
        cores: run it on these cores only, beside other programs. It then shows lines of progress
            instead of bars, and its output appears in one piece at its end.
    """
    if terminated.is_set():
        return -signal.SIGTERM
    pipe = subprocess.PIPE if cores else None
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
    running.add(process)
    try:
        if cores:
            os.sched_setaffinity(process.pid, cores)
            # Line by line, as they come.
            progress = Thread(target=sys.stderr.writelines, args=(process.stderr,))
            progress.start()
            assert process.stdout is not None, "it is a pipe"
            sys.stdout.write(process.stdout.read())
            sys.stdout.flush()
            progress.join()
        return process.wait()
    except KeyboardInterrupt:  # Ctrl-C also reaches the program, which then ends by itself
        process.wait()
        raise
    finally:
        running.discard(process)


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Pass SIGTERM on to the programs that are running; between programs it ends this one."""

    def stop(number: int, frame: FrameType | None) -> None:
        terminated.set()
        for process in list(running):
            process.send_signal(number)
        if not running:
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def side_by_side(run: Callable[..., None], items: Sequence[Any]) -> None:
    """Call `run(item, cores=...)` for each item, as many at a time as there are cores.

    Raises: the error of the first call that fails, once the calls beside it have ended; no further
        call begins.
    """
    cores = sorted(os.sched_getaffinity(0))
    places = min(len(cores), len(items))
    free: SimpleQueue[Cores] = SimpleQueue()
    for number in range(places):
        free.put(frozenset(cores[number::places]))

    stopping = Event()

    def run_one(item: Any) -> None:
        mine = free.get()
        try:
            if not stopping.is_set():
                run(item, cores=mine)
        except BaseException:
            stopping.set()
            raise
        finally:
            free.put(mine)

    with ThreadPoolExecutor(places) as pool:
        calls = [pool.submit(run_one, item) for item in items]
        try:
            wait(calls)
        finally:
            stopping.set()  # after Ctrl-C
    for call in calls:
        call.result()
