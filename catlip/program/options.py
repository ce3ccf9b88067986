"""The flags that many programs share. Their configs inherit them, so that each has one help."""

from dataclasses import dataclass

from catlip.program.broken import MAX_BROKEN, MaxBroken
from catlip.program.ranges import Natural


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a program computes, and whether it shows progress."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    quiet: bool = False
    """No progress bar."""


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(RunOptions):
    """How a program reads images."""

    num_workers: Natural | None = None
    """Processes that read and decode images, per rank; the results do not depend on it. By default
    one, none on a single core; with a GPU the number of cores per rank minus one."""
    max_broken: MaxBroken = MAX_BROKEN
