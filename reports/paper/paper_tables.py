"""The paper's Tables 1 to 5 and Figure 1(c), as published, with our own runs beside.

Beside each of the paper's columns that is a measurement stand ours: the mean over pre-trainings at
the paper's scale, or `not run`. Only encoders that were pre-trained at the paper's scale and
transferred at the paper's resolution count. The released weights, measured here, are the paper's
own encoders and have a column of their own.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.downstream.dense.result import TASKS
from bench.downstream.probe.result import Finetune, LinearProbe, Transferred
from catlip.pretraining.result import Pretrain, pretraining_of, pretrainings
from catlip.records.run import Records, Run
from catlip.records.table import NOTE, RECORDS, Column, Row, Spec, quantity_of
from reports.names import PUBLISHED
from reports.pairs import Comparisons
from reports.paper.published import GROUP, PublishedTable, read_published
from reports.paper.scale import CONV, RESOLUTIONS, SCALES, architecture, is_whole

NOT_RUN = "not run"
OURS, RELEASED = ", ours", ", released weights"  # after a column of the paper
Transfer = tuple[Run[Transferred], Run[Pretrain] | None]
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


def figure_rows(comparisons: Comparisons) -> Iterator[Row]:
    for cell in read_published("figure_1c").cells:
        yield {"label": cell.column, "value": cell.value, "source": cell.source}


def result_rows(name: str, comparisons: Comparisons) -> Iterator[Row]:
    """The rows of the paper's own models, with ours beside."""
    published, transfers = read_published(name), transfers_of(comparisons.records)
    for row, label in published.rows.items():
        targets = {column: target_of(published, row, column) for column in COUNTERPARTS[name]}
        if not any(targets.values()):
            continue  # other people's models
        heading = published.text(row, GROUP)
        line: dict[str, Any] = {"label": f"{heading}, {label}" if heading else label}
        line |= {column: published.text(row, column) for column in published.columns}
        notes, paths = [published.notes(row)], list[str]()
        for column, target in targets.items():
            if target:
                trained = pretrained_here(transfers, target)
                ours = {OURS: [run for run, _ in trained], RELEASED: released_of(transfers, target)}
                for which, runs in ours.items():
                    values = (run.metrics.accuracies()[target.name] for run in runs)
                    line[column + which] = quantity_of(values)
                    paths += (run.path for run in runs)
                line[column + OURS] = line[column + OURS] or NOT_RUN
                notes += notes_on(trained)
        yield line | {NOTE: " ".join(filter(None, notes)), RECORDS: tuple(paths)}


def result_spec(name: str) -> Spec:
    """Beside each column of the paper that is a measurement stand ours and the released weights."""
    published = read_published(name)
    columns = [Column("", "label", head=True)]
    for column in published.columns:
        columns.append(Column(column, column, 1))
        if column in COUNTERPARTS[name]:
            columns += (Column(column + w, column + w, 1, 100) for w in (OURS, RELEASED))
    about = "The paper's own models; ours have the mean over n pre-trainings at the paper's scale."
    return Spec(name, published.title, about, columns, partial(result_rows, name))


@dataclass(frozen=True)
class Target:
    """What one of our cells measures: the accuracy, on a task or by a measure, of encoders of one
    origin: their method, data set and architecture.
    """

    kind: str
    name: str
    origin: tuple[str, str, str]
    resolution: int

    def is_of(self, run: Run[Transferred]) -> bool:
        """Whether a record holds the number, at its resolution and on the paper's data set."""
        metrics = run.metrics
        return (
            run.kind == self.kind
            and metrics.accuracies().get(self.name) is not None
            and run.config.recipe.resolution == self.resolution
            and metrics.is_published(self.name)
        )


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
    size = re.search(r"ViT ([BLH])/16", f"{label} {published.text(row, 'Image encoder')}")
    scales = {title: scale for scale, title in SCALES.items()}
    scale = scales[label if published.name == "table_1" else "DataComp-1.3B"]
    encoder = f"vit_{size[1].lower()}16" if size else "vit_b16"  # Table 1 has one encoder
    resolution = int(published.text(row, "Resolution, fine-tuning") or RESOLUTIONS[kind])
    return Target(kind, name, (method, scale, encoder), resolution)


def transfers_of(records: Records) -> list[Transfer]:
    """The transfers that may be in the tables, each with the pre-training of its encoder, None if
    that is unknown.
    """
    known = pretrainings(records)
    kinds: list[Any] = [LinearProbe, Finetune, *TASKS]
    runs = (run for kind in kinds for run in records.of(kind) if run.config.init != "transfer")
    return [(run, pretraining_of(run, known)) for run in runs]


def pretrained_here(
    transfers: Iterable[Transfer], target: Target
) -> list[tuple[Run[Transferred], Run[Pretrain]]]:
    """The first transfer of each pre-training of the target, of the first root that has some."""
    found: dict[str, tuple[Run[Transferred], Run[Pretrain]]] = {}
    for run, trained in transfers:
        if trained and is_whole(trained) and target.is_of(run):
            encoder = architecture(trained.config.recipe.encoder)
            if (run.method, trained.scale, encoder) == target.origin:
                found.setdefault(trained.path, (run, trained))
    pairs = [*found.values()]
    return [pair for pair in pairs if pair[0].root == pairs[0][0].root]


def notes_on(pairs: Sequence[tuple[Run[Transferred], Run[Pretrain]]]) -> Iterator[str]:
    if any(trained.config.recipe.encoder.endswith(CONV) for _, trained in pairs):
        yield "With the release's stem of three convolutions."
    if any(run.config.cached_features for run, _ in pairs):
        yield "On features computed once, without Table 7(a)'s augmentation."


def released_of(transfers: Iterable[Transfer], target: Target) -> list[Run[Transferred]]:
    """What the released weights reach here."""
    method, scale, encoder = target.origin
    if (method, scale) != ("catlip", "datacomp"):
        return []
    runs = (run for run, _ in transfers if run.method == f"released:{encoder}")
    return [run for run in runs if target.is_of(run)][:1]


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
FIGURE_1C = Spec(
    "figure_1c",
    read_published("figure_1c").title,
    "Not run at the paper's scale.",
    [Column("What", "label"), Column("Paper", "value"), Column("Source", "source")],
    figure_rows,
)
RESULTS = [FIGURE_1C, *map(result_spec, COUNTERPARTS)]
