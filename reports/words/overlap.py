"""Which labels of other data sets the vocabulary holds, exactly or nearly: Figures 2(b) and 2(c),
and the same as tables.
"""

import math
from collections.abc import Mapping
from functools import partial
from statistics import median
from typing import Any

from matplotlib.axes import Axes

from catlip.table import Cell, Table, clipped, number_cell, share_cell, shown
from reports.read.measured import anchor_of
from reports.read.records import Record, entries, number, text
from reports.render.figures import Figure, label_points, series_style, write_out_powers

LABEL_SETS = {
    "imagenet": "ImageNet-1k",
    "places365": "Places365",
    "coco": "COCO",
    "ade20k": "ADE20k",
}
STEPS = {
    "1.0": "Exactly",
    "0.5": "Within 1 step",
    "0.3": "Within 2 steps",
    "0.2": "Within 4 steps",
}  # 1 / (1 + steps)
SIMILARITIES = tuple(f"{tenths / 10:.1f}" for tenths in range(1, 11))
FEW = 10  # labels named most often, and as many that are farthest from any class


def label_sets(record: Record) -> list[str]:
    """The known label sets that a record of kind `vocabulary_statistics` compares with."""
    return [name for name in LABEL_SETS if _size(record, name)]


def overlap_figures(records: Mapping[str, Record], scale: str, suffix: str = "") -> list[Figure]:
    """For each rule: labels whose nearest class is so similar (2(b)), and captions of the classes
    that match exactly (2(c)).
    """
    figures = []
    for i, (rule, record) in enumerate(records.items()):
        name = f"{suffix}_rule_{i + 1}" if i else suffix
        figures += _similarity_figure(record, rule, scale, name) + _samples_figure(
            record, rule, scale, name
        )
    return figures


def _size(record: Record, name: str) -> float:
    """How many labels the set has; 0 where that is not known."""
    size = number(record.metrics, "labels", name, "labels")
    return size if size and 0 < size < math.inf else 0


def _similarity_figure(record: Record, rule: str, scale: str, suffix: str) -> list[Figure]:
    curves = {name: curve for name in label_sets(record) if (curve := _curve(record, name))}
    if not curves:
        return []
    said = ", ".join(_exact(record, name) for name in curves)
    caption = (
        f"Labels whose nearest class of the vocabulary is at least so similar, by rule {rule} at "
        f"{scale} scale. "
        f"Exactly: {said}."
    )
    alt = f"Falling curves, a line a label set. Exactly matched: {said}."
    return [
        Figure(f"label_overlap{suffix}", caption, alt, partial(_draw_similarity, curves=curves))
    ]


def _curve(record: Record, name: str) -> list[tuple[float, float]]:
    """(similarity, share of labels in %)."""
    found = [(float(s), number(record.metrics, "overlap", name, s)) for s in SIMILARITIES]
    size = _size(record, name)
    return [
        (similarity, 100 * n / size) for similarity, n in found if n is not None and 0 <= n <= size
    ]


def _exact(record: Record, name: str) -> str:
    found, size = number(record.metrics, "overlap", name, "1.0"), _size(record, name)
    share = f" ({shown(100 * found / size, 1)} %)" if found is not None else ""
    return f"{LABEL_SETS[name]} {shown(found, 0)} of {shown(size, 0)}{share}"


def _draw_similarity(axes: Axes, curves: dict[str, list[tuple[float, float]]]) -> None:
    ends = []
    for name, curve in curves.items():
        style = _style(name)
        axes.plot(*zip(*curve, strict=True), **style, markersize=5)
        ends.append((*curve[-1], f"{LABEL_SETS[name]}\n{shown(curve[-1][1], 1)} %", style["color"]))
    axes.set_xlim(0.07, 1.03)
    axes.set_ylim(0, 104)
    axes.set_xticks([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    axes.set_xlabel("path similarity, at least")
    axes.set_ylabel("labels found (%)")
    label_points(axes, ends, gap=0.15)


def _style(name: str) -> dict[str, Any]:
    return series_style(list(LABEL_SETS).index(name))


def _samples_figure(record: Record, rule: str, scale: str, suffix: str) -> list[Figure]:
    counts = {name: found for name in label_sets(record) if (found := _exact_samples(record, name))}
    if not counts:
        return []
    said = "; ".join(
        f"{LABEL_SETS[name]}: {len(found):,} classes, median {_whole(median(found))} captions, "
        f"from {shown(found[-1], 0)} to {shown(found[0], 0)}"
        for name, found in counts.items()
    )
    caption = (
        f"Captions of each class that matches a label exactly, by rule {rule} at {scale} scale; "
        "every mark is a label's class, "
        f"the bar their median. {said}."
    )
    height = 1.1 + 0.58 * len(counts)
    draw = partial(_draw_samples, counts=counts)
    return [
        Figure(
            f"samples_per_class{suffix}",
            caption,
            f"Marks on a logarithmic axis. {said}.",
            draw,
            height,
        )
    ]


def _exact_samples(record: Record, name: str) -> list[float]:
    """Captions of each exactly matched label's class, descending."""
    rows = [row for row in record.rows(f"matches_{name}") if number(row, "similarity") == 1]
    return sorted(
        (n for row in rows if (n := number(row, "samples")) and 1 <= n < math.inf), reverse=True
    )


def _draw_samples(axes: Axes, counts: dict[str, list[float]]) -> None:
    for y, (name, found) in enumerate(counts.items()):
        colour = _style(name)["color"]
        axes.plot(
            found, [y] * len(found), "|", color=colour, markersize=13, markeredgewidth=1, alpha=0.55
        )
        middle = median(found)
        axes.plot([middle, middle], [y - 0.3, y + 0.3], color=colour, linewidth=3)
        axes.annotate(
            _whole(middle),
            (middle, y - 0.3),
            (0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            color=colour,
        )
    axes.set_xscale("log")
    write_out_powers(axes.xaxis)
    axes.set_yticks(
        range(len(counts)),
        [f"{LABEL_SETS[name]}\n{len(found):,} classes" for name, found in counts.items()],
    )
    axes.set_ylim(len(counts) - 0.4, -0.75)
    axes.set_xlabel("captions of a class")
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def overlap_table(records: Mapping[str, Record], scale: str, suffix: str = "") -> list[Table]:
    """How many labels of each set are classes or near one, and how often the exact ones occur; a
    group of rows a rule.
    """
    rows: list[list[Cell]] = []
    for rule, record in records.items():
        if sets := label_sets(record):
            rows.append([Cell(f"Rule {rule}")])
            rows += [_overlap_row(record, name) for name in sets]
    if not rows:
        return []
    columns = [
        "Label set",
        "Labels",
        "Without a synset",
        *STEPS.values(),
        "Captions of an exact class, median",
        "fewest",
        "most",
    ]
    caption = (
        "A label is matched with the class of highest path similarity, 1 / (1 + steps in WordNet's "
        "graph of kinds); within 2 "
        "steps is a similarity of 1/3."
    )
    return [
        Table(
            f"label_overlap{suffix}",
            f"Labels of other data sets among the classes, {scale} scale",
            columns,
            rows,
            caption,
        )
    ]


def _overlap_row(record: Record, name: str) -> list[Cell]:
    anchor, labels = anchor_of(record), entries(record.metrics, "labels", name)
    size = number(labels, "labels")
    row = [
        Cell(LABEL_SETS[name]),
        number_cell(size, 0, anchor),
        number_cell(number(labels, "without_synset"), 0, anchor),
    ]
    row += [
        share_cell(number(record.metrics, "overlap", name, step), size, anchor) for step in STEPS
    ]
    middle = number(labels, "median")
    row.append(Cell(_whole(middle), anchor=anchor) if middle is not None else Cell())
    return [*row, *(number_cell(number(labels, key), 0, anchor) for key in ("least", "most"))]


def _whole(value: float) -> str:
    """A median of counts, which may lie half way between two."""
    return shown(value, 1 if value % 1 == 0.5 else 0)


def nearest_table(records: Mapping[str, Record], scale: str, suffix: str = "") -> list[Table]:
    """The class that stands for a label: of those named most often, and of those farthest from any;
    a column a rule.
    """
    first = next(iter(records.values()))
    name = next((name for name in LABEL_SETS if first.rows(f"matches_{name}")), "")
    matches = {rule: _matches(record, name) for rule, record in records.items()}
    known = sorted(next(iter(matches.values())).values(), key=_by_fit)
    if not known:
        return []
    rows: list[list[Cell]] = []
    for heading, part in (
        ("Matched best, and named most often", known[:FEW]),
        ("Farthest from any class", known[FEW:][-FEW:]),
    ):
        labels = [text(row, "label") for row in part]
        rows += [[Cell(heading)]] if labels else []
        rows += [
            [
                Cell(clipped(label, 40)),
                *(_match_cell(matches[r].get(label), records[r]) for r in records),
            ]
            for label in labels
        ]
    title = f"The nearest class of a few {LABEL_SETS[name]} labels, {scale} scale"
    columns = ["Label", *(f"Nearest class by rule {rule}" for rule in records)]
    return [Table(f"nearest_classes{suffix}", title, columns, rows, "", folded=True)]


def _matches(record: Record, name: str) -> dict[str, dict[str, Any]]:
    return {label: row for row in record.rows(f"matches_{name}") if (label := text(row, "label"))}


def _by_fit(row: dict[str, Any]) -> tuple[float, float, str]:
    """Best first: the most similar, then the most frequent."""
    similarity, samples = (
        n if (n := number(row, key)) is not None and n == n else 0.0
        for key in ("similarity", "samples")
    )
    return (-similarity, -samples, text(row, "label"))


def _match_cell(row: dict[str, Any] | None, record: Record) -> Cell:
    similarity = number(row, "similarity")
    if similarity is None:
        return Cell()
    small = f"similarity {shown(similarity, 2)}, {shown(number(row, 'samples'), 0)} captions"
    return Cell(clipped(text(row, "synset") or "none"), small, anchor_of(record))
