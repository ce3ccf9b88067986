"""Where every number came from: each record with its command and machine, in groups of those that
one number may be averaged over; with metrics and config as far as the page has room.
"""

import json
from itertools import chain, zip_longest

from catlip.method_style import name_of
from catlip.results.blocks import Block, Command, RecordGroup, RecordList, RecordView, Section, Text
from catlip.results.run import Records, Run, number
from catlip.results.select import caveats, group_anchor
from catlip.table import Cell, Table

COMPARE = "python -m reports compare runs/starter reports/records/starter"
# Kinds with one record for each method and seed.
OF_A_METHOD = ("pretrain", "linear_probe", "l2_probe", "finetune", "readout")
ROOM = 400_000  # characters of the page for metrics and config


def records_section(records: Records) -> Section:
    groups = record_groups(records)
    whole = sum(bool(view.content) for group in groups for view in group.records)
    words = (
        f"{len(records.every)} record{'s' * (len(records.every) != 1)} read from "
        f"{', '.join(records.roots) or 'no folder'}. Metrics and config of {whole} of them are "
        f"here, and all else is in the JSON at the path."
    )
    blocks: list[Block] = [
        Text(words),
        Text("This compares two folders of records and lists what makes a comparison unfair:"),
        Command(COMPARE),
        RecordList(groups),
    ]
    if records.problems:
        rows = [[Cell(problem.path), Cell(problem.reason)] for problem in records.problems]
        blocks.append(Table("left_out", "Files that were left out", ["File", "Why"], rows=rows))
    return Section("records", "Records", blocks)


def record_groups(records: Records) -> list[RecordGroup]:
    """All records, in groups, in the order in which they were read. There is room for the content
    of the first of every group, then for that of the second of every group, and so on.
    """
    groups: dict[str, list[Run]] = {}
    for record in records.every:
        groups.setdefault(group_anchor(record), []).append(record)
    content: dict[str, str] = {}
    room = ROOM
    for record in filter(None, chain.from_iterable(zip_longest(*groups.values()))):
        parts = {"metrics": record.metrics, "config": record.config}
        written = json.dumps(parts, indent=1, ensure_ascii=False)
        room -= len(written)
        if room < 0:
            break
        content[record.path] = written
    return [
        RecordGroup(
            anchor,
            _title(group[0]),
            [
                RecordView(
                    record.anchor,
                    record.path,
                    command=record.command,
                    where=_where(record),
                    remarks=[*caveats(record), *(f"Note: {note}" for note in record.notes)],
                    content=content.get(record.path, ""),
                )
                for record in group
            ],
        )
        for anchor, group in groups.items()
    ]


def _title(record: Run) -> str:
    who = name_of(record.method) if record.kind in OF_A_METHOD else record.name
    kind = record.kind.replace("_", " ")
    return f"{record.root}/{record.scale}: {kind}{f', {who}' if who != kind else ''}"


def _where(record: Run) -> str:
    """Device, threads, torch, revision and maker on one line."""
    threads = number(record.environment, "threads")
    revision, dirty = record.machine.revision, " with local changes" * record.machine.dirty
    words = [
        record.device,
        f"{threads:.0f} thread{'s' * (threads != 1)}" if threads is not None else "",
        f"torch {torch}" if (torch := record.machine.packages.get("torch")) else "",
        f"revision {revision}{dirty}" if revision else "",
        record.machine.started,
        f"made by {record.by}" if record.by else "",
    ]
    return ", ".join(filter(None, words))
