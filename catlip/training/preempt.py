"""A training that is told to stop saves first: SIGTERM and SIGUSR1, as a cluster sends them.

Signals reach the ranks at different moments, or only one of them: each rank only notes a signal,
and the ranks agree in the exchange of the next loss. All save after that step and exit. A second
signal changes nothing, since torchrun and SLURM both send one.
"""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from catlip.system.engines import STOPS
from catlip.training.distributed import Rank, all_gather_objects, barrier

# EX_TEMPFAIL of sysexits.h: nothing is wrong, try again. 128 + 15 would not do: a process that
# SIGTERM killed before it could save has that code too.
EXIT_CODE = 75


@dataclass
class Notice:
    """The first signal that told this process to stop, and whether it is about to exit."""

    received: signal.Signals | None = None
    leaves: bool = False

    def exit_if_stopped(self, step: int, rank: Rank, saved: Callable[[], object]) -> None:
        """End this process with EXIT_CODE if any rank got a signal; all ranks call it after the
        same steps. `saved` returns when the checkpoint of this step is written.
        """
        # Also a rank without a signal takes part: the others would wait for it.
        stops = [stop for stop in all_gather_objects(self.received) if stop is not None]
        if not stops:
            return
        self.leaves = True
        saved()
        barrier()  # torchrun would kill a rank that still writes as soon as another one left
        if rank.is_main:
            print(
                f"{stops[0].name}: stopped after step {step}, which is saved; run the same command "
                "again to go on",
                file=sys.stderr,
            )
        sys.exit(EXIT_CODE)


@contextmanager
def catch_stops() -> Iterator[Notice]:
    """Note the signals that arrive in the block, instead of ending the process at once."""
    notice = Notice()

    def note(number: int, frame: FrameType | None) -> None:
        notice.received = notice.received or signal.Signals(number)

    previous = {number: signal.signal(number, note) for number in STOPS}
    try:
        yield notice
    finally:
        # A process that leaves is not to be killed by the second signal before it has left.
        if not notice.leaves:
            for number, handler in previous.items():
                signal.signal(number, handler)
