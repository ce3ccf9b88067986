"""Detection in seconds: a recipe for squares of 48 pixels, and the program's run with it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from small_data import ON_A_CPU

from bench.downstream.dense.detect.data import MicroBatches
from bench.downstream.detection import Detection, main
from catlip.data.sampler import StepPlan
from catlip.recipes.dense import STARTER_DETECTION, DetectionRecipe
from catlip.training.distributed import Place

SMALL: DetectionRecipe = replace(
    STARTER_DETECTION,
    **{"epochs": 2, "micro_batch": 4, "resolution": 48, "max_lr": 2e-3},
    **{"warmup_iterations": 1, "lr_step_epochs": (1,)},
    **{"pyramid_channels": 16, "fc_channels": 16, "proposals": (20, 8)},
)


def micro_batches(
    recipe: DetectionRecipe, first_step: int, num_steps: int, place: Place
) -> MicroBatches:
    """Those of a rank from a step on."""
    plan = StepPlan(recipe.sizes(), recipe.num_devices, num_steps, seed=0)
    return MicroBatches(plan, recipe.accumulation(place.world_size), place, first_step)


def detect(data: Path, out: Path, recipe: DetectionRecipe = SMALL, **options: Any) -> None:
    """Run the program on a CPU, in this process."""
    fixed: dict[str, Any] = ON_A_CPU | {"encoder": "random:hybrid_mini@48", "draw": 2}
    main(Detection(**fixed | {"data": f"coco:{data}", "out": out, "recipe": recipe} | options))
