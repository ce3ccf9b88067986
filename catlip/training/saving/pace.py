"""When a run writes checkpoints: as the user says; by default often, unless they take long."""

import math
import time
from dataclasses import KW_ONLY, dataclass, field

from catlip.training.distributed import of_all_ranks

USUAL_STEPS = 200
MOST_SHARE = 0.02  # of a run's time


@dataclass
class CheckpointPace:
    """Checkpoints at every multiple of `every` steps, or every `minutes` minutes.

    If both are None, at multiples of USUAL_STEPS, but left out where they would take more than
    MOST_SHARE of the time.

    Attributes:
        took_s: seconds that the last checkpoint took, from the copy of the state to its end on
            disk.
        ended, began: when it ended and began; `ended` is infinite while one is written.
    """

    every: int | None
    _: KW_ONLY
    minutes: float | None = None
    took_s: float = 0.0
    ended: float = field(default_factory=time.monotonic)
    began: float = 0.0

    def may_be_due(self, step: int) -> bool:
        """Whether the step is such a multiple; the answer is the same in every run."""
        return self.minutes is None and step % (self.every or USUAL_STEPS) == 0

    def is_due(self, step: int) -> bool:
        """Whether to write one now, by the clock of rank 0; all ranks call it."""
        if self.every or not self.may_be_due(step):
            return self.may_be_due(step)
        return of_all_ranks(time.monotonic() - self.ended >= self.took_s / MOST_SHARE)[0]

    def is_overdue(self) -> bool:
        """Whether the minutes are over, by the clock of this process."""
        return self.minutes is not None and time.monotonic() - self.ended >= 60 * self.minutes

    def begins(self) -> None:
        """Called when a checkpoint begins."""
        self.began, self.ended = time.monotonic(), math.inf

    def ends(self) -> None:
        """Called when the checkpoint is written."""
        self.ended = time.monotonic()
        self.took_s = self.ended - self.began
