"""Programs as processes: one at a time, or several side by side, each in its own slot.

A training of a small encoder uses two cores badly: two trainings of one thread each, each on its
own core, take much less time than one after the other with two threads.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Thread
from types import FrameType
from typing import Any

from catlip.system.machine import processors

running: set[subprocess.Popen[Any]] = set()
stopped = Event()  # by a signal: no further program starts


@dataclass(frozen=True)
class Slot:
    """A part of the machine: some cores and, if there are several GPUs, one of them."""

    cores: frozenset[int]
    gpu: str = ""


def run_command(command: Sequence[str], slot: Slot | None = None) -> int:
    """Run a command to its end, and return its exit code.

    Args:
        slot: run it there, beside other programs. It then shows lines of progress instead of bars,
            and its output appears in one piece at its end.
    """
    if stopped.is_set():
        return -signal.SIGTERM
    pipe = subprocess.PIPE if slot else None
    gpu = {"CUDA_VISIBLE_DEVICES": slot.gpu} if slot and slot.gpu else {}
    # A group of its own, so that a signal also reaches the programs that it starts.
    process = subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, process_group=0, env=os.environ | gpu
    )
    running.add(process)
    try:
        if slot:
            os.sched_setaffinity(process.pid, slot.cores)
            # Line by line, as they come.
            progress = Thread(target=sys.stderr.writelines, args=(process.stderr,))
            progress.start()
            assert process.stdout is not None, "it is a pipe"
            print(process.stdout.read(), end="", flush=True)
            progress.join()
        return process.wait()
    finally:
        running.discard(process)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Pass SIGTERM, Ctrl-C and the end of the terminal on to the running programs, and begin no
    other program. Between programs, a signal ends this one with a SystemExit.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()
        for process in list(running):
            os.killpg(process.pid, number)
        if not running:
            print("stopped; run the same command again to go on", file=sys.stderr)
            sys.exit(128 + number)

    previous = {}
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            previous[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def slots(gpus: int, programs: int) -> list[Slot]:
    """Divide the machine by its GPUs, if there are several, or else by its cores; into at most as
    many slots as there are programs.
    """
    cores = sorted(os.sched_getaffinity(0))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if len(visible) < gpus:
        visible = [str(number) for number in range(gpus)]
    count = min(gpus if gpus > 1 else processors(), programs)
    return [
        Slot(frozenset(cores[number::count] or cores), visible[number] if gpus > 1 else "")
        for number in range(count)
    ]


def side_by_side(run: Callable[..., None], items: Sequence[Any], gpus: int = 0) -> None:
    """Call `run(item, slot=...)` for each item, as many at a time as there are slots.

    Raises: the error of a call that fails, once the calls beside it have ended; no further call
        begins.
    """
    free: SimpleQueue[Slot] = SimpleQueue()
    for slot in slots(gpus, len(items)):
        free.put(slot)

    def run_one(item: Any) -> None:
        slot = free.get()
        try:
            run(item, slot=slot)
        finally:
            free.put(slot)

    with ThreadPoolExecutor(free.qsize()) as pool:
        calls = [pool.submit(run_one, item) for item in items]
        try:
            for call in as_completed(calls):
                call.result()
        finally:  # after an error or Ctrl-C, too
            pool.shutdown(cancel_futures=True)
