"""Energy that this machine's counters say was used: of its processors (RAPL, where it may be read)
and of the GPUs of this program (NVML).

    meter = EnergyMeter()
    ...
    meter.joules()  # {"processor": 812.4, "gpu": 5021.0}; nothing where there is no counter
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
    """One that only grows, but for RAPL's, which begins again after `around`."""

    of: str
    read: Callable[[], int]
    around: int = 0

    def __post_init__(self) -> None:
        self.begin = self.read()

    def joules(self) -> float:
        """Since it was made, or since it last began again."""
        used = self.read() - self.begin
        return (used % self.around if self.around else used) / PER_JOULE[self.of]


class EnergyMeter:
    """Measures from its creation on."""

    def __init__(self) -> None:
        self._counters = [*processor_counters(), *gpu_counters()]

    def joules(self) -> dict[str, float]:
        """By what used it."""
        used: dict[str, float] = {}
        for counter in self._counters:
            with suppress(OSError):
                used[counter.of] = used.get(counter.of, 0.0) + counter.joules()
        return {of: round(joules, 3) for of, joules in used.items()}


def processor_counters() -> list[Counter]:
    """Of each processor package: memory and all programs on it are in it."""
    counters = []
    for folder in sorted(RAPL.glob("intel-rapl:*")):
        if folder.name.count(":") != 1:  # a part of a package
            continue
        energy, around = folder / "energy_uj", folder / "max_energy_range_uj"
        with suppress(OSError, ValueError):
            counters.append(Counter("processor", partial(_number, energy), _number(around)))
    return counters


def gpu_counters() -> list[Counter]:
    """Of each GPU that this program, or torchrun's processes here, use; their boards whole."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    counters = []
    with suppress(Exception):  # no NVML, an old driver, a GPU that is a part of another
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
