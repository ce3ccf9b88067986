"""What was trained on, counted: images, captions, labels and vocabulary, from whatever their records hold."""

from collections.abc import Mapping, Sequence

from reports.cells import MISSING, Cell, Table, number_cell
from reports.measured import anchor_of
from reports.records import Record, as_number

DATA_KINDS = {"data": "Images and captions", "labelling": "Labelling", "vocabulary": "Vocabulary"}
METRIC_NAMES = {
    "num_classes": "classes (synsets kept)",
    "num_captions": "captions",
    "captions_without_label": "captions without a label",
    "labels_per_caption": "labels a caption",
    "unique_synsets": "different synsets",
    "unique_synsets_above": "different synsets that occur more often than",
    "imagenet_classes": "ImageNet-1k classes among the classes",
    "imagenet_classes_occurring": "ImageNet-1k classes among all synsets",
    "captions_per_s": "captions labelled a second",
    "captions_labelled_now": "captions labelled in this run",
    "bytes_per_caption": "bytes of labels a caption",
    "unlabelled": "captions without a label",
    "cut": "captions too long to be read whole",
    "threshold": "pruning threshold (occurrences)",
    "rule": "labelling rule",
}


def data_table(records: Sequence[Record]) -> Table:
    """What the data, labelling and vocabulary records count, a group of rows a record."""
    rows: list[list[Cell]] = []
    for kind, title in DATA_KINDS.items():
        for record in (r for r in records if r.kind == kind):
            rows.append([Cell(f"{title} ({record.scale}, {record.name})")])
            rows += [[Cell(name), _plain_cell(value, anchor_of(record))] for name, value in _flat(record.metrics).items()]
    return Table("data", "Images, captions, labels, vocabulary", ["What", "Value"], rows)


def _flat(metrics: Mapping[str, object]) -> dict[str, object]:
    """Metrics by readable name; a nested dictionary as one row an entry, lists left out."""
    found: dict[str, object] = {}
    for name, value in metrics.items():
        words = METRIC_NAMES.get(name, name.replace("_", " "))
        found |= {f"{words}: {key}": inner for key, inner in value.items()} if isinstance(value, dict) else {words: value}
    return {name: value for name, value in found.items() if not isinstance(value, dict | list)}


def _plain_cell(value: object, anchor: str) -> Cell:
    if isinstance(value, str):
        return Cell(value or MISSING, anchor=anchor if value else "")
    found = as_number(value)
    whole = found is not None and found == found // 1
    return number_cell(found, 0 if whole else None, anchor)
