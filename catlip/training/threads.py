"""The number of threads of a training on a CPU: one per core that other processes do not use.

If another process uses a core, the threads wait for the one that has no core: beside one busy
process, a training with as many threads as cores takes several times as long, and a training with
one thread fewer hardly longer than alone. The number affects the rounding of the weights, so it is
chosen once for a run and stored in the run's folder.
"""

import functools
import os
import sys
import time
from pathlib import Path

import torch

from catlip.system.machine import busy_s
from catlip.training.distributed import Place

FILE = "threads.txt"
ALL = torch.get_num_threads()
LOOK_S = 0.5  # how long to watch the other processes


def use_threads(folder: Path, place: Place) -> None:
    """Set the number of threads of the training in `folder`.

    If the user or torchrun has set OMP_NUM_THREADS, the number is not changed.
    """
    if place.device.type != "cpu":
        return
    cores = len(os.sched_getaffinity(0))
    if "OMP_NUM_THREADS" not in os.environ:
        begun_with = threads_of(folder)
        torch.set_num_threads(min(begun_with, cores) if begun_with else _beside_others(cores))
    if place.is_main:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(f"{torch.get_num_threads()}\n")


def threads_of(folder: Path) -> int | None:
    """The number of threads of the training in `folder`; None if it is unknown."""
    try:
        return max(1, int((folder / FILE).read_text()))
    except (OSError, ValueError):
        return None


def cores_taken_by_others(seconds: float = LOOK_S) -> float:
    """The number of cores of this process that other processes keep busy; 0 if it is unknown."""
    before = _others_s()
    time.sleep(seconds)
    return max(0.0, (_others_s() - before) / seconds)


@functools.cache  # a program that trains many small classifiers measures once
def _beside_others(cores: int) -> int:
    taken = round(cores_taken_by_others())
    fewer = max(1, min(ALL, cores - taken))
    if fewer < ALL:
        print(
            f"other processes keep {taken} of {cores} cores busy: training with {fewer} of {ALL} "
            "threads; set OMP_NUM_THREADS for another number",
            file=sys.stderr,
        )
    return fewer


def _others_s() -> float:
    """Processor seconds of other processes on the cores of this process, since an unknown time."""
    return (busy_s() or 0.0) - time.process_time()
