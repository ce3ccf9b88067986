"""The starter data set, which is drawn and composed here: `python -m catlip.data.starter`."""

from pathlib import Path
from typing import Any

from catlip.system.foreign import read_json

MANIFEST = "starter.json"


def edition_of(shards: Path) -> dict[str, int]:
    """The edition of the starter data whose folder of shards this is; {} if it is of other data."""
    path = shards.parent / MANIFEST
    return {"edition": read_manifest(path)["edition"]} if path.is_file() else {}


def read_manifest(path: Path) -> dict[str, Any]:
    """What was built, and of what. Raises: InputError if the file is damaged, OSError."""
    return dict(read_json(path, f"remove all of {path.parent}", edition=int, shards=dict))
