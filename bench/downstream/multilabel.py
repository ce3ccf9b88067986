"""Multi-label classification: which of COCO's categories are on an image?  (Section 5.1, Tables 3
and 7c)

The encoder and a linear classifier are trained with binary cross-entropy, and scored by the average
precision of each category.
"""

import tyro

from bench.downstream.dense.harness import transfer
from bench.downstream.dense.multilabel import MultiLabel, MultiLabelTask
from catlip.cli import run
from catlip.recipes.transfer import MULTILABELS


def main(config: MultiLabel) -> None:
    """Train, test, print, write the record."""
    transfer(config, lambda: MultiLabelTask)


RECIPES = {
    name: MultiLabel(encoder=tyro.MISSING, data=tyro.MISSING, recipe=recipe)
    for name, recipe in MULTILABELS.items()
}

if __name__ == "__main__":
    run(MultiLabel, main, RECIPES)
