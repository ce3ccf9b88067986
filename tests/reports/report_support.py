"""What tests of the report share: records on disk, tables of a page, `python -m reports`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from catlip.table import Table
from reports.paper.claims import claims_tables, verdicts
from reports.read.records import Record, Records, read_record
from reports.sections import Page

REPOSITORY = Path(__file__).parents[2]

# Pixels of a side that the paper transfers at.
SIDES = {
    "linear_probe": 224,
    "finetune": 224,
    "multilabel": 512,
    "segmentation": 512,
    "detection": 1024,
}

HEAD: dict[str, Any] = {
    "schema": 1,
    "command": "python -m something",
    "config": {},
    "environment": {"device": "Device A", "device_count": 1, "revision": "abc", "dirty": False},
    "metrics": {},
    "samples": {},
    "notes": [],
}


def claims_of(records: Records) -> list[Table]:
    """The tables of claims and of rules."""
    return claims_tables(records, verdicts(records))


def table(page: Page, name: str) -> Table:
    (found,) = [table for table in page.tables if table.name == name]
    return found


def golden_record(golden: Path, kind: str) -> dict:
    paths = sorted((golden / "records").glob("*/*/*.json"))
    return next(
        found
        for path in paths
        if path.name not in ("cut-short.json", "foreign.json")
        if (found := json.loads(path.read_text()))["kind"] == kind
    )


def written(tmp_path: Path, content: dict, scale: str = "starter") -> Record:
    path = tmp_path / "runs" / scale / content["kind"] / f"{content['name']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return read_record(tmp_path / "runs", path)


def golden_content(golden: Path, kind: str) -> dict:
    return json.loads(next((golden / "records/bench" / kind).glob("*.json")).read_text())


def write(tmp_path: Path, content: dict, root: str = "runs", device: str = "") -> None:
    if device:
        content = content | {"environment": content["environment"] | {"device": device}}
    path = tmp_path / root / "bench" / content["kind"] / f"{content['name']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def run_reports(cwd: Path, *arguments: object, code: str = "") -> subprocess.CompletedProcess[str]:
    """`python -m reports arguments` in a folder."""
    command = [sys.executable, *(["-c", code] if code else ["-m", "reports"]), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )
