"""Linear probe: how well do a frozen encoder's features separate classes that it was never trained
on?  (Section 4, Table 7a)

As in the paper, the classifier is trained on augmented images that pass through the frozen encoder;
on cached features it takes seconds instead of hours, but gives another number. So does the protocol
of CLIP and CLIP_benchmark, whose records have the kind `l2_probe`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import tyro

from bench.downstream.outputs import RECORD_NAME, recipe_configs
from bench.downstream.probe.config import Sweep
from bench.downstream.probe.result import L2Probe
from bench.downstream.probe.result import LinearProbe as LinearProbeResult
from catlip.cli import InputError, run
from catlip.recipes.transfer import PROBES

# Settings of a recipe that a classifier on cached features depends on.
FEATURE_SETTINGS = {
    *("epochs", "iterations", "min_steps", "micro_batch", "num_devices", "max_lr", "min_lr"),
    *("weight_decay", "label_smoothing", "initialization", "test_resize"),
}


@dataclass(frozen=True, kw_only=True)
class LinearProbe(Sweep):
    """Train a linear classifier on the frozen features of an encoder.

    python -m bench.downstream.linear_probe --encoder runs/starter/pretrain/catlip-seed0 \\
        --data starter:data/starter

    python -m bench.downstream.linear_probe --recipe table_7a --cached-features \\
        --encoder released:vit_b16 --data imagenet:DIR --fraction 0.01 0.1 1 \\
        --init random transfer --vocabulary datacomp_1_2B_vocab.pkl

    python -m bench.downstream.linear_probe --protocol l2_sweep \\
        --encoder runs/starter/pretrain/catlip-seed0 \\
        --data wds:hf://datasets/clip-benchmark/wds_vtab-caltech101

    With cached features, a run is not resumed, and uses one device.
    """

    trained: ClassVar[str] = "probe"

    out: Path = Path("runs/bench/{kind}") / RECORD_NAME
    protocol: Literal["recipe", "l2_sweep"] = "recipe"
    """recipe: as the recipe says. l2_sweep: as CLIP and CLIP_benchmark, without the recipe:
    logistic regression on cached features, its L2 strength chosen on val/, if there are val/ and
    test/, else on a fifth of the training images; then trained on all of these."""
    cached_features: bool = False
    """Compute features once, without augmentation, at the encoder's own resolution, standardise
    them, and train on them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if tyro.MISSING not in (self.encoder, self.data):
            kind = (L2Probe if self.is_l2_sweep else LinearProbeResult).kind
            object.__setattr__(self, "out", Path(str(self.out).replace("{kind}", kind)))
        if self.is_l2_sweep and {*self.init} != {"random"}:
            raise InputError("--protocol l2_sweep ends at its minimum from any start: no --init")
        presets = (preset for preset in PROBES.values() if preset.about == self.recipe.about)
        preset = vars(next(presets, self.recipe))
        changed = {name for name, value in vars(self.recipe).items() if value != preset[name]}
        changed -= {"test_resize"} if self.is_l2_sweep else FEATURE_SETTINGS
        if changed and self.uses_cached_features:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(changed))
            raise InputError(f"a probe on cached features does not read {flags}")


RECIPES = recipe_configs(LinearProbe, PROBES)
RECIPES["starter"] = replace(RECIPES["starter"], cached_features=True)

if __name__ == "__main__":
    run(LinearProbe, "bench.downstream.probe.sweep:main", RECIPES)
