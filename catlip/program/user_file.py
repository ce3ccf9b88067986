"""What the user's Python file gives for a flag: `my_encoder.py:build`, `my_recipes.py:small`.

from dataclasses import replace
from catlip.recipes.pretrain import STARTER

small = replace(STARTER, epochs=2, max_lr=2e-3)    # a recipe,
small = {"recipe": "starter", "epochs": 2}         # or what differs from a built-in one,
def small(): return {"epochs": 2}                  # or a function that returns either
"""

import dataclasses
import runpy
import traceback
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from catlip.program.errors import InputError

C = TypeVar("C")
BASE = "recipe"  # key of a dict that names the built-in recipe; without it the program's first


def names_file(spelling: str) -> bool:
    return ".py:" in spelling


def value_in_file(spelling: str) -> Any:
    """The value of NAME in FILE.py:NAME, or what it returns if it is a function.

    Raises: InputError with the line, if the file fails or has no such name.
    """
    path, _, name = spelling.rpartition(":")
    if not Path(path).is_file():
        raise InputError(f"{spelling}: there is no file {path}")
    try:
        value = runpy.run_path(path).get(name)
        value = value() if callable(value) else value
    except (Exception, SystemExit) as error:  # the file is the user's: anything may be raised
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == path]
        lines += [error.lineno] if isinstance(error, SyntaxError) else []
        where = f", line {lines[-1]}" if lines and lines[-1] else ""
        raise InputError(f"{path}{where}: {type(error).__name__}: {error}") from None
    if value is None:
        raise InputError(f"{path} has no {name}")
    return value


def user_recipe(name: str, defaults: Mapping[str, C]) -> C:
    """The config that `FILE.py:NAME` gives: that of a built-in recipe, with the recipe of the file.
    A record holds its fields; its `source` is "own".

    Raises: InputError if the file, the name or a field cannot be used.
    """
    value = value_in_file(name)
    base, fields = next(iter(defaults)), value
    if isinstance(value, dict):
        base = str(value.get(BASE, base))
        if base not in defaults:
            raise InputError(
                f"{name}: no recipe is called {base!r}; there are {', '.join(defaults)}"
            )
        fields = {key: given for key, given in value.items() if key != BASE}
    config: Any = defaults[base]
    kind = type(config.recipe)
    if not isinstance(fields, dict | kind):
        is_a = type(value).__name__
        raise InputError(f"{name} is a {is_a}; give a {kind.__name__} or a dict of its fields")
    if isinstance(fields, dict):
        names = [field.name for field in dataclasses.fields(kind)]
        if unknown := [key for key in fields if key not in names]:
            raise InputError(
                f"{name}: a {kind.__name__} has no {unknown[0]}; it has {', '.join(names)}"
            )
        about = {"about": f"{name}, after {base}"}
        fields = dataclasses.asdict(config.recipe) | about | other_lengths(kind, fields) | fields
    else:
        fields = dataclasses.asdict(fields)
    try:
        recipe = msgspec.convert(fields | {"source": "own"}, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{name}: {error}") from None
    own: C = dataclasses.replace(config, recipe=recipe)
    return own


def other_lengths(recipe: Any, given: Collection[str]) -> dict[str, int]:
    """If one of a recipe's alternatives is given, such as epochs, the others are 0."""
    alternatives = getattr(recipe, "ALTERNATIVES", ())
    return {name: 0 for name in alternatives if {*alternatives} & {*given} and name not in given}
