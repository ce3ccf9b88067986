"""The paper's Tables 1 to 5 and what its figures state, as published, with room for our own runs.

A value of the release's README has its own column; our own column holds `not run` and the command that would fill it, and
only ever a run at the paper's scale: a number from the starter data has no place in it.
"""

from collections.abc import Mapping

from reports.cells import Cell, Table
from reports.published import GROUP, PublishedTable, paper_name, read_published

NOT_RUN = "not run"
PROBED_AND_TUNED = (
    "The commands below pre-train at the paper's scale, then measure the linear probes (LP) and fine-tune (FT) on ImageNet-1k; "
    "RUN is a folder such as `runs/cc3m/pretrain/catlip-seed0`. `--data places365:/data/places365` does the same on Places365."
)
TUNED = (
    "The commands below fine-tune on ImageNet-1k, at 224 pixels and at 512; RUN is the folder of a pre-training, or "
    "`released:vit_b16`. `--data places365:/data/places365` does the same on Places365."
)
DENSE = "The {} below train{} by Table 7({}); RUN is the folder of a pre-training, or `released:vit_b16`."
_PROBE = "python -m bench.downstream.linear_probe --recipe table_7a --encoder RUN --data imagenet:/data/imagenet"
_FINETUNE = "python -m bench.downstream.finetune --recipe table_7b --encoder RUN --data imagenet:/data/imagenet"

# What would measure our column, a line a run.
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "table_1": (
        "./run_all.sh --scale cc3m --shards '/data/cc3m/{00000..00331}.tar' --probe imagenet:/data/imagenet",
        "./run_all.sh --scale datacomp --shards '/data/datacomp/*.tar' --probe imagenet:/data/imagenet",
        _PROBE,
        _FINETUNE,
    ),
    "table_2": (_FINETUNE, _FINETUNE.replace("table_7b", "table_7b_512")),
    "table_3": ("python -m bench.downstream.multilabel --recipe table_7c --encoder RUN --data coco:/data/coco",),
    "table_4": (
        "torchrun --nproc-per-node 8 -m bench.downstream.segmentation --recipe table_7d --encoder RUN "
        "--data ade20k:/data/ADEChallengeData2016",
    ),
    "table_5": tuple(
        f"torchrun --nproc-per-node 8 -m bench.downstream.detection --recipe table_7e_{size}16 --encoder RUN "
        "--data coco:/data/coco"
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
FIGURES = tuple(f"figure_{n}" for n in range(2, 9))


def result_tables() -> list[Table]:
    """Tables 1 to 5: the paper's rows, the README's values beside, and our column."""
    return [result_table(name) for name in COMMANDS]


def result_table(name: str) -> Table:
    """One of Tables 1 to 5."""
    published = read_published(name)
    rows: list[list[Cell]] = []
    group = ""
    for row in published.rows:
        heading = published.cell(row, GROUP)
        if heading and heading.value != group:
            group = heading.value
            rows.append([Cell(group)])
        rows.append([*_published_row(published, row), _our_cell(published, row)])
    return Table(name, f"{paper_name(name)}: {published.title}", [*_columns(published), "Ours"], rows, HOW[name])


def published_table(name: str) -> Table:
    """A table as published, without our column."""
    published = read_published(name)
    rows = [_published_row(published, row) for row in published.rows]
    return Table(name, f"{paper_name(name)}: {published.title}", _columns(published), rows)


def figures_stated() -> Table:
    """What the paper's words and axes say of Figures 2 to 8, whose points are not published."""
    rows = []
    for name in FIGURES:
        cells = read_published(name).cells
        rows += [
            [
                Cell(c.label),
                Cell(c.column),
                Cell(f"{c.value} {c.unit}".strip(), remarks=_remark(c.note)),
                Cell(c.source),
            ]
            for c in cells
        ]
    return Table("figures_2_to_8", "Figures 2 to 8: axes and quoted values", ["Figure", "What", "Stated", "Source"], rows)


def stated(name: str, panel: str) -> str:
    """What the paper states of one panel of a figure, as a sentence to stand beside ours."""
    cells = [cell for cell in read_published(name).cells if cell.label == panel]
    return f"The paper's {panel}: {'; '.join(f'{c.column}, {c.value} {c.unit}'.rstrip() for c in cells)}."


def _columns(published: PublishedTable) -> list[str]:
    """The label's column, then each of the paper's with its unit, and the README's beside it where it has values."""
    columns = [published.label_column]
    for column in published.columns:
        units = {cell.unit for cell in published.cells if cell.column == column and cell.value} & {"%", "px"}
        unit = f" ({units.pop()})" if len(units) == 1 else ""
        columns += [column + unit, f"{column}, README{unit}"] if _has_readme(published, column) else [column + unit]
    return columns


def _published_row(published: PublishedTable, row: int) -> list[Cell]:
    cells = [Cell(published.rows[row])]
    for column in published.columns:
        paper, readme = published.cell(row, column), published.cell(row, column, "readme")
        has_readme = _has_readme(published, column)
        remarks = _remark(paper.note if paper else "") if has_readme else published.remarks(row, column)
        cells.append(Cell(paper.shown if paper else "", remarks=remarks))
        if has_readme:
            cells.append(Cell(readme.shown, remarks=_remark(readme.note)) if readme else Cell(""))
    return cells


def _our_cell(published: PublishedTable, row: int) -> Cell:
    """`not run` where the row is CatLIP's or the paper's own CLIP; empty for other people's systems."""
    label = published.rows[row]
    is_ours = label.startswith("CatLIP") or "(Our " in label or published.name == "table_1"
    return Cell(NOT_RUN if is_ours else "")


def _has_readme(published: PublishedTable, column: str) -> bool:
    return any(cell.column == column and cell.reading == "readme" for cell in published.cells)


def _remark(note: str) -> tuple[str, ...]:
    return (note,) if note else ()
