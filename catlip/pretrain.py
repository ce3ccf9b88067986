"""Pre-train an image encoder by classifying the nouns of captions: CatLIP (Section 3.2)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from catlip.cli import run
from catlip.pretraining.config import PretrainRun
from catlip.recipes.pretrain import CATLIP, Recipe

if TYPE_CHECKING:  # the command line is read without torch
    from torch import Tensor

    from catlip.categorical import Categorical
    from catlip.pretraining.method import Method


@dataclass(frozen=True)
class PretrainCatLIP(PretrainRun):
    """Pre-train an image encoder with CatLIP; run the same command again to go on where it stopped.
    SIGTERM and SIGUSR1 stop it after a step, with a checkpoint and exit code 75.

    python -m catlip.pretrain --recipe starter --shards data/starter/pretrain \\
        --vocabulary runs/starter/vocabulary.json --labels-dir runs/starter/labels \\
        --out runs/starter/pretrain/catlip-seed0
    """


def categorical(recipe: Recipe, base_rates: "Tensor") -> "Categorical":
    from catlip.categorical import Categorical
    from catlip.encoder import init_linear_as_release
    from catlip.pretraining.method import encoder_of

    objective = Categorical(encoder_of(recipe), base_rates)
    if recipe.initialization == "release":
        init_linear_as_release(objective.classifier)
    return objective


def method_of(config: PretrainCatLIP) -> "Method":
    from catlip.pretraining.method import Method, classes_of

    classes = classes_of(config)
    return Method(lambda: categorical(config.recipe, classes.base_rates), classes)


def main(config: PretrainCatLIP) -> None:
    from catlip.pretraining.run import pretrain

    if record := pretrain(config, method_of(config)):
        print(record)


if __name__ == "__main__":
    run(PretrainCatLIP, main, {name: PretrainCatLIP(recipe) for name, recipe in CATLIP.items()})
