"""The methods that CatLIP is compared with, on the same batches, loop and recipes."""

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import catlip  # noqa: F401  # sets how OpenMP waits, which must come before torch

# Folders of further methods; their files become modules of this package.
for _folder in filter(None, os.environ.get("CATLIP_METHODS", "").split(os.pathsep)):
    if not os.path.isdir(_folder):
        print(f"error: CATLIP_METHODS names {_folder!r}, which is not a folder", file=sys.stderr)
        sys.exit(2)
    __path__.append(_folder)


def method_names() -> Iterator[str]:
    """The names of all methods, read from the sources: a command line is read without torch."""
    paths = [path for folder in __path__ for path in Path(folder).glob("*.py")]
    for path in sorted(paths, key=lambda path: path.stem):
        for member in ast.parse(path.read_text()).body:
            if isinstance(member, ast.ClassDef):
                yield from filter(None, map(_name_stated_by, member.body))


def _name_stated_by(statement: ast.stmt) -> str | None:
    """X of `name = "X"`, or of `name, label, ... = "X", ...`."""
    match statement:
        case ast.Assign(targets=[ast.Name("name")], value=ast.Constant(str(name))):
            return name
        case ast.Assign(
            targets=[ast.Tuple([ast.Name("name"), *_])],
            value=ast.Tuple([ast.Constant(str(name)), *_]),
        ):
            return name
    return None
