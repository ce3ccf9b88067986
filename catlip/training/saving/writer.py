"""Writes a run's checkpoints in the background of its steps."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from catlip.training.log import Progress
from catlip.training.saving.background import Background
from catlip.training.saving.pace import CheckpointPace

Saving = Callable[[Sequence[Progress]], Callable[[], Path] | None]


def nothing() -> None:
    """The default for what to do after a checkpoint."""


class CheckpointWriter(Background):
    """Writes one checkpoint at a time.

    Args:
        saving: given the steps that the log has no line for yet, copies the state and returns what
            writes it, as `Trainer.saving`.
        pace: when checkpoints are due; told when one begins and ends.
        after: called when one is written, in the thread that writes.
    """

    def __init__(self, saving: Saving, pace: CheckpointPace, after: Callable[[], object]):
        super().__init__()
        self.saving, self.pace, self.after = saving, pace, after

    @property
    def asks(self) -> bool:
        """Whether this rank asks for a checkpoint now.

        It does if one is overdue, or if the last one failed: all ranks then wait for the last one
        together, and its error is raised.
        """
        return self.pace.is_overdue() or self.failed

    def write(self, recent: Sequence[Progress]) -> None:
        """Copy the state and begin to write it; all ranks call it.

        Raises: OSError if the last checkpoint failed.
        """
        self.wait()
        self.pace.begins()
        self.do(partial(self._write, self.saving(recent)))

    def _write(self, write: Callable[[], Path] | None) -> None:
        if write:
            write()
        self.after()
        self.pace.ends()
