"""Shows where every number came from: each record, in groups of those that one number may be
averaged over.

If the page has no room for all records, the first of each group are shown whole, and each of the
others has a line.
"""

import json
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any

from catlip.claims import is_before_rules
from catlip.method_style import name_of
from catlip.results.blocks import RecordGroup, RecordLine, RecordView, Samples
from catlip.results.run import Records, Run, as_number, lookup, number, text
from catlip.results.select import caveats, group_anchor
from catlip.table import Cell, Table, clipped, shown

# Kinds with one record for each method and seed.
OF_A_METHOD = ("pretrain", "linear_probe", "l2_probe", "finetune", "readout")
SHOWN_REVISIONS = 6
SHOWN_VALUES, SHOWN_ROWS = 24, 3  # of each list of samples; the file holds the rest
ROOM = 400_000  # characters of the page for whole records; a hundred records take half a million
LINE = 100  # characters of a record that is shown as a line


def record_groups(records: Records) -> list[RecordGroup]:
    """All records, in groups, in the order in which they were read. There is room for the first of
    every group, then for the second of every group, and so on; the others are lines.
    """
    groups: dict[str, list[Run]] = {}
    for record in records.every:
        groups.setdefault(group_anchor(record), []).append(record)
    whole: dict[str, RecordView] = {}
    room = max(ROOM - LINE * len(records.every), ROOM // 6)
    for record in filter(None, chain.from_iterable(zip_longest(*groups.values()))):
        viewed = view(record)
        room -= viewed.size
        if room < 0:
            break
        whole[record.path] = viewed
    return [
        RecordGroup(
            anchor,
            _title(group[0]),
            [whole[record.path] for record in group if record.path in whole],
            lines=[
                RecordLine(record.anchor, record.path, _beware(record))
                for record in group
                if record.path not in whole
            ],
        )
        for anchor, group in groups.items()
    ]


def records_table(records: Records, groups: Sequence[RecordGroup]) -> list[Table]:
    """A table of every record with its command and machine; none if the page shows all records
    whole.
    """
    if not any(group.lines for group in groups):
        return []
    rows = []
    for record in records.every:
        words = (
            record.path,
            clipped(record.command, 400),
            clipped(_where(record), 200),
            " ".join(_beware(record)),
        )
        rows.append([*map(Cell, words)])
    columns = ["File", "Command", "Where", "Beware"]
    return [Table("records", "Every record", columns, rows=rows, folded=True)]


def view(record: Run) -> RecordView:
    """One record for the page."""
    return RecordView(
        anchor=record.anchor,
        path=record.path,
        command=record.command,
        where=_where(record),
        config=_pretty(record.config),
        environment=_pretty(record.environment),
        metrics=_pretty(record.metrics),
        samples=[_samples(record, name) for name in record.samples],
        notes=[str(note) for note in record.notes],
        caveats=_beware(record),
    )


def _beware(record: Run) -> list[str]:
    """All warnings about a record, and whether it is older than the rules of claims."""
    if text(record.environment, "rules"):
        return caveats(record)
    older = (
        ", and was begun before they were written"
        if is_before_rules(record.machine.started)
        else ""
    )
    return [*caveats(record), f"Names no digest of the rules of claims{older}."]


def revisions_sentence(records: Records) -> str:
    """A sentence on the code revisions that made the records, and on how many had local changes."""
    revisions = Counter(
        clipped(revision, 12)
        for record in records.every
        if (revision := text(record.environment, "revision"))
    )
    if not revisions:
        return ""
    first = ", ".join(f"{name} ({count})" for name, count in revisions.most_common(SHOWN_REVISIONS))
    more = len(revisions) - SHOWN_REVISIONS
    dirty = sum(lookup(record.environment, "dirty") is True for record in records.every)
    return (
        f"Made by the revisions {first}{f' and {more} others' if more > 0 else ''}, "
        f"{dirty or 'none'} of the records with local changes."
    )


def problems_table(records: Records) -> Table:
    rows = [[Cell(problem.path), Cell(problem.reason)] for problem in records.problems]
    return Table("left_out", "Files that were left out", ["File", "Why"], rows=rows)


def _title(record: Run) -> str:
    who = name_of(record.method) if record.kind in OF_A_METHOD else record.name
    kind = record.kind.replace("_", " ")
    return f"{record.root}/{record.scale}: {kind}{f', {who}' if who != kind else ''}"


def _where(record: Run) -> str:
    """Device, threads, torch, revision and maker on one line."""
    threads = number(record.environment, "threads")
    revision = text(record.environment, "revision")
    dirty = " with local changes" if lookup(record.environment, "dirty") is True else ""
    words = [
        record.device,
        f"{threads:.0f} thread{'s' * (threads != 1)}" if threads is not None else "",
        f"torch {torch}" if (torch := text(record.environment, "packages", "torch")) else "",
        f"revision {revision}{dirty}" if revision else "",
        text(record.environment, "started"),
        f"made by {record.by}" if record.by else "",
    ]
    return ", ".join(word for word in words if word)


def _samples(record: Run, name: str) -> Samples:
    values = record.samples[name]
    if not isinstance(values, list):
        return Samples(name, "not a list", "")
    if rows := [value for value in values if isinstance(value, dict)]:
        first = "; ".join(
            ", ".join(f"{key} {_short(value)}" for key, value in row.items())
            for row in rows[:SHOWN_ROWS]
        )
        more = "; …" if len(values) > SHOWN_ROWS else ""
        return Samples(name, f"{len(values)} rows", first + more)
    numbers = [value for value in map(as_number, values) if value is not None]
    series = [value for value in numbers if math.isfinite(value)]
    summary = f"{len(values)} values"
    if series:
        summary += (
            f", min {shown(min(series))}, median {shown(statistics.median(series))}, max "
            f"{shown(max(series))}"
        )
    if len(series) < len(numbers):
        summary += f", {len(numbers) - len(series)} not finite"
    more = ", …" if len(values) > SHOWN_VALUES else ""
    return Samples(name, summary, ", ".join(map(_short, values[:SHOWN_VALUES])) + more)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)[:40]


def _pretty(tree: Any) -> str:
    return json.dumps(tree, indent=1, ensure_ascii=False)
