"""The flags of a recipe: one length takes the other's place, rare ones stand apart, and a dry run
needs no data.
"""

import contextlib
import dataclasses
import importlib
import re
import sys

import pytest
from one_line import one_line_exit

from bench.plan.__main__ import Plan
from bench.scaling import Scaling
from catlip.cli import run
from catlip.encoder import ENCODERS
from catlip.pretrain import PretrainCatLIP, main
from catlip.program.flags import HIDDEN, view_of
from catlip.recipes.pretrain import CATLIP
from catlip.vocabulary.__main__ import BuildVocabulary

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
        (("--iterations", "5"), (5, 0)),
        (("--iterations=5",), (5, 0)),
        (("--epochs", "2.5"), (0, 2.5)),
        (("--recipe", "datacomp_b16", "--epochs", "2"), (0, 2)),
        (("--recipe", "datacomp_b16", "--iterations", "7"), (7, 0)),
        (("--iterations", "5", "--epochs", "0"), (5, 0)),
        ((), (0, 5)),
    ],
)
def test_a_length_that_is_given_takes_the_place_of_the_recipes_other(
    monkeypatch, arguments, length
) -> None:
    recipe = read(monkeypatch, *arguments).recipe
    assert (recipe.iterations, recipe.epochs) == length


def test_two_lengths_are_one_line_and_exit_2(monkeypatch, capsys) -> None:
    with one_line_exit(capsys, "--iterations or --epochs"):
        read(monkeypatch, "--iterations", "5", "--epochs", "3")


def test_every_flag_reaches_its_field(monkeypatch) -> None:
    flags = "--recipe cc3m_b16 --betas 0.8 0.95 --flip 0.2 --drop-path 0.1 --seed 3"
    config = read(monkeypatch, *flags.split())
    expected = dataclasses.replace(CATLIP["cc3m_b16"], betas=(0.8, 0.95), flip=0.2, drop_path=0.1)
    assert (config.recipe, config.seed) == (expected, 3)


def boxes(said: str) -> dict[str, list[str]]:
    """Title of each box of a help -> its flags."""
    found: dict[str, list[str]] = {}
    for line in said.splitlines():
        if title := re.match(r"\W+(\w+ )?options \W+$", line):
            found[(title[1] or "").strip()] = flags = []
        elif flag := re.match(r"\W (--[a-z-]+)", line):
            flags.append(flag[1])
    return found


def test_what_most_people_set_stands_first_and_the_rest_in_named_groups(
    monkeypatch, capsys
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with contextlib.suppress(SystemExit):
        read(monkeypatch, "--help")
    said = capsys.readouterr().out
    found = boxes(said)
    assert "--recipe" in found[""]
    assert found["recipe"][:4] == ["--encoder", "--iterations", "--epochs", "--micro-batch"]
    assert {"--betas", "--eps", "--grad-clip"} <= set(found["optimizer"])
    assert {"--crop-scale", "--range-augment"} <= set(found["images"])
    assert len(found["recipe"]) < 14
    assert not any("--about" in flags for flags in found.values())
    assert all(name in said for name in ENCODERS)
    assert "--max-lr" in said


def test_a_flag_that_is_empty_by_default_is_optional(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["prog", "--help"])
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit):
        run(BuildVocabulary, print)
    lines = capsys.readouterr().out.splitlines()
    (threshold,) = [line for line in lines if line.lstrip("│ ").startswith("--threshold")]
    assert re.search(r"--threshold INT .*\(optional\)", threshold)
    (labels,) = [line for line in lines if "Folders of labels" in line]
    assert "(required)" in labels


@pytest.mark.parametrize(
    ("config", "arguments", "says"),
    [
        (BuildVocabulary, "x --treshold 5 --out v.json", "did you mean --threshold?"),
        (BuildVocabulary, "x --thresh 5 --qiet --out v.json", "--quiet, --threshold?"),
        (Plan, "--gpu b300x", "no datasheet of GPU 'b300x'"),
        (Scaling, "--bogus 1", "missing: --shards, --probe, --vocabulary, --labels-dir"),
        (Scaling, "--bogus 1", "unknown: --bogus"),
        (PretrainCatLIP, "", "missing: --shards, --vocabulary "),
    ],
)
@pytest.mark.parametrize("columns", ["60", "200"])
def test_a_wrong_command_line_is_one_line_that_names_all_that_is_wrong(
    monkeypatch, capsys, config, arguments, says, columns
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(sys, "argv", ["prog", *arguments.split()])
    with one_line_exit(capsys, f"error: {says}" if "missing" in says else says):
        run(config, main, DEFAULTS if config is PretrainCatLIP else None)


@pytest.mark.parametrize("name", TRANSFERS)
def test_groups_hold_each_field_of_each_program_once(name) -> None:
    recipes = importlib.import_module(f"bench.downstream.{name}").RECIPES
    for config in recipes.values():
        view = view_of(type(config), config)
        placed = [field.name for part in view.groups.values() for field in dataclasses.fields(part)]
        assert sorted([*placed, *HIDDEN]) == sorted(
            field.name for field in dataclasses.fields(config.recipe)
        )
        required = {"encoder": "random:vit_tiny16@64", "data": "folder:x"}
        given = dataclasses.replace(config, **required)
        assert view.config(view.shown(**required)) == given


@pytest.mark.parametrize("name", TRANSFERS)
def test_a_dry_run_of_a_transfer_needs_no_data_and_says_what_differs(
    monkeypatch, capsys, tmp_path, name
) -> None:
    module = importlib.import_module(f"bench.downstream.{name}")
    recipe = next(name for name in module.RECIPES if name.startswith("table_7"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["prog", "--recipe", recipe, "--dry-run"])
    run(type(module.RECIPES[recipe]), module.main, module.RECIPES)
    said = capsys.readouterr().out
    assert '"max_lr"' in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("recipe", ["datacomp_h16_release", "cc3m_b16"])
def test_a_dry_run_of_pre_training_needs_no_data_and_no_memory(
    monkeypatch, capsys, tmp_path, recipe
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["prog", "--recipe", recipe, "--dry-run", "--device", "cpu"])
    run(PretrainCatLIP, main, DEFAULTS)
    said = dict(
        line.split(": ", 1) for line in capsys.readouterr().out.splitlines() if ": " in line
    )
    assert not list(tmp_path.iterdir())
    if recipe == "cc3m_b16":
        assert said["steps"].startswith("25 epochs")
    else:
        assert said["steps"].startswith("200,000")
        assert said["parameters"].startswith("663,152,646")


def test_training_without_a_vocabulary_is_one_line(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["prog", "--shards", "x"])
    with one_line_exit(capsys, "--vocabulary"):
        run(PretrainCatLIP, main, DEFAULTS)
