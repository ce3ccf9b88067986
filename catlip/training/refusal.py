"""A run whose loss is not finite ends once. Started again it would go on from the last checkpoint
and come to the same step, and torchrun restarts whatever fails, so the refusal is remembered.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catlip.cli import InputError
from catlip.system.files import write_atomically
from catlip.system.foreign import read_json
from catlip.training.distributed import Rank, all_gather_objects, is_restart
from catlip.training.trainer import NotFiniteError, Trainer

REFUSED = "refused.json"  # in a run's folder


def repeat_refusal(folder: Path, rank: Rank) -> None:
    """Raises InputError, on all ranks, if torchrun has restarted a run that was refused. A run that
    a user starts forgets the refusal, and tries again.
    """
    path, error = folder / REFUSED, ""
    if is_restart() and path.exists():
        error = read_json(path, error=str)["error"]
    # Several nodes count restarts differently, and may see the file at different times.
    for said in all_gather_objects(error):
        if said:
            raise InputError(said)
    if rank.is_main and not is_restart():
        path.unlink(missing_ok=True)


@contextmanager
def remember_refusal(folder: Path, trainer: Trainer) -> Iterator[None]:
    """Note a NotFiniteError of the block in the folder."""
    try:
        yield
    except NotFiniteError as error:
        if trainer.rank.is_main:
            refusal = {"step": trainer.step, "error": str(error)}
            write_atomically(folder / REFUSED, json.dumps(refusal).encode() + b"\n")
        raise
