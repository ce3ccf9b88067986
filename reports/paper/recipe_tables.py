"""Tables 6 and 7: our recipes beside the paper's, cell by cell, with the differences marked.

Our side are the recipes of `catlip.recipes` as they are now. What a recipe cannot hold, such as the
memory of a GPU, is left empty.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from catlip.recipes.dense import TABLE_7D, TABLE_7E_B16, TABLE_7E_H16, TABLE_7E_L16
from catlip.recipes.pretrain import CATLIP, CLIP
from catlip.recipes.transfer import TABLE_7A, TABLE_7B, TABLE_7C
from catlip.records.table import NOTE, Column, Row, Spec
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


def recipe_rows(comparisons: object) -> Iterator[Row]:
    """The fields in which ours differ from the paper's, or that need a note; of Tables 6(a), 6(b)
    and 7(a) to 7(e).
    """
    for name, begins in PRETRAINING.items():
        published = read_published(name)
        for column in published.columns:
            method, _, encoder = column.lower().partition(" ")  # `catlip vit b/16`
            size = encoder.rpartition(" ")[2].replace("/", "") or "b16"
            recipe = (CATLIP if method == "catlip" else CLIP)[f"{begins}_{size}"]
            yield from _side_by_side(published, column, {**COSINE, **asdict(recipe)})
    for name, fields in transfer().items():
        yield from _side_by_side(read_published(name), "Value", fields)


def _side_by_side(published: PublishedTable, column: str, recipe: dict[str, Any]) -> Iterator[Row]:
    for row, label in published.rows.items():
        printed, ours = published.text(row, column), None
        if label in FIELDS and FIELDS[label] in recipe:
            ours = spell(recipe[FIELDS[label]], brackets=FIELDS[label] in IN_BRACKETS)
        differs = ours is not None and not same_value(ours, printed)
        note = published.notes(row)
        if label == "Max. Epochs" and ours in printed.split("/"):
            note = f"{note} {ONE_OF_SEVERAL}".strip()
        if differs or note:
            yield {
                "table": published.title,
                "column": "" if column == "Value" else column,
                "field": label,
                "paper": printed,
                "ours": ours,
                NOTE: note,
            }


RECIPES = Spec(
    "recipes",
    "Where our recipes differ from the paper's Tables 6 and 7",
    "Fields that are not listed are the paper's. Footnotes say where the paper contradicts itself, "
    "or the release's configuration files it.",
    [
        Column("Table", "table", head=True),
        Column("Of", "column", head=True),
        Column("Field", "field"),
        Column("Paper", "paper"),
        Column("Ours", "ours"),
    ],
    recipe_rows,
)
