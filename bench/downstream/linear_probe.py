"""Linear probe: how well do a frozen encoder's features separate classes that it was never trained
on?  (Section 4, Table 7a)

As in the paper, the classifier is trained on augmented images that pass through the frozen encoder;
on cached features it takes seconds instead of hours, but does not give the same number.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import tyro

from bench.downstream.outputs import BY_NAME
from bench.downstream.probe.config import Sweep
from catlip.cli import run
from catlip.recipes.transfer import PROBES


@dataclass(frozen=True, kw_only=True)
class LinearProbe(Sweep):
    """Train a linear classifier on the frozen features of an encoder.

    python -m bench.downstream.linear_probe --encoder runs/starter/pretrain/catlip-seed0 \\
        --data starter:data/starter

    python -m bench.downstream.linear_probe --recipe table_7a --cached-features \\
        --encoder released:vit_b16 --data imagenet:DIR --fraction 0.01 0.1 1 \\
        --init random transfer --vocabulary datacomp_1_2B_vocab.pkl

    With cached features, a run is not resumed, and uses one device.
    """

    protocol: ClassVar[str] = "probe"

    out: Path = Path("runs/bench/linear_probe") / BY_NAME
    cached_features: bool = False
    """Compute features once, without augmentation, at the encoder's own resolution, standardise
    them, and train on them."""


def main(config: LinearProbe) -> None:
    from bench.downstream.probe.sweep import run_sweep

    run_sweep(config)


RECIPES = {
    name: LinearProbe(
        recipe=recipe, encoder=tyro.MISSING, data=tyro.MISSING, cached_features=name == "starter"
    )
    for name, recipe in PROBES.items()
}

if __name__ == "__main__":
    run(LinearProbe, main, RECIPES)
