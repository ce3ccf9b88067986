"""`--recipe FILE.py:NAME`: a recipe of one's own trains, and is recorded, as a built-in one."""

import json
from dataclasses import asdict, replace

import pytest
from one_line import one_line_error

from catlip.cli import InputError
from catlip.pretrain import PretrainCatLIP
from catlip.program.user_recipe import user_recipe
from catlip.recipes.pretrain import CATLIP

DEFAULTS = {name: PretrainCatLIP(recipe) for name, recipe in CATLIP.items()}
FIRST, STARTER = next(iter(CATLIP.values())), CATLIP["starter"]
FILE = """
from dataclasses import replace
from catlip.recipes.pretrain import CATLIP
whole = replace(CATLIP["starter"], max_lr=0.5, about="mine")
some = {"recipe": "starter", "iterations": 7}
few = dict(max_lr=0.5)
def made(): return replace(CATLIP["starter"], range_augment=(30, 10))
misspelt = {"max_rl": 1}
text = {"max_lr": "high"}
both = {"iterations": 3, "epochs": 2}
unknown = {"recipe": "mine"}
number = 3
def broken(): return 1 / 0
def ends(): raise SystemExit(0)
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "mine.py").write_text(FILE)
    return tmp_path / "mine.py"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("whole", replace(STARTER, max_lr=0.5)),
        ("some", replace(STARTER, iterations=7, epochs=0)),
        ("few", replace(FIRST, max_lr=0.5)),
        ("made", replace(STARTER, range_augment=(30.0, 10.0))),
    ],
)
def test_a_recipe_a_dict_and_a_function_give_a_recipe(file, name, expected):
    recipe = user_recipe(f"{file}:{name}", DEFAULTS).recipe
    assert recipe.identity() == expected.identity()
    assert recipe.source == "own"
    assert asdict(recipe).keys() == asdict(STARTER).keys()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("misspelt", "max_rl"),
        ("text", "max_lr"),
        ("both", "iterations"),
        ("unknown", "starter"),
        ("number", "int"),
        ("broken", "line 13: ZeroDivisionError"),
        ("ends", "line 14: SystemExit: 0"),  # which would end the program as if it had succeeded
        ("none", "none"),
    ],
)
def test_what_is_no_recipe_is_one_line(file, name, words):
    with pytest.raises(InputError, match=words):
        user_recipe(f"{file}:{name}", DEFAULTS)


def test_files_that_cannot_be_read_are_one_line(tmp_path):
    (tmp_path / "bad.py").write_text("x = 1\nsmall = {")
    for name, words in (("bad.py:small", "line 2"), ("none.py:small", "none.py")):
        with pytest.raises(InputError, match=words):
            user_recipe(f"{tmp_path / name}", DEFAULTS)


def test_a_training_records_the_fields_and_flags_come_first(program, small_shards, file, tmp_path):
    file.write_text('small = {"recipe": "starter", "max_lr": 0.5, "micro_batch": 4}')
    words = ("--method", "clip", "--recipe", f"{file}:small", "--shards", small_shards)
    words += ("--iterations", 1, "--max-lr", 0.25, "--device", "cpu", "--quiet", "--out")
    done = program("baselines.pretrain", *words, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    recipe = json.loads((tmp_path / "run.json").read_text())["config"]["recipe"]
    assert (recipe["max_lr"], recipe["micro_batch"], recipe["source"]) == (0.25, 4, "own")
    assert (recipe["iterations"], recipe["epochs"]) == (1, 0)
    one_line_error(program("baselines.pretrain", *words[:2], "--recipe", f"{file}:big"), "big")
