"""Where the rows of Transfer Init come from: how many labels are a class themselves, near one, or
without any, and which.
"""

from collections.abc import Sequence

from catlip.kinds import OnTasks
from catlip.kinds.transfer.transfer import LabelOrigin
from catlip.table import MISSING, Cell, Table, clipped, number_cell, quantity_of, share_cell, shown
from reports.read.records import Record
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

Origins = tuple[Record[OnTasks], list[LabelOrigin]]  # the record that has them, and a row a label


def origins_of(records: Sequence[Record[OnTasks]]) -> dict[str, Origins]:
    """For each task the first record that says where its labels' rows come from, and these rows."""
    origins: dict[str, Origins] = {}
    for record in records:
        for name in record.samples:
            if name.startswith(PREFIX) and (rows := record.rows(name, LabelOrigin)):
                origins.setdefault(name.removeprefix(PREFIX), (record, rows))
    return {task: origins[task] for task in tasks_of(origins)}


def origin_tables(records: Sequence[Record[OnTasks]], suffix: str = "") -> list[Table]:
    """The counts of each kind, a row a task; then every label, folded, a table a task."""
    found = origins_of(records)
    if not found:
        return []
    rows = [_counts(task, record, of) for task, (record, of) in found.items()]
    columns = ["Task", "Labels", *KINDS.values(), "Mean similarity"]
    title = f"Where the rows of Transfer Init come from, {records[0].scale} scale"
    counts = Table(
        f"origins{suffix}",
        title,
        columns,
        rows=rows,
        caption=_caption(next(iter(found.values()))[0]),
    )
    return [
        counts,
        *(_labels(task, *of, f"_{i + 1}{suffix}") for i, (task, of) in enumerate(found.items())),
    ]


def _counts(task: str, record: Record[OnTasks], rows: Sequence[LabelOrigin]) -> list[Cell]:
    kinds: list[str] = [row.kind for row in rows]
    anchor = record.anchor
    mean = quantity_of(row.similarity for row in rows)
    return [
        Cell(task_title([record], task)),
        number_cell(len(rows), 0, anchor),
        *(share_cell(kinds.count(kind), len(rows), anchor) for kind in KINDS),
        number_cell(mean.mean if mean else None, 2, anchor),
    ]


def _caption(record: Record[OnTasks]) -> str:
    """How the rows were chosen, as far as the record says it."""
    options = record.setup.transfer
    alpha, chosen = (
        options.alpha,
        ((options.ties, TIES), (options.bias, BIAS), (options.scale, SCALE)),
    )
    said = [words[choice] for choice, words in chosen if choice in words]
    words = "Similarity is 1 / (1 + steps in WordNet's graph of kinds)"
    words += (
        f", and a class stands for a label from {shown(alpha, 2)} on. "
        if alpha is not None
        else ". "
    )
    chosen_words = "; ".join(said)
    return words + (f"{chosen_words[:1].upper()}{chosen_words[1:]}." if said else "")


def _labels(task: str, record: Record[OnTasks], rows: Sequence[LabelOrigin], end: str) -> Table:
    """Every label with the classes that its row is made of, those without one first."""
    body: list[list[Cell]] = []
    for kind in reversed(KINDS):
        own = [row for row in rows[:MOST_LABELS] if row.kind == kind]
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
        rows=body,
        caption=left_out,
        folded=True,
    )


def _label(row: LabelOrigin, record: Record[OnTasks]) -> list[Cell]:
    return [
        Cell(clipped(row.label, 40)),
        Cell(row.kind),
        number_cell(row.similarity, 2, record.anchor),
        Cell(_parts(row)),
    ]


def _parts(row: LabelOrigin) -> str:
    """`kitchen.n.01 → kitchen.n.01 (1.00); spa.n.01 → none (0.12)`."""
    said = []
    for synset, similarity, classes in zip(
        row.synsets[:MOST_SYNSETS], row.similarities, row.classes, strict=False
    ):
        names = " + ".join(clipped(name, 32) for name in classes[:MOST_CLASSES]) or "none"
        more = f" + {len(classes) - MOST_CLASSES} more" if len(classes) > MOST_CLASSES else ""
        said.append(f"{clipped(synset, 32)} → {names}{more} ({shown(similarity, 2)})")
    return "; ".join(said) or MISSING
