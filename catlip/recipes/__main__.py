"""Writes every recipe as a record, which the report compares with the paper."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from catlip.cli import run
from catlip.recipes.dense import TABLE_7D, TABLE_7E_B16, TABLE_7E_H16, TABLE_7E_L16
from catlip.recipes.pretrain import CATLIP, CLIP
from catlip.recipes.result import Recipes
from catlip.recipes.transfer import TABLE_7A, TABLE_7B, TABLE_7C
from catlip.records.record import Record

PAPER_TABLES = {"cc3m_b16": "6a", "datacomp_b16": "6b", "datacomp_l16": "6b", "datacomp_h16": "6b"}
COSINE = {"optimizer": "adamw", "schedule": "cosine"}


@dataclass(frozen=True)
class WriteRecipes:
    """Write every recipe as a record, for the report.

    python -m catlip.recipes --out runs/starter/recipes/recipes.json
    """

    out: Path = Path("runs/starter/recipes/recipes.json")
    """Where the record goes."""


def main(config: WriteRecipes) -> None:
    recipes = pretraining()
    content = {"recipes": recipes, "transfer_recipes": transfer()}
    with Record(config.out, Recipes, content) as record:
        record.finish(Recipes())
        print(f"wrote {len(recipes)} recipes to {config.out}")


def pretraining() -> dict[str, dict[str, Any]]:
    """Table 6 and the presets, by METHOD/NAME."""
    recipes = {}
    for method, by_name in (("catlip", CATLIP), ("clip", CLIP)):
        for name, recipe in by_name.items():
            recipes[f"{method}/{name}"] = {
                **asdict(recipe),
                "method": method,
                "paper_table": PAPER_TABLES.get(name, ""),
                **COSINE,
                "scales": [size.resolution for size in recipe.sizes()],
            }
    return recipes


def transfer() -> dict[str, dict[str, Any]]:
    """Table 7, by task; values that differ between encoders are lists, for ViT-B, L and H."""
    by_encoder = [asdict(recipe) for recipe in (TABLE_7E_B16, TABLE_7E_L16, TABLE_7E_H16)]
    differing = ("epochs", "lr_step_epochs", "layer_decay", "drop_path")
    return {
        "linear_probe": {**COSINE, **asdict(TABLE_7A)},
        "finetune": {**COSINE, **asdict(TABLE_7B)},
        "multilabel": {**COSINE, **asdict(TABLE_7C)},
        "segmentation": {**COSINE, "head": "deeplabv3", **asdict(TABLE_7D)},
        "detection": {
            "optimizer": "adamw",
            "schedule": "multi_step",
            "head": "mask_rcnn",
            **by_encoder[0],
            **{name: [recipe[name] for recipe in by_encoder] for name in differing},
        },
    }


if __name__ == "__main__":
    run(WriteRecipes, main)
