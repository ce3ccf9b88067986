"""A run whose loss is not finite ends once. Started again it would go on from the last checkpoint
and come to the same step, and torchrun restarts whatever fails, so the refusal is remembered.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from catlip.cli import InputError
from catlip.system.files import write_atomically
from catlip.system.foreign import read_json
from catlip.training.distributed import Rank, all_gather_objects, is_restart
from catlip.training.trainer import NotFiniteError, Trainer

REFUSED = "refused.json"  # in a run's folder


def repeat_refusal(folder: Path, rank: Rank, config: dict[str, Any]) -> None:
    """Raises InputError, on all ranks, if torchrun has restarted a run that was refused. A run that
    a user starts forgets the refusal, and tries again.
    """
    path, error = folder / REFUSED, ""
    if is_restart() and path.exists():
        refusal = read_json(path, config=str, error=str)
        error = refusal["error"] if refusal["config"] == _digest(config) else ""
    # Several nodes count restarts differently, and may see the file at different times.
    for said in all_gather_objects(error):
        if said:
            raise InputError(said)
    if rank.is_main and not is_restart():
        path.unlink(missing_ok=True)


@contextmanager
def remember_refusal(folder: Path, trainer: Trainer, config: dict[str, Any]) -> Iterator[None]:
    """Note a NotFiniteError of the block in the folder."""
    try:
        yield
    except NotFiniteError as error:
        if trainer.rank.is_main:
            refusal = {"step": trainer.step, "config": _digest(config), "error": str(error)}
            write_atomically(folder / REFUSED, json.dumps(refusal).encode() + b"\n")
        raise


def _digest(config: dict[str, Any]) -> str:
    return sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
