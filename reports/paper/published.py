"""The paper's numbers from `published/*.csv`: one file for each table or figure, one line for each
cell, with its source.

A cell has one or several *readings*: `paper` (what the paper prints), `readme` (what the release's
README gives) and `config` (what the release's configuration files say).
"""

import csv
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from catlip.records.table import Cell, paper_name

FOLDER = Path(__file__).parents[1] / "published"
NOT_RUN = "not run"
GROUP = "Group"  # not a column of the paper: the heading that a row stands under


@dataclass(frozen=True)
class PublishedCell:
    """One published value as printed, digit for digit; an empty value is a cell that the paper
    leaves empty.
    """

    row: int
    label: str
    column: str
    reading: str
    value: str
    unit: str
    source: str
    note: str

    @property
    def text(self) -> str:
        has_unit = self.unit in ("M", "B", "GB") and self.value[:1].isdigit()
        return f"{self.value} {self.unit}" if has_unit else self.value

    @property
    def remarks(self) -> tuple[str, ...]:
        return (self.note,) if self.note else ()


@dataclass(frozen=True)
class PublishedTable:
    """One table or figure of the paper; `label_column` heads the rows' labels."""

    name: str
    label_column: str
    title: str
    cells: tuple[PublishedCell, ...]

    @property
    def heading(self) -> str:
        """The title behind the paper's name of the table, such as `Table 3: ...`."""
        return f"{paper_name(self.name)}: {self.title}"

    @cached_property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(cell.column for cell in self.cells if cell.column != GROUP))

    @cached_property
    def rows(self) -> dict[int, str]:
        return {cell.row: cell.label for cell in self.cells}

    @cached_property
    def _index(self) -> dict[tuple[int, str, str], PublishedCell]:
        return {(cell.row, cell.column, cell.reading): cell for cell in self.cells}

    def cell(self, row: int, column: str) -> PublishedCell:
        """A cell as the paper prints it; each row of a table has one in every column."""
        return self._index[row, column, "paper"]

    def reading(self, row: int, column: str, reading: str = "paper") -> PublishedCell | None:
        return self._index.get((row, column, reading))

    def as_cell(self, row: int, column: str, alone: bool = False) -> Cell:
        """A cell with its footnotes: its note and, unless `alone`, each other reading that differs
        from the paper's.
        """
        paper = self.cell(row, column)
        remarks = [*paper.remarks]
        for reading in () if alone else ("readme", "config"):
            other = self.reading(row, column, reading)
            if other and not same_value(other.value, paper.value):
                source = other.source[:1].upper() + other.source[1:]
                remarks.append(f"{source}: {other.text}. {other.note}".rstrip())
        return Cell(paper.text, remarks=tuple(remarks))


TITLES = {
    "figure_1c": ("Panel", "Cost and accuracy on DataComp-1.3B"),
    "table_1": (
        "Dataset",
        "Data scaling: CatLIP, ViT B/16, linear probe (LP) and fine-tuning (FT)",
    ),
    "table_2": ("Model", "Fine-tuned accuracy, with other people's models"),
    "table_3": ("Model", "Multi-label classification on COCO"),
    "table_4": ("Model", "Semantic segmentation on ADE20k"),
    "table_5": ("Model", "Detection and instance segmentation on COCO, Mask R-CNN"),
    "table_6a": ("Hyperparameter", "Pre-training on CC3M"),
    "table_6b": ("Hyperparameter", "Pre-training on DataComp-1.3B"),
    "table_7a": ("Hyperparameter", "Linear probe"),
    "table_7b": ("Hyperparameter", "Fine-tuning on ImageNet-1k and Places365"),
    "table_7c": ("Hyperparameter", "Multi-label classification on COCO"),
    "table_7d": ("Hyperparameter", "Semantic segmentation on ADE20k"),
    "table_7e": ("Hyperparameter", "Detection and instance segmentation on COCO"),
}


def read_published(name: str) -> PublishedTable:
    """The published table `name`, one of TITLES."""
    with open(FOLDER / f"{name}.csv", newline="", encoding="utf-8") as file:
        cells = tuple(PublishedCell(int(row), *rest) for row, *rest in list(csv.reader(file))[1:])
    return PublishedTable(name, *TITLES[name], cells)


@cache
def claimed_speed_up() -> float:
    """GPU hours of one epoch with CLIP over those with CatLIP, ViT B/16: the title's 2.7."""
    clip, catlip, *_ = (float(cell.value) for cell in read_published("figure_1c").cells)
    return clip / catlip


def same_value(one: str, other: str) -> bool:
    """Whether two printed values mean the same: `0.20` and `0.2` do, `84.2` and `84.3` do not."""
    try:
        return float(one) == float(other)
    except ValueError:
        return one.replace(" ", "") == other.replace(" ", "")
