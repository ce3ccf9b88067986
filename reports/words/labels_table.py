"""What each rule makes of the same captions, and what its vocabulary keeps: a column a rule."""

import math
from collections.abc import Callable, Mapping
from itertools import chain

from catlip.table import MISSING, Cell, Table, clipped, number_cell, share_cell, shown
from reports.read.measured import anchor_of
from reports.read.records import Record, as_number, entries, number
from reports.read.rules import rule_rank

MOST_CAUSES = 8
Value = Callable[[Record], Cell]


def labels_table(
    labelling: Mapping[str, Record],
    vocabularies: Mapping[str, Record],
    scale: str,
    suffix: str = "",
) -> Table:
    """Captions, labels and classes by rule.

    Args:
        labelling: rule -> its record of kind `labelling`.
        vocabularies: rule -> its record of kind `vocabulary_statistics` or `vocabulary`.
    """
    rules = sorted({*labelling, *vocabularies}, key=rule_rank)
    rows = [
        [Cell(name), *(_cell(labelling, rule, value) for rule in rules)]
        for name, value in _labelling(labelling).items()
    ]
    rows += [
        [Cell(name), *(_cell(vocabularies, rule, value) for rule in rules)]
        for name, value in VOCABULARY.items()
    ]
    kept = [row for row in rows if any(cell.text != MISSING for cell in row[1:])]
    title = f"Captions, labels and classes, {scale} scale"
    caption = "Shares below a number are of the captions, or of ImageNet-1k's 1,000 classes."
    return Table(
        f"labels{suffix}", title, ["What", *(f"Rule {rule}" for rule in rules)], kept, caption
    )


def _cell(records: Mapping[str, Record], rule: str, value: Value) -> Cell:
    return value(records[rule]) if rule in records else Cell()


def _metric(key: str, decimals: int | None = 0, small: str = "") -> Value:
    return lambda record: number_cell(
        number(record.metrics, key), decimals, anchor_of(record), small
    )


def _labelling(records: Mapping[str, Record]) -> dict[str, Value]:
    """Row -> its value in a record of kind `labelling`; a row for each cause of a caption to have
    no label.
    """
    causes = dict.fromkeys(
        chain.from_iterable(entries(record.metrics, "unlabelled") for record in records.values())
    )
    return {
        "captions labelled": _metric("captions"),
        "labels a caption": _metric("labels_per_caption", 2),
        "captions without a label": _without,
        **{f"of these: {clipped(cause)}": _because(cause) for cause in list(causes)[:MOST_CAUSES]},
        "captions too long to be read whole": _metric("cut"),
        "labels on disk (bytes a caption)": _metric("bytes_per_caption", 1),
        "captions labelled a second, whole run": _speed,
    }


def _without(record: Record) -> Cell:
    counts = [as_number(value) for value in entries(record.metrics, "unlabelled").values()]
    known = [n for n in counts if n is not None]
    return share_cell(
        sum(known) if known else None, number(record.metrics, "captions"), anchor_of(record)
    )


def _because(cause: str) -> Value:
    return lambda record: number_cell(
        number(record.metrics, "unlabelled", cause), 0, anchor_of(record)
    )


def _speed(record: Record) -> Cell:
    workers = number(record.config, "workers")
    processes = (
        f"{workers:.0f} process{'es' * (workers != 1)}" if workers and workers < math.inf else ""
    )
    return number_cell(number(record.metrics, "captions_per_s"), 0, anchor_of(record), processes)


def _imagenet(key: str) -> Value:
    return lambda record: share_cell(number(record.metrics, key), 1000, anchor_of(record))


def _classes(record: Record) -> Cell:
    """How many synsets are kept, and by which threshold or number."""
    threshold, top = (
        number(record.metrics, key) if key in record.metrics else number(record.config, key)
        for key in ("threshold", "top_k")
    )
    small = f"over {shown(threshold, 0)} times" if threshold is not None else ""
    small = small or (f"the {shown(top, 0)} most frequent" if top is not None else "")
    return number_cell(number(record.metrics, "num_classes"), 0, anchor_of(record), small)


VOCABULARY: Mapping[str, Value] = {
    "captions counted for the vocabulary": _metric("num_captions"),
    "different synsets": _metric("unique_synsets"),
    "classes (synsets kept)": _classes,
    "ImageNet-1k classes among all synsets": _imagenet("imagenet_classes_occurring"),
    "ImageNet-1k classes among the classes": _imagenet("imagenet_classes"),
}
