"""Tables 6 and 7: our recipes beside the paper's, cell by cell, with the differences marked.

Our side comes from a record of kind `recipes`: `config.recipes` (pre-training; each names its
`paper_table` and `method`) and `config.transfer_recipes` (Table 7). What a recipe cannot hold, such
as the memory of a GPU, is left empty.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from catlip.recipes.result import Recipes
from catlip.results.run import Records, Run, as_number, entries, lookup
from catlip.table import Cell, Table
from reports.paper.paper_cells import NOT_RUN
from reports.paper.published import PublishedTable, read_published, same_value

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


def plain_number(value: Any) -> str:
    """`1e-06` as the paper prints it: 0.000001; empty for what is not a number."""
    as_read = as_number(value)
    if as_read is None:
        return ""
    if not math.isfinite(as_read):
        return str(as_read)
    return f"{as_read:.10f}".rstrip("0").rstrip(".")


def spelled(value: Any) -> str:
    """A name as the paper spells it: cosine -> Cosine, vit_b16 -> ViT B/16."""
    if not isinstance(value, str):
        return ""
    if value.startswith("vit_") and value[4:5].isalpha() and value[5:].isdecimal():
        return f"ViT {value[4].upper()}/{value[5:]}"
    return SPELLING.get(value, value)


def joined(value: Any) -> str:
    """`25/50/75/100` for a list; a single number as it is."""
    return "/".join(map(plain_number, value)) if isinstance(value, list) else plain_number(value)


def in_brackets(value: Any) -> str:
    """`(0.9, 0.98)`; a list of lists as `(22, 24) / (17, 19)`."""
    if not isinstance(value, list):
        return ""
    if value and isinstance(value[0], list):
        return " / ".join(map(in_brackets, value))
    return f"({', '.join(map(plain_number, value))})"


# The paper's row -> the recipe's field and how it is printed. A row that is not listed here is not
# part of a recipe.
FIELDS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "Backbone": ("encoder", spelled),
    "Image Backbone": ("encoder", spelled),
    "Seg. Head": ("head", spelled),
    "Det. Head": ("head", spelled),
    "Max. Epochs": ("epochs", joined),
    "Epochs": ("epochs", joined),
    "Max. Iterations": ("iterations", plain_number),
    "LR scheduler": ("schedule", spelled),
    "Max. LR": ("max_lr", plain_number),
    "Min. LR": ("min_lr", plain_number),
    "Optimizer": ("optimizer", spelled),
    "AdamW's betas": ("betas", in_brackets),
    "Weight decay": ("weight_decay", plain_number),
    "LR step size": ("lr_step_factor", plain_number),
    "LR step interval": ("lr_step_epochs", in_brackets),
    "Layer-wise LR decay": ("layer_decay", joined),
    "Stochastic dropout": ("drop_path", joined),
    "Batch size per GPU": ("micro_batch", plain_number),
    "# A100 GPUs": ("num_devices", plain_number),
}


def recipe_tables(records: Records) -> list[Table]:
    """Tables 6(a) and 6(b), our recipe beside each of the paper's columns; then Tables 7(a) to 7(e)
    as one.
    """
    record = next(iter(records.of(Recipes)), None)
    pretraining = []
    for letter in "ab":
        published = read_published(f"table_6{letter}")
        ours = {column: _recipes_for(record, letter, column) for column in published.columns}
        pretraining.append(_beside(published, ours, record))
    rows = []
    for name, recipe in TRANSFER.items():
        of_kind = lookup(record.config, "transfer_recipes", recipe) if record else None
        ours = {"Value": [of_kind] if isinstance(of_kind, dict) else []}
        part = _beside(read_published(name), ours, record)
        rows += [[Cell(part.title)], *part.rows]
    return [*pretraining, Table("table_7", "Table 7: transfer recipes", part.columns, rows=rows)]


def differences(tables: Sequence[Table]) -> int:
    return sum(cell.differs for table in tables for row in table.rows for cell in row)


def _recipes_for(record: Run | None, letter: str, column: str) -> list[Recipe]:
    """The recipes that a column of Table 6 stands for; they are several if the column lists several
    values of a field, such as 25/50/75/100 epochs.
    """
    method, _, encoder = column.partition(" ")
    return [
        r
        for r in (entries(record.config, "recipes") if record else {}).values()
        if isinstance(r, dict)
        and (r.get("paper_table"), r.get("method")) == (f"6{letter}", method.lower())
        and (not encoder or spelled(r.get("encoder")) == encoder)
    ]


def _beside(
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
            paper = published.cell(row, column)
            cells.append(Cell(paper.shown, remarks=published.remarks(row, column)))
            cells.append(_our_cell(label, ours[column], paper.value, anchor))
        rows.append(cells)
    return Table(published.name, published.heading, columns, rows=rows)


def _our_cell(label: str, recipes: Sequence[Recipe], printed: str, anchor: str) -> Cell:
    if label not in FIELDS or not recipes:
        return Cell(NOT_RUN if label in FIELDS else "")
    field, spell = FIELDS[label]
    values = [word for recipe in recipes if (word := spell(recipe.get(field)))]
    ours = "/".join(dict.fromkeys(values))
    if not ours:
        return Cell()
    remarks = (ONE_OF_SEVERAL,) if label == "Max. Epochs" and ours in printed.split("/") else ()
    return Cell(ours, anchor=anchor, differs=not same_value(ours, printed), remarks=remarks)
