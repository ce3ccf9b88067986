"""The folder of a run: whether it holds another run, and what a restart may delete."""

import json
import re
from pathlib import Path
from typing import Any

from catlip.cli import InputError
from catlip.training.distributed import THREADS

# What a run writes, by folder. `wandb/` may be another program's too; without this file there, the
# next run is a new one.
WRITTEN = {
    ".": r"log\.jsonl|broken\.jsonl|score\.json|weights(-step-\d{8,})?\.safetensors|"
    rf"{re.escape(THREADS)}|events\.out\.tfevents\..+",
    "checkpoints": r"step-\d{8,}\.pt",
    "wandb": r"wandb-resume\.json",
}
# What a killed process leaves of these, or left in earlier versions.
UNFINISHED = r"\.({names})\.[0-9a-f]+\.tmp|\.(writing|fetched)\.tmp"
MAX_SHOWN, MAX_CHARACTERS = 6, 60  # differences in a message, and characters of each value in it


def refuse_another(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises InputError that names what differs, if the run in `folder` has another config."""
    if changed := changes(before, json.loads(json.dumps(now))):  # `before` was read from JSON
        raise InputError(
            f"{folder} holds a run with another recipe ({changed}); remove it or give another --out"
        )


def changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The fields in which two configs differ, in words; "" if they are equal."""
    names = [*now, *(name for name in before if name not in now)]
    differ = [name for name in names if before.get(name) != now.get(name)]
    words = []
    for name in differ[:MAX_SHOWN]:
        there, here = (repr(run.get(name))[:MAX_CHARACTERS] for run in (before, now))
        words.append(f"{name} {there} there, {here} now")
    if len(differ) > MAX_SHOWN:
        words.append(f"and {len(differ) - MAX_SHOWN} more")
    return "; ".join(words)


def discard(folder: Path) -> None:
    """Delete what a run wrote into the folder; all other files stay."""
    for subfolder, names in WRITTEN.items():
        written = re.compile(f"{names}|{UNFINISHED.format(names=names)}")
        for path in (folder / subfolder).glob("*"):
            if written.fullmatch(path.name) and (path.is_symlink() or path.is_file()):
                path.unlink()
