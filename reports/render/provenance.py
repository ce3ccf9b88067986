"""Where the numbers came from: the records, when they were made, and what was left out."""

import json
from collections.abc import Iterable
from pathlib import Path

from catlip.records.blocks import Block, Command, Section, Text
from catlip.records.run import Records, Run
from catlip.records.select import group_anchor
from catlip.records.table import Cell, Table, records_file

COMPARE = "python -m reports compare runs/starter reports/records/starter"


def date_and_revision(records: Records) -> str:
    """`Last record: 2026-11-28, revision 8057568ede70`; empty if no record has a date."""
    dated = [(r.environment.started, r.environment.revision[:12]) for r in records.every]
    last, revision = max(dated, default=("", ""))
    day = last[:10]
    return f"Last record: {day}{f', revision {revision}' if revision else ''}" if day else ""


def records_section(records: Records) -> Section:
    words = (
        f"{len(records.every):,} records were read from {', '.join(records.roots) or 'no folder'}. "
        "A number in a table leads to the JSON of its records, in `records/`: command, machine, "
        "code, settings, results. Figures are drawn from them. This compares two folders and lists "
        "what makes a comparison unfair:"
    )
    blocks: list[Block] = [Text(words), Command(COMPARE)]
    if records.problems:
        rows = [[Cell(problem.path), Cell(problem.reason)] for problem in records.problems]
        blocks.append(Table("left_out", "Files that were left out", ["File", "Why"], rows=rows))
    return Section("records", "Records", blocks)


def record_files(records: Records, anchors: Iterable[str]) -> dict[str, bytes]:
    """The files that anchors lead to: a record as it is, or several of a group, by their paths."""
    by_anchor: dict[str, list[Run]] = {}
    for record in records.every:
        by_anchor[record.anchor] = [record]
        by_anchor.setdefault(group_anchor(record), []).append(record)
    files = {}
    for anchor in dict.fromkeys(anchors):
        contents = {run.path: Path(run.path).read_bytes().strip() for run in by_anchor[anchor]}
        if len(contents) == 1:
            (content,) = contents.values()
        else:
            each = [json.dumps(path).encode() + b": " + of for path, of in contents.items()]
            content = b"{\n" + b",\n".join(each) + b"\n}"
        files[records_file(anchor)] = content + b"\n"
    return files
