"""Our cells of the paper's Tables 1 to 5: what each cell measures, and the records that hold that
measurement.

Only encoders that were pre-trained at the paper's scale and transferred at the paper's resolution
count. The released weights, measured here, are the paper's own encoders and have their own column.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.downstream.dense.result import Dense, Detection, Multilabel, Segmentation
from bench.downstream.probe.result import Finetune, LinearProbe, Transferred, accuracy, accuracy_of
from catlip.pretraining.result import Pretrain
from catlip.results.run import Records, Run
from catlip.results.select import (
    CONV,
    RESOLUTIONS,
    SCALES,
    architecture,
    differing_fields,
    encoder_of,
    is_whole,
    pretraining_of,
    pretrainings,
)
from catlip.table import Cell, clipped, shown
from reports.paper.published import PublishedTable

DENSE: tuple[type[Dense], ...] = (Multilabel, Segmentation, Detection)
NOT_RUN = "not run"
MEASURED = {  # the paper's column -> our kind of record, and the task or measure
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
STEM = "With the release's stem of three convolutions."
CACHED = (
    "On features that were computed once, without augmentation: not the protocol of Table 7(a)."
)
MIXED = "Beware: these runs differ in more than the seed."
SLIDING = "Images resized to a square, as the release tests; with a sliding window {} %."


@dataclass(frozen=True)
class Wanted:
    """What one of our cells measures: the accuracy, on a task or by a measure, of encoders that one
    method pre-trained on one data set.
    """

    kind: str
    name: str
    method: str
    scale: str
    encoder: str
    resolution: int


def wanted(published: PublishedTable, row: int, column: str) -> Wanted | None:
    """What our cell in a row, and in a column of `MEASURED`, measures; None for other people's
    systems.
    """
    label = published.rows[row]
    if published.name == "table_1" or label.startswith("CatLIP"):
        method = "catlip"
    elif label.startswith("CLIP") and "(Our " in label:
        method = "clip"
    else:
        return None
    kind, name = MEASURED[published.name][column]
    of_row = {cell.column: cell.value for cell in published.cells if cell.row == row}
    size = re.search(r"ViT ([BLH])/16", f"{label} {of_row.get('Image encoder', '')}")
    scales = {title: scale for scale, title in SCALES.items()}
    return Wanted(
        kind,
        name,
        method,
        scale=scales[label if published.name == "table_1" else "DataComp-1.3B"],
        encoder=f"vit_{size.group(1).lower()}16" if size else "vit_b16",  # Table 1 has one encoder
        resolution=int(of_row.get("Resolution, fine-tuning") or RESOLUTIONS[kind]),
    )


class Ours:
    """The transfer records that may be in the tables, each with the pre-training of its encoder if
    that is known.
    """

    def __init__(self, records: Records):
        known = pretrainings(records)
        runs: list[Run[Transferred]] = [*records.of(LinearProbe), *records.of(Finetune)]
        for kind in DENSE:
            runs += records.of(kind)
        self._encoders = [(r, pretraining_of(r, known)) for r in runs if r.setup.init != "transfer"]

    def trained_here(self, what: Wanted) -> Cell:
        """Mean ± spread over the pre-trainings of the first root that has any, or `not run`."""
        by_pretraining: dict[str, tuple[Run[Transferred], Run[Pretrain]]] = {}
        for record, pretraining in self._encoders:
            if pretraining and is_whole(pretraining) and _is(record, what):
                encoder = architecture(encoder_of(pretraining))
                made = (record.method, pretraining.scale, encoder)
                if made == (what.method, what.scale, what.encoder):
                    by_pretraining.setdefault(pretraining.path, (record, pretraining))
        pairs = list(by_pretraining.values())
        runs = [record for record, _ in pairs if record.root == pairs[0][0].root]
        trained = [pretraining for _, pretraining in pairs if pretraining.root == runs[0].root]
        return _cell(runs, trained, what) if runs else Cell(NOT_RUN)

    def released(self, what: Wanted) -> Cell:
        """What the released weights reach here; empty if they were not measured."""
        method = f"released:{what.encoder}"
        runs = [r for r, _ in self._encoders if r.method == method and _is(r, what)]
        is_about_them = (what.method, what.scale) == ("catlip", "datacomp")
        return _cell(runs[:1], [], what) if runs and is_about_them else Cell("")


def _is(record: Run[Transferred], what: Wanted) -> bool:
    """Whether a record holds the wanted number, at its resolution and on the paper's data set."""
    measured = record.measured
    return (
        record.kind == what.kind
        and measured.accuracies().get(what.name) is not None
        and record.setup.recipe.resolution == what.resolution
        and measured.is_published(what.name)
    )


def _cell(runs: Sequence[Run[Transferred]], trained: Sequence[Run[Pretrain]], what: Wanted) -> Cell:
    """The accuracy, with footnotes that take only numbers from records, no text."""
    cell = accuracy_of(runs, what.name)
    devices = {record.where for record in runs}
    where = clipped(devices.pop(), 40) if len(devices) == 1 else f"{len(devices)} devices"
    images = sorted(record.measured.images_seen for record in trained)
    lengths = " to ".join(dict.fromkeys(shown(n / 1e6, 0) for n in images[:1] + images[-1:]))
    slid = accuracy(runs, "mIoU, sliding window") if what.name == "mIoU" else None
    remarks = {
        f"Pre-trained on {lengths} million images, repetitions counted.": bool(images),
        STEM: any(encoder_of(record).endswith(CONV) for record in trained),
        CACHED: any(record.setup.cached_features for record in runs),
        MIXED: any(differing_fields([r.recipe for r in group]) for group in (runs, trained)),
        SLIDING.format(shown(slid.mean, 1) if slid else ""): bool(slid),
    }
    kept = tuple(remark for remark, holds in remarks.items() if holds)
    return replace(cell, small=f"{cell.small}, {where}", remarks=kept)
