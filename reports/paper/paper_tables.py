"""The paper's Tables 1 to 5 and what its figures state, as published, with our own runs beside.

Each of the paper's columns is followed by the README's values, if there are any, and, if it is a
measurement, by ours: mean ± spread over pre-trainings at the paper's scale, or `not run`. Only
encoders that were pre-trained at the paper's scale and transferred at the paper's resolution count.
The released weights, measured here, are the paper's own encoders and have their own column.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.downstream.dense.result import TASKS
from bench.downstream.probe.result import (
    Finetune,
    LinearProbe,
    Transferred,
    accuracy,
    accuracy_of,
)
from catlip.pretraining.result import Pretrain, is_whole, pretraining_of, pretrainings
from catlip.records.run import Records, Run
from catlip.records.select import CONV, RESOLUTIONS, SCALES, architecture, differing_fields
from catlip.records.table import Cell, Table, clipped, format_number
from reports.paper.published import GROUP, NOT_RUN, PublishedTable, read_published

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


def result_tables(records: Records) -> list[Table]:
    """Tables 1 to 5: the paper's rows, the README's values and ours beside."""
    ours = OurTransfers(records)
    return [result_table(name, ours) for name in COUNTERPARTS]


def result_table(name: str, ours: "OurTransfers") -> Table:
    published = read_published(name)
    titles = [published.label_column]
    columns = [[Cell(label) for label in published.rows.values()]]
    for column in published.columns:
        cells = [cell for cell in published.cells if cell.column == column]
        has_readme = any(cell.reading == "readme" for cell in cells)
        paper = [published.as_cell(row, column, alone=has_readme) for row in published.rows]
        sides = {column: paper}
        if has_readme:
            readme = [published.reading(row, column, "readme") for row in published.rows]
            sides[f"{column}, README"] = [
                Cell(cell.text, remarks=cell.remarks) if cell else Cell("") for cell in readme
            ]
        if column in COUNTERPARTS[name]:
            targets = [target_of(published, row, column) for row in published.rows]
            sides[f"{column}, ours"] = [ours.pretrained_here(target) for target in targets]
            released = [ours.release(target) for target in targets]
            if any(cell.text for cell in released):
                sides[f"{column}, release's weights, measured here"] = released
        units = {cell.unit for cell in cells if cell.value} & {"%", "px"}
        unit = f" ({units.pop()})" if len(units) == 1 else ""
        titles += [title + unit for title in sides]
        columns += sides.values()
    rows: list[list[Cell]] = []
    group, left_out = "", 0
    for row, row_cells in zip(published.rows, zip(*columns, strict=True), strict=True):
        if not any(target_of(published, row, column) for column in COUNTERPARTS[name]):
            left_out += 1
            continue
        heading = published.reading(row, GROUP)
        if heading and heading.value != group:
            group = heading.value
            rows.append([Cell(group)])
        rows.append([*row_cells])
    others = f"{left_out} rows of other models stand in the paper." if left_out else ""
    return Table(name, published.heading, titles, rows=rows, caption=others)


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

    def pretrained_here(self, target: Target | None) -> Cell:
        """Mean ± spread over the pre-trainings of the first root that has any, or `not run`."""
        if target is None:
            return Cell("")
        by_pretraining: dict[str, tuple[Run[Transferred], Run[Pretrain]]] = {}
        for record, pretraining in self._encoders:
            if pretraining and is_whole(pretraining) and _is(record, target):
                encoder = architecture(pretraining.config.recipe.encoder)
                origin = (record.method, pretraining.scale, encoder)
                if origin == (target.method, target.scale, target.encoder):
                    by_pretraining.setdefault(pretraining.path, (record, pretraining))
        pairs = list(by_pretraining.values())
        runs = [record for record, _ in pairs if record.root == pairs[0][0].root]
        trained = [pretraining for _, pretraining in pairs if pretraining.root == runs[0].root]
        return _cell(runs, trained, target) if runs else Cell(NOT_RUN)

    def release(self, target: Target | None) -> Cell:
        """What the released weights reach here; empty if they were not measured."""
        if target is None or (target.method, target.scale) != ("catlip", "datacomp"):
            return Cell("")
        method = f"released:{target.encoder}"
        runs = [r for r, _ in self._encoders if r.method == method and _is(r, target)]
        return _cell(runs[:1], [], target) if runs else Cell("")


def _is(record: Run[Transferred], target: Target) -> bool:
    """Whether a record holds the target's number, at its resolution and on the paper's data set."""
    metrics = record.metrics
    return (
        record.kind == target.kind
        and metrics.accuracies().get(target.name) is not None
        and record.config.recipe.resolution == target.resolution
        and metrics.is_published(target.name)
    )


def _cell(
    runs: Sequence[Run[Transferred]], trained: Sequence[Run[Pretrain]], target: Target
) -> Cell:
    """The accuracy, with footnotes that take only numbers from records, no text."""
    cell = accuracy_of(runs, target.name)
    devices = {record.where for record in runs}
    where = clipped(devices.pop(), 40) if len(devices) == 1 else f"{len(devices)} devices"
    images = sorted(record.metrics.images_seen for record in trained)
    lengths = " to ".join(
        dict.fromkeys(format_number(n / 1e6, 0) for n in images[:1] + images[-1:])
    )
    sliding = accuracy(runs, "mIoU, sliding window") if target.name == "mIoU" else None
    remarks = []
    if images:
        remarks.append(f"Pre-trained on {lengths} million images, repetitions counted.")
    if any(record.config.recipe.encoder.endswith(CONV) for record in trained):
        remarks.append("With the release's stem of three convolutions.")
    if any(record.config.cached_features for record in runs):
        remarks.append("On features computed once, without Table 7(a)'s augmentation.")
    if any(differing_fields([run.recipe for run in group]) for group in (runs, trained)):
        remarks.append("Beware: these runs differ in more than the seed.")
    if sliding:
        remarks.append(
            "Images resized to a square, as the release tests; with a sliding window "
            f"{format_number(sliding.mean, 1)} %."
        )
    return replace(cell, small=f"{cell.small}, {where}", remarks=tuple(remarks))
