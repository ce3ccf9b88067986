"""A record as its kind's tables use it, whether a bench has just measured it or the reports have
read it from a file.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from catlip.kinds.base import Interval, Kind
from catlip.kinds.least_counts import too_few
from catlip.table import shown

K = TypeVar("K", bound=Kind, covariant=True)
R = TypeVar("R")
BUSY = 0.25  # other programs' processor time over the wall time; above it, times are in doubt


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The fields of a recipe that the reports need; the record holds all fields."""

    encoder: str = ""
    resolution: int | None = None
    epochs: float | None = None
    iterations: int | None = None


@dataclass(frozen=True, kw_only=True)
class TransferInit:
    """How Transfer Init chose the classifier's rows, if the run's config says so."""

    alpha: float | None = None
    ties: str = ""
    bias: str = ""
    scale: str = ""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The fields of a run's config that the reports need; the record holds all fields."""

    method: str = ""
    model: str = ""
    encoder: str = ""
    batch_size: int | None = None
    resolution: int | None = None
    num_classes: int | None = None
    samples: float | None = None
    world_size: int | None = None
    precision: str = ""
    attention: str = ""
    checkpointing: bool = False
    patch_drop_rate: float = 0.0
    compile: bool = False
    deterministic: bool = False
    device: str = ""
    data: str | None = None
    init: str | list[str] = ""
    runs: list[str] = field(default_factory=list)
    cached_features: bool | None = None
    neighbours: int | None = None
    transfer: TransferInit = TransferInit()
    seed: int | None = None
    rule: str | None = None
    threshold: int | None = None
    top_k: int | None = None
    workers: int | list[int] | None = None
    recipe: Recipe = Recipe()


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The machine and the code that a record was made with."""

    device: str = ""
    device_count: int = 1
    cpu: str = ""
    threads: int | None = None
    attention: str = ""
    started: str = ""
    revision: str = ""
    dirty: bool = False
    packages: dict[str, str] = field(default_factory=dict)
    wall_s: float | None = None
    other_cpu_s: float | None = None
    energy_j: dict[str, float] = field(default_factory=dict)

    @property
    def busy(self) -> str:
        """A sentence, if other programs took so much processor time during the run that its times
        are in doubt; empty for older records, which do not hold that time.
        """
        other, wall = self.other_cpu_s, self.wall_s
        if other is None or wall is None or not (wall > 0 and other > BUSY * wall):
            return ""
        return (
            f"The machine was busy: other programs took {shown(other)} s of processor time in "
            f"{shown(wall)} s."
        )


@dataclass(frozen=True, kw_only=True)
class Run(Generic[K]):
    """One run: what it measured, how, and where.

    Attributes:
        samples: name -> raw values, as the record holds them.
        anchor: where the page shows its record; empty outside of a page.
    """

    name: str
    measured: K
    setup: Config
    machine: Environment
    samples: dict[str, list[Any]]
    anchor: str = ""

    def rows(self, name: str, of: type[R]) -> list[R]:
        """The rows recorded under `name`, each as a dataclass; empty if the run has none.

        Raises: ValueError that names the first field that is missing or of another type.
        """
        return msgspec.convert(self.samples.get(name, []), list[of])  # type: ignore[valid-type]

    def series(self, name: str) -> list[float]:
        """The raw values recorded under `name`; empty if the run has none."""
        return [float(value) for value in self.samples.get(name, [])]

    @property
    def is_cpu(self) -> bool:
        """Whether it was measured on a processor, not on an accelerator."""
        device = self.machine.device
        return self.setup.device == "cpu" or (bool(device) and device == self.machine.cpu)

    @property
    def device(self) -> str:
        """The device's name, with the number of devices if there are several."""
        name, count = self.machine.device or "unknown device", self.machine.device_count
        return f"{count} x {name}" if count > 1 else name

    @property
    def where(self) -> str:
        """The device as readers see it: a processor is marked `(CPU)`, and is named even if the
        machine also has a GPU.
        """
        return f"{self.machine.cpu or self.device} (CPU)" if self.is_cpu else self.device

    @property
    def too_few(self) -> str:
        """`2 rounds of the 6 needed` if its ratios rest on too few rounds; otherwise empty."""
        return too_few(self.measured.kind, self.samples)

    def trusted(self, ratio: Interval) -> Interval:
        """The ratio, without its interval if it rests on too few rounds."""
        return Interval(ratio.value) if self.too_few else ratio


def read_run(record: dict[str, Any], kind: type[K]) -> Run[K]:
    """The run of a record's JSON.

    Raises: ValueError that names the first field that is missing or of another type.
    """
    return Run(
        name=record["name"],
        measured=kind.read(record["metrics"]),
        setup=msgspec.convert(record["config"], Config),
        machine=msgspec.convert(record["environment"], Environment),
        samples=record["samples"],
    )


def device_of(run: Run[Any]) -> str:
    """The device of a run, as readers see it; empty if the run does not name it. Times are compared
    or averaged only if it is the same.
    """
    return run.where if run.machine.device else ""


def one_device(runs: Iterable[Run[Any]]) -> bool:
    """Whether all runs name the same device."""
    devices = {device_of(run) for run in runs}
    return len(devices) == 1 and "" not in devices
