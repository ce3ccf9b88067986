"""Fine-tuning: how good is a classifier when the encoder learns with it?  (Section 4, Table 7b)"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import tyro

from bench.downstream.classify.classification import Score
from bench.downstream.classify.sweep import Fit, Sweep, run_sweep, train_one
from bench.downstream.encoders.load import LoadedEncoder
from bench.downstream.outputs import BY_NAME
from bench.downstream.probe import result
from catlip.cli import run
from catlip.recipes.transfer import FINETUNES
from catlip.record import Record
from catlip.training.distributed import Place


@dataclass(frozen=True)
class Finetune(Sweep):
    """Train an encoder and a linear classifier on it; run the same command again to go on where it
    stopped.

    python -m bench.downstream.finetune --encoder runs/starter/pretrain/catlip-seed0 \\
        --data starter:data/starter

    python -m bench.downstream.finetune --recipe table_7b \\
        --encoder runs/cc3m/pretrain/catlip-seed0 --data imagenet:DIR

    torchrun --nproc-per-node 8 -m bench.downstream.finetune --recipe table_7b_512 \\
        --num-devices 8 --micro-batch 64 --encoder timm:vit_base_patch16_224.augreg_in21k \\
        --data places365:/data/places365
    """

    protocol: ClassVar[str] = "finetune"

    out: Path = Path("runs/bench/finetune") / BY_NAME
    """The record to write; runs go into a folder of the same name."""


def main(config: Finetune) -> None:
    """Fine-tune, print, write the record."""
    run_sweep(config, result.Finetune, _start)


def _start(
    config: Finetune, place: Place, encoder: LoadedEncoder, record: Record
) -> Callable[[Fit], Score]:
    if not encoder.any_size and len(config.recipe.sizes()) > 1:
        record.notes.append(
            f"{config.encoder} takes images of one size, so it was trained without the other sizes"
        )
    return partial(_finetune, config, place)


def _finetune(config: Finetune, place: Place, fit: Fit) -> Score:
    # A new copy for each classifier: training changes the encoder's weights.
    encoder = config.load_encoder(place.device)
    return train_one(fit, config, encoder, place=place, frozen=False)


RECIPES = {
    name: Finetune(recipe, encoder=tyro.MISSING, data=tyro.MISSING)
    for name, recipe in FINETUNES.items()
}

if __name__ == "__main__":
    run(Finetune, main, RECIPES)
