"""How many processors a run has, and how busy they were: with it, and with other programs."""

import os
import time
from contextlib import suppress
from pathlib import Path

PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")  # the latter is the container's own
# The time of processors that a container has in a period, by control groups of versions 2 and 1.
QUOTAS = ("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")
BUSY = (0, 1, 2, 5, 6)  # user, nice, system, irq and softirq among the columns of /proc/stat


def processors() -> int:
    """How many processors this process can keep busy: those that it may run on, or fewer where its
    container has the time of fewer, as by `docker run --cpus 8`.
    """
    count = len(os.sched_getaffinity(0))
    for names in QUOTAS:
        with suppress(OSError, ValueError):  # no such file, or "max"
            texts = [(CGROUP / name).read_text() for name in names]
            quota, period = map(int, " ".join(texts).split())
            count = min(count, -(-quota // period)) if quota > 0 else count
    return count


class Usage:
    """Measures from its creation on. The run is this process with its children, or under torchrun
    all processes of it here; others count only on processors that this process may use.
    """

    def __init__(self) -> None:
        self.root = os.getppid() if int(os.environ.get("LOCAL_WORLD_SIZE", 1)) > 1 else os.getpid()
        self._wall, self._run, self._all = time.monotonic(), tree_s(self.root), busy_s()

    def so_far(self) -> dict[str, float]:
        """Seconds."""
        cpu = tree_s(self.root) - self._run
        used = {
            "wall_s": time.monotonic() - self._wall,
            "cpu_s": cpu,
            "other_cpu_s": max(0.0, busy_s() - self._all - cpu),
        }
        return {name: round(seconds, 2) for name, seconds in used.items()}


def tree_s(root: int) -> float:
    """Processor seconds of a process, its living descendants, and the ended ones it waited for."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in PROC.glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            # The name before the columns may contain anything.
            columns = (entry / "stat").read_text().rpartition(")")[2].split()
            parents[int(entry.name)] = int(columns[1])
            # Its time, and the time of the children it waited for.
            ticks[int(entry.name)] = sum(map(int, columns[11:15]))

    def descends(process: int) -> bool:
        while process and process != root:
            process = parents.get(process, 0)
        return process == root

    used = sum(ticks[process] for process in parents if descends(process))
    return used / os.sysconf("SC_CLK_TCK")


def busy_s() -> float:
    """Seconds that this process's processors have worked."""
    lines = (PROC / "stat").read_text().splitlines()
    mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    rows = [ticks for name, *ticks in map(str.split, lines) if name in mine]
    busy = sum(int(ticks[column]) for ticks in rows for column in BUSY)
    return busy / os.sysconf("SC_CLK_TCK")
