"""What is predicted to fit: by the definition, and for the recipes and benches of this project."""

from dataclasses import replace

import pytest

from bench.arithmetic.activations import peak_bytes
from bench.arithmetic.fitting import USABLE, device_bytes, images_that_fit, in_turns_bytes
from bench.arithmetic.state import state_bytes
from bench.measuring.training_step import Factors
from catlip.costs import GIB
from catlip.recipes.pretrain import CATLIP, CLIP

RECIPES = [("catlip", name) for name in CATLIP] + [("clip", name) for name in CLIP]


@pytest.mark.parametrize(("method", "name"), RECIPES)
def test_every_recipe_fits_a_device_of_80_gb(method: str, name: str) -> None:
    recipe = (CATLIP if method == "catlip" else CLIP)[name]
    for size in recipe.sizes():
        factors = Factors(
            *(method, recipe.encoder, size.resolution, size.batch, recipe.precision),
            attention=recipe.attention,
            checkpointing=recipe.checkpointing,
        )
        assert device_bytes(factors, 1) <= USABLE * 80 * GIB


def test_steps_in_turns_need_the_state_of_all_and_the_work_of_one() -> None:
    one, other = (Factors(method, "hybrid_mini", 48, 8) for method in ("catlip", "clip"))
    states = [sum(state_bytes(step).values()) for step in (one, other)]
    beyond = max(peak_bytes(step) - state for step, state in zip((one, other), states, strict=True))
    assert in_turns_bytes([one]) == pytest.approx(max(peak_bytes(one), states[0]))
    assert in_turns_bytes([one, other]) == pytest.approx(sum(states) + max(0, beyond))


@pytest.mark.parametrize(
    ("model", "memory_gb", "images"),
    [("vit_b16", 80, 256), ("vit_b16", 24, 128), ("vit_h16", 80, 128), ("vit_h16", 1, 1)],
)
def test_a_bench_takes_256_images_or_as_many_as_fit(model, memory_gb, images) -> None:
    steps = [Factors(method, model) for method in ("catlip", "clip")]
    assert images_that_fit(steps, memory_gb * GIB) == images
    if images > 1:
        fitting = [replace(step, batch_size=images) for step in steps]
        assert in_turns_bytes(fitting) <= USABLE * memory_gb * GIB
