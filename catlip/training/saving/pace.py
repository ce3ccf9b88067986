"""When a run writes checkpoints: often, unless they are large, or as the user says."""

import math
import time
from dataclasses import KW_ONLY, dataclass, field

from catlip.training.distributed import of_all_ranks

USUAL_STEPS = 200
MOST_SHARE = 0.02  # of a run's time


@dataclass
class CheckpointPace:
    """Checkpoints at every multiple of `every` steps, or every so many `minutes`.

    If both are None, at multiples of USUAL_STEPS, where they take no more than MOST_SHARE of the
    time.

    Attributes:
        took_s, ended, began: of the last checkpoint, from the copy of the state to its end on disk;
            `ended` is infinite while one is written.
    """

    every: int | None
    _: KW_ONLY
    minutes: float | None = None
    took_s: float = 0.0
    ended: float = field(default_factory=time.monotonic)
    began: float = 0.0

    def may_be_due(self, step: int) -> bool:
        """Whether the step is such a multiple, the same in every run."""
        return self.minutes is None and step % (self.every or USUAL_STEPS) == 0

    def is_due(self, step: int) -> bool:
        """Whether to write one now, as the main process's clock says; all ranks ask."""
        if self.every or not self.may_be_due(step):
            return self.may_be_due(step)
        return of_all_ranks(time.monotonic() - self.ended >= self.took_s / MOST_SHARE)[0]

    def is_overdue(self) -> bool:
        """Whether the minutes are over, as this process's clock says."""
        return self.minutes is not None and time.monotonic() - self.ended >= 60 * self.minutes

    def begins(self) -> None:
        """One is begun."""
        self.began, self.ended = time.monotonic(), math.inf

    def ends(self) -> None:
        """It is written."""
        self.ended = time.monotonic()
        self.took_s = self.ended - self.began
