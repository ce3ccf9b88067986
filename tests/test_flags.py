"""The flags of a recipe: one length takes the other's place, each flag reaches its field, and a dry
run needs no data.
"""

import dataclasses
import importlib
import sys

import pytest
from one_line import one_line_exit

from catlip.architectures import ENCODERS
from catlip.cli import run
from catlip.pretrain import PretrainCatLIP, main
from catlip.recipes.pretrain import CATLIP

DEFAULTS = {name: PretrainCatLIP(recipe) for name, recipe in CATLIP.items()}
TRANSFERS = ("linear_probe", "finetune", "multilabel", "segmentation", "detection")


def read(monkeypatch, *arguments: str) -> PretrainCatLIP:
    """What `python -m catlip.pretrain` makes of the arguments."""
    monkeypatch.setattr(sys, "argv", ["prog", *arguments])
    found: list[PretrainCatLIP] = []
    run(PretrainCatLIP, found.append, DEFAULTS)
    return found[0]


@pytest.mark.parametrize(
    ("arguments", "length"),
    [
        ("--iterations 5", (5, 0)),
        ("--iterations=5", (5, 0)),
        ("--epochs 2.5", (0, 2.5)),
        ("--recipe datacomp_b16 --epochs 2", (0, 2)),
        ("--recipe=datacomp_b16 --iterations 7", (7, 0)),
        ("--iterations 5 --epochs 0", (5, 0)),
        ("", (0, 5)),
    ],
)
def test_a_length_that_is_given_takes_the_place_of_the_recipes_other(
    monkeypatch, arguments, length
) -> None:
    recipe = read(monkeypatch, *arguments.split()).recipe
    assert (recipe.iterations, recipe.epochs) == length


def test_every_flag_reaches_its_field(monkeypatch) -> None:
    flags = "--recipe cc3m_b16 --betas 0.8 0.95 --flip 0.2 --drop-path 0.1 --seed 3"
    config = read(monkeypatch, *flags.split())
    expected = dataclasses.replace(CATLIP["cc3m_b16"], betas=(0.8, 0.95), flip=0.2, drop_path=0.1)
    assert (config.recipe, config.seed) == (expected, 3)


def test_the_help_has_every_recipe_encoder_and_setting(monkeypatch, capsys) -> None:
    with pytest.raises(SystemExit):
        read(monkeypatch, "--help")
    help = capsys.readouterr().out
    assert all(f"{name}: {recipe.about[:20]}" in help for name, recipe in CATLIP.items())
    assert all(name in help for name in ENCODERS)
    flags = [f"--{name.replace('_', '-')}" for name in vars(CATLIP["starter"])]
    assert [flag for flag in flags if flag not in help] == ["--about", "--source"]
    assert "python -m catlip.pretrain --recipe starter --shards" in help


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("--iterations 5 --epochs 3", "--iterations or --epochs"),
        ("--recipe imagenet", "starter, photos, cc3m_b16"),
        ("--precision fp8", "fp32, bf16, fp16"),
        ("--max-broken 2", "--max-broken 2.0"),
        ("--checkpoint-every 2 --checkpoint-minutes 3", "--checkpoint-minutes"),
        ("--num-worker 3", "--num-workers"),
        ("--seed x", "--seed"),
        ("--shards x", "--vocabulary"),
        ("", "--shards, --vocabulary"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(
    monkeypatch, capsys, tmp_path, arguments, error
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["prog", *arguments.split()])
    with one_line_exit(capsys, error):
        run(PretrainCatLIP, main, DEFAULTS)


@pytest.mark.parametrize("name", TRANSFERS)
def test_a_dry_run_of_a_transfer_needs_no_data_and_says_what_differs(
    monkeypatch, capsys, tmp_path, name
) -> None:
    module = importlib.import_module(f"bench.downstream.{name}")
    recipe = next(name for name in module.RECIPES if name.startswith("table_7"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["prog", "--recipe", recipe, "--dry-run"])
    run(type(module.RECIPES[recipe]), module.main, module.RECIPES)
    assert '"max_lr"' in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("recipe", "steps", "parameters"),
    [("datacomp_h16_release", "200,000", "663,152,646"), ("cc3m_b16", "25 epochs", "")],
)
def test_a_dry_run_of_pre_training_needs_no_data_and_no_memory(
    monkeypatch, capsys, tmp_path, recipe, steps, parameters
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["prog", "--recipe", recipe, "--dry-run", "--device", "cpu"])
    run(PretrainCatLIP, main, DEFAULTS)
    lines = capsys.readouterr().out.splitlines()
    printed = dict(line.split(": ", 1) for line in lines if ": " in line)
    assert not list(tmp_path.iterdir())
    assert printed["steps"].startswith(steps)
    assert printed["parameters"].startswith(parameters)
