"""How many threads a training on a CPU uses: a core fewer for each that other processes keep busy.

Threads that share cores with another process wait for the one that has none: a training with as many threads as cores
takes several times as long beside one busy process, a training with one thread fewer hardly longer than alone. The number
decides the last bits of the weights, so it is chosen once for a run and kept in the run's folder.
"""

import functools
import os
import sys
import time
from pathlib import Path

import torch

from catlip.training.distributed import Place

FILE = "threads.txt"
ALL = torch.get_num_threads()
LOOK_S = 0.5  # how long to watch the other processes


def use_threads(folder: Path, place: Place) -> None:
    """Set the number of threads of the training in `folder`; a user's OMP_NUM_THREADS (torchrun's too) is left alone."""
    if place.device.type != "cpu":
        return
    cores, kept = len(os.sched_getaffinity(0)), folder / FILE
    if "OMP_NUM_THREADS" not in os.environ:
        begun_with = _read(kept)
        torch.set_num_threads(min(begun_with, cores) if begun_with else _beside_others(cores))
    if place.is_main:
        folder.mkdir(parents=True, exist_ok=True)
        kept.write_text(f"{torch.get_num_threads()}\n")


def cores_taken_by_others(seconds: float = LOOK_S) -> float:
    """How many of the cores of this process other processes keep busy; 0 where the system does not say."""
    before = _busy_seconds()
    time.sleep(seconds)
    after = _busy_seconds()
    return max(0.0, (after - before) / seconds)


@functools.cache  # a program that trains many small classifiers looks once
def _beside_others(cores: int) -> int:
    taken = round(cores_taken_by_others())
    fewer = max(1, min(ALL, cores - taken))
    if fewer < ALL:
        print(
            f"other processes keep {taken} of {cores} cores busy: training with {fewer} of {ALL} threads; "
            "set OMP_NUM_THREADS for another number",
            file=sys.stderr,
        )
    return fewer


def _busy_seconds() -> float:
    """Processor seconds that other processes have had on the cores of this one, since some time in the past."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return 0.0
    ours = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    ticks = 0
    for name, *values in map(str.split, lines):
        if name in ours:
            user, nice, system, _idle, _iowait, *interrupts = map(int, values[:8])
            ticks += user + nice + system + sum(interrupts)
    return ticks / os.sysconf("SC_CLK_TCK") - time.process_time()


def _read(path: Path) -> int | None:
    """The number that a run was begun with."""
    try:
        return max(1, int(path.read_text()))
    except (OSError, ValueError):
        return None
