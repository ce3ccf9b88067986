"""Records as a run would write them, for the tests of the report."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.records import read_records
from reports.sections import Page, build_page

GOLDEN = Path(__file__).parent / "golden"
WriteRecord = Callable[..., Path]

HEAD: dict[str, Any] = {
    "schema": 1,
    "command": "python -m something",
    "config": {},
    "environment": {"device": "Device A", "device_count": 1, "revision": "abc", "dirty": False},
    "metrics": {},
    "samples": {},
    "notes": [],
}


@pytest.fixture
def write_record(tmp_path: Path) -> WriteRecord:
    """Write `ROOT/<scale>/<kind>/<name>.json` under the test's folder; keywords replace parts of the head."""

    def write(kind: str, name: str, root: str = "runs", scale: str = "starter", **parts: Any) -> Path:
        path = tmp_path / root / scale / kind / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(copy.deepcopy(HEAD) | {"kind": kind, "name": name} | parts))
        return path

    return write


@pytest.fixture
def golden() -> Path:
    """The folder of fixed records and of the report that they must give."""
    return GOLDEN


@pytest.fixture
def page(golden: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    """The page of the fixed records."""
    monkeypatch.chdir(golden)
    return build_page(read_records([Path("records")]))
