"""What the user's Python file gives for a flag: `my_recipes.py:small`, `my_encoder.py:build`."""

import runpy
import traceback
from pathlib import Path
from typing import Any

from catlip.program.errors import InputError


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
