"""A run's checkpoints, written beside its steps at the pace that the user wants."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from catlip.training.log import Progress
from catlip.training.saving.background import Background
from catlip.training.saving.pace import CheckpointPace

Saving = Callable[[Sequence[Progress]], Callable[[], Path] | None]


def nothing() -> None:
    """The default for what follows a checkpoint."""


class CheckpointWriter(Background):
    """Writes one checkpoint at a time.

    Args:
        saving: as `Trainer.saving`, of the steps that the log has no line for yet.
        after: called when one is written, in the same thread.
    """

    def __init__(self, saving: Saving, pace: CheckpointPace, after: Callable[[], object]):
        super().__init__()
        self.saving, self.pace, self.after = saving, pace, after

    @property
    def asks(self) -> bool:
        """Whether this rank asks for a checkpoint now: to write one, or to raise what the last one
        failed with on all ranks at once.
        """
        return self.pace.is_overdue() or self.failed

    def write(self, recent: Sequence[Progress]) -> None:
        """Copy the state and begin to write it; all ranks call it.

        Raises: OSError of the checkpoint before.
        """
        self.wait()
        self.pace.begins()
        self.do(partial(self._write, self.saving(recent)))

    def _write(self, write: Callable[[], Path] | None) -> None:
        if write:
            write()
        self.after()
        self.pace.ends()
