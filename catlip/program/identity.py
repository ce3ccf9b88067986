"""What determines a run, and so whether it is done already: what a run has left is kept if this
config and these inputs made it. What another run has left is refused, so nothing is overwritten.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from catlip.program.errors import InputError
from catlip.records.record import plain, read_record

# Fields of a config that do not change the result.
WITHOUT_EFFECT = (
    *("about", "source", "out", "device", "num_workers", "quiet", "compile", "checkpoint_every"),
    *("max_broken", "dry_run"),
    *("overfit", "crowds", "ties", "bias", "scale", "draw"),  # of older records
    *("recipe", "transfer"),  # whose fields are compared one by one
)
MAX_SHOWN, MAX_CHARACTERS = 6, 60  # differences in a message, and characters of each value in it


def is_recorded(
    path: Path, config: Any, inputs: Mapping[str, str] = MappingProxyType({}), say: bool = False
) -> bool:
    """Whether the record at `path` is there. Raises: InputError if it is that of another run.

    Args:
        config: a dataclass, or an object that the record would have as its config.
        inputs: name of a metric -> the digest that it must have.
    """
    if not path.is_file():
        return False
    if changed := record_changes(path, config, inputs):
        raise InputError(
            f"{path} is the record of another run ({changed}); give another --out, or remove it"
        )
    if say:
        print(f"{path} is already there, from the same run; remove it to make it again")
    return True


def record_changes(
    path: Path, config: Any, inputs: Mapping[str, str] = MappingProxyType({})
) -> str:
    """In what the run of the record at `path` differs from this config and these inputs."""
    record = read_record(path)
    before = {name: record["metrics"].get(name) for name in inputs}
    now = json.loads(json.dumps(plain(config)))
    return changes(_identity(record.get("config", {})) | before, _identity(now) | dict(inputs))


def _identity(config: dict[str, Any]) -> dict[str, Any]:
    """The fields of a config, as in JSON, that determine a run."""
    fields = {**config, **config.get("recipe", {}), **config.get("transfer", {})}
    return {name: value for name, value in fields.items() if name not in WITHOUT_EFFECT}


def refuse_another(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises InputError that names what differs, if the run in `folder` has another config."""
    if changed := changes(before, json.loads(json.dumps(now))):  # `before` was read from JSON
        raise InputError(
            f"{folder} holds a run with another recipe ({changed}); remove it or give another --out"
        )


def refuse_foreign(path: Path, is_ours: Callable[[Path], bool]) -> None:
    """Raises InputError if there is a file that this program did not write and would replace."""
    if path.exists() and not is_ours(path):
        raise InputError(f"{path} is there and not of this program; give another --out")


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
