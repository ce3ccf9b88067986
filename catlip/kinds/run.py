"""A record as the tables of its kind see it, whether a bench has just measured it or the reports
have read it from a file.
"""

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from catlip.kinds.base import Interval, Kind
from catlip.kinds.least_counts import too_few

K = TypeVar("K", bound=Kind, covariant=True)
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the reports ask of a recipe; the record holds all of its fields."""

    encoder: str = ""
    resolution: int | None = None
    epochs: float | None = None
    iterations: int | None = None


@dataclass(frozen=True, kw_only=True)
class TransferInit:
    """How the rows of Transfer Init are chosen, where the run says it."""

    alpha: float | None = None
    ties: str = ""
    bias: str = ""
    scale: str = ""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What the reports ask of a run's config; the record holds all of its fields."""

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


@dataclass(frozen=True, kw_only=True)
class Run(Generic[K]):
    """One run: what it measured, how, and where.

    Attributes:
        samples: name -> raw values, as the record holds them.
        anchor: of its record in the page; empty outside of a page.
    """

    name: str
    measured: K
    setup: Config
    machine: Environment
    samples: dict[str, list[Any]]
    anchor: str = ""

    def rows(self, name: str, of: type[R]) -> list[R]:
        """The rows recorded under `name`, each as a dataclass; none where the run has no such rows.

        Raises: ValueError that names the first field that is missing or of another type.
        """
        return msgspec.convert(self.samples.get(name, []), list[of])  # type: ignore[valid-type]

    def series(self, name: str) -> list[float]:
        """The raw values recorded under `name`; none without any."""
        return [float(value) for value in self.samples.get(name, [])]

    @property
    def is_cpu(self) -> bool:
        """Whether it was measured on a processor, not on an accelerator."""
        device = self.machine.device
        return self.setup.device == "cpu" or (bool(device) and device == self.machine.cpu)

    @property
    def device(self) -> str:
        """The device's name, with its count where there are several."""
        name, count = self.machine.device or "unknown device", self.machine.device_count
        return f"{count} x {name}" if count > 1 else name

    @property
    def where(self) -> str:
        """The device for a reader: a processor is marked as one, and called by its own name where
        the machine has a GPU beside it.
        """
        return f"{self.machine.cpu or self.device} (CPU)" if self.is_cpu else self.device

    @property
    def too_few(self) -> str:
        """`2 rounds, of at least 6`, where its ratios rest on too few rounds; else empty."""
        return too_few(self.measured.kind, self.samples)

    def trusted(self, ratio: Interval) -> Interval:
        """The ratio, without its interval where it rests on too few rounds."""
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
