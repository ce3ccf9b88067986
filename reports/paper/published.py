"""The paper's numbers from `published/*.csv`: one file for each table or figure, one line for each
cell, with its source.

A cell has one or several *readings*: `paper` (what the paper prints), `readme` (what the release's
README gives) and `config` (what the release's configuration files say).
"""

import csv
from dataclasses import dataclass
from functools import cache, cached_property

from reports.names import PUBLISHED

GROUP = "Group"  # not a column of the paper: the heading that a row stands under
TITLES = {
    "figure_1c": "Figure 1(c): cost and accuracy on DataComp-1.3B",
    "table_1": "Table 1: data scaling; CatLIP, ViT B/16, linear probe (LP) and fine-tuning (FT)",
    "table_2": "Table 2: fine-tuned accuracy",
    "table_3": "Table 3: multi-label classification on COCO",
    "table_4": "Table 4: semantic segmentation on ADE20k",
    "table_5": "Table 5: detection and instance segmentation on COCO, Mask R-CNN",
    "table_6a": "Table 6(a): pre-training on CC3M",
    "table_6b": "Table 6(b): pre-training on DataComp-1.3B",
    "table_7a": "Table 7(a): linear probe",
    "table_7b": "Table 7(b): fine-tuning",
    "table_7c": "Table 7(c): multi-label classification",
    "table_7d": "Table 7(d): semantic segmentation",
    "table_7e": "Table 7(e): detection",
}


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


@dataclass(frozen=True)
class PublishedTable:
    """One table or figure of the paper."""

    name: str
    cells: tuple[PublishedCell, ...]

    @property
    def title(self) -> str:
        return TITLES[self.name]

    @cached_property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(cell.column for cell in self.cells if cell.column != GROUP))

    @cached_property
    def rows(self) -> dict[int, str]:
        return {cell.row: cell.label for cell in self.cells}

    @cached_property
    def printed(self) -> dict[tuple[int, str], PublishedCell]:
        """(Row, column) -> the cell of the paper."""
        return {(cell.row, cell.column): cell for cell in self.cells if cell.reading == "paper"}

    def text(self, row: int, column: str) -> str:
        cell = self.printed.get((row, column))
        return cell.text if cell else ""

    def notes(self, row: int) -> str:
        """What a reader must know beside a row: the notes of its cells, and other readings of them
        that differ from the paper's.
        """
        notes = []
        for cell in (cell for cell in self.cells if cell.row == row):
            paper = self.printed.get((row, cell.column))
            if cell is paper and cell.note:
                notes.append(f"{cell.column}: {cell.note}")
            elif paper and not same_value(cell.value, paper.value):
                source = cell.source[:1].upper() + cell.source[1:]
                notes.append(f"{source}, {cell.column}: {cell.text}. {cell.note}".rstrip())
        return " ".join(notes)


@cache
def read_published(name: str) -> PublishedTable:
    """The published table `name`, one of TITLES."""
    with open(PUBLISHED / f"{name}.csv", newline="", encoding="utf-8") as file:
        cells = tuple(PublishedCell(int(row), *rest) for row, *rest in list(csv.reader(file))[1:])
    return PublishedTable(name, cells)


def same_value(one: str, other: str) -> bool:
    """Whether two printed values mean the same: `0.20` and `0.2` do, `84.2` and `84.3` do not."""
    try:
        return float(one) == float(other)
    except ValueError:
        return one.replace(" ", "") == other.replace(" ", "")
