"""Where work runs: in processes of this machine, on a Ray cluster, or in threads.

An engine applies a function to many items, in any order, and gives each item with its result as
soon as it is done. Only a few items are in work at a time, so that millions of them need little
memory. An error that the user can correct (a damaged file, a full disk) is a result like any other:
the other items go on, and the item is not tried again. One whose worker died is tried again, until
RETRIES more workers die without any result.

    with worker_pool(workers=4) as apply:
        for path, size in apply(os.path.getsize, paths):
            print(path, size)
"""

import multiprocessing
import os
import platform
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.pool import AsyncResult, ThreadPool
from threading import Thread
from typing import Any, Protocol, TypeVar

from catlip.program.errors import USER_ERRORS, InputError

# The signals with which a cluster tells the processes of a job to stop. SLURM sends SIGTERM before
# it takes a machine away, and SIGUSR1 ahead of the time limit if `sbatch --signal=USR1@300` asks.
STOPS = (signal.SIGTERM, signal.SIGUSR1)
THREADS = 16  # most of which wait for a network
RETRIES = 3
DIED = "workers died of it, perhaps for lack of memory; run the command again with fewer --workers"
T = TypeVar("T")
R = TypeVar("R")


class Apply(Protocol):
    """Gives (item, function(item)) for each item as it is done; both must be picklable."""

    def __call__(
        self, function: Callable[[T], R], items: Sequence[T]
    ) -> Iterator[tuple[T, R | InputError | OSError]]: ...


@contextmanager
def worker_pool(workers: int) -> Iterator[Apply]:
    """Work in `workers` processes, or in this one. After an error, items in work are finished."""
    if workers == 1:
        yield _in_turn
        return
    spawn = multiprocessing.get_context("spawn")
    method = multiprocessing.get_start_method()
    new_pool = partial(ProcessPoolExecutor, workers, spawn, _begin_worker, (method,))
    pool = new_pool()

    def apply(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        nonlocal pool
        if len(items) == 1:  # not worth another process
            yield from _in_turn(function, items)
            return
        todo, running, deaths = deque(items), dict[Any, Any](), 0
        while todo or running:
            try:
                # After a death one item at a time, so that none dies of another.
                while todo and len(running) < (1 if deaths else workers):
                    # A terminal interrupts the whole group of processes; a worker would print it.
                    with _blocked({signal.SIGINT}):
                        future = pool.submit(attempt, function, todo[0])
                    running[future] = todo.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    deaths = 0
                    yield running.pop(future), result
            except BrokenProcessPool:
                pool.shutdown()
                pool = new_pool()
                print(f"a worker died on {platform.node()}; starting new ones", file=sys.stderr)
                # Nobody knows whose worker died: all that was in work is tried again, at the end.
                todo.extend(running.values())
                running.clear()
                deaths += 1
                if deaths > RETRIES:
                    yield from ((item, InputError(DIED)) for item in todo)
                    return

    try:
        yield apply
    except KeyboardInterrupt:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def ray_cluster() -> Iterator[Apply]:
    """Work on the Ray cluster at $RAY_ADDRESS, else on one that is started on this machine. Its
    machines see the working folder at the same path; they may join and leave at any time.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise InputError("--engine ray needs Ray: .venv/bin/pip install -e '.[ray]'") from None
    address = os.environ.get("RAY_ADDRESS", "local")
    try:
        ray.init(address, logging_level="ERROR")  # it names the machines of workers that died
    except ConnectionError:
        raise InputError(f"$RAY_ADDRESS {address} is no Ray cluster, or has other tokens") from None
    folder, nodes = os.getcwd(), list[str]()
    ours = {name: value for name, value in os.environ.items() if name.startswith("CATLIP_")}

    @ray.remote(max_retries=RETRIES)
    def task(function: Callable[[Any], Any], item: Any) -> Any:
        os.chdir(folder)
        os.environ.update(ours)
        return attempt(function, item)

    def room() -> int:
        nonlocal nodes
        alive = [node for node in ray.nodes() if node["Alive"]]
        if nodes != (nodes := sorted(node["NodeManagerHostname"] for node in alive)):
            print(f"nodes at work: {len(nodes)} ({', '.join(nodes)})", file=sys.stderr)
        # Two for each processor, so that none waits for an item.
        return 2 * max(1, sum(int(node["Resources"].get("CPU", 0)) for node in alive))

    def apply(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        todo, running = deque(items), dict[Any, Any]()
        while todo or running:
            for _ in range(min(len(todo), room() - len(running))):
                item = todo.popleft()
                running[task.remote(function, item)] = item
            ray.wait([*running])
            for done in ray.wait([*running], num_returns=len(running), timeout=0)[0]:
                try:
                    result = ray.get(done)
                except ray.exceptions.RayTaskError:  # a bug in the function
                    raise
                except ray.exceptions.RayError:
                    result = InputError(DIED)
                yield running.pop(done), result

    try:
        yield apply
    finally:
        ray.shutdown()


def _begin_worker(start_method: str) -> None:
    """Start processes in the parent's way, not in the way in which this one was started. Stop when
    the parent is killed: this worker would wait for items for ever.
    """
    multiprocessing.set_start_method(start_method, force=True)

    def watch() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=watch, daemon=True).start()


def _in_turn(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    return ((item, attempt(function, item)) for item in items)


def work_ahead(function: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R]]:
    """Each item with the function's result, in order, from threads up to THREADS items ahead."""
    # Not a ThreadPoolExecutor: a program that is stopped would wait for its threads, and they may
    # wait for a server that hangs.
    with ThreadPool(THREADS) as pool:
        begun: deque[tuple[T, AsyncResult[R]]] = deque()
        for item in items:
            begun.append((item, pool.apply_async(function, (item,))))
            if len(begun) > THREADS:
                first, done = begun.popleft()
                yield first, done.get()
        for item, done in begun:
            yield item, done.get()


def attempt(function: Callable[[T], R], item: T) -> R | InputError | OSError:
    """The result of the function, or its error if the user can correct it."""
    try:
        return function(item)
    except InputError as error:
        return error
    except OSError as error:
        if error.errno not in USER_ERRORS:
            raise
        return error


@contextmanager
def delay_stops() -> Iterator[None]:
    """Delay the signals STOPS until the block ends; processes started in it do not get them."""
    if multiprocessing.get_start_method() != "fork":
        # Spawning a process also starts the resource tracker, which would unblock SIGTERM.
        resource_tracker.ensure_running()
    with _blocked(STOPS):
        yield


@contextmanager
def _blocked(signals: Iterable[signal.Signals]) -> Iterator[None]:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # what a new process inherits
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
