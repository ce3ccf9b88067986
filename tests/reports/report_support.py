"""What tests of the report share: records on disk, tables of a page, `python -m reports`."""

import importlib.util
import json
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from catlip.results.figures import Figure, Rendered
from catlip.results.run import Records, Run
from catlip.table import Table
from reports.paper.claims import claims_tables, verdicts
from reports.read.records import read_record, read_records
from reports.render.page import html
from reports.sections import Page, build_page

REPOSITORY = Path(__file__).parents[2]
GOLDEN_RECORDS = [
    path
    for path in sorted((Path(__file__).parent / "golden/records").glob("*/*/*.json"))
    if path.name not in ("cut-short.json", "foreign.json")
]

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


def figure(page: Page, name: str) -> Figure:
    (found,) = [figure for figure in page.figures if figure.name == name]
    return found


def undrawn_html(page: Page) -> str:
    """The page with its figures left undrawn."""
    nothing = Rendered(svg="<svg></svg>", png=b"")
    return html(page, {figure.name: nothing for figure in page.figures})


def records_in(tmp_path: Path) -> Records:
    """What a test has written."""
    return read_records([tmp_path / "runs"])


def page_in(tmp_path: Path) -> Page:
    """The page of what a test has written."""
    return build_page(records_in(tmp_path))


def golden_record(golden: Path, kind: str) -> dict[str, Any]:
    """What the first golden record of this kind holds."""
    contents = (json.loads(path.read_text()) for path in GOLDEN_RECORDS)
    return next(content for content in contents if content["kind"] == kind)


def write(
    tmp_path: Path,
    content: dict[str, Any],
    scale: str = "bench",
    root: str = "runs",
    device: str = "",
) -> Path:
    """Write a record, of another device where one is named."""
    if device:
        content = content | {"environment": content["environment"] | {"device": device}}
    path = tmp_path / root / scale / content["kind"] / f"{content['name']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def written(tmp_path: Path, content: dict[str, Any], scale: str = "starter") -> Run:
    return read_record(tmp_path / "runs", write(tmp_path, content, scale))


def program_of(command: str) -> ModuleSpec | None:
    """The module that a command line runs with `python -m`; None for a script of the repository.

    Raises: AssertionError if there is no such module or script.
    """
    words = command.split()
    if "-m" not in words:
        assert (REPOSITORY / words[0]).exists(), command
        return None
    spec = importlib.util.find_spec(words[words.index("-m") + 1])
    assert spec, f"{command}: there is no such program"
    return spec


def takes_its_flags(command: str, *shared: Path) -> None:
    """The program of the command has a field of each flag, in its own files or in shared ones."""
    spec = program_of(command)
    assert spec
    folders = spec.submodule_search_locations or ()
    own = [Path(spec.origin or ""), *(path for at in folders for path in Path(at).rglob("*.py"))]
    text = "\n".join(path.read_text() for path in (*own, *shared))
    flags = [word for word in command.partition(" -m ")[2].split() if word.startswith("--")]
    for flag in flags:
        assert f"    {flag[2:].replace('-', '_')}: " in text, (command, flag)


def run_reports(cwd: Path, *arguments: object, code: str = "") -> subprocess.CompletedProcess[str]:
    """`python -m reports arguments` in a folder."""
    command = [sys.executable, *(["-c", code] if code else ["-m", "reports"]), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )
