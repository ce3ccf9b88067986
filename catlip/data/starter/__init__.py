"""The starter data set, which is drawn and composed here: `python -m catlip.data.starter`."""

import json
from pathlib import Path

MANIFEST = "starter.json"


def edition_of(shards: Path) -> dict[str, int]:
    """The edition of the starter data whose folder of shards this is; {} if it is of other data."""
    path = shards.parent / MANIFEST
    return {"edition": json.loads(path.read_text())["edition"]} if path.is_file() else {}
