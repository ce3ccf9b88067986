"""Our cells of the paper's Tables 1 to 5: what each cell measures, and the records that hold that
measurement.

Only encoders that were pre-trained at the paper's scale and transferred at the paper's resolution
count. The released weights, measured here, are the paper's own encoders and have their own column.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

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
    method = _method(published.name, label)
    if method is None:
        return None
    kind, name = MEASURED[published.name][column]
    size = re.search(r"ViT ([BLH])/16", f"{label} {_value(published, row, 'Image encoder')}")
    scales = {title: scale for scale, title in SCALES.items()}
    return Wanted(
        kind,
        name,
        method,
        scale=scales[label if published.name == "table_1" else "DataComp-1.3B"],
        encoder=f"vit_{size.group(1).lower()}16" if size else "vit_b16",  # Table 1 has one encoder
        resolution=int(_value(published, row, "Resolution, fine-tuning") or RESOLUTIONS[kind]),
    )


def _method(name: str, label: str) -> str | None:
    if name == "table_1" or label.startswith("CatLIP"):
        return "catlip"
    return "clip" if label.startswith("CLIP") and "(Our " in label else None


def _value(published: PublishedTable, row: int, column: str) -> str:
    cell = published.reading(row, column)
    return cell.value if cell else ""


@dataclass(frozen=True)
class Ours:
    """The transfer records, selected as the paper's tables need them."""

    records: Records

    @cached_property
    def _encoders(self) -> list[tuple[Run[Transferred], Run[Pretrain] | None]]:
        """Each transfer record that may be in the tables, with the pre-training of its encoder if
        known.
        """
        known, of = pretrainings(self.records), self.records.of
        own: list[Run[Transferred]] = [*of(LinearProbe), *of(Finetune)]
        for kind in DENSE:
            own += [record for record in of(kind) if not record.measured.overfit]
        return [(r, pretraining_of(r, known)) for r in own if r.setup.init != "transfer"]

    def trained_here(self, what: Wanted) -> Cell:
        """Mean ± spread over the pre-trainings of the first root that has any, or `not run`."""
        by_pretraining: dict[str, tuple[Run[Transferred], Run[Pretrain]]] = {}
        for record, pretraining in self._encoders:
            if (
                pretraining
                and is_whole(pretraining)
                and _is(record, what)
                and _whose(record, pretraining) == (what.method, what.scale, what.encoder)
            ):
                by_pretraining.setdefault(pretraining.path, (record, pretraining))
        pairs = list(by_pretraining.values())
        own = [record for record, _ in pairs if record.root == pairs[0][0].root]
        trained = [pretraining for _, pretraining in pairs if pretraining.root == own[0].root]
        return _cell(own, trained, what) if own else Cell(NOT_RUN)

    def released(self, what: Wanted) -> Cell:
        """What the released weights reach here."""
        if (what.method, what.scale) != ("catlip", "datacomp"):
            return Cell("")
        method = f"released:{what.encoder}"
        own = [r for r, _ in self._encoders if r.method == method and _is(r, what)]
        return _cell(own[:1], [], what) if own else Cell("")


def _whose(record: Run, pretraining: Run[Pretrain]) -> tuple[str, str, str]:
    return (record.method, pretraining.scale, architecture(encoder_of(pretraining)))


def _is(record: Run[Transferred], what: Wanted) -> bool:
    """Whether a record holds the wanted number, at its resolution and on the paper's data set."""
    measured = record.measured
    return (
        record.kind == what.kind
        and measured.accuracies().get(what.name) is not None
        and record.setup.recipe.resolution == what.resolution
        and measured.is_published(what.name)
    )


def _cell(own: Sequence[Run[Transferred]], trained: Sequence[Run[Pretrain]], what: Wanted) -> Cell:
    cell = accuracy_of(own, what.name)
    devices = {record.where for record in own}
    where = clipped(devices.pop(), 40) if len(devices) == 1 else f"{len(devices)} devices"
    remarks = _remarks(own, trained, what)
    return replace(cell, small=f"{cell.small}, {where}", remarks=remarks)


def _remarks(
    own: Sequence[Run[Transferred]], trained: Sequence[Run[Pretrain]], what: Wanted
) -> tuple[str, ...]:
    """Footnotes of a cell. They take only numbers from records, no text."""
    images = sorted(record.measured.images_seen for record in trained)
    lengths = " to ".join(dict.fromkeys(shown(n / 1e6, 0) for n in images[:1] + images[-1:]))
    slid = accuracy(own, "mIoU, sliding window")
    said = {
        f"Pre-trained on {lengths} million images, repetitions counted.": bool(images),
        STEM: any(encoder_of(record).endswith(CONV) for record in trained),
        CACHED: any(record.setup.cached_features for record in own),
        MIXED: any(differing_fields([r.recipe for r in group]) for group in (own, trained)),
    }
    remarks = [words for words, holds in said.items() if holds]
    if what.name == "mIoU" and slid:
        remarks.append(SLIDING.format(shown(slid.mean, 1)))
    return tuple(remarks)
