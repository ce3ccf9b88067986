"""Tables 6 and 7: our recipes beside the paper's, cell by cell, with the differences marked.

Our side comes from a record of kind `recipes`: `config.recipes` (pre-training; each names its
`paper_table` and `method`) and `config.transfer_recipes` (Table 7). What a recipe cannot hold, such
as the memory of a GPU, is left empty.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from catlip.recipes.result import Recipes
from catlip.records.run import Records, Run, as_number, entries
from catlip.records.table import Cell, Table
from reports.paper.published import NOT_RUN, PublishedTable, read_published, same_value

Recipe = Mapping[str, Any]

TRANSFER = {
    "table_7a": "linear_probe",
    "table_7b": "finetune",
    "table_7c": "multilabel",
    "table_7d": "segmentation",
    "table_7e": "detection",
}
ONE_OF_SEVERAL = "One of the paper's training lengths; `--epochs` sets another."
SPELLING = {
    "cosine": "Cosine",
    "multi_step": "Multi-step",
    "adamw": "AdamW",
    "deeplabv3": "DeepLabv3",
    "mask_rcnn": "Mask R-CNN",
}


# The paper's row -> the recipe's field. A row that is not listed here is not part of a recipe.
FIELDS = {
    "Backbone": "encoder",
    "Image Backbone": "encoder",
    "Seg. Head": "head",
    "Det. Head": "head",
    "Max. Epochs": "epochs",
    "Epochs": "epochs",
    "Max. Iterations": "iterations",
    "LR scheduler": "schedule",
    "Max. LR": "max_lr",
    "Min. LR": "min_lr",
    "Optimizer": "optimizer",
    "AdamW's betas": "betas",
    "Weight decay": "weight_decay",
    "LR step size": "lr_step_factor",
    "LR step interval": "lr_step_epochs",
    "Layer-wise LR decay": "layer_decay",
    "Stochastic dropout": "drop_path",
    "Batch size per GPU": "micro_batch",
    "# A100 GPUs": "num_devices",
}
IN_BRACKETS = ("betas", "lr_step_epochs")


def spell(value: Any, brackets: bool = False) -> str:
    """A field as the paper prints it: cosine -> Cosine, vit_b16 -> ViT B/16, 1e-06 -> 0.000001,
    lists as 25/50/75/100 or, in brackets, as (0.9, 0.98); empty for any other type.
    """
    if isinstance(value, str):
        if value.startswith("vit_") and value[4:5].isalpha() and value[5:].isdecimal():
            return f"ViT {value[4].upper()}/{value[5:]}"
        return SPELLING.get(value, value)
    if isinstance(value, list):
        if not brackets:
            return "/".join(map(spell, value))
        if value and isinstance(value[0], list):
            return " / ".join(spell(inner, brackets) for inner in value)
        return f"({', '.join(map(spell, value))})"
    number = as_number(value)
    if number is None or not math.isfinite(number):
        return "" if number is None else str(number)
    return f"{number:.10f}".rstrip("0").rstrip(".")


def recipe_tables(records: Records) -> list[Table]:
    """Tables 6(a) and 6(b), our recipe beside each of the paper's columns; then Tables 7(a) to 7(e)
    as one.
    """
    record = next(iter(records.of(Recipes)), None)
    pretraining = []
    for letter in "ab":
        published = read_published(f"table_6{letter}")
        ours = {column: _recipes_for(record, letter, column) for column in published.columns}
        pretraining.append(_side_by_side(published, ours, record))
    rows = []
    for name, recipe in TRANSFER.items():
        transfers = entries(record.raw_config, "transfer_recipes") if record else {}
        ours = {"Value": [transfers[recipe]] if entries(transfers, recipe) else []}
        part = _side_by_side(read_published(name), ours, record)
        rows += [[Cell(part.title)], *part.rows]
    return [*pretraining, Table("table_7", "Table 7: transfer recipes", part.columns, rows=rows)]


def count_differences(tables: Sequence[Table]) -> int:
    return sum(cell.differs for table in tables for row in table.rows for cell in row)


def _recipes_for(record: Run | None, letter: str, column: str) -> list[Recipe]:
    """The recipes that a column of Table 6 stands for; they are several if the column lists several
    values of a field, such as 25/50/75/100 epochs.
    """
    method, _, encoder = column.partition(" ")
    return [
        r
        for r in (entries(record.raw_config, "recipes") if record else {}).values()
        if isinstance(r, dict)
        and (r.get("paper_table"), r.get("method")) == (f"6{letter}", method.lower())
        and (not encoder or spell(r.get("encoder")) == encoder)
    ]


def _side_by_side(
    published: PublishedTable, ours: Mapping[str, Sequence[Recipe]], record: Run | None
) -> Table:
    columns = [published.label_column]
    has_one = len(published.columns) == 1
    for column in published.columns:
        columns += ["Paper", "Ours"] if has_one else [f"{column}: paper", f"{column}: ours"]
    anchor = record.anchor if record else ""
    rows = []
    for row, label in published.rows.items():
        cells = [Cell(label)]
        for column in published.columns:
            printed = published.cell(row, column).value
            cells.append(published.as_cell(row, column))
            cells.append(_our_cell(label, ours[column], printed, anchor))
        rows.append(cells)
    return Table(published.name, published.heading, columns, rows=rows)


def without_equal_rows(table: Table) -> Table:
    """The table without the rows in which ours are the paper's and no cell has a remark."""
    kept: list[Sequence[Cell]] = []
    for row in table.rows:
        is_heading = len(row) == 1
        if is_heading and kept and len(kept[-1]) == 1:
            kept.pop()  # a part without rows
        if is_heading or any(c.differs or c.remarks or c.text == NOT_RUN for c in row):
            kept.append(row)
    if kept and len(kept[-1]) == 1:
        kept.pop()
    equal = sum(len(row) > 1 for row in table.rows) - sum(len(row) > 1 for row in kept)
    return replace(table, rows=kept, caption=f"In {equal} more rows ours are the paper's.")


def _our_cell(label: str, recipes: Sequence[Recipe], printed: str, anchor: str) -> Cell:
    if label not in FIELDS or not recipes:
        return Cell(NOT_RUN if label in FIELDS else "")
    field = FIELDS[label]
    values = (spell(recipe.get(field), brackets=field in IN_BRACKETS) for recipe in recipes)
    ours = "/".join(dict.fromkeys(filter(None, values)))
    if not ours:
        return Cell()
    remarks = (ONE_OF_SEVERAL,) if label == "Max. Epochs" and ours in printed.split("/") else ()
    return Cell(ours, anchor=anchor, differs=not same_value(ours, printed), remarks=remarks)
