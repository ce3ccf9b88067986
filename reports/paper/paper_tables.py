"""The paper's Tables 1 to 5 and Figure 1(c), as published, with our own runs beside.

Beside each of the paper's columns that is a measurement stand ours: the mean over pre-trainings at
the paper's scale, or `not run`. Only encoders that were pre-trained at the paper's scale and
transferred at the paper's resolution count. The released weights, measured here, are the paper's
own encoders and have a column of their own.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.downstream.dense.result import TASKS
from bench.downstream.probe.result import Finetune, LinearProbe, Transferred
from catlip.pretraining.result import Pretrain, pretraining_of, pretrainings
from catlip.records.run import Records, Run
from catlip.records.table import NOTE, RECORDS, Column, Quantity, Row, Spec, Table, quantity_of
from reports.names import PUBLISHED
from reports.pairs import Comparisons
from reports.paper.published import GROUP, PublishedTable, read_published
from reports.paper.scale import CONV, RESOLUTIONS, SCALES, architecture, is_whole

NOT_RUN = "not run"
COUNTERPARTS = {  # the paper's column -> our kind of record, and the task or measure
    "table_1": {
        "ImageNet-1k top-1, LP": ("linear_probe", "imagenet"),
        "ImageNet-1k top-1, FT": ("finetune", "imagenet"),
        "Places365 top-1, LP": ("linear_probe", "places365"),
        "Places365 top-1, FT": ("finetune", "places365"),
    },
    "table_2": {
        "ImageNet-1k top-1": ("finetune", "imagenet"),
        "Places365 top-1": ("finetune", "places365"),
    },
    "table_3": {"COCO mAP": ("multilabel", "mAP")},
    "table_4": {"mIoU": ("segmentation", "mIoU")},  # the release's protocol
    "table_5": {"COCO AP box": ("detection", "box AP"), "COCO AP mask": ("detection", "mask AP")},
}


def result_tables(comparisons: Comparisons) -> list[Table]:
    """Figure 1(c), and Tables 1 to 5: the rows of the paper's own models and ours beside."""
    ours = OurTransfers(comparisons.records)
    figure = read_published("figure_1c")
    rows = [{"label": one.column, "value": one.value, "source": one.source} for one in figure.cells]
    columns = [Column("What", "label"), Column("Paper", "value"), Column("Source", "source")]
    first = Table("figure_1c", figure.title, "Not run at the paper's scale.", columns, rows)
    return [first, *(result_table(name, ours) for name in COUNTERPARTS)]


def result_table(name: str, ours: "OurTransfers") -> Table:
    published = read_published(name)
    columns = [Column("", "label", head=True)]
    for column in published.columns:
        columns.append(Column(column, column, 1))
        if column in COUNTERPARTS[name]:
            columns.append(Column(f"{column}, ours", f"{column}, ours", 1, factor=100))
            columns.append(
                Column(f"{column}, released weights", f"{column}, released", 1, factor=100)
            )
    rows: list[dict[str, Any]] = []
    for row, label in published.rows.items():
        targets = {column: target_of(published, row, column) for column in COUNTERPARTS[name]}
        if not any(targets.values()):
            continue  # other people's models
        heading = published.reading(row, GROUP)
        line: dict[str, Any] = {"label": f"{heading.value}, {label}" if heading else label}
        line |= {column: published.text(row, column) for column in published.columns}
        line |= {NOTE: published.notes(row), RECORDS: ()}
        for column, target in targets.items():
            if target:
                own, paths, note = ours.pretrained_here(target)
                released, more = ours.released(target)
                line[f"{column}, ours"] = own or NOT_RUN
                line[f"{column}, released"] = released
                line[RECORDS] += paths + more
                line[NOTE] = " ".join(filter(None, (line[NOTE], note)))
        rows.append(line)
    about = "The paper's own models; ours have the mean over n pre-trainings at the paper's scale."
    return Table(name, published.title, about, columns, rows)


@dataclass(frozen=True)
class Target:
    """What one of our cells measures: the accuracy, on a task or by a measure, of encoders that one
    method pre-trained on one data set.
    """

    kind: str
    name: str
    method: str
    scale: str
    encoder: str
    resolution: int


def target_of(published: PublishedTable, row: int, column: str) -> Target | None:
    """What our cell measures; None in a row of other people's systems."""
    label = published.rows[row]
    if published.name == "table_1" or label.startswith("CatLIP"):
        method = "catlip"
    elif label.startswith("CLIP") and "(Our " in label:
        method = "clip"
    else:
        return None
    kind, name = COUNTERPARTS[published.name][column]
    values = {cell.column: cell.value for cell in published.cells if cell.row == row}
    size = re.search(r"ViT ([BLH])/16", f"{label} {values.get('Image encoder', '')}")
    scales = {title: scale for scale, title in SCALES.items()}
    return Target(
        kind,
        name,
        method,
        scale=scales[label if published.name == "table_1" else "DataComp-1.3B"],
        encoder=f"vit_{size.group(1).lower()}16" if size else "vit_b16",  # Table 1 has one encoder
        resolution=int(values.get("Resolution, fine-tuning") or RESOLUTIONS[kind]),
    )


class OurTransfers:
    """The transfer records that may be in the tables, each with the pre-training of its encoder,
    None if that is unknown.
    """

    def __init__(self, records: Records):
        known = pretrainings(records)
        runs: list[Run[Transferred]] = [*records.of(LinearProbe), *records.of(Finetune)]
        for kind in TASKS:
            runs += records.of(kind)
        self._encoders = [
            (r, pretraining_of(r, known)) for r in runs if r.config.init != "transfer"
        ]

    def pretrained_here(self, target: Target) -> tuple[Quantity | None, tuple[str, ...], str]:
        """The accuracy over pre-trainings, the records' paths, and a note."""
        by_pretraining: dict[str, tuple[Run[Transferred], Run[Pretrain]]] = {}
        for record, pretraining in self._encoders:
            if pretraining and is_whole(pretraining) and _is(record, target):
                encoder = architecture(pretraining.config.recipe.encoder)
                origin = (record.method, pretraining.scale, encoder)
                if origin == (target.method, target.scale, target.encoder):
                    by_pretraining.setdefault(pretraining.path, (record, pretraining))
        pairs = [*by_pretraining.values()]
        pairs = [pair for pair in pairs if pair[0].root == pairs[0][0].root]
        value, paths = _mean([record for record, _ in pairs], target)
        has_conv = any(trained.config.recipe.encoder.endswith(CONV) for _, trained in pairs)
        is_cached = any(record.config.cached_features for record, _ in pairs)
        notes = ["With the release's stem of three convolutions."] * has_conv
        notes += ["On features computed once, without Table 7(a)'s augmentation."] * is_cached
        return value, paths, " ".join(notes)

    def released(self, target: Target) -> tuple[Quantity | None, tuple[str, ...]]:
        """What the released weights reach here."""
        if (target.method, target.scale) != ("catlip", "datacomp"):
            return None, ()
        method = f"released:{target.encoder}"
        runs = [r for r, _ in self._encoders if r.method == method and _is(r, target)]
        return _mean(runs[:1], target)


def _mean(
    runs: Sequence[Run[Transferred]], target: Target
) -> tuple[Quantity | None, tuple[str, ...]]:
    values = quantity_of(run.metrics.accuracies()[target.name] for run in runs)
    return values, tuple(run.path for run in runs)


def _is(record: Run[Transferred], target: Target) -> bool:
    """Whether a record holds the target's number, at its resolution and on the paper's data set."""
    metrics = record.metrics
    return (
        record.kind == target.kind
        and metrics.accuracies().get(target.name) is not None
        and record.config.recipe.resolution == target.resolution
        and metrics.is_published(target.name)
    )


def index_rows(comparisons: Comparisons) -> Iterator[Row]:
    """The paper's tables and figures, and where ours are."""
    with open(PUBLISHED / "paper_index.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield row | {"ours": row["ours"] or NOT_RUN}


INDEX = Spec(
    "paper_index",
    "The paper's tables and figures, and ours",
    "",
    [Column("Paper", "item"), Column("Shows", "shows"), Column("Ours", "ours")],
    index_rows,
)
