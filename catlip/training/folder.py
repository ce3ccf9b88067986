"""The folder of a run: whether it holds another run, and what a restart may delete."""

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from catlip.cli import InputError
from catlip.system.lock import NAME as LOCK
from catlip.training.distributed import THREADS

WRITTEN = (
    "checkpoints",
    "log.jsonl",
    "broken.jsonl",
    "weights.safetensors",
    "weights-step-*.safetensors",
    "events.out.tfevents.*",
    "wandb",
    "trackio",
    "score.json",
    LOCK,
    THREADS,
    ".*.tmp",
    "*.tmp",
)
CHECKPOINTS = ("step-*", ".*.tmp")
MAX_SHOWN, MAX_CHARACTERS = 6, 60  # differences in a message, and characters of each value in it


def refuse_another(
    folder: Path, before: dict[str, Any], now: dict[str, Any], option: str = "--out"
) -> None:
    """Raises InputError that names what differs, if the run in `folder` has another config."""
    if changed := changes(before, json.loads(json.dumps(now))):  # `before` was read from JSON
        raise InputError(
            f"{folder} holds a run with another recipe ({changed}); remove it or give another "
            f"{option}"
        )


def changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The fields in which two configs differ, in words; "" if they are equal."""
    names = [*now, *(name for name in before if name not in now)]
    differ = [name for name in names if before.get(name) != now.get(name)]
    words = [
        f"{name} {_clipped(before.get(name))} there, {_clipped(now.get(name))} now"
        for name in differ[:MAX_SHOWN]
    ]
    if len(differ) > MAX_SHOWN:
        words.append(f"and {len(differ) - MAX_SHOWN} more")
    return "; ".join(words)


def discard(folder: Path) -> None:
    """Delete the run in `folder`, or nothing if it holds anything that no run writes."""
    paths = sorted(folder.iterdir()) if folder.exists() else []
    inside = sorted((folder / "checkpoints").iterdir()) if (folder / "checkpoints").is_dir() else []
    foreign = [
        path
        for paths_there, written in ((paths, WRITTEN), (inside, CHECKPOINTS))
        for path in paths_there
        if not any(fnmatch(path.name, pattern) for pattern in written)
    ]
    if foreign:
        names = ", ".join(str(path.relative_to(folder)) for path in foreign[:3])
        raise InputError(
            f"--restart deletes a run, but {folder} holds files that no run writes ({names}); give "
            "another --out"
        )
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:  # this process holds the lock
            path.unlink()


def _clipped(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}..."
