"""The paper's Tables 1 to 5 and what its figures state, as published, with our own runs beside.

Each of the paper's columns is followed by the README's values, if there are any, and, if it is a
measurement, by ours: mean ± spread over pre-trainings at the paper's scale, or `not run` and the
command that would fill it. Numbers from the starter data are never in these tables.
"""

from collections.abc import Mapping

from catlip.results.run import Records
from catlip.table import Cell, Table
from reports.paper.paper_cells import MEASURED, Ours, wanted
from reports.paper.published import GROUP, PublishedCell, read_published

PROBED_AND_TUNED = (
    "The commands below pre-train at the paper's scale, then measure the linear probes (LP) and "
    "fine-tune (FT) on ImageNet-1k; RUN is a folder such as `runs/cc3m/pretrain/catlip-seed0`. "
    "`--data places365:/data/places365` does the same on Places365."
)
TUNED = (
    "The commands below fine-tune on ImageNet-1k, at 224 pixels and at 512; RUN is the folder of a "
    "pre-training, or `released:vit_b16`. `--data places365:/data/places365` does the same on "
    "Places365."
)
DENSE = (
    "The {} below train{} as in Table 7({}); RUN is the folder of a pre-training, or "
    "`released:vit_b16`."
)
_PROBE = (
    "python -m bench.downstream.linear_probe --recipe table_7a --encoder RUN --data "
    "imagenet:/data/imagenet"
)
_FINETUNE = (
    "python -m bench.downstream.finetune --recipe table_7b --encoder RUN --data "
    "imagenet:/data/imagenet"
)

# The commands that would measure our column, one for each run.
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "table_1": (
        (
            "./run_all.sh --scale cc3m --shards '/data/cc3m/{00000..00331}.tar' --probe "
            "imagenet:/data/imagenet"
        ),
        (
            "./run_all.sh --scale datacomp --shards '/data/datacomp/*.tar' --probe "
            "imagenet:/data/imagenet"
        ),
        _PROBE,
        _FINETUNE,
    ),
    "table_2": (_FINETUNE, _FINETUNE.replace("table_7b", "table_7b_512")),
    "table_3": (
        "python -m bench.downstream.multilabel --recipe table_7c --encoder RUN --data "
        "coco:/data/coco",
    ),
    "table_4": (
        "torchrun --nproc-per-node 8 -m bench.downstream.segmentation --recipe table_7d --encoder "
        "RUN --data ade20k:/data/ADEChallengeData2016",
    ),
    "table_5": tuple(
        f"torchrun --nproc-per-node 8 -m bench.downstream.detection --recipe table_7e_{size}16 "
        "--encoder RUN --data coco:/data/coco"
        for size in "blh"
    ),
}
HOW = {
    "table_1": PROBED_AND_TUNED,
    "table_2": TUNED,
    "table_3": DENSE.format("command", "s", "c"),
    "table_4": DENSE.format("command", "s", "d"),
    "table_5": DENSE.format("commands", "", "e"),
}
FIGURES = ("figure_1c", *(f"figure_{n}" for n in range(2, 9)))


def result_tables(records: Records) -> list[Table]:
    """Tables 1 to 5: the paper's rows, the README's values and ours beside."""
    ours = Ours(records)
    return [result_table(name, ours) for name in COMMANDS]


def result_table(name: str, ours: Ours) -> Table:
    """One of Tables 1 to 5. Our column is followed by one for the released weights if any of them
    was measured.
    """
    published = read_published(name)
    titles, by_column = [published.label_column], list[list[Cell]]()
    for column in published.columns:
        cells = [cell for cell in published.cells if cell.column == column]
        units = {cell.unit for cell in cells if cell.value} & {"%", "px"}
        unit = f" ({units.pop()})" if len(units) == 1 else ""
        titles.append(column + unit)
        if any(cell.reading == "readme" for cell in cells):
            readme = [published.reading(row, column, "readme") for row in published.rows]
            by_column.append([_shown(published.cell(row, column)) for row in published.rows])
            by_column.append([_shown(cell) if cell else Cell("") for cell in readme])
            titles.append(f"{column}, README{unit}")
        else:
            papers = {row: published.cell(row, column).shown for row in published.rows}
            by_column.append(
                [Cell(text, remarks=published.remarks(row, column)) for row, text in papers.items()]
            )
        if column in MEASURED[name]:
            wants = [wanted(published, row, column) for row in published.rows]
            here = [ours.trained_here(what) if what else Cell("") for what in wants]
            released = [ours.released(what) if what else Cell("") for what in wants]
            titles.append(f"{column}, ours{unit}")
            by_column.append(here)
            if any(cell.text for cell in released):
                titles.append(f"{column}, release's weights, measured here{unit}")
                by_column.append(released)
    rows: list[list[Cell]] = []
    group = ""
    for i, (row, label) in enumerate(published.rows.items()):
        heading = published.reading(row, GROUP)
        if heading and heading.value != group:
            group = heading.value
            rows.append([Cell(group)])
        rows.append([Cell(label), *(cells[i] for cells in by_column)])
    return Table(name, published.heading, titles, rows=rows, caption=HOW[name])


def _shown(cell: PublishedCell) -> Cell:
    return Cell(cell.shown, remarks=cell.remarks)


def figures_stated() -> Table:
    """What the paper states of Figures 1(c) to 8, whose points are not published."""
    rows = []
    for name in FIGURES:
        for c in read_published(name).cells:
            stated = Cell(f"{c.value} {c.unit}".strip(), remarks=c.remarks)
            rows.append([Cell(c.label), Cell(c.column), stated, Cell(c.source)])
    title = "Figures 1(c) to 8: axes and quoted values"
    return Table("figures_stated", title, ["Figure", "What", "Stated", "Source"], rows=rows)
