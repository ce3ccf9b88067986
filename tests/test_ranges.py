"""A number that makes no sense is refused before anything is done, with its flag, its value and
what it may be.
"""

import importlib
import math
import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import pytest
import tyro
from one_line import one_line_exit
from smallest_programs import config_of

from catlip.cli import InputError, run
from catlip.program.ranges import Range, check_ranges
from catlip.recipes.pretrain import Recipe
from catlip.training.schedule import Optimization

short_recipe = partial(Recipe, iterations=1)


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (Optimization, "ema_decay", math.nan),
        (Optimization, "ema_decay", 2.0),
        (Optimization, "ema_decay", 1.0),
        (Optimization, "min_lr", math.nan),
        (Optimization, "max_lr", math.inf),
        (Optimization, "max_lr", 0.0),
        (Optimization, "grad_clip", -1.0),
        (Optimization, "weight_decay", -5.0),
        (Optimization, "betas", (1.5, math.nan)),
        (Optimization, "betas", (0.9, 1.0)),
        (Optimization, "eps", math.nan),
        (Optimization, "eps", 0.0),
        (Optimization, "warmup_iterations", -1),
        (short_recipe, "flip", 7.0),
        (short_recipe, "drop_path", 1.0),
        (short_recipe, "patch_drop_rate", 1.0),
        (short_recipe, "crop_scale", (0.0, 1.0)),
        (short_recipe, "crop_scale", (1.0, 0.1)),
        (short_recipe, "micro_batch", 0),
    ],
)
def test_an_optimization_or_a_recipe_of_impossible_numbers_cannot_be_made(
    make, name, value
) -> None:
    with pytest.raises(InputError, match=f"^--{name.replace('_', '-')} "):
        make(**{name: value})


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("catlip.pretrain", ["--seed", "-1"]),
        ("catlip.pretrain", ["--num-workers", "-1"]),
        ("catlip.pretrain", ["--checkpoint-every", "0"]),
        ("catlip.pretrain", ["--log-every", "0"]),
        ("catlip.pretrain", ["--ema-decay", "nan"]),
        ("catlip.pretrain", ["--recipe", "cc3m_b16", "--betas", "0.9", "nan"]),
        ("catlip.pretrain", ["--snapshots", "0"]),
        ("bench.step_time.__main__", ["--batch-size", "-4"]),
        ("bench.step_time.__main__", ["--num-steps", "-1"]),
        ("bench.data_path.__main__", ["--rounds", "0"]),
        ("bench.plan.__main__", ["--images", "nan"]),
        ("bench.memory.__main__", ["--batch-sizes", "4", "0"]),
        (
            "bench.downstream.linear_probe",
            ["--encoder", "random:x@48", "--data", "starter:x", "--fraction", "0.5", "2"],
        ),
    ],
)
def test_every_command_line_refuses_in_one_line_with_the_flag_and_the_value(
    monkeypatch, capsys, module, arguments
) -> None:
    program = importlib.import_module(module)
    recipes = getattr(program, "RECIPES", None)
    if module == "catlip.pretrain":
        recipes = {name: program.PretrainCatLIP(recipe) for name, recipe in program.CATLIP.items()}
    monkeypatch.setattr(sys, "argv", ["prog", *arguments])
    flag = next(word for word in reversed(arguments) if word.startswith("--"))
    with one_line_exit(capsys, flag, str(float(arguments[-1])).removesuffix(".0")):
        run(config_of(program), lambda _: pytest.fail("it was started"), recipes)


@dataclass(frozen=True)
class Inner:
    share: Annotated[float, Range(above=0, at_most=1)] = 1.0


@dataclass(frozen=True)
class Outer:
    inner: tyro.conf.OmitArgPrefixes[Inner]
    sizes: tuple[Annotated[int, Range(at_least=1)], ...] = ()
    limit: Annotated[int, Range(at_least=1)] | None = None
    free: float = 0.0
    flag: bool = False


@pytest.mark.parametrize("config", [Outer(Inner()), Outer(Inner(0.1), (1, 2), 3, -1e9, True)])
def test_what_is_in_its_range_passes(config) -> None:
    check_ranges(config)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (Outer(Inner(0.0)), "--share 0.0: .* 0 .* 1$"),
        (Outer(Inner(), (3, 0)), "--sizes 0: .* 1$"),
        (Outer(Inner(), (), 0), "--limit 0: .* 1$"),
        (Outer(Inner(), free=math.inf), "--free inf: "),
    ],
)
def test_what_is_not_is_refused_wherever_it_stands(config, says) -> None:
    with pytest.raises(InputError, match=says):
        check_ranges(config)
