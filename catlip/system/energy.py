"""Energy by the counters of this machine: of its processors (RAPL, if it may be read) and of the
GPUs of this program (NVML).

    meter = EnergyMeter()
    ...
    meter.joules()  # {"processor": 812.4, "gpu": 5021.0}; empty without counters
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

RAPL = Path("/sys/class/powercap")
PER_JOULE = {"processor": 1e6, "gpu": 1e3}  # RAPL counts in uJ, NVML in mJ


@dataclass
class Counter:
    """A counter of used energy. It only grows; RAPL's starts again from 0 after `around`.

    Attributes:
        of: what used the energy, a key of PER_JOULE.
        read: gives the counter's value, in the unit of PER_JOULE.
        around: largest value of a counter that starts again; 0 if it does not.
    """

    of: str
    read: Callable[[], int]
    around: int = 0

    def __post_init__(self) -> None:
        self.begin = self.read()

    def joules(self) -> float:
        """Joules since its creation, if it has started again from 0 at most once since."""
        used = self.read() - self.begin
        return (used % self.around if self.around else used) / PER_JOULE[self.of]


class EnergyMeter:
    """Measures the energy that is used from its creation on."""

    def __init__(self) -> None:
        self._counters = [*processor_counters(), *gpu_counters()]

    def joules(self) -> dict[str, float]:
        """What used the energy ("processor", "gpu") -> joules."""
        used: dict[str, float] = {}
        for counter in self._counters:
            with suppress(OSError):
                used[counter.of] = used.get(counter.of, 0.0) + counter.joules()
        return {of: round(joules, 3) for of, joules in used.items()}


def processor_counters() -> list[Counter]:
    """One counter per processor package; it includes memory, and all programs on the package."""
    counters = []
    for folder in sorted(RAPL.glob("intel-rapl:*")):
        if folder.name.count(":") != 1:  # a part of a package
            continue
        energy, around = folder / "energy_uj", folder / "max_energy_range_uj"
        with suppress(OSError, ValueError):
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
