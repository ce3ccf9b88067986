"""How busy the machine was during a run: load averages, wall time, and the processor time of this
run and of the others.

usage = Usage()
...
usage.so_far()  # {"load_start": 0.4, "load_end": 1.9, "wall_s": 12.1, "cpu_s": 20.3, ...}
"""

import os
import time
from pathlib import Path

PROC = Path("/proc")
BUSY = (
    "user",
    "nice",
    "system",
    "irq",
    "softirq",
)  # columns of /proc/stat that are work of this machine's processes
COLUMNS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq")


class Usage:
    """Counts from its creation on.

    The run is this process with its children; under torchrun, that of all processes that torchrun
    started on this machine. Other processes count on the processors that this one may use.
    """

    def __init__(self) -> None:
        self.root = os.getppid() if int(os.environ.get("LOCAL_WORLD_SIZE", 1)) > 1 else os.getpid()
        self._load = os.getloadavg()[0]
        self._wall, self._own, self._all = time.monotonic(), self._own_s(), busy_s()

    def at_start(self) -> dict[str, float]:
        """What is known when the run begins."""
        return {"load_start": round(self._load, 2)}

    def so_far(self) -> dict[str, float]:
        """1-minute load averages, and seconds; `other_cpu_s` is absent where the system does not
        tell (no /proc).
        """
        own = self._own_s() - self._own
        found = self.at_start() | {
            "load_end": round(os.getloadavg()[0], 2),
            "wall_s": round(time.monotonic() - self._wall, 2),
            "cpu_s": round(own, 2),
        }
        everything = busy_s()
        if everything is not None and self._all is not None:
            found["other_cpu_s"] = round(max(0.0, everything - self._all - own), 2)
        return found

    def _own_s(self) -> float:
        if (PROC / "self" / "stat").exists():
            return tree_s(self.root)
        return sum(os.times()[:4])


def tree_s(root: int) -> float:
    """Processor seconds of a process, of its living descendants, and of those that ended and were
    waited for.
    """
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            text = (entry / "stat").read_text()
        except OSError:  # it has just ended
            continue
        columns = text.rpartition(")")[2].split()  # the name before it may hold anything
        parents[int(entry.name)] = int(columns[1])
        ticks[int(entry.name)] = sum(
            map(int, columns[11:15])
        )  # its own time, and that of children it waited for
    return sum(
        ticks[process] for process in parents if _descends(process, root, parents)
    ) / os.sysconf("SC_CLK_TCK")


def busy_s() -> float | None:
    """Seconds that the processors this process may use have worked since the machine started; None
    without /proc/stat.
    """
    try:
        lines = (PROC / "stat").read_text().splitlines()
    except OSError:
        return None
    mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    rows = [
        dict(zip(COLUMNS, map(int, line.split()[1:]), strict=False))
        for line in lines
        if line.split(" ")[0] in mine
    ]
    return sum(row.get(column, 0) for row in rows for column in BUSY) / os.sysconf("SC_CLK_TCK")


def _descends(process: int, root: int, parents: dict[int, int]) -> bool:
    while process and process != root:
        process = parents.get(process, 0)
    return process == root
