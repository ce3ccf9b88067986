"""Tables 6 and 7: our recipes beside the paper's, cell by cell, with the differences marked.

Our side are the recipes of `catlip.recipes` as they are now. What a recipe cannot hold, such as the
memory of a GPU, is left empty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from catlip.recipes.dense import TABLE_7D, TABLE_7E_B16, TABLE_7E_H16, TABLE_7E_L16
from catlip.recipes.pretrain import CATLIP, CLIP
from catlip.recipes.transfer import TABLE_7A, TABLE_7B, TABLE_7C
from catlip.records.table import Cell, Table
from reports.paper.published import PublishedTable, read_published, same_value

COSINE = {"optimizer": "adamw", "schedule": "cosine"}
PRETRAINING = {"table_6a": "cc3m", "table_6b": "datacomp"}  # how the names of its recipes begin
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
    if isinstance(value, list | tuple):
        if not brackets:
            return "/".join(map(spell, value))
        if isinstance(value[0], tuple):
            return " / ".join(spell(inner, brackets) for inner in value)
        return f"({', '.join(map(spell, value))})"
    return f"{value:.10f}".rstrip("0").rstrip(".")


def recipe_tables() -> list[Table]:
    """Tables 6(a) and 6(b), our recipe beside each of the paper's columns; then Tables 7(a) to 7(e)
    as one.
    """
    pretraining = []
    for name, begins in PRETRAINING.items():
        published, ours = read_published(name), {}
        for column in published.columns:
            method, _, encoder = column.lower().partition(" ")  # `catlip vit b/16`
            size = encoder.rpartition(" ")[2].replace("/", "") or "b16"
            recipe = (CATLIP if method == "catlip" else CLIP)[f"{begins}_{size}"]
            ours[column] = {**COSINE, **asdict(recipe)}
        pretraining.append(_side_by_side(published, ours))
    rows = []
    for name, fields in transfer().items():
        part = _side_by_side(read_published(name), {"Value": fields})
        rows += [[Cell(part.title)], *part.rows]
    return [*pretraining, Table("table_7", "Table 7: transfer recipes", part.columns, rows=rows)]


def transfer() -> dict[str, dict[str, Any]]:
    """Our recipes of Table 7; values that differ between encoders are lists, for ViT-B, L and H."""
    by_encoder = [asdict(recipe) for recipe in (TABLE_7E_B16, TABLE_7E_L16, TABLE_7E_H16)]
    differing = ("epochs", "lr_step_epochs", "layer_decay", "drop_path")
    return {
        "table_7a": {**COSINE, **asdict(TABLE_7A)},
        "table_7b": {**COSINE, **asdict(TABLE_7B)},
        "table_7c": {**COSINE, **asdict(TABLE_7C)},
        "table_7d": {**COSINE, "head": "deeplabv3", **asdict(TABLE_7D)},
        "table_7e": {
            "optimizer": "adamw",
            "schedule": "multi_step",
            "head": "mask_rcnn",
            **by_encoder[0],
            **{name: [recipe[name] for recipe in by_encoder] for name in differing},
        },
    }


def count_differences(tables: Sequence[Table]) -> int:
    return sum(cell.differs for table in tables for row in table.rows for cell in row)


def _side_by_side(published: PublishedTable, ours: Mapping[str, dict[str, Any]]) -> Table:
    columns = [published.label_column]
    has_one = len(published.columns) == 1
    for column in published.columns:
        columns += ["Paper", "Ours"] if has_one else [f"{column}: paper", f"{column}: ours"]
    rows = []
    for row, label in published.rows.items():
        cells = [Cell(label)]
        for column in published.columns:
            printed = published.cell(row, column).value
            cells.append(published.as_cell(row, column))
            cells.append(_our_cell(label, ours[column], printed))
        rows.append(cells)
    return Table(published.name, published.heading, columns, rows=rows)


def without_equal_rows(table: Table) -> Table:
    """The table without the rows in which ours are the paper's and no cell has a remark."""
    kept: list[Sequence[Cell]] = []
    for row in table.rows:
        is_heading = len(row) == 1
        if is_heading and kept and len(kept[-1]) == 1:
            kept.pop()  # a part without rows
        if is_heading or any(c.differs or c.remarks for c in row):
            kept.append(row)
    if kept and len(kept[-1]) == 1:
        kept.pop()
    equal = sum(len(row) > 1 for row in table.rows) - sum(len(row) > 1 for row in kept)
    return replace(table, rows=kept, caption=f"In {equal} more rows ours are the paper's.")


def _our_cell(label: str, recipe: dict[str, Any], printed: str) -> Cell:
    if label not in FIELDS:
        return Cell("")
    field = FIELDS[label]
    if field not in recipe:
        return Cell()
    ours = spell(recipe[field], brackets=field in IN_BRACKETS)
    remarks = (ONE_OF_SEVERAL,) if label == "Max. Epochs" and ours in printed.split("/") else ()
    return Cell(ours, differs=not same_value(ours, printed), remarks=remarks)
