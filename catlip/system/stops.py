"""The signals with which a cluster tells the processes of a job to stop."""

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

# SLURM sends SIGTERM before it takes a machine away, and SIGUSR1 ahead of the time limit if
# `sbatch --signal=USR1@300` asks for it.
STOPS = (signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def stops_held() -> Iterator[None]:
    """Delay the signals STOPS until the end of the block; processes started in it never receive
    them unless they unblock them.
    """
    if multiprocessing.get_start_method() != "fork":
        # Spawning a process also starts the resource tracker, which would unblock SIGTERM.
        resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # what a new process inherits
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
