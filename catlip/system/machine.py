"""How busy the machine was during a run: wall time, and processor time of the run and of others;
and the energy that was used.

    usage = Usage()
    ...
    usage.so_far()  # {"wall_s": 12.1, "cpu_s": 20.3, "other_cpu_s": 1.2}
"""

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

PROC = Path("/proc")
BUSY = (0, 1, 2, 5, 6)  # user, nice, system, irq and softirq among the columns of /proc/stat
RAPL = Path("/sys/class/powercap")
PER_JOULE = {"processor": 1e6, "gpu": 1e3}  # RAPL counts in uJ, NVML in mJ


class Usage:
    """Measures from its creation on.

    The run is this process with its children; under torchrun, all processes that torchrun started
    on this machine. Other processes count only on the processors that this process may use.
    """

    def __init__(self) -> None:
        self.root = os.getppid() if int(os.environ.get("LOCAL_WORLD_SIZE", 1)) > 1 else os.getpid()
        self._wall, self._run, self._all = time.monotonic(), self._run_s(), busy_s()

    def so_far(self) -> dict[str, float]:
        """Seconds; `other_cpu_s` is missing without /proc/stat."""
        cpu, everything = self._run_s() - self._run, busy_s()
        usage = {"wall_s": round(time.monotonic() - self._wall, 2), "cpu_s": round(cpu, 2)}
        if everything is not None and self._all is not None:
            usage["other_cpu_s"] = round(max(0.0, everything - self._all - cpu), 2)
        return usage

    def _run_s(self) -> float:
        has_proc = (PROC / "self" / "stat").exists()
        return tree_s(self.root) if has_proc else sum(os.times()[:4])


def tree_s(root: int) -> float:
    """Processor seconds of a process, its living descendants, and the ended ones it waited for."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in PROC.glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            # The name before the columns may contain anything.
            columns = (entry / "stat").read_text().rpartition(")")[2].split()
            parents[int(entry.name)] = int(columns[1])
            # Its time, and that of the children it waited for.
            ticks[int(entry.name)] = sum(map(int, columns[11:15]))

    def descends(process: int) -> bool:
        while process and process != root:
            process = parents.get(process, 0)
        return process == root

    used = sum(ticks[process] for process in parents if descends(process))
    return used / os.sysconf("SC_CLK_TCK")


def busy_s() -> float | None:
    """Seconds that the processors of this process have worked since the machine started; None
    without /proc/stat.
    """
    try:
        lines = (PROC / "stat").read_text().splitlines()
    except OSError:
        return None
    mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    rows = [ticks for name, *ticks in map(str.split, lines) if name in mine]
    busy = sum(int(ticks[column]) for ticks in rows for column in BUSY)
    return busy / os.sysconf("SC_CLK_TCK")


class EnergyMeter:
    """Measures the energy that is used from its creation on, by the counters of this machine: of
    its processors (RAPL, if it may be read) and of the GPUs of this program (NVML).
    """

    def __init__(self) -> None:
        counters = [*processor_counters(), *gpu_counters()]
        self._counters = [(counter, counter.read()) for counter in counters]

    def joules(self) -> dict[str, float]:
        """What used the energy ("processor", "gpu") -> joules; empty without counters."""
        used: dict[str, float] = {}
        for counter, begin in self._counters:
            with suppress(OSError):
                count = counter.read() - begin
                count = count % counter.around if counter.around else count
                used[counter.of] = used.get(counter.of, 0.0) + count / PER_JOULE[counter.of]
        return {of: round(joules, 3) for of, joules in used.items()}


class Counter(NamedTuple):
    """A counter of the energy that the processor or GPU used (`of`, a key of PER_JOULE). It only
    grows; RAPL's starts again from 0 after `around`, which is 0 for others.
    """

    of: str
    read: Callable[[], int]
    around: int = 0


def processor_counters() -> list[Counter]:
    """One counter per processor package; it includes memory, and all programs on the package."""
    counters = []
    for folder in sorted(RAPL.glob("intel-rapl:*")):
        if folder.name.count(":") == 1:  # others are a part of a package
            with suppress(OSError, ValueError):
                energy, around = folder / "energy_uj", folder / "max_energy_range_uj"
                _number(energy)  # which only root may read on many machines
                counters.append(Counter("processor", partial(_number, energy), _number(around)))
    return counters


def gpu_counters() -> list[Counter]:
    """One counter per GPU that this program uses, or under torchrun its processes on this machine;
    it counts the whole board.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    counters = []
    with suppress(Exception):  # no NVML, an old driver, or a GPU that is only a part of another
        import pynvml

        pynvml.nvmlInit()
        here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        first = torch.cuda.current_device() if here == 1 else 0
        for number in range(first, first + here):
            uuid = f"GPU-{torch.cuda.get_device_properties(number).uuid}"
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            read = partial(pynvml.nvmlDeviceGetTotalEnergyConsumption, handle)
            counters.append(Counter("gpu", read))
    return counters


def _number(path: Path) -> int:
    return int(path.read_text())
