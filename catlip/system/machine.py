"""How busy the machine was during a run: load, wall time, processor time of the run and of others,
and energy.

    usage = Usage()
    ...
    usage.so_far()  # {"load_start": 0.4, "load_end": 1.9, "wall_s": 12.1, "cpu_s": 20.3, ...}
"""

import os
import time
from pathlib import Path
from typing import Any

from catlip.system.energy import EnergyMeter

PROC = Path("/proc")
COLUMNS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq")  # of /proc/stat
BUSY = ("user", "nice", "system", "irq", "softirq")  # those that are work of processes here


class Usage:
    """Measures from its creation on.

    The run is this process with its children; under torchrun, all processes that torchrun started
    on this machine. Other processes count only on the processors that this process may use.
    """

    def __init__(self) -> None:
        self.root = os.getppid() if int(os.environ.get("LOCAL_WORLD_SIZE", 1)) > 1 else os.getpid()
        self._load, self._energy = os.getloadavg()[0], EnergyMeter()
        self._wall, self._run, self._all = time.monotonic(), self._run_s(), busy_s()

    def at_start(self) -> dict[str, float]:
        """The part that is known when the run begins."""
        return {"load_start": round(self._load, 2)}

    def so_far(self) -> dict[str, Any]:
        """1-minute load averages, seconds, and joules by what used them. `other_cpu_s` is missing
        without /proc/stat, and `energy_j` without a counter of energy.
        """
        cpu = self._run_s() - self._run
        usage: dict[str, Any] = self.at_start() | {
            "load_end": round(os.getloadavg()[0], 2),
            "wall_s": round(time.monotonic() - self._wall, 2),
            "cpu_s": round(cpu, 2),
        }
        everything = busy_s()
        if everything is not None and self._all is not None:
            usage["other_cpu_s"] = round(max(0.0, everything - self._all - cpu), 2)
        if energy := self._energy.joules():
            usage["energy_j"] = energy
        return usage

    def _run_s(self) -> float:
        has_proc = (PROC / "self" / "stat").exists()
        return tree_s(self.root) if has_proc else sum(os.times()[:4])


def tree_s(root: int) -> float:
    """Processor seconds of a process, its living descendants, and the ended ones it waited for."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            text = (entry / "stat").read_text()
        except OSError:  # it has just ended
            continue
        columns = text.rpartition(")")[2].split()  # the name before it may contain anything
        parents[int(entry.name)] = int(columns[1])
        # Its time, and that of the children it waited for.
        ticks[int(entry.name)] = sum(map(int, columns[11:15]))

    def descends(process: int) -> bool:
        while process and process != root:
            process = parents.get(process, 0)
        return process == root

    of_tree = sum(ticks[process] for process in parents if descends(process))
    return of_tree / os.sysconf("SC_CLK_TCK")


def busy_s() -> float | None:
    """Seconds that the processors of this process have worked since the machine started.

    None without /proc/stat.
    """
    try:
        lines = (PROC / "stat").read_text().splitlines()
    except OSError:
        return None
    mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    busy = 0
    for name, *ticks in map(str.split, lines):
        if name in mine:
            row = dict(zip(COLUMNS, map(int, ticks), strict=False))
            busy += sum(row.get(column, 0) for column in BUSY)
    return busy / os.sysconf("SC_CLK_TCK")
