"""Where the rows of Transfer Init come from: how many labels are a class themselves, near one, or
without any, and which.
"""

from collections.abc import Sequence
from typing import Any

from catlip.table import MISSING, Cell, Table, clipped, number_cell, share_cell, shown
from reports.read.measured import anchor_of, summarise
from reports.read.records import Record, as_number, entries, number, text
from reports.transfer.transfer_runs import task_title, tasks_of, without_classes

PREFIX = "origins_"
KINDS = {
    "exact": "The class itself",
    "near": "A class near it",
    "mean": "The mean of several classes",
    "random": "No class near enough: random",
}
MOST_LABELS = 1000  # of a folded table; ImageNet-1k's
MOST_SYNSETS, MOST_CLASSES = 8, 3
TIES = {
    "frequent": "of classes equally near, the most frequent stands",
    "mean": "of classes equally near, the mean stands",
}
BIAS = {"copy": "biases are copied", "zero": "biases start at zero", "fresh": "biases start afresh"}
SCALE = {
    "as_is": "rows keep their length",
    "fresh": "rows are as long as random ones",
    "unit": "rows have length 1",
}

Found = dict[
    str, tuple[Record, list[dict[str, Any]]]
]  # task -> the first record with origins of it, and its rows


def origins_of(records: Sequence[Record]) -> Found:
    """For each task the first record that says where its labels' rows come from, and these rows."""
    found: Found = {}
    for record in records:
        for name in record.samples:
            rows = [
                row
                for row in record.rows(name)
                if text(row, "kind") in KINDS and text(row, "label")
            ]
            if name.startswith(PREFIX) and rows:
                found.setdefault(name.removeprefix(PREFIX), (record, rows))
    return {task: found[task] for task in tasks_of(found)}


def origin_tables(records: Sequence[Record], scale: str, suffix: str = "") -> list[Table]:
    """The counts of each kind, a row a task; then every label, folded, a table a task."""
    found = origins_of(records)
    if not found:
        return []
    rows = [_counts(task, record, of) for task, (record, of) in found.items()]
    columns = ["Task", "Labels", *KINDS.values(), "Mean similarity"]
    title = f"Where the rows of Transfer Init come from, {scale} scale"
    counts = Table(
        f"origins{suffix}", title, columns, rows, _caption(next(iter(found.values()))[0])
    )
    return [
        counts,
        *(_labels(task, *of, f"_{i + 1}{suffix}") for i, (task, of) in enumerate(found.items())),
    ]


def _counts(task: str, record: Record, rows: Sequence[dict[str, Any]]) -> list[Cell]:
    kinds, anchor = [row["kind"] for row in rows], anchor_of(record)
    mean = summarise(number(row, "similarity") for row in rows)
    return [
        Cell(task_title([record], task)),
        number_cell(len(rows), 0, anchor),
        *(share_cell(kinds.count(kind), len(rows), anchor) for kind in KINDS),
        number_cell(mean.mean if mean else None, 2, anchor),
    ]


def _caption(record: Record) -> str:
    """How the rows were chosen, as far as the record says it."""
    options = entries(record.config, "transfer") or record.config
    alpha, chosen = number(options, "alpha"), (("ties", TIES), ("bias", BIAS), ("scale", SCALE))
    said = [words[text(options, key)] for key, words in chosen if text(options, key) in words]
    words = "Similarity is 1 / (1 + steps in WordNet's graph of kinds)"
    words += (
        f", and a class stands for a label from {shown(alpha, 2)} on. "
        if alpha is not None
        else ". "
    )
    chosen_words = "; ".join(said)
    return words + (f"{chosen_words[:1].upper()}{chosen_words[1:]}." if said else "")


def _labels(task: str, record: Record, rows: Sequence[dict[str, Any]], end: str) -> Table:
    """Every label with the classes that its row is made of, those without one first."""
    body: list[list[Cell]] = []
    for kind in reversed(KINDS):
        own = [row for row in rows[:MOST_LABELS] if row["kind"] == kind]
        body += (
            [[Cell(f"{KINDS[kind]} ({len(own)})")], *(_label(row, record) for row in own)]
            if own
            else []
        )
    name = without_classes([record], task)
    left_out = (
        f"The first {MOST_LABELS:,} of {len(rows):,} labels." if len(rows) > MOST_LABELS else ""
    )
    columns = ["Label", "Kind", "Similarity", "Synset → classes whose rows it gets"]
    return Table(
        f"origins_of{end}",
        f"Every label of {name}: where its row comes from",
        columns,
        body,
        left_out,
        folded=True,
    )


def _label(row: dict[str, Any], record: Record) -> list[Cell]:
    similarity = number_cell(number(row, "similarity"), 2, anchor_of(record))
    return [
        Cell(clipped(text(row, "label"), 40)),
        Cell(text(row, "kind")),
        similarity,
        Cell(_parts(row)),
    ]


def _parts(row: dict[str, Any]) -> str:
    """`kitchen.n.01 → kitchen.n.01 (1.00); spa.n.01 → none (0.12)`."""
    synsets, similarities, classes = (
        found if isinstance(found := row.get(key), list) else [] for key in _PARTS
    )
    said = []
    for i, synset in enumerate(synsets[:MOST_SYNSETS]):
        of = classes[i] if i < len(classes) and isinstance(classes[i], list) else []
        names = " + ".join(clipped(name, 32) for name in of[:MOST_CLASSES]) or "none"
        more = f" + {len(of) - MOST_CLASSES} more" if len(of) > MOST_CLASSES else ""
        similar = as_number(similarities[i]) if i < len(similarities) else None
        said.append(
            f"{clipped(synset, 32)} → "
            f"{names}{more}{f' ({shown(similar, 2)})' if similar is not None else ''}"
        )
    return "; ".join(said) or MISSING


_PARTS = ("synsets", "similarities", "classes")
